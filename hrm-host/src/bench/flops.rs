//! How many floating-point operations a step takes: a multiplication or an addition counts as one.
//!
//! With N positions in a batch (B puzzles of S), hidden width D, SwiGLU width F and vocabulary V:
//!
//! | what | forward | backward |
//! |---|---|---|
//! | linear layers of one block | `2 N (4 D^2 + 3 D F)` | twice that: by input and by weight |
//! | attention of one block | `4 N S D` (scores, sum of values) | `10 N S D` (scores once more, dP, dV, dK, dQ) |
//! | a SwiGLU over positions of one block, of width F', in place of attention | `6 B D S F'` | twice that, and gate and up once more |
//! | output head | `2 N D V` | twice that |
//!
//! A forward pass applies `H_cycles (L_cycles L_layers + H_layers)` blocks. A training step does two, the second one
//! (without output head) for the Q target unless `halt_max_steps` is 1 or no value of going on is learned, and sends gradients
//! back through the blocks of the applications that have one (HRM: `L_layers + H_layers`). What follows attention in the last block of that second pass has B rows, not N. What is
//! linear in N D is left out: norms, SwiGLU, softmax, rotations, Q head, losses, optimizers.

use std::ops::{Add, Mul};

use hrm_core::config::Config;
use serde::Serialize;

/// Floating-point operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Flops {
    /// Of the linear layers.
    pub linear: u64,
    /// Of the two products inside attention.
    pub attention: u64,
}

impl Flops {
    /// The sum.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.linear + self.attention
    }

    /// `2 rows inputs outputs`: one linear layer.
    #[must_use]
    pub const fn linear(rows: usize, inputs: usize, outputs: usize) -> Self {
        Self { linear: 2 * (rows * inputs * outputs) as u64, attention: 0 }
    }

    /// Both linear layers of a SwiGLU over `positions`, of width `inter`, for so many columns.
    #[must_use]
    pub const fn tokens(columns: usize, positions: usize, inter: usize) -> Self {
        Self { linear: 6 * (columns * positions * inter) as u64, attention: 0 }
    }

    /// `products` products of `rows` x `positions` x `hidden` over all heads.
    #[must_use]
    pub const fn attention(products: usize, rows: usize, positions: usize, hidden: usize) -> Self {
        Self { linear: 0, attention: 2 * (products * rows * positions * hidden) as u64 }
    }

    /// One training step of `batch` puzzles.
    #[must_use]
    pub fn training_step(config: &Config, batch: usize) -> Self {
        let (rows, d, s) = (batch * config.positions(), config.hidden_size, config.positions());
        // Attention's scores are computed once more, and so are gate and up of a SwiGLU over positions.
        let again = if config.mlp_t {
            Self::linear(batch * d, s, 2 * config.token_inter_size())
        } else {
            Self::attention(5, rows, s, d)
        };
        let block_vjp = block_linear(config, rows, rows) * 2 + again;
        let bootstraps = config.halt_max_steps > 1 && !config.no_act_continue;
        let target = if bootstraps { pass(config, rows, batch) } else { Self::default() };
        pass(config, rows, rows)
            + target
            + Self::linear(rows, d, config.vocab_size) * 3
            + block_vjp * config.blocks_with_gradient() as u64
    }

    /// One ACT step of inference on `batch` puzzles.
    #[must_use]
    pub fn act_step(config: &Config, batch: usize) -> Self {
        let rows = batch * config.positions();
        pass(config, rows, rows) + Self::linear(rows, config.hidden_size, config.vocab_size)
    }
}

/// The linear layers of one block, for `rows` before attention and `after` behind it.
fn block_linear(config: &Config, rows: usize, after: usize) -> Flops {
    let (d, f, s) = (config.hidden_size, config.inter_size(), config.positions());
    let channels = Flops::linear(after, d, 3 * f);
    if config.mlp_t {
        return Flops::tokens(rows / s * d, s, config.token_inter_size()) + channels;
    }
    Flops::linear(rows, d, 3 * d) + Flops::linear(after, d, d) + channels
}

/// One forward pass without its output head, in its last block for `last` rows behind attention.
fn pass(config: &Config, rows: usize, last: usize) -> Flops {
    let blocks = config.blocks();
    let products = if config.mlp_t { 0 } else { 2 };
    let attention = Flops::attention(products, rows, config.positions(), config.hidden_size);
    let block = |after| block_linear(config, rows, after) + attention;
    block(rows) * (blocks - 1) as u64 + block(last)
}

impl Add for Flops {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { linear: self.linear + other.linear, attention: self.attention + other.attention }
    }
}

impl Mul<u64> for Flops {
    type Output = Self;

    fn mul(self, times: u64) -> Self {
        Self { linear: self.linear * times, attention: self.attention * times }
    }
}
