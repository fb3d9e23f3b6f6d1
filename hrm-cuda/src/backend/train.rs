//! The kernels of training.

use hrm_core::arena::{Act, Ids, Param, Stat};
use hrm_core::kernels::{
    Advance, AttentionVjp, EmbedVjp, LinearSwiGluVjp, LinearVjpInput, LinearVjpWeight, LmLoss, QHead, QLoss,
    SwiGlu, TokenMixVjp, TokenScratch, TrainKernels, Write,
};
use hrm_core::optim::{AdamAtan2, Average, SignSgd, StepScalars};
use hrm_core::plan::BackwardPlan;

use super::forward::{cells, token_sizes};
use super::{Cuda, fit};
use crate::error::Error;
use crate::launch::{Dtype, Gemm, Launcher, Ptr};
use crate::ops::{
    attention, carry, elementwise, embedding, gemm_sm90, linear_narrow, loss, norm, optimizer, q_head,
    scalars, token_mix,
};

impl<L: Launcher> Cuda<L> {
    /// Looks for what is no finite number in the losses and gradients of a step, between
    /// [`gradients`](hrm_core::model::train_step::gradients) and [`update`](hrm_core::model::train_step::update), without waiting:
    /// if there is any, the update changes nothing, nor does any later one before the fault is heard of.
    ///
    /// # Errors
    /// The device fails.
    pub fn check_finite(&mut self, b: &BackwardPlan) -> Result<(), Error> {
        let fault = self.fault();
        let f32s = [
            (self.stat(b.lm_loss)?, b.lm_loss.len()),
            (self.stat(b.q_losses)?, b.q_losses.len()),
            (self.gradients.base(), self.gradients.len()),
        ];
        for (x, len) in f32s {
            optimizer::check_finite(&mut self.launcher, Dtype::F32, x, len, fault)?;
        }
        let (dpuzzle, len) = (self.act(b.dpuzzle)?, b.dpuzzle.len());
        optimizer::check_finite(&mut self.launcher, self.dtype, dpuzzle, len, fault)
    }
}

impl<L: Launcher> Cuda<L> {
    /// The copies in bf16 of trained parameters, where there are such.
    fn copies(&self, span: Param) -> Result<Option<Ptr>, Error> {
        match self.dtype {
            Dtype::F32 => Ok(None),
            Dtype::Bf16 => self.shadow.at(span).map(Some),
        }
    }
}

impl<L: Launcher> TrainKernels for Cuda<L> {
    fn begin_step(&mut self, scalars: &StepScalars) -> Result<(), Error> {
        self.launcher.upload(self.scalars(), &scalars::bytes(scalars))
    }

    fn take_first(&mut self, y: Act, x: Act) -> Result<(), Error> {
        let (batch, hidden) = (y.rows, y.cols);
        let positions = x.rows / batch.max(1);
        fit("take_first", &[("rows of x", x.rows, batch * positions), ("columns of x", x.cols, hidden)])?;
        let op = q_head::TakeFirst { y: self.act(y)?, x: self.act(x)?, batch, positions, hidden };
        q_head::take_first(&mut self.launcher, self.dtype, &op)
    }

    fn embed_vjp(&mut self, op: &EmbedVjp) -> Result<(), Error> {
        let sizes = embedding::Sizes {
            batch: op.inputs.rows,
            seq_len: op.inputs.cols,
            hidden: op.dy.cols,
            vocab: op.tokens.rows,
            ndim: op.dpuzzle.cols,
            prefix: op.prefix_len(),
        };
        let checked = [
            ("rows of dy", op.dy.rows, sizes.batch * sizes.positions()),
            ("rows of dpuzzle", op.dpuzzle.rows, sizes.batch),
            ("columns of the token table", op.tokens.cols, sizes.hidden),
            (
                "elements of the positions",
                op.positions.map_or(sizes.positions() * sizes.hidden, |span| span.len()),
                sizes.positions() * sizes.hidden,
            ),
        ];
        fit("embed_vjp", &checked)?;
        let op = embedding::EmbedVjp {
            dy: self.act(op.dy)?,
            dpuzzle: self.act(op.dpuzzle)?,
            inputs: self.ids(op.inputs)?,
            tokens: self.gradient(op.tokens)?,
            positions: op.positions.map(|span| self.gradient(span)).transpose()?,
            scratch: self.scratch("embed_vjp", embedding::embed_vjp_scratch(&sizes))?,
            sizes,
        };
        embedding::embed_vjp(&mut self.launcher, self.dtype, &op)
    }

