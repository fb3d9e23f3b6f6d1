//! What training needs beside the forward kernels, their vjps first of all.

use super::forward::{rotate, silu};
use super::storage::TrainArenas;
use super::{Reference, Rounding, TrainStorage, axpy, dot};
use crate::arena::{Act, Ids, Param, Stat};
use crate::backend::operands::{Error, at, at_mut, row, split};
use crate::kernels::{
    Advance, AttentionVjp, Embed, EmbedVjp, LinearSwiGluVjp, LinearVjpInput, LinearVjpWeight, LmLoss, QHead,
    QLoss, SwiGlu, TokenMixVjp, TrainKernels, Write,
};
use crate::optim::{AdamAtan2, Average, SignSgd, StepScalars};
use crate::scalar::Scalar;

impl<T: Scalar, M: TrainStorage<T>> TrainKernels for Reference<T, M> {
    fn begin_step(&mut self, scalars: &StepScalars) -> Result<(), Error> {
        self.scalars = *scalars;
        Ok(())
    }

    fn take_first(&mut self, y: Act, x: Act) -> Result<(), Error> {
        let [to, from] = split(self.store.forward().1, [y.range(), x.range()])?;
        let stride = from.len() / y.rows.max(1);
        for (to, from) in to.chunks_exact_mut(y.cols).zip(from.chunks_exact(stride)) {
            to.copy_from_slice(&from[..y.cols]);
        }
        Ok(())
    }

    fn embed_vjp(&mut self, op: &EmbedVjp) -> Result<(), Error> {
        let r = |x: T| self.rounding.apply(x);
        let TrainArenas { gradients, acts, ids, .. } = self.store.arenas();
        let [dy, dpuzzle] = split(acts, [op.dy.range(), op.dpuzzle.range()])?;
        let inputs = at(ids, op.inputs)?;
        let (d, seq_len, ndim) = (op.dy.cols, op.inputs.cols, op.dpuzzle.cols);
        let prefix = op.prefix_len();
        let learned = if op.positions.is_some() { Embed::HALF_SQRT } else { 1.0 };
        let scale = T::from_f64(libm::sqrt(d as f64));
        let half = T::from_f64(learned);
        dy.iter_mut().for_each(|x| *x = r(half * r(scale * *x)));
        at_mut(gradients, op.tokens)?.fill(T::ZERO);
        for (b, sequence) in dy.chunks_exact((prefix + seq_len) * d).enumerate() {
            if ndim > 0 {
                dpuzzle[b * ndim..][..ndim].copy_from_slice(&sequence[..ndim]);
            }
            let tokens = at_mut(gradients, op.tokens)?;
            for (cell, &token) in sequence[prefix * d..].chunks_exact(d).zip(&inputs[b * seq_len..]) {
                let token = row("token", token, op.tokens.rows)?;
                axpy(&mut tokens[token * d..][..d], T::ONE, cell);
            }
        }
        at_mut(gradients, op.tokens)?.iter_mut().for_each(|x| *x = r(*x));
        if let Some(positions) = op.positions {
            let positions = at_mut(gradients, positions)?;
            positions.fill(T::ZERO);
            for sequence in dy.chunks_exact((prefix + seq_len) * d) {
                axpy(positions, T::ONE, sequence);
            }
            positions.iter_mut().for_each(|x| *x = r(*x));
        }
        Ok(())
    }

    fn linear_vjp_input(&mut self, op: &LinearVjpInput) -> Result<(), Error> {
        let rounding = self.rounding;
        let (inner, outer) = (op.dx.cols, op.dy.cols);
        let (params, acts, ..) = self.store.forward();
        let w = at(params, op.w)?;
        let [dx, dy] = split(acts, [op.dx.range(), op.dy.range()])?;
        for (dx, dy) in dx.chunks_exact_mut(inner).zip(dy.chunks_exact(outer)) {
            if op.write == Write::Replace {
                dx.fill(T::ZERO);
            }
            for (&dy, w) in dy.iter().zip(w.chunks_exact(inner)) {
                match rounding {
                    Rounding::None => axpy(dx, dy, w),
                    Rounding::Bf16 => dx.iter_mut().zip(w).for_each(|(x, w)| *x += dy * w.round_to_bf16()),
                }
            }
            dx.iter_mut().for_each(|x| *x = rounding.apply(*x));
        }
        Ok(())
    }

