//! How a backend takes training steps: each to its end, or several under way while the host goes on.
//!
//! A step is the same in either case: halted rows take their new puzzles, gradients, a look at losses and gradients, and
//! the update, which does not happen unless all of them are finite. What differs is when the host hears of it.

mod immediate;
#[cfg(feature = "cuda")]
mod recorded;

use hrm_core::kernels::{Memory, TrainKernels};
use hrm_core::model::train_step::TrainConfig;
use hrm_core::optim::StepScalars;
use hrm_core::plan::{BackwardPlan, Plan};

pub use immediate::Immediate;
#[cfg(feature = "cuda")]
pub use recorded::Recorded;

use crate::data::Batch;
use crate::row_metrics::RowOutcome;

/// What became of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum StepEnd {
    /// The parameters are updated.
    Done(Vec<RowOutcome>),
    /// A loss or a gradient is not finite: neither this step nor any that was started since has changed a parameter.
    NotFinite,
}

/// Takes training steps on `K`, one after another, as one plan lays them out.
pub trait TrainSteps<K: TrainKernels>: Sized {
    /// Steps that may be under way at once, at least 1.
    const MOST: usize;

    /// For steps on `backend`, which nobody else takes in between.
    ///
    /// # Errors
    /// Those of the backend.
    fn new(
        backend: &mut K,
        plan: &Plan,
        backward: &BackwardPlan,
        train: &TrainConfig,
    ) -> Result<Self, K::Error>;

    /// Starts the next step. There are fewer than [`MOST`](Self::MOST) under way.
    ///
    /// # Errors
    /// Those of the backend.
    fn start(&mut self, backend: &mut K, batch: Incoming<'_>, scalars: &StepScalars) -> Result<(), K::Error>;

    /// What became of the oldest step that is under way. Nothing if there is none or, unless it is to `wait`, if it is
    /// not done yet.
    ///
    /// # Errors
    /// Those of the backend.
    fn finish(&mut self, backend: &mut K, wait: bool) -> Result<Option<StepEnd>, K::Error>;
}

/// The puzzles that take the places of the halted.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// Tokens `[batch, seq_len]`.
    pub inputs: &'a [i32],
    /// Labels `[batch, seq_len]`.
    pub labels: &'a [i32],
    /// Rows of the puzzle embedding `[batch]`.
    pub puzzle_ids: &'a [i32],
}

impl<'a> From<&'a Batch> for Incoming<'a> {
    fn from(batch: &'a Batch) -> Self {
        Self { inputs: &batch.inputs, labels: &batch.labels, puzzle_ids: &batch.puzzle_identifiers }
    }
}

/// Hands a batch to the incoming rows.
///
/// # Errors
/// Those of the backend.
pub fn feed<M: Memory>(memory: &mut M, plan: &Plan, batch: Incoming<'_>) -> Result<(), M::Error> {
    memory.write_ids(plan.incoming.inputs.offset, batch.inputs)?;
    memory.write_ids(plan.incoming.labels.offset, batch.labels)?;
    memory.write_ids(plan.incoming.puzzle_ids.offset, batch.puzzle_ids)
}
