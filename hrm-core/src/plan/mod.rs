//! The memory plan: where every tensor of a model lies, and how large each arena must be, by arithmetic alone.
//!
//! The plan decides which applications of a forward pass keep their activations for the backward pass: those get slots of
//! their own, all others share one slot and overwrite it. The code is the same for both. The plan also decides how much of a
//! block is in memory at once: what treats each row alone may be done in tiles of rows.
//!
//! | module | holds |
//! |---|---|
//! | `applications` | the order of a forward pass, and which part of it has a gradient |
//! | `params` | the parameters: stacks of blocks, heads, tables |
//! | `slots` | where the blocks of an application work |
//! | `places` | what a pass that keeps nothing shares |
//! | `backward` | the memory of the backward pass |
//! | `bytes` | what all of it takes |

mod applications;
mod backward;
mod bytes;
mod params;
mod places;
mod slots;
#[cfg(test)]
mod tests;

use core::fmt;

use crate::arena::{Act, Ids, Layout, Stat};
use crate::config::{Config, ConfigError};
use crate::kernels::TokenScratch;

pub use applications::{Application, State};
pub use backward::BackwardPlan;
pub use bytes::{Bytes, ElementSizes};
pub use params::{BlockParams, BlockTensor, CellParams, Level, ParamPlan, Stack};
pub use slots::{BlockSlot, Carry, Slots};

use backward::first_norms;
use places::Places;

/// What a plan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Forward passes only.
    Inference,
    /// Forward and backward passes and the optimizers.
    Training,
}

/// Rows of data: one puzzle each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowPlan {
    /// Tokens `[B, seq_len]`.
    pub inputs: Ids,
    /// Labels `[B, seq_len]`; negative where ignored. Empty for inference.
    pub labels: Ids,
    /// Rows of the puzzle embedding `[B, 1]`.
    pub puzzle_ids: Ids,
}

impl RowPlan {
    const fn lay_out(ids: &mut Layout, config: &Config, batch: usize, mode: Mode) -> Self {
        let labels = match mode {
            Mode::Training => config.seq_len,
            Mode::Inference => 0,
        };
        Self {
            inputs: ids.span(batch, config.seq_len),
            labels: ids.span(batch, labels),
            puzzle_ids: ids.span(batch, 1),
        }
    }
}

/// Where everything lies, and how much of it there is. See the [module](self).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// The model this plan is for.
    pub config: Config,
    /// Rows B that are worked on together.
    pub batch: usize,
    /// What the plan is for.
    pub mode: Mode,
    /// The parameters.
    pub params: ParamPlan,
    /// The states that live from one ACT step to the next.
    pub carry: Carry,
    /// Input embedding `[N, D]`.
    pub emb: Act,
    /// Scratch: what is added to L's input, `z_h + emb` `[N, D]`. See [`blocks_overwrite_t`](Self::blocks_overwrite_t).
    pub t: Act,
    /// Rows that the second half of a block works on at once: all N, but for a tiled plan.
    pub tile: usize,
    /// Scratch: what a sublayer adds to its residual stream `[tile, D]`.
    pub branch: Act,
    /// Scratch: the SwiGLU activation `[tile, F]`.
    pub a: Act,
    /// Scratch of what mixes the cells, where that is a SwiGLU over positions.
    pub tokens: Option<TokenScratch>,
    /// Whether the backward pass computes activations again, from the input of each application, in place of keeping them.
    pub recompute: bool,
    /// Whether averages of the parameters are kept.
    pub averages: bool,
    shared: BlockSlot,
    /// Logits `[N, V]`, prefix positions included.
    pub logits: Act,
    /// Q values `[B, 2]`: halt, continue.
    pub q: Stat,
    /// The puzzles being worked on.
    pub current: RowPlan,
    /// The puzzles that take the places of the halted.
    pub incoming: RowPlan,
    /// ACT steps done, by row `[B, 1]`.
    pub steps: Ids,
    /// Whether a row has halted and awaits a new puzzle, by row `[B, 1]`.
    pub halted: Ids,
    /// Most likely token of each cell `[B, seq_len]`.
    pub predictions: Ids,
    /// The scratch of the backward pass, in a training plan.
    pub backward: Option<BackwardPlan>,
    /// Elements of the activation arena.
    pub acts_len: usize,
    /// Elements of the statistics arena.
    pub stats_len: usize,
    /// Elements of the integer arena.
    pub ids_len: usize,
}

impl Plan {
    /// Lays out a model for `batch` rows.
    ///
    /// # Errors
    /// A field of the configuration is out of range, the batch is empty, or the sizes overflow.
    pub const fn new(config: &Config, batch: usize, mode: Mode) -> Result<Self, PlanError> {
        Self::lay_out(config, batch, mode, None, false)
    }

    /// As [`new`](Self::new) for training in less memory: only the input of each application that has a gradient is kept, and
    /// the backward pass computes its activations again, one application at a time. A result has the same bits.
    ///
    /// # Errors
    /// As there.
    pub const fn recomputing(config: &Config, batch: usize) -> Result<Self, PlanError> {
        Self::lay_out(config, batch, Mode::Training, None, true)
    }

