//! `NAME.eval` and `NAME.eval_bf16`: ACT steps of evaluation, every row to the maximum.

use std::fmt;

use hrm_core::backend::reference::{Reference, Rounding};
use hrm_core::halting::{ActStep, AlwaysMax, HaltPolicy};
use hrm_core::kernels::TrainKernels;
use hrm_core::loss::LossKind;
use hrm_core::model;
use hrm_core::plan::{Mode, Plan};

use super::counts::Outputs;
use super::file::File;
use super::judge::{Judge, STATE};
use super::model::{Golden, Session};
use super::{Check, Error, Report};
use crate::row_metrics::{MetricSums, RowOutcome};

pub(super) fn check<K: TrainKernels, E: fmt::Display>(
    golden: &Golden,
    progress: &mut dyn FnMut(&Check),
    factory: &impl Fn(&Plan) -> Result<K, E>,
    bf16: bool,
) -> Result<Report, Error> {
    // The bf16 file is judged by the f32 file.
    let Some(exact) = golden.find("eval")? else { return Ok(Report::without(golden.file_name("eval"))) };
    let rounded = if bf16 { golden.find("eval_bf16")? } else { None };
    if bf16 && rounded.is_none() {
        return Ok(Report::without(golden.file_name("eval_bf16")));
    }
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
        let rows = outcomes(&mut session, &labels)?;
        judge.floats("loss", STATE, &format!("{prefix}loss"), &[], &[MetricSums::of(&rows).loss()])?;
        if golden.is_trained() || judge.golden().has(&format!("{prefix}all_finish")) {
            session.compare_metrics(judge, &prefix, &rows, &labels, false)?;
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

/// What became of each row in the step.
fn outcomes<K: TrainKernels>(session: &mut Session<K>, labels: &[i32]) -> Result<Vec<RowOutcome>, Error> {
    let plan = session.plan;
    let (halted, steps) = (session.ids(plan.halted)?, session.ids(plan.steps)?);
    let Outputs { logits, q_halt } = session.outputs()?;
    let seq_len = plan.config.seq_len;
    let rows = logits.chunks_exact(seq_len * plan.config.vocab_size).zip(labels.chunks_exact(seq_len));
    let outcome = |(b, (logits, labels))| {
        RowOutcome::evaluated(logits, labels, LossKind::Stablemax, q_halt[b], steps[b], halted[b] != 0)
    };
    Ok(rows.enumerate().map(outcome).collect())
}
