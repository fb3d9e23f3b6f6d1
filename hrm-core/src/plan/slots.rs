//! Where the blocks of an application work.

use super::{Application, Plan};
use crate::arena::{Act, Stat};
use crate::kernels::Keep;

/// The two recurrent states, `[N, D]` each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carry {
    /// State of the slow module.
    pub z_h: Act,
    /// State of the fast module.
    pub z_l: Act,
}

/// Everything one block reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSlot {
    /// Input `[N, D]`.
    pub x: Act,
    /// Queries, keys and values `[N, 3D]`.
    pub qkv: Act,
    /// Attention output before its projection `[N, D]`.
    pub o: Act,
    /// Log-sum-exp of the attention scores `[B * heads, S]`.
    pub lse: Stat,
    /// Output of the first norm `[N, D]`. In a tiled plan it lies over queries, keys and values: it comes after attention.
    pub y1: Act,
    /// Reciprocal root mean square of the first norm `[N, 1]`.
    pub rstd1: Stat,
    /// Gate and up `[tile, 2F]`.
    pub gate_up: Act,
    /// Output `[N, D]`. In the shared slot it is the input's place: by then the input is spent.
    pub y: Act,
    /// Reciprocal root mean square of the second norm `[N, 1]`.
    pub rstd2: Stat,
}

impl BlockSlot {
    /// The same, `acts` elements of activations and `stats` elements of statistics further on.
    const fn shifted(&self, acts: usize, stats: usize) -> Self {
        const fn act(span: Act, by: usize) -> Act {
            Act::new(span.offset + by, span.rows, span.cols)
        }
        const fn stat(span: Stat, by: usize) -> Stat {
            Stat::new(span.offset + by, span.rows, span.cols)
        }
        Self {
            x: act(self.x, acts),
            qkv: act(self.qkv, acts),
            o: act(self.o, acts),
            lse: stat(self.lse, stats),
            y1: act(self.y1, acts),
            rstd1: stat(self.rstd1, stats),
            gate_up: act(self.gate_up, acts),
            y: act(self.y, acts),
            rstd2: stat(self.rstd2, stats),
        }
    }
}

/// Equal slots, one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlotRow {
    pub base: BlockSlot,
    /// Elements of activations and of statistics from one slot to the next; none where all are the same.
    pub stride: [usize; 2],
}

impl SlotRow {
    const fn at(&self, index: usize) -> BlockSlot {
        self.base.shifted(index * self.stride[0], index * self.stride[1])
    }
}

/// Where the blocks of one application work: each in a slot of its own if its activations are kept, else all in the shared
/// one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// Whether the backward pass finds the activations there.
    pub keep: Keep,
    row: SlotRow,
    from: usize,
    layers: usize,
    y: Act,
}

impl Slots {
    /// The slot of block `layer`, which counts from 0. Its result is the next block's input, or that of the application.
    #[must_use]
    pub const fn block(&self, layer: usize) -> BlockSlot {
        let slot = self.row.at(self.from + layer);
        let y = if layer + 1 < self.layers { self.row.at(self.from + layer + 1).x } else { self.y };
        BlockSlot { y, ..slot }
    }

    /// Input of the application `[N, D]`.
    #[must_use]
    pub const fn x(&self) -> Act {
        self.block(0).x
    }

    /// Result of the application `[N, D]`.
    #[must_use]
    pub const fn y(&self) -> Act {
        self.y
    }
}

impl Plan {
    /// Where `app` works in a pass with results in `to`. A training plan keeps the activations of the applications with a
    /// gradient if the pass keeps all; otherwise all applications share.
    ///
    /// A kept result that a later application overwrites has a place of its own, since the backward pass reads it.
    #[must_use]
    pub const fn slots(&self, app: &Application, keep: Keep, to: Carry) -> Slots {
        let layers = self.config.layers(app.state);
        let y = to.get(app.state);
        match (&self.backward, keep, app.kept) {
            (Some(backward), Keep::All, Some(kept)) => {
                let (mut earlier, mut from) = (0, 0);
                while earlier < kept {
                    if let Some(app) = self.config.kept_application(earlier) {
                        from += self.config.layers(app.state);
                    }
                    earlier += 1;
                }
                let y = if app.is_overwritten(&self.config) {
                    backward.kept_states.rows_from(kept * y.rows, y.rows)
                } else {
                    y
                };
                Slots { keep, row: backward.slots, from, layers, y }
            }
            _ => {
                let row = SlotRow { base: self.shared, stride: [0, 0] };
                Slots { keep: Keep::Nothing, row, from: 0, layers, y }
            }
        }
    }
}
