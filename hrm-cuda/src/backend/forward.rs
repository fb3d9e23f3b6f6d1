//! The forward kernels: spans become pointers, and what the operands say of each other is checked.

use hrm_core::arena::{Act, Ids, Param};
use hrm_core::kernels::{
    AddRmsNorm, Argmax, Attention, Columns, Embed, Keep, Kernels, Linear, LinearAddRmsNorm, LinearQkv,
    LinearSwiGlu, Plus, QHead, SwiGlu, TokenMix, Write,
};

use super::{Cuda, fit};
use crate::error::Error;
use crate::launch::{Dtype, Gemm, Launcher, Ptr};
use crate::ops::{
    Product, attention, carry, columns, elementwise, embedding, gemm_sm90, linear_narrow, loss, norm, q_head,
    token_mix,
};

impl<L: Launcher> Cuda<L> {
    /// The operands of attention, resolved.
    pub(super) fn attention_operands(&self, op: &Attention) -> Result<attention::Attention, Error> {
        let (d, heads) = (op.o.cols, op.heads.max(1));
        let (batch, positions, head_dim) = (op.lse.rows / heads, op.lse.cols, d / heads);
        let sizes = [
            ("columns of o", d, heads * head_dim),
            ("rows of o", op.o.rows, batch * positions),
            ("rows of lse", op.lse.rows, batch * heads),
            ("rows of qkv", op.qkv.rows, op.o.rows),
            ("columns of qkv", op.qkv.cols, 3 * d),
        ];
        fit("rope_attention", &sizes)?;
        let rope = match op.rope {
            Some(tables) => {
                for table in [tables.cos, tables.sin] {
                    fit("rope_attention", &[("rotary table", table.len(), positions * (head_dim / 2))])?;
                }
                Some(attention::Rope { cos: self.master(tables.cos)?, sin: self.master(tables.sin)? })
            }
            None => None,
        };
        Ok(attention::Attention {
            o: self.act(op.o)?,
            lse: self.stat(op.lse)?,
            qkv: self.act(op.qkv)?,
            rope,
            shape: attention::Shape { batch, positions, heads, head_dim },
        })
    }

    /// A product in the form of the kernels that do it together with what follows; none unless in bf16.
    fn product(&self, x: Act, w: Param) -> Result<Option<Product>, Error> {
        if self.dtype != Dtype::Bf16 {
            return Ok(None);
        }
        let (rows, inner, outer) = (x.rows, w.cols, w.rows);
        Ok(Some(Product { x: self.act(x)?, w: self.weight(w)?, rows, inner, outer }))
    }

    /// The kernels that mix cells in one, and scratch of so many bytes; none unless in bf16, or where the plan has no such
    /// scratch.
    pub(super) fn token_mixer(
        &mut self,
        sizes: token_mix::Sizes,
        bytes: usize,
    ) -> Result<Option<(token_mix::TokenMix, Ptr)>, Error> {
        match self.scratch.window(0, bytes) {
            Some(scratch) if self.dtype == Dtype::Bf16 && bytes > 0 => {
                Ok(token_mix::TokenMix::new(&mut self.launcher, sizes)?.map(|kernels| (kernels, scratch)))
            }
            _ => Ok(None),
        }
    }

    /// The operands of a mixer of cells, resolved.
    pub(super) fn token_operands(&self, op: &TokenMix, scratch: Ptr) -> Result<token_mix::Forward, Error> {
        Ok(token_mix::Forward {
            y: self.act(op.y)?,
            rstd: self.stat(op.rstd)?,
            x: self.act(op.x)?,
            gate_up: self.weight(op.gate_up)?,
            down: self.weight(op.down)?,
            eps: op.eps,
            scratch,
        })
    }

    /// The operands of a copy of columns, resolved.
    fn columns(&self, kernel: &str, op: &Columns) -> Result<columns::Columns, Error> {
        let (columns, positions, width) = (op.rows.rows, op.rows.cols, op.z.cols);
        let sequences = op.z.rows / positions.max(1);
        let last = (op.first + columns).min(sequences * width);
        let sizes = [
            ("rows of z", op.z.rows, sequences * positions),
            ("one past the last column", op.first + columns, last),
        ];
        fit(kernel, &sizes)?;
        let (rows, z, first) = (self.act(op.rows)?, self.act(op.z)?, op.first);
        Ok(columns::Columns { rows, z, first, columns, positions, width })
    }

