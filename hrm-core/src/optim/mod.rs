//! The optimizers, element by element, and the learning-rate schedule.

mod adam_atan2;
mod average;
mod schedule;
mod sign_sgd;

pub use adam_atan2::{AdamAtan2, AdamFactors};
pub use average::Average;
pub use schedule::CosineSchedule;
pub use sign_sgd::SignSgd;

/// What changes from one training step to the next besides the data. It is handed over once, ahead of the step,
/// so that a captured step can be replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepScalars {
    /// Optimizer step, counted from 1.
    pub step: u64,
    /// Learning rate of AdamATan2.
    pub lr: f64,
    /// Learning rate of the puzzle embedding.
    pub puzzle_emb_lr: f64,
    /// Seed of the exploration.
    pub seed: u64,
}

impl StepScalars {
    /// Before the first step: no learning rate.
    pub const NONE: Self = Self { step: 1, lr: 0.0, puzzle_emb_lr: 0.0, seed: 0 };
}
