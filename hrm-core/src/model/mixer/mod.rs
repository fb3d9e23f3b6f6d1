//! Mixers: what a block consists of, each with its residual and its norm. A file holds a mixer forward and backward.
//!
//! | cells | channels |
//! |---|---|
//! | [`attention`], or a SwiGLU over positions: [`tokens`] | a SwiGLU: [`channels`] |
//!
//! What treats each row alone is done in tiles of as many rows as the plan says.

pub mod attention;
pub mod channels;
pub mod tokens;

use core::ops::Range;

use crate::arena::Act;
use crate::kernels::Write;
use crate::plan::Plan;

/// What a backward pass of a block, or of a stack of them, turns into what.
#[derive(Clone, Copy, Debug)]
pub struct Pullback {
    /// Cotangent of the result `[N, D]`.
    pub dy: Act,
    /// Result: cotangent of the input `[N, D]`. It may be where `dy` is.
    pub dx: Act,
    /// Whether the gradients of the weights replace what is there, or are added to it.
    pub write: Write,
}

/// The rows `0..rows` in tiles.
fn tiles(plan: &Plan, rows: usize) -> impl Iterator<Item = Range<usize>> + use<> {
    let tile = plan.tile.max(1);
    (0..rows).step_by(tile).map(move |from| from..(from + tile).min(rows))
}