    /// The operands of the Q head, resolved.
    pub(super) fn q_head_operands(&self, op: &QHead) -> Result<q_head::QHead, Error> {
        let (batch, hidden) = (op.q.rows, op.z.cols);
        let positions = op.z.rows / batch.max(1);
        let sizes = [
            ("columns of q", op.q.cols, 2),
            ("rows of z", op.z.rows, batch * positions),
            ("elements of the weight", op.w.len(), 2 * hidden),
            ("elements of the bias", op.bias.len(), 2),
        ];
        fit("q_head", &sizes)?;
        Ok(q_head::QHead {
            q: self.stat(op.q)?,
            z: self.act(op.z)?,
            w: self.weight(op.w)?,
            bias: self.weight(op.bias)?,
            batch,
            positions,
            hidden,
        })
    }
}

fn fit_linear(kernel: &str, op: &Linear) -> Result<(), Error> {
    let sizes = [
        ("rows of y", op.y.rows, op.x.rows),
        ("columns of y", op.y.cols, op.w.rows),
        ("columns of x", op.x.cols, op.w.cols),
    ];
    fit(kernel, &sizes)
}

impl<L: Launcher> Kernels for Cuda<L> {
    fn embed(&mut self, op: &Embed) -> Result<(), Error> {
        let sizes = embedding::Sizes {
            batch: op.inputs.rows,
            seq_len: op.inputs.cols,
            hidden: op.y.cols,
            vocab: op.tokens.rows,
            ndim: op.puzzles.cols,
            prefix: op.prefix_len(),
        };
        let checked = [
            ("rows of y", op.y.rows, sizes.batch * sizes.positions()),
            ("columns of the token table", op.tokens.cols, sizes.hidden),
            ("puzzle identifiers", op.puzzle_ids.len(), sizes.batch),
            (
                "elements of the positions",
                op.positions.map_or(sizes.positions() * sizes.hidden, |span| span.len()),
                sizes.positions() * sizes.hidden,
            ),
        ];
        fit("embed", &checked)?;
        let op = embedding::Embed {
            y: self.act(op.y)?,
            inputs: self.ids(op.inputs)?,
            puzzle_ids: self.ids(op.puzzle_ids)?,
            tokens: self.weight(op.tokens)?,
            puzzles: self.master(op.puzzles)?,
            positions: op.positions.map(|span| self.weight(span)).transpose()?,
            identifiers: op.puzzles.rows,
            sizes,
            fault: self.fault(),
        };
        embedding::embed(&mut self.launcher, self.dtype, &op)
    }

    fn add(&mut self, y: Act, a: Act, b: Act) -> Result<(), Error> {
        fit("add", &[("length of a", a.len(), y.len()), ("length of b", b.len(), y.len())])?;
        let (y, a, b, len) = (self.act(y)?, self.act(a)?, self.act(b)?, y.len());
        elementwise::add(&mut self.launcher, self.dtype, y, a, b, len)
    }

    fn linear(&mut self, op: &Linear) -> Result<(), Error> {
        let (m, n, k) = (op.x.rows, op.w.rows, op.w.cols);
        fit_linear("linear", op)?;
        if let Some(product) = self.product(op.x, op.w)? {
            let y = self.act(op.y)?;
            if let Some(kernel) = gemm_sm90::Linear::new(&mut self.launcher, &product)? {
                return kernel.run(&mut self.launcher, y);
            }
            if let Some(kernel) = linear_narrow::Linear::new(&product) {
                return kernel.run(&mut self.launcher, y);
            }
        }
        self.launcher.gemm(&Gemm {
            m,
            n,
            k,
            a: self.act(op.x)?,
            b: self.weight(op.w)?,
            c: self.act(op.y)?,
            transpose_a: false,
            transpose_b: true,
            write: Write::Replace,
            input: self.dtype,
            output: self.dtype,
        })
    }

    fn rope_attention(&mut self, op: &Attention) -> Result<(), Error> {
        let op = self.attention_operands(op)?;
        attention::rope_attention(&mut self.launcher, self.dtype, &op)
    }

