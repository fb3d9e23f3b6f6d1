//! The forward kernels.

use super::{Reference, Storage, axpy, dot};
use crate::arena::{Act, Ids, Param};
use crate::backend::columns;
use crate::backend::operands::{Error, at, at_mut, row, split};
use crate::kernels::{
    AddRmsNorm, Argmax, Attention, Columns, Embed, Kernels, Linear, LinearAddRmsNorm, LinearQkv,
    LinearSwiGlu, QHead, SwiGlu, TokenMix,
};
use crate::loss::argmax;
use crate::scalar::Scalar;

/// The rotation of one position of all heads, by `sign` times the angle: `[x1 cos - x2 sin, x2 cos + x1 sin]`,
/// where `x1` and `x2` are the halves of a head.
pub(super) fn rotate<T: Scalar>(
    heads: &mut [T],
    head_dim: usize,
    cos: &[T],
    sin: &[T],
    sign: T,
    round: impl Fn(T) -> T,
) {
    let half = head_dim / 2;
    for head in heads.chunks_exact_mut(head_dim) {
        for i in 0..half {
            let (x1, x2, s) = (head[i], head[i + half], sign * sin[i]);
            head[i] = round(x1 * cos[i] - x2 * s);
            head[i + half] = round(x2 * cos[i] + x1 * s);
        }
    }
}

/// `silu(x) = x / (1 + exp(-x))`.
pub(super) fn silu<T: Scalar>(x: T) -> T {
    x / (T::ONE + (-x).exp())
}

impl<T: Scalar, M: Storage<T>> Kernels for Reference<T, M> {
    fn embed(&mut self, op: &Embed) -> Result<(), Error> {
        let r = |x: T| self.rounding.apply(x);
        let (params, acts, _, ids) = self.store.forward();
        let y = at_mut(acts, op.y)?;
        let (inputs, puzzle_ids) = (at(ids, op.inputs)?, at(ids, op.puzzle_ids)?);
        let (tokens, puzzles) = (at(params, op.tokens)?, at(params, op.puzzles)?);
        let (d, ndim) = (op.y.cols, op.puzzles.cols);
        let (prefix, seq_len) = (op.prefix_len(), op.inputs.cols);
        let scale = T::from_f64(libm::sqrt(d as f64));
        for (b, sequence) in y.chunks_exact_mut((prefix + seq_len) * d).enumerate() {
            let (head, tail) = sequence.split_at_mut(prefix * d);
            if ndim > 0 {
                let id = row("puzzle identifier", puzzle_ids[b], op.puzzles.rows)?;
                head.fill(T::ZERO);
                head[..ndim].copy_from_slice(&puzzles[id * ndim..][..ndim]);
            }
            for (cell, &token) in tail.chunks_exact_mut(d).zip(&inputs[b * seq_len..]) {
                cell.copy_from_slice(&tokens[row("token", token, op.tokens.rows)? * d..][..d]);
            }
            match op.positions {
                Some(positions) => {
                    let half = T::from_f64(Embed::HALF_SQRT);
                    for (x, &position) in sequence.iter_mut().zip(at(params, positions)?) {
                        *x = r(scale * r(half * r(r(*x) + r(position))));
                    }
                }
                None => sequence.iter_mut().for_each(|x| *x = r(scale * r(*x))),
            }
        }
        Ok(())
    }

    fn add(&mut self, y: Act, a: Act, b: Act) -> Result<(), Error> {
        let rounding = self.rounding;
        let [y, a, b] = split(self.store.forward().1, [y.range(), a.range(), b.range()])?;
        for ((y, &a), &b) in y.iter_mut().zip(&*a).zip(&*b) {
            *y = rounding.apply(a + b);
        }
        Ok(())
    }

    fn linear(&mut self, op: &Linear) -> Result<(), Error> {
        let rounding = self.rounding;
        let (params, acts, ..) = self.store.forward();
        let w = at(params, op.w)?;
        let [y, x] = split(acts, [op.y.range(), op.x.range()])?;
        let (inner, outer) = (op.x.cols, op.y.cols);
        for (y, x) in y.chunks_exact_mut(outer).zip(x.chunks_exact(inner)) {
            for (y, w) in y.iter_mut().zip(w.chunks_exact(inner)) {
                *y = rounding.apply(match rounding {
                    super::Rounding::None => dot(x, w),
                    super::Rounding::Bf16 => rounded_dot(x, w),
                });
            }
        }
        Ok(())
    }

