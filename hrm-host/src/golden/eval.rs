//! `NAME.eval` and `NAME.eval_bf16`: ACT steps of evaluation, every row to the maximum.

use std::fmt;

use hrm_core::act::{ActStep, AlwaysMax, HaltPolicy};
use hrm_core::backend::reference::{Reference, Rounding};
use hrm_core::kernels::TrainKernels;
use hrm_core::loss::LossKind;
use hrm_core::model;
use hrm_core::plan::{Mode, Plan};

use super::file::File;
use super::judge::{Judge, STATE};
use super::model::{Golden, Session, compare_metrics};
use super::{Check, Error};
use crate::row_metrics::{MetricSums, RowOutcome};

pub(super) fn check<K: TrainKernels, E: fmt::Display>(
    golden: &Golden,
    progress: &mut dyn FnMut(&Check),
    factory: &impl Fn(&Plan) -> Result<K, E>,
    bf16: bool,
) -> Result<Vec<Check>, Error> {
    let exact = golden.file("eval")?;
    let rounded = if bf16 { Some(golden.file("eval_bf16")?) } else { None };
    let file = rounded.as_ref().unwrap_or(&exact);
    let mut judge = Judge::new(file, bf16.then_some(&exact));
    run(golden, file, &mut judge, factory)?;
    if judge.states_miss() {
        let mut in_f64 = Judge::new(file, None);
        run(golden, file, &mut in_f64, &|plan: &Plan| Reference::<f64, _>::owned(plan, Rounding::None))?;
        judge.reconsider(&in_f64)?;
    }
    file.close()?;
    Ok(judge.finish(progress))
}

/// Does the ACT steps and compares each.
fn run<K: TrainKernels, E: fmt::Display>(
    golden: &Golden,
    file: &File,
    judge: &mut Judge,
    factory: &impl Fn(&Plan) -> Result<K, E>,
) -> Result<(), Error> {
    let mut session = Session::load(golden, Mode::Inference, file.path(), factory)?;
    let labels = session.write_batch(file, "")?;
    let policy = AlwaysMax { max_steps: golden.config.halt_max_steps };
    for step in 1..=golden.config.halt_max_steps {
        let prefix = format!("s{step}.");
        model::act_step(&mut session.k, &session.plan).map_err(session.failed())?;
        halt(&mut session, policy)?;
        session.compare_states(judge, &prefix)?;
        let sums = metrics(&mut session, judge, &prefix, &labels)?;
        judge.floats("loss", STATE, &format!("{prefix}loss"), &[], &[sums.loss()])?;
        if golden.is_trained() {
            compare_metrics(judge, &prefix, &sums, false)?;
            session.compare_halting(judge, &prefix, &labels)?;
        }
    }
    Ok(())
}

/// Counts the step and decides which rows halt, as the caller of [`model::act_step`] must.
fn halt<K: TrainKernels>(session: &mut Session<K>, policy: AlwaysMax) -> Result<(), Error> {
    let plan = session.plan;
    let (mut halted, mut steps) = (session.ids(plan.halted)?, session.ids(plan.steps)?);
    for (row, (halted, steps)) in halted.iter_mut().zip(&mut steps).enumerate() {
        *steps = if *halted != 0 { 1 } else { *steps + 1 };
        let step = ActStep { row, step: *steps as usize, q_halt: 0.0, q_continue: 0.0 };
        *halted = i32::from(policy.halts(&step));
    }
    session.write_ids(plan.halted, &halted)?;
    session.write_ids(plan.steps, &steps)
}

fn metrics<K: TrainKernels>(
    session: &mut Session<K>,
    judge: &Judge,
    prefix: &str,
    labels: &[i32],
) -> Result<MetricSums, Error> {
    let (plan, mut sums) = (session.plan, MetricSums::default());
    let (halted, steps) = (session.ids(plan.halted)?, session.ids(plan.steps)?);
    let logits: Vec<f32> = session.logits()?.into_iter().map(|x| x as f32).collect();
    let deciding = decided(judge, prefix, &logits, plan.config.vocab_size)?;
    let q_halt = session.column(plan.q, 0)?;
    let seq_len = plan.config.seq_len;
    let row_len = seq_len * plan.config.vocab_size;
    let rows = logits.chunks_exact(row_len).zip(deciding.chunks_exact(row_len));
    for (b, ((logits, deciding), labels)) in rows.zip(labels.chunks_exact(seq_len)).enumerate() {
        let outcome = |logits| {
            RowOutcome::evaluated(
                logits,
                labels,
                LossKind::Stablemax,
                q_halt[b] as f32,
                steps[b],
                halted[b] != 0,
            )
        };
        sums.add(&RowOutcome { correct: outcome(deciding).correct, ..outcome(logits) });
    }
    Ok(sums)
}

/// The logits that cells are counted by. In bf16 a cell whose two largest logits are, in f32, no further apart than
/// twice the largest error of upstream's own bf16 logits is a tie that rounding decides: each of the two may move by
/// so much. There the count is upstream's.
fn decided(judge: &Judge, prefix: &str, ours: &[f32], vocab: usize) -> Result<Vec<f32>, Error> {
    let mut decided = ours.to_vec();
    let Some(twin) = judge.twin() else { return Ok(decided) };
    let name = format!("{prefix}out.logits");
    let (exact, theirs) = (twin.all_floats(&name)?, judge.golden().all_floats(&name)?);
    let error = exact.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let cells =
        decided.chunks_exact_mut(vocab).zip(exact.chunks_exact(vocab).zip(theirs.chunks_exact(vocab)));
    for (ours, (exact, theirs)) in cells {
        if margin(exact) <= 2.0 * error {
            ours.iter_mut().zip(theirs).for_each(|(ours, theirs)| *ours = *theirs as f32);
        }
    }
    Ok(decided)
}

/// How far the largest of the logits is from the next.
fn margin(logits: &[f64]) -> f64 {
    let (mut first, mut second) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
    for &x in logits {
        second = second.max(x.min(first));
        first = first.max(x);
    }
    first - second
}

#[cfg(test)]
mod tests {
    use super::margin;

    #[test]
    fn the_margin_is_between_the_two_largest() {
        assert_eq!(margin(&[1.0, 4.0, 2.5]), 1.5);
        assert_eq!(margin(&[4.0, 1.0, 4.0]), 0.0);
        assert_eq!(margin(&[-3.0, -1.0]), 2.0);
    }
}
