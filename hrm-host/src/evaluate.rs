//! Evaluation of a model on a dataset.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Instant;

use hrm_core::act::HaltPolicy;
use hrm_core::kernels::Kernels;
use hrm_core::loss::LossKind;
use hrm_core::plan::Plan;
use hrm_core::rng::{Rng, Stream};
use serde::Serialize;

use crate::data::Dataset;
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::row_metrics::{MetricSums, RowOutcome};
use crate::runner::{self, Place, RowStep};

/// What to evaluate, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EvalOptions {
    /// Puzzles at most, a seeded subsample; 0 for all.
    pub limit: usize,
    /// Seed of the subsample.
    pub seed: u64,
    /// The loss that is reported.
    pub loss: LossKind,
}

/// What came out after one ACT step, over all puzzles that took it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct StepOutcome {
    /// Puzzles that did this step.
    pub rows: u64,
    /// Those that are solved exactly after it.
    pub solved: u64,
    /// Those that halted on it.
    pub halted: u64,
}

/// The result of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EvalReport {
    /// Puzzles evaluated.
    pub puzzles: u64,
    /// Share of cells that are right, averaged over puzzles.
    pub accuracy: f64,
    /// Share of puzzles that are right in every cell.
    pub exact_accuracy: f64,
    /// Share of puzzles whose Q-halt says correctly whether they are solved.
    pub q_halt_accuracy: f64,
    /// Mean ACT steps of a puzzle.
    pub steps: f64,
    /// Mean token loss of a puzzle, in nats per cell.
    pub lm_loss: f64,
    /// Mean Q-halt loss of a puzzle.
    pub q_halt_loss: f64,
    /// By ACT step, from the first.
    pub by_step: Vec<StepOutcome>,
    /// Wall time.
    pub seconds: f64,
}

/// The examples that an evaluation looks at, as pairs of set and example: all of them, or a seeded subsample in
/// the order of the dataset.
#[must_use]
pub fn selection(dataset: &Dataset, limit: usize, seed: u64) -> Vec<(usize, usize)> {
    let mut all: Vec<(usize, usize)> = dataset
        .sets()
        .iter()
        .enumerate()
        .flat_map(|(set, data)| (0..data.examples()).map(move |example| (set, example)))
        .collect();
    if limit > 0 && limit < all.len() {
        Rng::new(seed, Stream::Subsample, 0).shuffle(&mut all);
        all.truncate(limit);
        all.sort_unstable();
    }
    all
}

/// Evaluates the weights in `backend` on `dataset` under `policy`. `progress` hears after every row's step the number
/// of finished puzzles and of all, and stops the evaluation by returning `false`; then there is no report.
///
/// The arenas of the plan are used: a training run saves its carry first.
///
/// # Errors
/// The backend or the dataset fails.
pub fn evaluate<K>(
    backend: &mut K,
    plan: &Plan,
    dataset: &Dataset,
    policy: &dyn HaltPolicy,
    options: &EvalOptions,
    mut progress: impl FnMut(usize, usize) -> bool,
) -> Result<Option<EvalReport>>
where
    K: Kernels<Error: Send + Sync + 'static>,
{
    let started = Instant::now();
    let chosen = selection(dataset, options.limit, options.seed);
    if chosen.is_empty() {
        return Err(Error::input(format!("{}: no examples to evaluate", dataset.path().display())));
    }
    let seq_len = plan.config.seq_len;
    // Labels of the puzzles in flight, by the place in `chosen`.
    let labels: RefCell<HashMap<usize, Vec<i32>>> = RefCell::default();
    let mut by_step: Vec<StepOutcome> = Vec::new();
    let mut sums = MetricSums::default();
    let mut next = 0;
    let mut done = 0;
    let feed = |place: Place<'_>| -> Result<Option<usize>> {
        if next >= chosen.len() {
            return Ok(None);
        }
        let (set, example) = chosen[next];
        let mut row = vec![0; seq_len];
        *place.puzzle_id = dataset.read(set, example, place.inputs, &mut row)?;
        labels.borrow_mut().insert(next, row);
        next += 1;
        Ok(Some(next - 1))
    };
    let report = |row: RowStep<'_>| -> Result<()> {
        let mut in_flight = labels.borrow_mut();
        let Some(labels) = in_flight.get(&row.puzzle) else { return Ok(()) };
        if by_step.len() < row.step {
            by_step.resize(row.step, StepOutcome::default());
        }
        let right = labels.iter().zip(row.predictions).all(|(label, p)| *label < 0 || label == p);
        let outcome = &mut by_step[row.step - 1];
        outcome.rows += 1;
        outcome.solved += u64::from(right);
        outcome.halted += u64::from(row.halted);
        if let (true, Some(logits)) = (row.halted, row.logits) {
            let steps = i32::try_from(row.step).unwrap_or(i32::MAX);
            sums.add(&RowOutcome::evaluated(logits, labels, options.loss, row.q_halt, steps, true));
            in_flight.remove(&row.puzzle);
            done += 1;
        }
        if progress(done, chosen.len()) {
            Ok(())
        } else {
            Err(Error::interrupted("the evaluation was stopped"))
        }
    };
    match runner::run(backend, plan, policy, true, feed, report) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(None),
        Err(error) => return Err(error),
    }
    let means = sums.reduced_by_count();
    Ok(Some(EvalReport {
        puzzles: chosen.len() as u64,
        accuracy: means.accuracy,
        exact_accuracy: means.exact_accuracy,
        q_halt_accuracy: means.q_halt_accuracy,
        steps: means.steps,
        lm_loss: means.lm_loss,
        q_halt_loss: means.q_halt_loss,
        by_step,
        seconds: started.elapsed().as_secs_f64(),
    }))
}