    fn rope_attention(&mut self, op: &Attention) -> Result<(), Error> {
        let rounding = self.rounding;
        let (params, acts, stats, _) = self.store.forward();
        let lse = at_mut(stats, op.lse)?;
        let [o, qkv] = split(acts, [op.o.range(), op.qkv.range()])?;
        let (d, dim, s) = (op.o.cols, op.head_dim(), op.positions());
        if let Some(tables) = op.rope {
            let (cos, sin) = (at(params, tables.cos)?, at(params, tables.sin)?);
            let half = dim / 2;
            for (i, position) in qkv.chunks_exact_mut(3 * d).enumerate() {
                let at = (i % s) * half;
                let (cos, sin) = (&cos[at..at + half], &sin[at..at + half]);
                rotate(&mut position[..2 * d], dim, cos, sin, T::ONE, |x| rounding.apply(x));
            }
        }
        let scale = T::from_f64(1.0 / libm::sqrt(dim as f64));
        for (b, (o, qkv)) in o.chunks_exact_mut(s * d).zip(qkv.chunks_exact(s * 3 * d)).enumerate() {
            for h in 0..op.heads {
                let head = |j: usize, part: usize| &qkv[j * 3 * d + part * d + h * dim..][..dim];
                for i in 0..s {
                    let score = |j| scale * dot(head(i, 0), head(j, 1));
                    let mut max = score(0);
                    for j in 1..s {
                        let score = score(j);
                        if score > max {
                            max = score;
                        }
                    }
                    let out = &mut o[i * d + h * dim..][..dim];
                    out.fill(T::ZERO);
                    let mut sum = T::ZERO;
                    for j in 0..s {
                        let p = (score(j) - max).exp();
                        sum += p;
                        axpy(out, p, head(j, 2));
                    }
                    out.iter_mut().for_each(|x| *x = rounding.apply(*x / sum));
                    lse[(b * op.heads + h) * s + i] = max + sum.ln();
                }
            }
        }
        Ok(())
    }

    fn linear_qkv(&mut self, op: &LinearQkv) -> Result<(), Error> {
        op.apart(self)
    }

    fn attention(&mut self, op: &Attention) -> Result<(), Error> {
        self.rope_attention(op)
    }

    fn linear_swiglu(&mut self, op: &LinearSwiGlu) -> Result<(), Error> {
        op.apart(self)
    }

    fn linear_add_rms_norm(&mut self, op: &LinearAddRmsNorm) -> Result<(), Error> {
        op.apart(self)
    }

    fn swiglu(&mut self, op: &SwiGlu) -> Result<(), Error> {
        let rounding = self.rounding;
        let [a, gate_up] = split(self.store.forward().1, [op.a.range(), op.gate_up.range()])?;
        let f = op.a.cols;
        for (a, gate_up) in a.chunks_exact_mut(f).zip(gate_up.chunks_exact(2 * f)) {
            let (gate, up) = gate_up.split_at(f);
            for ((a, &gate), &up) in a.iter_mut().zip(gate).zip(up) {
                *a = rounding.apply(rounding.apply(silu(gate)) * up);
            }
        }
        Ok(())
    }

    fn add_rms_norm(&mut self, op: &AddRmsNorm) -> Result<(), Error> {
        let rounding = self.rounding;
        let (_, acts, stats, _) = self.store.forward();
        let rstd = at_mut(stats, op.rstd)?;
        let [y, x, t] = split(acts, [op.y.range(), op.x.range(), op.t.range()])?;
        let d = op.y.cols;
        let (size, eps) = (T::from_f64(d as f64), T::from_f64(op.eps));
        let rows = y.chunks_exact_mut(d).zip(x.chunks_exact(d)).zip(t.chunks_exact(d));
        for (((y, x), t), rstd) in rows.zip(rstd) {
            for ((y, &x), &t) in y.iter_mut().zip(x).zip(t) {
                *y = rounding.apply(x + t);
            }
            *rstd = T::ONE / (dot(y, y) / size + eps).sqrt();
            y.iter_mut().for_each(|y| *y = rounding.apply(*y * *rstd));
        }
        Ok(())
    }