    /// The same with averages of the parameters, in a region of their own.
    #[must_use]
    pub const fn with_averages(self) -> Self {
        Self { averages: true, ..self }
    }

    /// As [`new`](Self::new) for inference in little memory: what treats each row alone is done in tiles of `tile` rows
    /// (at most), and all that is not alive together shares a place. A result has the same bits whatever the tile.
    ///
    /// # Errors
    /// As there, or the tile is empty.
    pub const fn tiled(config: &Config, batch: usize, tile: usize) -> Result<Self, PlanError> {
        if tile == 0 {
            return Err(PlanError::EmptyTile);
        }
        Self::lay_out(config, batch, Mode::Inference, Some(tile), false)
    }

    const fn lay_out(
        config: &Config,
        batch: usize,
        mode: Mode,
        tile: Option<usize>,
        recompute: bool,
    ) -> Result<Self, PlanError> {
        if let Err(error) = config.validate() {
            return Err(PlanError::Config(error));
        }
        if batch == 0 {
            return Err(PlanError::EmptyBatch);
        }
        let d = config.hidden_size;
        let Some(n) = batch.checked_mul(config.positions()) else {
            return Err(PlanError::TooLarge);
        };
        let (params, params_overflow) = ParamPlan::new(config);
        let (mut acts, mut stats, mut ids) = (Layout::new(), Layout::new(), Layout::new());

        let carry = Carry { z_h: acts.span(n, d), z_l: acts.span(n, d) };
        let emb = acts.span(n, d);
        let places = match tile {
            None => Places::whole(&mut acts, config, n),
            Some(tile) => Places::tiled(&mut acts, config, n, if tile < n { tile } else { n }),
        };
        let Places { x, t, logits, y1, qkv, o, gate_up, branch, a, tokens, .. } = places;
        let heads = if config.mlp_t { 0 } else { batch * config.num_heads };
        let lse = stats.span(heads, config.positions());
        let (rstd1, rstd2) = (stats.span(first_norms(config, batch, n), 1), stats.span(n, 1));
        let shared = BlockSlot { x, qkv, o, lse, y1, rstd1, gate_up, y: x, rstd2 };

        let current = RowPlan::lay_out(&mut ids, config, batch, mode);
        let incoming = RowPlan::lay_out(&mut ids, config, batch, mode);
        let (steps, halted) = (ids.span(batch, 1), ids.span(batch, 1));
        let predictions = ids.span(batch, config.seq_len);
        let q = stats.span(batch, 2);

        let backward = match mode {
            Mode::Training => {
                let layouts = [&mut acts, &mut stats, &mut ids];
                Some(BackwardPlan::new(config, batch, &places, &shared, recompute, layouts))
            }
            Mode::Inference => None,
        };
        if params_overflow || acts.overflowed() || stats.overflowed() || ids.overflowed() {
            return Err(PlanError::TooLarge);
        }
        Ok(Self {
            config: *config,
            batch,
            mode,
            params,
            carry,
            emb,
            t,
            tile: branch.rows,
            branch,
            a,
            tokens,
            recompute,
            averages: false,
            shared,
            logits,
            q,
            current,
            incoming,
            steps,
            halted,
            predictions,
            backward,
            acts_len: acts.position(),
            stats_len: stats.position(),
            ids_len: ids.position(),
        })
    }

    /// The same with other states than those of the carry: a pass by it leaves the carry alone.
    #[must_use]
    pub const fn with_carry(self, carry: Carry) -> Self {
        Self { carry, ..self }
    }

    /// The same with arenas of so many elements, all of the parameters trained: for kernels on operands other than the
    /// model's, whose own spans need not lie in them.
    #[must_use]
    pub const fn with_arenas(self, params: usize, acts: usize, stats: usize, ids: usize) -> Self {
        let params = self.params.all_trained(params);
        Self { params, acts_len: acts, stats_len: stats, ids_len: ids, ..self }
    }

    /// Rows N of a state: `batch * positions`.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.batch * self.config.positions()
    }

    /// Whether [`t`](Self::t) shares its place with what a block writes: in a tiled plan. Otherwise it lasts for as long as
    /// nobody writes it.
    #[must_use]
    pub const fn blocks_overwrite_t(&self) -> bool {
        self.t.offset == self.shared.qkv.offset
    }
}

/// Why there is no plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PlanError {
    /// A field of the configuration is out of range.
    Config(ConfigError),
    /// A batch needs at least one row.
    EmptyBatch,
    /// A tile needs at least one row.
    EmptyTile,
    /// The sizes overflow this machine's address space.
    TooLarge,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::EmptyBatch => f.write_str("the batch is 0 rows, expected at least 1"),
            Self::EmptyTile => f.write_str("the tile is 0 rows, expected at least 1"),
            Self::TooLarge => {
                f.write_str("the model and batch are too large for this machine's address space")
            }
        }
    }
}

impl core::error::Error for PlanError {}
