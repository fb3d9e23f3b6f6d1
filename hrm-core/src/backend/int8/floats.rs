//! What is not a product of integers: the portable backend's functions of a row, compiled for this processor's vectors and
//! spread over the threads of the current pool. The bits are the portable backend's.

use std::vec::Vec;

use rayon::prelude::*;

use crate::backend::cpu::par::{rows_per_task, vectorized};
use crate::backend::portable::attention::Head;
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

/// The sizes of an attention.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Sequences.
    pub batch: usize,
    /// Positions of a sequence.
    pub positions: usize,
    /// Heads.
    pub heads: usize,
    /// Width of a head.
    pub dim: usize,
}

/// Cosines and sines of the rotation, `[positions, dim / 2]` each.
pub type Rotary<'a> = (&'a [f32], &'a [f32]);

impl Sizes {
    /// Numbers of scratch for each head of a sequence: rotated queries, keys and values side by side, results, scores.
    const fn scratch(&self) -> usize {
        self.positions * (4 * self.dim + 1)
    }

    /// Numbers of scratch in all.
    #[must_use]
    pub const fn scratch_len(&self) -> usize {
        self.batch * self.heads * self.scratch()
    }
}

/// [`Head::attend`] of every query: `o` `[batch positions, heads dim]`, `lse` `[batch heads, positions]`, `qkv`
/// `[batch positions, 3 heads dim]`, not rotated yet. `scratch` becomes as long as [`Sizes::scratch_len`].
///
/// A task is one head of a sequence. It gathers what it needs of all positions first: in `qkv` they lie so far apart that
/// they would put each other out of the nearest cache.
pub fn attention(
    o: &mut [f32],
    lse: &mut [f32],
    qkv: &[f32],
    rotary: Option<Rotary<'_>>,
    sizes: &Sizes,
    scratch: &mut Vec<f32>,
) {
    let Sizes { positions, heads, dim, .. } = *sizes;
    let hidden = heads * dim;
    scratch.resize(sizes.scratch_len(), 0.0);
    let tasks = scratch.par_chunks_mut(sizes.scratch()).zip(lse.par_chunks_mut(positions));
    tasks.enumerate().for_each(|(task, (scratch, lse))| {
        let qkv = &qkv[task / heads * positions * 3 * hidden..][..positions * 3 * hidden];
        vectorized(
            #[inline(always)]
            || one_head(scratch, lse, qkv, rotary, hidden, task % heads * dim, dim),
        );
    });
    let scratch = &scratch[..];
    let task = rows_per_task(sizes.batch * positions, hidden);
    o.par_chunks_mut(task * hidden).enumerate().for_each(|(index, o)| {
        for (row, o) in (index * task..).zip(o.chunks_exact_mut(hidden)) {
            let (sequence, position) = (row / positions, row % positions);
            for (head, o) in o.chunks_exact_mut(dim).enumerate() {
                let results = &scratch[(sequence * heads + head) * sizes.scratch() + 3 * positions * dim..];
                o.copy_from_slice(&results[position * dim..][..dim]);
            }
        }
    });
}

/// The head whose numbers begin at `first` among the `hidden` ones of all heads.
#[inline(always)]
fn one_head(
    scratch: &mut [f32],
    lse: &mut [f32],
    qkv: &[f32],
    rotary: Option<Rotary<'_>>,
    hidden: usize,
    first: usize,
    dim: usize,
) {
    let positions = lse.len();
    let (own, rest) = scratch.split_at_mut(3 * positions * dim);
    let (results, scores) = rest.split_at_mut(positions * dim);
    for (position, (own, all)) in own.chunks_exact_mut(3 * dim).zip(qkv.chunks_exact(3 * hidden)).enumerate() {
        for (own, all) in own.chunks_exact_mut(dim).zip(all.chunks_exact(hidden)) {
            own.copy_from_slice(&all[first..first + dim]);
        }
        if let Some((cos, sin)) = rotary {
            let half = dim / 2;
            let angles = position * half..(position + 1) * half;
            rows::rotate(&mut own[..2 * dim], &cos[angles.clone()], &sin[angles]);
        }
    }
    let head = Head { qkv: own, hidden: dim, first: 0, dim, scale: (1.0 / libm::sqrt(dim as f64)) as f32 };
    for (query, (o, lse)) in results.chunks_exact_mut(dim).zip(lse).enumerate() {
        *lse = head.attend(query, o, scores);
    }
}