    fn take_columns(&mut self, op: &Columns) -> Result<(), Error> {
        columns::take(self.store.forward().1, op)
    }

    fn put_columns(&mut self, op: &Columns) -> Result<(), Error> {
        columns::put(self.store.forward().1, op)
    }

    fn token_mix(&mut self, op: &TokenMix) -> Result<(), Error> {
        op.apart(self)
    }

    fn q_head(&mut self, op: &QHead) -> Result<(), Error> {
        let r = |x: T| self.rounding.apply(x);
        let (params, acts, stats, _) = self.store.forward();
        let (w, bias) = (at(params, op.w)?, at(params, op.bias)?);
        let (q, z) = (at_mut(stats, op.q)?, at(acts, op.z)?);
        let d = op.z.cols;
        let stride = z.len() / op.q.rows.max(1);
        for (q, z) in q.chunks_exact_mut(2).zip(z.chunks_exact(stride)) {
            for ((q, w), &bias) in q.iter_mut().zip(w.chunks_exact(d)).zip(bias) {
                let product = match self.rounding {
                    super::Rounding::None => dot(&z[..d], w),
                    super::Rounding::Bf16 => rounded_dot(&z[..d], w),
                };
                *q = r(product + r(bias));
            }
        }
        Ok(())
    }

    fn reset_rows(&mut self, z: Act, init: Param, halted: Ids) -> Result<(), Error> {
        let rounding = self.rounding;
        let (params, acts, _, ids) = self.store.forward();
        let (z, init, halted) = (at_mut(acts, z)?, at(params, init)?, at(ids, halted)?);
        let stride = z.len() / halted.len().max(1);
        for (z, _) in z.chunks_exact_mut(stride).zip(halted).filter(|(_, halted)| **halted != 0) {
            for position in z.chunks_exact_mut(init.len()) {
                position.iter_mut().zip(init).for_each(|(z, &init)| *z = rounding.apply(init));
            }
        }
        Ok(())
    }

    fn replace_rows(&mut self, current: Ids, incoming: Ids, halted: Ids) -> Result<(), Error> {
        let ids = self.store.forward().3;
        let cols = current.cols;
        let [current, incoming, halted] = split(ids, [current.range(), incoming.range(), halted.range()])?;
        let rows = current.chunks_exact_mut(cols).zip(incoming.chunks_exact(cols)).zip(&*halted);
        for ((current, incoming), _) in rows.filter(|(_, halted)| **halted != 0) {
            current.copy_from_slice(incoming);
        }
        Ok(())
    }

    fn argmax(&mut self, op: &Argmax) -> Result<(), Error> {
        let (_, acts, _, ids) = self.store.forward();
        let (predictions, logits) = (at_mut(ids, op.predictions)?, at(acts, op.logits)?);
        let (vocab, seq_len) = (op.logits.cols, op.predictions.cols);
        let positions = op.logits.rows / op.predictions.rows.max(1);
        let sequences = predictions.chunks_exact_mut(seq_len).zip(logits.chunks_exact(positions * vocab));
        for (predictions, logits) in sequences {
            let cells = logits[(positions - seq_len) * vocab..].chunks_exact(vocab);
            predictions.iter_mut().zip(cells).for_each(|(p, cell)| *p = argmax(cell) as i32);
        }
        Ok(())
    }
}

/// Dot product with a weight that is rounded to bf16 as it is used.
pub(super) fn rounded_dot<T: Scalar>(x: &[T], w: &[T]) -> T {
    let mut sums = [T::ZERO; 8];
    for (i, (&x, &w)) in x.iter().zip(w).enumerate() {
        sums[i % 8] += x * w.round_to_bf16();
    }
    (sums[0] + sums[4] + (sums[2] + sums[6])) + (sums[1] + sums[5] + (sums[3] + sums[7]))
}