    fn linear_qkv(&mut self, op: &LinearQkv) -> Result<(), Error> {
        let linear = op.linear();
        let attention = self.attention_operands(&op.attention)?;
        fit_linear("linear_qkv", &linear)?;
        let rotated = attention::comes_rotated(&mut self.launcher, self.dtype, &attention.shape)?;
        if let (true, Some(rope), Some(product)) = (rotated, attention.rope, self.product(op.x, op.w)?)
            && let Some(kernel) = gemm_sm90::LinearRope::new(&mut self.launcher, &product)?
        {
            return kernel.run(&mut self.launcher, attention.qkv, rope, attention.shape.positions);
        }
        self.linear(&linear)?;
        attention::rotate(&mut self.launcher, self.dtype, &attention)
    }

    fn attention(&mut self, op: &Attention) -> Result<(), Error> {
        let op = self.attention_operands(op)?;
        attention::attention(&mut self.launcher, self.dtype, &op)
    }

    fn swiglu(&mut self, op: &SwiGlu) -> Result<(), Error> {
        let (rows, cols) = (op.a.rows, op.a.cols);
        fit("swiglu", &[("rows of gate_up", op.gate_up.rows, rows)])?;
        fit("swiglu", &[("columns of gate_up", op.gate_up.cols, 2 * cols)])?;
        let (a, gate_up) = (self.act(op.a)?, self.act(op.gate_up)?);
        elementwise::swiglu(&mut self.launcher, self.dtype, a, gate_up, rows, cols)
    }

    fn add_rms_norm(&mut self, op: &AddRmsNorm) -> Result<(), Error> {
        let (rows, cols) = (op.y.rows, op.y.cols);
        let sizes = [
            ("length of x", op.x.len(), rows * cols),
            ("length of t", op.t.len(), rows * cols),
            ("length of rstd", op.rstd.len(), rows),
        ];
        fit("add_rms_norm", &sizes)?;
        let op = norm::AddRmsNorm {
            y: self.act(op.y)?,
            rstd: self.stat(op.rstd)?,
            x: self.act(op.x)?,
            t: self.act(op.t)?,
            rows,
            cols,
            eps: op.eps,
        };
        norm::add_rms_norm(&mut self.launcher, self.dtype, &op)
    }

    fn linear_swiglu(&mut self, op: &LinearSwiGlu) -> Result<(), Error> {
        let sizes = [
            ("columns of x", op.x.cols, op.w.cols),
            ("rows of a", op.a.rows, op.x.rows),
            ("rows of the weight", op.w.rows, 2 * op.a.cols),
            ("length of gate_up", op.gate_up.len(), op.x.rows * op.w.rows),
        ];
        fit("linear_swiglu", &sizes)?;
        if let Some(product) = self.product(op.x, op.w)? {
            let (a, gate_up) = (self.act(op.a)?, self.act(op.gate_up)?);
            if let Some(kernel) = gemm_sm90::LinearSwiGlu::new(&mut self.launcher, &product)? {
                return kernel.run(&mut self.launcher, a, (op.keep == Keep::All).then_some(gate_up));
            }
        }
        op.apart(self)
    }

    fn linear_add_rms_norm(&mut self, op: &LinearAddRmsNorm) -> Result<(), Error> {
        let (rows, cols) = (op.inner.rows, op.w.rows);
        let sizes = [
            ("columns of the input", op.inner.cols, op.w.cols),
            ("length of y", op.y.len(), rows * cols),
            ("length of x", op.x.len(), rows * cols),
            ("length of rstd", op.rstd.len(), rows),
        ];
        fit("linear_add_rms_norm", &sizes)?;
        if let Some(Plus { sum, b, .. }) = op.plus {
            let sizes =
                [("length of the sum", sum.len(), rows * cols), ("length of b", b.len(), rows * cols)];
            fit("linear_add_rms_norm", &sizes)?;
        }
        if let Some(product) = self.product(op.inner, op.w)? {
            let (y, rstd, x) = (self.act(op.y)?, self.stat(op.rstd)?, self.act(op.x)?);
            let plus = match op.plus {
                Some(Plus { sum, b, keep }) => {
                    Some(gemm_sm90::Plus { sum: self.act(sum)?, b: self.act(b)?, keep })
                }
                None => None,
            };
            let norm = gemm_sm90::AddRmsNorm { y, rstd, x, eps: op.eps, plus };
            if let Some(kernel) = gemm_sm90::LinearAddRmsNorm::new(&mut self.launcher, &product)? {
                return kernel.run(&mut self.launcher, &norm);
            }
        }
        op.apart(self)
    }

