//! What is not a product of integers: the portable backend's functions of a row, compiled for this processor's vectors and
//! spread over the threads of the current pool. The bits are the portable backend's.

use rayon::prelude::*;

use crate::backend::cpu::par::{rows_per_task, vectorized};
use crate::backend::portable::{rows, sums};

/// `y = x W^T`, `y` `[rows, outputs]`, `x` `[rows, inputs]`, `w` `[outputs, inputs]`.
pub fn linear(y: &mut [f32], x: &[f32], w: &[f32], inputs: usize, outputs: usize) {
    let part = |y: &mut [f32], x: &[f32]| {
        vectorized(
            #[inline(always)]
            || {
                for (y, x) in y.chunks_exact_mut(outputs).zip(x.chunks_exact(inputs)) {
                    y.iter_mut().zip(w.chunks_exact(inputs)).for_each(|(y, w)| *y = sums::dot(x, w));
                }
            },
        );
    };
    let task = rows_per_task(y.len() / outputs, inputs * outputs);
    y.par_chunks_mut(task * outputs).zip(x.par_chunks(task * inputs)).for_each(|(y, x)| part(y, x));
}

/// [`rows::swiglu`] of each row: `a` `[rows, width]`, `gate_up` `[rows, 2 width]`.
pub fn swiglu(a: &mut [f32], gate_up: &[f32], width: usize) {
    let part = |a: &mut [f32], gate_up: &[f32]| {
        vectorized(
            #[inline(always)]
            || {
                let rows = a.chunks_exact_mut(width).zip(gate_up.chunks_exact(2 * width));
                rows.for_each(|(a, gate_up)| rows::swiglu(a, gate_up));
            },
        );
    };
    let task = rows_per_task(a.len() / width, width);
    a.par_chunks_mut(task * width)
        .zip(gate_up.par_chunks(2 * task * width))
        .for_each(|(a, gate_up)| part(a, gate_up));
}

/// [`rows::add_rms_norm`] of each row: `y`, `x`, `t` `[rows, hidden]`, `rstd` `[rows]`.
pub fn add_rms_norm(y: &mut [f32], rstd: &mut [f32], x: &[f32], t: &[f32], hidden: usize, eps: f32) {
    let part = |y: &mut [f32], rstd: &mut [f32], x: &[f32], t: &[f32]| {
        vectorized(
            #[inline(always)]
            || {
                let operands = x.chunks_exact(hidden).zip(t.chunks_exact(hidden));
                for ((y, rstd), (x, t)) in y.chunks_exact_mut(hidden).zip(rstd).zip(operands) {
                    *rstd = rows::add_rms_norm(y, x, t, eps);
                }
            },
        );
    };
    let task = rows_per_task(rstd.len(), hidden);
    y.par_chunks_mut(task * hidden)
        .zip(rstd.par_chunks_mut(task))
        .zip(x.par_chunks(task * hidden).zip(t.par_chunks(task * hidden)))
        .for_each(|((y, rstd), (x, t))| part(y, rstd, x, t));
}