    fn linear_vjp_weight(&mut self, op: &LinearVjpWeight) -> Result<(), Error> {
        let rounding = self.rounding;
        let TrainArenas { gradients, acts, .. } = self.store.arenas();
        let (inner, outer) = (op.x.cols, op.dy.cols);
        let dw = at_mut(gradients, op.w)?;
        let (dy, x) = (at(acts, op.dy)?, at(acts, op.x)?);
        if op.write == Write::Accumulate {
            // The same sums, each formed and rounded by itself, then added.
            for (i, dw) in dw.iter_mut().enumerate() {
                let mut sum = T::ZERO;
                for (dy, x) in dy.chunks_exact(outer).zip(x.chunks_exact(inner)) {
                    sum += dy[i / inner] * x[i % inner];
                }
                *dw += rounding.apply(sum);
            }
            return Ok(());
        }
        dw.fill(T::ZERO);
        for (dy, x) in dy.chunks_exact(outer).zip(x.chunks_exact(inner)) {
            for (&dy, dw) in dy.iter().zip(dw.chunks_exact_mut(inner)) {
                axpy(dw, dy, x);
            }
        }
        dw.iter_mut().for_each(|x| *x = rounding.apply(*x));
        Ok(())
    }

    fn rope_attention_vjp(&mut self, op: &AttentionVjp) -> Result<(), Error> {
        let rounding = self.rounding;
        let forward = &op.forward;
        let (params, acts, stats, _) = self.store.forward();
        let lse = at(stats, forward.lse)?;
        let [dqkv, qkv, o, d_o] =
            split(acts, [op.dqkv.range(), forward.qkv.range(), forward.o.range(), op.d_o.range()])?;
        let (d, dim, s) = (forward.o.cols, forward.head_dim(), forward.positions());
        let scale = T::from_f64(1.0 / libm::sqrt(dim as f64));
        dqkv.fill(T::ZERO);
        for b in 0..forward.batch() {
            let qkv = &qkv[b * s * 3 * d..][..s * 3 * d];
            let dqkv = &mut dqkv[b * s * 3 * d..][..s * 3 * d];
            for h in 0..forward.heads {
                let place = |j: usize, part: usize| j * 3 * d + part * d + h * dim;
                for i in 0..s {
                    let at = (b * s + i) * d + h * dim;
                    let (o, d_o) = (&o[at..at + dim], &d_o[at..at + dim]);
                    let (q, delta) = (&qkv[place(i, 0)..][..dim], dot(d_o, o));
                    let lse = lse[(b * forward.heads + h) * s + i];
                    for j in 0..s {
                        let (key, value) = (&qkv[place(j, 1)..][..dim], &qkv[place(j, 2)..][..dim]);
                        let p = (scale * dot(q, key) - lse).exp();
                        let ds = p * (dot(d_o, value) - delta) * scale;
                        axpy(&mut dqkv[place(i, 0)..][..dim], ds, key);
                        axpy(&mut dqkv[place(j, 1)..][..dim], ds, q);
                        axpy(&mut dqkv[place(j, 2)..][..dim], p, d_o);
                    }
                }
            }
        }
        dqkv.iter_mut().for_each(|x| *x = rounding.apply(*x));
        if let Some(tables) = forward.rope {
            let (cos, sin) = (at(params, tables.cos)?, at(params, tables.sin)?);
            let half = dim / 2;
            for (i, position) in dqkv.chunks_exact_mut(3 * d).enumerate() {
                let at = (i % s) * half;
                let (cos, sin) = (&cos[at..at + half], &sin[at..at + half]);
                rotate(&mut position[..2 * d], dim, cos, sin, -T::ONE, |x| rounding.apply(x));
            }
        }
        Ok(())
    }

    fn swiglu_vjp(&mut self, op: &SwiGlu) -> Result<(), Error> {
        let rounding = self.rounding;
        let r = |x: T| rounding.apply(x);
        let [a, gate_up] = split(self.store.forward().1, [op.a.range(), op.gate_up.range()])?;
        let f = op.a.cols;
        for (a, gate_up) in a.chunks_exact_mut(f).zip(gate_up.chunks_exact_mut(2 * f)) {
            let (gates, ups) = gate_up.split_at_mut(f);
            for ((a, gate), up) in a.iter_mut().zip(gates).zip(ups) {
                let (da, x, u) = (*a, *gate, *up);
                let sigmoid = T::ONE / (T::ONE + (-x).exp());
                let activation = r(silu(x));
                *a = r(activation * u);
                *up = r(da * activation);
                *gate = r(r(da * u) * (sigmoid * (T::ONE + x * (T::ONE - sigmoid))));
            }
        }
        Ok(())
    }