    fn linear_vjp_input(&mut self, op: &LinearVjpInput) -> Result<(), Error> {
        let LinearVjpInput { dx, dy, w, write } = *op;
        let (m, n, k) = (dy.rows, w.cols, w.rows);
        fit("linear_vjp_input", &[("rows of dx", dx.rows, m), ("columns of dx", dx.cols, n)])?;
        fit("linear_vjp_input", &[("columns of dy", dy.cols, k)])?;
        let narrow = linear_narrow::VjpInput::new(linear_narrow::Sizes { rows: m, inner: n, outer: k });
        if let (Dtype::Bf16, Some(kernel)) = (self.dtype, narrow) {
            let (dx, dy, w) = (self.act(dx)?, self.act(dy)?, self.weight(w)?);
            let op = linear_narrow::VjpInputOperands { dx, dy, w, write };
            return kernel.run(&mut self.launcher, &op);
        }
        self.launcher.gemm(&Gemm {
            m,
            n,
            k,
            a: self.act(dy)?,
            b: self.weight(w)?,
            c: self.act(dx)?,
            transpose_a: false,
            transpose_b: false,
            write,
            input: self.dtype,
            output: self.dtype,
        })
    }

    fn linear_vjp_weight(&mut self, op: &LinearVjpWeight) -> Result<(), Error> {
        let LinearVjpWeight { w, dy, x, write } = *op;
        let (m, n, k) = (w.rows, w.cols, x.rows);
        fit("linear_vjp_weight", &[("rows of dy", dy.rows, k), ("columns of dy", dy.cols, m)])?;
        fit("linear_vjp_weight", &[("columns of x", x.cols, n)])?;
        let narrow = linear_narrow::VjpWeight::new(linear_narrow::Sizes { rows: k, inner: n, outer: m });
        // Plans have the scratch for their vocabulary head, not for every weight of such a width.
        if let (Dtype::Bf16, Some(kernel), Write::Replace) = (self.dtype, narrow, write)
            && let Some(scratch) = self.scratch.window(0, kernel.scratch())
        {
            let (dw, dy, x) = (self.gradient(w)?, self.act(dy)?, self.act(x)?);
            let op = linear_narrow::VjpWeightOperands { dw, dy, x, scratch };
            return kernel.run(&mut self.launcher, &op);
        }
        self.launcher.gemm(&Gemm {
            m,
            n,
            k,
            a: self.act(dy)?,
            b: self.act(x)?,
            c: self.gradient(w)?,
            transpose_a: true,
            transpose_b: false,
            write,
            input: self.dtype,
            output: Dtype::F32,
        })
    }

    fn rope_attention_vjp(&mut self, op: &AttentionVjp) -> Result<(), Error> {
        let forward = self.attention_operands(&op.forward)?;
        let sizes = [
            ("length of d_o", op.d_o.len(), op.forward.o.len()),
            ("length of dqkv", op.dqkv.len(), op.forward.qkv.len()),
        ];
        fit("rope_attention_vjp", &sizes)?;
        let bytes = attention::rope_attention_vjp_scratch(&forward.shape);
        let op = attention::AttentionVjp {
            forward,
            d_o: self.act(op.d_o)?,
            dqkv: self.act(op.dqkv)?,
            scratch: self.scratch("rope_attention_vjp", bytes)?,
        };
        attention::rope_attention_vjp(&mut self.launcher, self.dtype, &op)
    }

    fn swiglu_vjp(&mut self, op: &SwiGlu) -> Result<(), Error> {
        let (rows, cols) = (op.a.rows, op.a.cols);
        fit("swiglu_vjp", &[("rows of gate_up", op.gate_up.rows, rows)])?;
        fit("swiglu_vjp", &[("columns of gate_up", op.gate_up.cols, 2 * cols)])?;
        let (a, gate_up) = (self.act(op.a)?, self.act(op.gate_up)?);
        elementwise::swiglu_vjp(&mut self.launcher, self.dtype, a, gate_up, rows, cols)
    }