    fn take_columns(&mut self, op: &Columns) -> Result<(), Error> {
        let op = self.columns("take_columns", op)?;
        columns::take_columns(&mut self.launcher, self.dtype, &op)
    }

    fn put_columns(&mut self, op: &Columns) -> Result<(), Error> {
        let op = self.columns("put_columns", op)?;
        columns::put_columns(&mut self.launcher, self.dtype, &op)
    }

    fn token_mix(&mut self, op: &TokenMix) -> Result<(), Error> {
        let sizes = token_sizes("token_mix", op)?;
        let bytes = token_mix::TokenMix::scratch(&sizes);
        if let Some((kernel, scratch)) = self.token_mixer(sizes, bytes)? {
            let op = self.token_operands(op, scratch)?;
            return kernel.forward(&mut self.launcher, &op);
        }
        op.apart(self)
    }

    fn q_head(&mut self, op: &QHead) -> Result<(), Error> {
        let op = self.q_head_operands(op)?;
        q_head::q_head(&mut self.launcher, self.dtype, &op)
    }

    fn reset_rows(&mut self, z: Act, init: Param, halted: Ids) -> Result<(), Error> {
        let (batch, hidden) = (halted.len(), z.cols);
        let positions = z.rows / batch.max(1);
        let sizes = [("rows of z", z.rows, batch * positions), ("length of init", init.len(), hidden)];
        fit("reset_rows", &sizes)?;
        let op = carry::ResetRows {
            z: self.act(z)?,
            init: self.master(init)?,
            halted: self.ids(halted)?,
            batch,
            positions,
            hidden,
        };
        carry::reset_rows(&mut self.launcher, self.dtype, &op)
    }

    fn replace_rows(&mut self, current: Ids, incoming: Ids, halted: Ids) -> Result<(), Error> {
        let (batch, cols) = (current.rows, current.cols);
        let sizes = [
            ("length of the incoming rows", incoming.len(), batch * cols),
            ("length of the flags", halted.len(), batch),
        ];
        fit("replace_rows", &sizes)?;
        let (current, incoming, halted) = (self.ids(current)?, self.ids(incoming)?, self.ids(halted)?);
        carry::replace_rows(&mut self.launcher, current, incoming, halted, batch, cols)
    }

    fn argmax(&mut self, op: &Argmax) -> Result<(), Error> {
        let cells = cells("argmax", op.logits, op.predictions)?;
        let (predictions, logits) = (self.ids(op.predictions)?, self.act(op.logits)?);
        loss::argmax(&mut self.launcher, self.dtype, predictions, logits, &cells)
    }
}

/// The sizes of a mixer of cells.
pub(super) fn token_sizes(kernel: &str, op: &TokenMix) -> Result<token_mix::Sizes, Error> {
    let (positions, width, inter) = (op.gate_up.cols, op.x.cols, op.down.cols);
    let batch = op.rstd.rows / width.max(1);
    let sizes = [
        ("rows of x", op.x.rows, batch * positions),
        ("length of y", op.y.len(), op.x.len()),
        ("length of rstd", op.rstd.rows, batch * width),
        ("rows of the weight of gate and up", op.gate_up.rows, 2 * inter),
        ("rows of the output's weight", op.down.rows, positions),
    ];
    fit(kernel, &sizes)?;
    Ok(token_mix::Sizes { batch, positions, width, inter })
}

/// The sizes of `logits` `[batch * positions, vocab]` and of what each cell `[batch, seq_len]` has.
pub(super) fn cells(kernel: &str, logits: Act, each: Ids) -> Result<loss::Cells, Error> {
    let (batch, seq_len) = (each.rows, each.cols);
    let positions = logits.rows / batch.max(1);
    let prefix = positions.checked_sub(seq_len);
    let sizes = [
        ("rows of the logits", logits.rows, batch * positions),
        ("cells of a sequence", seq_len, prefix.map_or(positions, |_| seq_len)),
    ];
    fit(kernel, &sizes)?;
    Ok(loss::Cells { batch, seq_len, positions, vocab: logits.cols })
}
