//! Attention in f32, spread over the threads of the current pool. The bits are the portable backend's.

use std::vec::Vec;

use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
use super::attend::attend;
use crate::backend::cpu::par::{rows_per_task, vectorized};
use crate::backend::portable::attention::Head;
use crate::backend::portable::rows;

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

/// [`Head::attend`](crate::backend::portable::attention::Head::attend) of every query: `o` `[batch positions, heads dim]`, `lse` `[batch heads, positions]`, `qkv`
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
        let first = task % heads * dim;
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = pulp::x86::V3::try_new() {
            return simd.vectorize(
                #[inline(always)]
                || {
                    let attend = |own: &[f32], query, o: &mut [f32], scores: &mut [f32], scale| {
                        attend(simd, own, query, o, scores, scale)
                    };
                    one_head(scratch, lse, qkv, rotary, [hidden, first, dim], attend);
                },
            );
        }
        vectorized(
            #[inline(always)]
            || {
                let attend = |own: &[f32], query, o: &mut [f32], scores: &mut [f32], scale| {
                    Head { qkv: own, hidden: dim, first: 0, dim, scale }.attend(query, o, scores)
                };
                one_head(scratch, lse, qkv, rotary, [hidden, first, dim], attend);
            },
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

/// The head whose `dim` numbers begin at `first` among the `hidden` ones of all heads; `attend` is told the numbers of the
/// head alone `[positions, 3 dim]`, the query, where to put the result, scratch for scores, and their factor.
#[inline(always)]
fn one_head(
    scratch: &mut [f32],
    lse: &mut [f32],
    qkv: &[f32],
    rotary: Option<Rotary<'_>>,
    [hidden, first, dim]: [usize; 3],
    attend: impl Fn(&[f32], usize, &mut [f32], &mut [f32], f32) -> f32,
) {
    let positions = lse.len();
    let (own, rest) = scratch.split_at_mut(3 * positions * dim);
    let (results, scores) = rest.split_at_mut(positions * dim);
    for (position, (own, all)) in own.chunks_exact_mut(3 * dim).zip(qkv.chunks_exact(3 * hidden)).enumerate()
    {
        for (own, all) in own.chunks_exact_mut(dim).zip(all.chunks_exact(hidden)) {
            own.copy_from_slice(&all[first..first + dim]);
        }
        if let Some((cos, sin)) = rotary {
            let half = dim / 2;
            let angles = position * half..(position + 1) * half;
            rows::rotate(&mut own[..2 * dim], &cos[angles.clone()], &sin[angles]);
        }
    }
    let scale = (1.0 / libm::sqrt(dim as f64)) as f32;
    for (query, (o, lse)) in results.chunks_exact_mut(dim).zip(lse).enumerate() {
        *lse = attend(own, query, o, scores, scale);
    }
}