    fn linear_swiglu_vjp(&mut self, op: &LinearSwiGluVjp) -> Result<(), Error> {
        let (rows, cols, outer) = (op.a.rows, op.a.cols, op.dy.cols);
        let sizes = [
            ("rows of dy", op.dy.rows, rows),
            ("rows of the weight", op.w.rows, outer),
            ("columns of the weight", op.w.cols, cols),
            ("rows of gate_up", op.gate_up.rows, rows),
            ("columns of gate_up", op.gate_up.cols, 2 * cols),
        ];
        fit("linear_swiglu_vjp", &sizes)?;
        let sizes = gemm_sm90::GatedSizes { rows, cols, outer };
        // Plans have the scratch for their blocks, not for every weight of such a width.
        let scratch = self.scratch.window(0, gemm_sm90::LinearSwiGluVjp::scratch(&sizes));
        if let (Dtype::Bf16, Some(scratch)) = (self.dtype, scratch)
            && let Some(kernel) = gemm_sm90::LinearSwiGluVjp::new(&mut self.launcher, sizes)?
        {
            let (a, gate_up) = (self.act(op.a)?, self.act(op.gate_up)?);
            let (dy, w) = (self.act(op.dy)?, self.weight(op.w)?);
            let op = gemm_sm90::GatedOperands { a, gate_up, dy, w, scratch };
            return kernel.run(&mut self.launcher, &op);
        }
        op.apart(self)
    }

    fn add_rms_norm_vjp(&mut self, ds: Act, dy: Act, y: Act, rstd: Stat) -> Result<(), Error> {
        let (rows, cols) = (y.rows, y.cols);
        let sizes = [
            ("length of ds", ds.len(), rows * cols),
            ("length of dy", dy.len(), rows * cols),
            ("length of rstd", rstd.len(), rows),
        ];
        fit("add_rms_norm_vjp", &sizes)?;
        let op = norm::AddRmsNormVjp {
            ds: self.act(ds)?,
            dy: self.act(dy)?,
            y: self.act(y)?,
            rstd: self.stat(rstd)?,
            rows,
            cols,
        };
        norm::add_rms_norm_vjp(&mut self.launcher, self.dtype, &op)
    }

    fn token_mix_vjp(&mut self, op: &TokenMixVjp) -> Result<(), Error> {
        let TokenMixVjp { ref forward, dy, dx, write } = *op;
        let sizes = token_sizes("token_mix_vjp", forward)?;
        fit(
            "token_mix_vjp",
            &[("length of dy", dy.len(), forward.y.len()), ("length of dx", dx.len(), forward.y.len())],
        )?;
        let (columns, TokenScratch { a, gate_up, .. }) = (forward.rstd.rows, forward.scratch);
        let room = a.len() == columns * sizes.inter && gate_up.len() == 2 * a.len();
        let bytes = token_mix::TokenMix::vjp_scratch(&sizes);
        if let Some((kernel, scratch)) = self.token_mixer(sizes, bytes)?.filter(|_| room) {
            let op = token_mix::Vjp {
                forward: self.token_operands(forward, scratch)?,
                dy: self.act(dy)?,
                dx: self.act(dx)?,
                a: self.act(a)?,
                gate_up: self.act(gate_up)?,
                d_gate_up: self.gradient(forward.gate_up)?,
                d_down: self.gradient(forward.down)?,
                write,
            };
            return kernel.vjp(&mut self.launcher, &op);
        }
        op.apart(self)
    }

    fn q_head_vjp(&mut self, op: &QHead, dz: Act) -> Result<(), Error> {
        fit("q_head_vjp", &[("length of dz", dz.len(), op.z.len())])?;
        let (dz, dw, dbias) = (self.act(dz)?, self.gradient(op.w)?, self.gradient(op.bias)?);
        let op = self.q_head_operands(op)?;
        q_head::q_head_vjp(&mut self.launcher, self.dtype, &op, dz, dw, dbias)
    }

