//! Products with a weight as it lies in a bundle.
//!
//! A row of weights is read once for a block of [`TOKENS`] tokens. Each number of the result is a sum of its own, so the
//! blocks cannot be told from its bits.

use super::pieces::{blocks, blocks_mut, pieces, pieces_mut};
use super::sums::{dot, dot_integers};
use crate::bundle::Weights;
use crate::quantize;

/// Tokens that are multiplied by a row of weights while it is at hand.
pub const TOKENS: usize = 8;

/// `y = x W^T` for a weight of floating-point numbers `[out, in]`: `y` `[N, out]`, `x` `[N, in]`; `wide`, which is scratch,
/// is as long as a row of the weight.
#[inline(always)]
pub fn floats(y: &mut [f32], x: &[f32], w: Weights<'_>, out: usize, wide: &mut [f32]) {
    let inner = w.cols();
    for (y, x) in blocks_mut(y, TOKENS * out).zip(blocks(x, TOKENS * inner)) {
        for (o, row) in w.rows().enumerate() {
            row.widen(wide);
            for (y, x) in pieces_mut(y, out).zip(pieces(x, inner)) {
                if let Some(y) = y.get_mut(o) {
                    *y = dot(x, wide);
                }
            }
        }
    }
}

/// `y = x W^T` for a weight of integers `[out, in]` with a scale for each row: `y` `[N, out]`, `x` `[N, in]`. Each token is
/// quantised on the way, see [`quantize`]; `tokens`, which is scratch, holds [`TOKENS`] of them.
#[inline(always)]
pub fn integers(y: &mut [f32], x: &[f32], w: Weights<'_>, out: usize, tokens: &mut [i8]) {
    let inner = w.cols();
    let rows = || pieces(w.integers().unwrap_or(&[]), inner).zip(w.scales());
    let mut scales = [0.0; TOKENS];
    for (y, x) in blocks_mut(y, TOKENS * out).zip(blocks(x, TOKENS * inner)) {
        for ((scale, q), x) in scales.iter_mut().zip(pieces_mut(tokens, inner)).zip(pieces(x, inner)) {
            *scale = quantize::row(x, q);
        }
        for (o, (row, row_scale)) in rows().enumerate() {
            let tokens = pieces(tokens, inner).zip(&scales);
            for (y, (token, scale)) in pieces_mut(y, out).zip(tokens) {
                if let Some(y) = y.get_mut(o) {
                    *y = quantize::product(dot_integers(token, row), row_scale, *scale);
                }
            }
        }
    }
}
