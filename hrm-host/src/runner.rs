//! Inference in batches whose rows halt on their own: a halted row's place is taken by the next puzzle.
//!
//! A puzzle's answer depends on nothing but the puzzle and the policy: the kernels work row by row, so neither
//! the batch size nor the order of the puzzles changes a bit of it.

use std::fmt;

use hrm_core::halting::{ActStep, HaltPolicy};
use hrm_core::kernels::{Kernels, Region};
use hrm_core::model;
use hrm_core::plan::Plan;

use crate::error::{Error, Result};

/// One row after one ACT step.
#[derive(Clone, Copy, Debug)]
pub struct RowStep<'a> {
    /// The puzzle, by the number under which it was fed.
    pub puzzle: usize,
    /// ACT steps it has done, this one included.
    pub step: usize,
    /// Logit of halting.
    pub q_halt: f32,
    /// Logit of going on.
    pub q_continue: f32,
    /// Most likely token of each cell.
    pub predictions: &'a [i32],
    /// Logits `[seq_len, vocab]`; empty unless they were asked for.
    pub logits: &'a [f32],
    /// Whether it halts now.
    pub halted: bool,
}

/// What a feed puts into a free place.
#[derive(Debug)]
pub struct Place<'a> {
    /// Tokens, `seq_len` of them.
    pub inputs: &'a mut [i32],
    /// Row of the puzzle embedding.
    pub puzzle_id: &'a mut i32,
}

/// What a model says that has no finite number to say: its weights have diverged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotFinite;

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the model's output is not a finite number")
    }
}

impl std::error::Error for NotFinite {}

/// The error of a row whose output is not finite, which no count may take for an answer.
fn refuse(row: &RowStep<'_>) -> Result<()> {
    let q = [("Q-halt", row.q_halt), ("Q-continue", row.q_continue)];
    let bad = q.into_iter().chain(row.logits.iter().map(|x| ("a logit", *x))).find(|(_, x)| !x.is_finite());
    match bad {
        None => Ok(()),
        Some((name, value)) => {
            let message = format!(
                "puzzle {}, ACT step {}: {name} is {value}, expected a finite number: the model has diverged",
                row.puzzle + 1,
                row.step
            );
            let hint = "take an earlier checkpoint, or train again with a lower learning rate";
            Err(Error::failed(message).hint(hint).with_source(NotFinite))
        }
    }
}

/// Runs every puzzle that `feed` gives until it halts by `policy`, and reports after every ACT step the rows that did
/// it, in the order of their places.
///
/// `feed` fills a place and returns the puzzle's number, or `None` when there is no further puzzle. Logits are read back
/// only `with_logits`, all of a step in one piece: a device waits for each read.
///
/// # Errors
/// Those of the backend, of `feed` and of `report`; or a row says what is not a finite number.
pub fn run<K>(
    backend: &mut K,
    plan: &Plan,
    policy: &dyn HaltPolicy,
    with_logits: bool,
    mut feed: impl FnMut(Place<'_>) -> Result<Option<usize>>,
    mut report: impl FnMut(&[RowStep<'_>]) -> Result<()>,
) -> Result<()>
where
    K: Kernels<Error: Send + Sync + 'static>,
{
    let (batch, seq_len, vocab) = (plan.batch, plan.config.seq_len, plan.config.vocab_size);
    let positions = plan.config.positions();
    let mut places: Vec<Option<(usize, usize)>> = vec![None; batch];
    let mut inputs = vec![0; batch * seq_len];
    let mut ids = vec![0; batch];
    let mut halted = vec![1; batch];
    let mut q = vec![0.0; 2 * batch];
    let mut predictions = vec![0; batch * seq_len];
    let mut logits = vec![0.0; if with_logits { batch * positions * vocab } else { 0 }];
    let mut more = true;
    loop {
        let mut refilled = false;
        for (row, place) in places.iter_mut().enumerate().filter(|(_, place)| place.is_none()) {
            let target = Place { inputs: &mut inputs[row * seq_len..][..seq_len], puzzle_id: &mut ids[row] };
            if more && let Some(puzzle) = feed(target)? {
                *place = Some((puzzle, 0));
                refilled = true;
            } else {
                more = false;
            }
        }
        if places.iter().all(Option::is_none) {
            return Ok(());
        }
        let mut act_step = || -> Result<(), K::Error> {
            if refilled {
                backend.write_ids(plan.incoming.inputs.offset, &inputs)?;
                backend.write_ids(plan.incoming.puzzle_ids.offset, &ids)?;
            }
            backend.write_ids(plan.halted.offset, &halted)?;
            model::act_step(backend, plan)?;
            backend.read(Region::Stats, plan.q.offset, &mut q)?;
            backend.read_ids(plan.predictions.offset, &mut predictions)?;
            if with_logits { backend.read(Region::Acts, plan.logits.offset, &mut logits) } else { Ok(()) }
        };
        act_step().map_err(Error::backend)?;
        let mut rows = Vec::with_capacity(batch);
        for (row, place) in places.iter_mut().enumerate() {
            let Some((puzzle, step)) = place else { continue };
            *step += 1;
            let (q_halt, q_continue) = (q[2 * row], q[2 * row + 1]);
            let halts = policy.halts(&ActStep { row, step: *step, q_halt, q_continue });
            let first = ((row + 1) * positions - seq_len) * vocab;
            rows.push(RowStep {
                puzzle: *puzzle,
                step: *step,
                q_halt,
                q_continue,
                predictions: &predictions[row * seq_len..][..seq_len],
                logits: if with_logits { &logits[first..][..seq_len * vocab] } else { &[] },
                halted: halts,
            });
            halted[row] = i32::from(halts);
            if halts {
                *place = None;
            }
        }
        rows.iter().try_for_each(refuse)?;
        report(&rows)?;
    }
}
