//! Attention of one query of one head over all keys.

use super::pieces::pieces;
use super::sums::{add_scaled, dot, max, sum};
use crate::backend::math::exp;

/// One head of a sequence.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// Rotated queries of all heads, keys of all heads, values of all heads `[S, 3D]`.
    pub qkv: &'a [f32],
    /// Width D of all heads together.
    pub hidden: usize,
    /// Where the head begins among them.
    pub first: usize,
    /// Width of the head.
    pub dim: usize,
    /// Factor of the scores: `1 / sqrt(dim)`.
    pub scale: f32,
}

impl<'a> Head<'a> {
    /// What each position has of all heads.
    #[inline(always)]
    fn positions(self) -> impl Iterator<Item = &'a [f32]> {
        pieces(self.qkv, 3 * self.hidden)
    }

    /// The query (0), key (1) or value (2) of a position.
    #[inline(always)]
    fn part(self, position: &'a [f32], part: usize) -> &'a [f32] {
        let part = position.get(part * self.hidden + self.first..).and_then(|rest| rest.get(..self.dim));
        part.unwrap_or(&[])
    }

    /// `o = softmax(q k^T * scale) v` for the query of position `query`; returns the log-sum-exp of its scores. `o` is as
    /// wide as the head, and `scores`, which is scratch, holds one number for each position.
    ///
    /// ```text
    /// s_j = scale * (q . k_j),   p_j = exp(s_j - max s),   o = sum(p_j v_j) / sum(p_j),   lse = max s + ln sum(p_j)
    /// ```
    #[inline(always)]
    pub fn attend(self, query: usize, o: &mut [f32], scores: &mut [f32]) -> f32 {
        let q = self.positions().nth(query).map_or(&[][..], |position| self.part(position, 0));
        for (score, position) in scores.iter_mut().zip(self.positions()) {
            *score = self.scale * dot(q, self.part(position, 1));
        }
        let largest = max(scores);
        scores.iter_mut().for_each(|score| *score = exp(*score - largest));
        o.fill(0.0);
        for (p, position) in scores.iter().zip(self.positions()) {
            add_scaled(o, *p, self.part(position, 2));
        }
        let total = sum(scores);
        o.iter_mut().for_each(|o| *o /= total);
        largest + libm::logf(total)
    }
}
