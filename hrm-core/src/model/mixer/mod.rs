//! Mixers: what a block consists of, each with its residual and its norm. A file holds a mixer forward and backward.
//!
//! What treats each row alone is done in tiles of as many rows as the plan says.

pub mod attention;
pub mod channels;

use core::ops::Range;

use crate::plan::Plan;

/// The rows `0..rows` in tiles.
fn tiles(plan: &Plan, rows: usize) -> impl Iterator<Item = Range<usize>> + use<> {
    let tile = plan.tile.max(1);
    (0..rows).step_by(tile).map(move |from| from..(from + tile).min(rows))
}