    fn linear_swiglu_vjp(&mut self, op: &LinearSwiGluVjp) -> Result<(), Error> {
        op.apart(self)
    }

    fn add_rms_norm_vjp(&mut self, ds: Act, dy: Act, y: Act, rstd: Stat) -> Result<(), Error> {
        let rounding = self.rounding;
        let d = ds.cols;
        let (_, acts, stats, _) = self.store.forward();
        let rstd = at(stats, rstd)?;
        let [ds, dy, y] = split(acts, [ds.range(), dy.range(), y.range()])?;
        let size = T::from_f64(d as f64);
        let rows = ds.chunks_exact_mut(d).zip(dy.chunks_exact(d)).zip(y.chunks_exact(d));
        for (((ds, dy), y), &rstd) in rows.zip(rstd) {
            let mean = dot(dy, y) / size;
            for ((ds, &dy), &y) in ds.iter_mut().zip(dy).zip(y) {
                *ds = rounding.apply(rstd * (dy - y * mean));
            }
        }
        Ok(())
    }

    fn token_mix_vjp(&mut self, op: &TokenMixVjp) -> Result<(), Error> {
        op.apart(self)
    }

    fn q_head_vjp(&mut self, op: &QHead, dz: Act) -> Result<(), Error> {
        let r = |x: T| self.rounding.apply(x);
        let TrainArenas { params, gradients, acts, stats, .. } = self.store.arenas();
        let w = at(params, op.w)?;
        let dq = at(stats, op.q)?;
        let [dz, z] = split(acts, [dz.range(), op.z.range()])?;
        let d = op.z.cols;
        let stride = z.len() / op.q.rows.max(1);
        let [dw, dbias] = split(gradients, [op.w.range(), op.bias.range()])?;
        dw.fill(T::ZERO);
        dbias.fill(T::ZERO);
        let rows = dz.chunks_exact_mut(stride).zip(z.chunks_exact(stride)).zip(dq.chunks_exact(2));
        for ((dz, z), dq) in rows {
            for (i, &dq) in dq.iter().enumerate() {
                dbias[i] += r(dq);
                axpy(&mut dw[i * d..][..d], r(dq), &z[..d]);
                dz.iter_mut().zip(&w[i * d..][..d]).for_each(|(x, &w)| *x += r(dq) * r(w));
            }
            dz[..d].iter_mut().for_each(|x| *x = r(*x));
        }
        dw.iter_mut().for_each(|x| *x = r(*x));
        dbias.iter_mut().for_each(|x| *x = r(*x));
        Ok(())
    }

    fn lm_loss(&mut self, op: &LmLoss) -> Result<(), Error> {
        let TrainArenas { acts, stats, ids, .. } = self.store.arenas();
        super::loss::lm_loss(op, self.rounding, acts, stats, ids)
    }

    fn q_loss(&mut self, op: &QLoss) -> Result<(), Error> {
        let TrainArenas { stats, ids, .. } = self.store.arenas();
        super::loss::q_loss(op, stats, ids)
    }

    fn advance(&mut self, op: &Advance) -> Result<(), Error> {
        let scalars = self.scalars;
        let TrainArenas { stats, ids, .. } = self.store.arenas();
        super::loss::advance(op, &scalars, stats, ids)
    }

    fn adam_atan2(&mut self, len: usize, optimizer: &AdamAtan2) -> Result<(), Error> {
        let scalars = self.scalars;
        super::optim::adam_atan2(len, optimizer, &scalars, &mut self.store.arenas())
    }

    fn average(&mut self, len: usize, average: &Average) -> Result<(), Error> {
        super::optim::average(len, average, &mut self.store.arenas())
    }

    fn swap_averages(&mut self, len: usize) -> Result<(), Error> {
        super::optim::swap_averages(len, &mut self.store.arenas())
    }

    fn sign_sgd(&mut self, table: Param, ids: Ids, gradients: Act, optimizer: &SignSgd) -> Result<(), Error> {
        let lr = self.scalars.puzzle_emb_lr;
        super::optim::sign_sgd(table, ids, gradients, optimizer, lr, &mut self.store.arenas())
    }
}
