//! Where the blocks of an application work.

use super::{Application, BackwardPlan, Plan};
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
    /// Queries, keys and values `[N, 3D]`; empty where no attention mixes the cells, as the next two.
    pub qkv: Act,
    /// Attention output before its projection `[N, D]`.
    pub o: Act,
    /// Log-sum-exp of the attention scores `[B * heads, S]`.
    pub lse: Stat,
    /// Output of the first norm `[N, D]`. In a tiled plan it lies over queries, keys and values: it comes after attention.
    pub y1: Act,
    /// Reciprocal root mean square of the first norm: by row `[N, 1]`, or by column of each sequence `[B * D, 1]` where a
    /// SwiGLU over positions mixes the cells.
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
    /// Where the input is, if not in the first slot.
    x: Option<Act>,
    y: Act,
}

impl Slots {
    /// The slot of block `layer`, which counts from 0. Its result is the next block's input, or that of the application.
    #[must_use]
    pub const fn block(&self, layer: usize) -> BlockSlot {
        let slot = self.row.at(self.from + layer);
        let y = if layer + 1 < self.layers { self.row.at(self.from + layer + 1).x } else { self.y };
        let x = match self.x {
            Some(x) if layer == 0 => x,
            _ => slot.x,
        };
        BlockSlot { x, y, ..slot }
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
    /// A kept result that a later application overwrites has a place of its own, since the backward pass reads it. Where
    /// activations are computed again, only the inputs are kept, and all activations of the last application.
    #[must_use]
    pub const fn slots(&self, app: &Application, keep: Keep, to: Carry) -> Slots {
        let y = to.get(app.state);
        match (&self.backward, keep, app.kept) {
            (Some(backward), Keep::All, Some(kept)) if self.recompute && !self.is_last(app) => {
                Slots { x: Some(backward.kept_input(kept)), ..self.shared_slots(app, y) }
            }
            (Some(backward), Keep::All, Some(kept)) => self.own_slots(backward, app, kept, y),
            _ => self.shared_slots(app, y),
        }
    }

    /// Where the backward pass finds the activations of `app`, which has a gradient: where [`slots`](Self::slots) kept them,
    /// or where they are computed again from its input.
    #[must_use]
    pub const fn kept_slots(&self, app: &Application, backward: &BackwardPlan) -> Slots {
        let y = self.carry.get(app.state);
        match app.kept {
            Some(kept) => self.own_slots(backward, app, kept, y),
            None => self.shared_slots(app, y),
        }
    }

    /// Whether the backward pass computes the activations of `app` again.
    #[must_use]
    pub const fn recomputes(&self, app: &Application) -> bool {
        self.recompute && app.kept.is_some() && !self.is_last(app)
    }

    const fn is_last(&self, app: &Application) -> bool {
        app.index + 1 == self.config.applications()
    }

    const fn shared_slots(&self, app: &Application, y: Act) -> Slots {
        let row = SlotRow { base: self.shared, stride: [0, 0] };
        Slots { keep: Keep::Nothing, row, from: 0, layers: self.config.layers(app.state), x: None, y }
    }

    const fn own_slots(&self, backward: &BackwardPlan, app: &Application, kept: usize, y: Act) -> Slots {
        let layers = self.config.layers(app.state);
        let (mut earlier, mut from) = (0, 0);
        while !self.recompute && earlier < kept {
            if let Some(app) = self.config.kept_application(earlier) {
                from += self.config.layers(app.state);
            }
            earlier += 1;
        }
        let y = if app.is_overwritten(&self.config) {
            let place = if self.recompute { 0 } else { kept };
            backward.kept_states.rows_from(place * y.rows, y.rows)
        } else {
            y
        };
        let x = if self.recomputes(app) { Some(backward.kept_input(kept)) } else { None };
        Slots { keep: Keep::All, row: backward.slots, from, layers, x, y }
    }
}