    fn lm_loss(&mut self, op: &LmLoss) -> Result<(), Error> {
        let cells = cells("lm_loss", op.logits, op.labels)?;
        let sizes = [
            ("length of dlogits", op.dlogits.len(), op.logits.len()),
            ("length of the losses", op.loss.len(), cells.batch),
            ("length of the counts", op.valid.len(), cells.batch),
            ("length of the correct", op.correct.len(), cells.batch),
        ];
        fit("lm_loss", &sizes)?;
        let op = loss::LmLoss {
            logits: self.act(op.logits)?,
            labels: self.ids(op.labels)?,
            dlogits: self.act(op.dlogits)?,
            loss: self.stat(op.loss)?,
            valid: self.ids(op.valid)?,
            correct: self.ids(op.correct)?,
            cells,
            kind: op.kind,
            scale: op.scale,
            fault: self.fault(),
        };
        loss::lm_loss(&mut self.launcher, self.dtype, &op)
    }

    fn q_loss(&mut self, op: &QLoss) -> Result<(), Error> {
        let batch = op.q.rows;
        let sizes = [
            ("length of q", op.q.len(), 2 * batch),
            ("length of next_q", op.next_q.map_or(2 * batch, |span| span.len()), 2 * batch),
            ("length of dq", op.dq.len(), 2 * batch),
            ("length of the losses", op.losses.len(), 2 * batch),
            ("length of the steps", op.steps.len(), batch),
            ("length of the counts", op.valid.len(), batch),
            ("length of the correct", op.correct.len(), batch),
        ];
        fit("q_loss", &sizes)?;
        let op = loss::QLoss {
            q: self.stat(op.q)?,
            next_q: op.next_q.map(|span| self.stat(span)).transpose()?,
            dq: self.stat(op.dq)?,
            losses: self.stat(op.losses)?,
            steps: self.ids(op.steps)?,
            valid: self.ids(op.valid)?,
            correct: self.ids(op.correct)?,
            batch,
            max_steps: op.max_steps,
            scale: op.scale,
        };
        loss::q_loss(&mut self.launcher, &op)
    }

    fn advance(&mut self, op: &Advance) -> Result<(), Error> {
        let batch = op.q.rows;
        let sizes = [
            ("length of q", op.q.len(), 2 * batch),
            ("length of the steps", op.steps.len(), batch),
            ("length of the flags", op.halted.len(), batch),
        ];
        fit("advance", &sizes)?;
        let op = carry::Advance {
            q: self.stat(op.q)?,
            steps: self.ids(op.steps)?,
            halted: self.ids(op.halted)?,
            batch,
            max_steps: op.max_steps,
            rule: op.rule,
            exploration: op.exploration,
            scalars: self.scalars(),
        };
        carry::advance(&mut self.launcher, &op)
    }

    fn adam_atan2(&mut self, len: usize, optimizer: &AdamAtan2) -> Result<(), Error> {
        let all = Param::new(0, 1, len);
        let op = optimizer::AdamOperands {
            params: self.master(all)?,
            shadow: self.copies(all)?,
            gradients: self.gradient(all)?,
            first: self.first.at(all)?,
            second: self.second.at(all)?,
            len,
            scalars: self.scalars(),
            fault: self.fault(),
        };
        optimizer::adam_atan2(&mut self.launcher, &op, optimizer)
    }

    fn average(&mut self, len: usize, average: &Average) -> Result<(), Error> {
        let all = Param::new(0, 1, len);
        let (averages, params, fault) = (self.averages.at(all)?, self.master(all)?, self.fault());
        optimizer::average(&mut self.launcher, averages, params, fault, len, average)
    }

    fn swap_averages(&mut self, len: usize) -> Result<(), Error> {
        let all = Param::new(0, 1, len);
        let (params, shadow, averages) = (self.master(all)?, self.copies(all)?, self.averages.at(all)?);
        optimizer::swap_averages(&mut self.launcher, params, shadow, averages, len)
    }

    fn sign_sgd(&mut self, table: Param, ids: Ids, gradients: Act, optimizer: &SignSgd) -> Result<(), Error> {
        let batch = ids.len();
        let sizes = [
            ("rows of the gradients", gradients.rows, batch),
            ("columns of the gradients", gradients.cols, table.cols),
        ];
        fit("sign_sgd", &sizes)?;
        let op = optimizer::SignSgdOperands {
            table: self.master(table)?,
            ids: self.ids(ids)?,
            gradients: self.act(gradients)?,
            batch,
            rows: table.rows,
            cols: table.cols,
            scalars: self.scalars(),
            fault: self.fault(),
        };
        optimizer::sign_sgd(&mut self.launcher, self.dtype, &op, optimizer)
    }
}
