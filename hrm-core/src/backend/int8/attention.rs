//! Attention in f32, several sums side by side in the widest vectors, spread over the threads of the current pool. The bits
//! are the portable backend's.

use std::vec::Vec;

use rayon::prelude::*;

use crate::backend::cpu::par::{rows_per_task, vectorized};
use crate::backend::math::exp;
use crate::backend::portable::sums::LANES;
use crate::backend::portable::{rows, sums};

/// Keys that a query meets at once.
const KEYS: usize = 4;
/// Numbers of a result that are summed at once.
const WIDTH: usize = 32;

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

/// [`Head::attend`](crate::backend::portable::attention::Head::attend) for query `query` of one head alone: `own`
/// `[positions, 3 dim]`. The same sums, several side by side: those of [`KEYS`] scores, of [`WIDTH`] numbers of the result.
#[inline(always)]
fn attend(own: &[f32], query: usize, o: &mut [f32], scores: &mut [f32], scale: f32) -> f32 {
    let dim = o.len();
    let position = |index: usize| &own[index * 3 * dim..][..3 * dim];
    let q = &position(query)[..dim];
    let (blocks, rest) = scores.as_chunks_mut::<KEYS>();
    let done = blocks.len() * KEYS;
    for (block, scores) in blocks.iter_mut().enumerate() {
        let keys = core::array::from_fn(|i| &position(block * KEYS + i)[dim..2 * dim]);
        *scores = dots(q, keys).map(|dot| scale * dot);
    }
    for (index, score) in (done..).zip(rest) {
        *score = scale * sums::dot(q, &position(index)[dim..2 * dim]);
    }
    let largest = sums::max(scores);
    scores.iter_mut().for_each(|score| *score = exp(*score - largest));
    let (total, scores) = (sums::sum(scores), &*scores);
    let (blocks, rest) = o.as_chunks_mut::<WIDTH>();
    let done = 2 * dim + blocks.len() * WIDTH;
    for (first, o) in (2 * dim..).step_by(WIDTH).zip(blocks) {
        let mut sum = [0.0; WIDTH];
        for (&p, own) in scores.iter().zip(own.chunks_exact(3 * dim)) {
            let values = own[first..].first_chunk::<WIDTH>().unwrap_or(&[0.0; WIDTH]);
            sum.iter_mut().zip(values).for_each(|(sum, v)| *sum += p * v);
        }
        *o = sum.map(|sum| sum / total);
    }
    rest.fill(0.0);
    for (&p, own) in scores.iter().zip(own.chunks_exact(3 * dim)) {
        sums::add_scaled(rest, p, &own[done..]);
    }
    rest.iter_mut().for_each(|o| *o /= total);
    largest + libm::logf(total)
}

/// [`sums::dot`] of `q` and each of `keys`, all of one length.
#[inline(always)]
fn dots(q: &[f32], keys: [&[f32]; KEYS]) -> [f32; KEYS] {
    let (chunks, rest) = q.as_chunks::<LANES>();
    let done = q.len() - rest.len();
    let mut lanes = [[0.0_f32; LANES]; KEYS];
    for (first, q) in (0..).step_by(LANES).zip(chunks) {
        for (lanes, key) in lanes.iter_mut().zip(keys) {
            let key = key[first..].first_chunk::<LANES>().unwrap_or(&[0.0; LANES]);
            lanes.iter_mut().zip(q).zip(key).for_each(|((lane, q), k)| *lane += q * k);
        }
    }
    for (lanes, key) in lanes.iter_mut().zip(keys) {
        lanes.iter_mut().zip(rest).zip(&key[done..]).for_each(|((lane, q), k)| *lane += q * k);
    }
    // The tree of `sums`, level by level for all keys.
    let eight = lanes.map(|l| core::array::from_fn::<f32, 8, _>(|i| l[i] + l[i + 8]));
    let four = eight.map(|l| core::array::from_fn::<f32, 4, _>(|i| l[i] + l[i + 4]));
    core::array::from_fn(|key| (four[key][0] + four[key][2]) + (four[key][1] + four[key][3]))
}
