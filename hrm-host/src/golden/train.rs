//! `NAME.train_*` and `NAME.grad_*`: training steps with exploration off.

use std::fmt;

use hrm_core::halting::{PublishedQ, QLearning};
use hrm_core::kernels::{Region, TrainKernels};
use hrm_core::loss::LossKind;
use hrm_core::model::train_step::{TrainConfig, train_step};
use hrm_core::optim::StepScalars;
use hrm_core::plan::{BackwardPlan, Mode, Plan};
use hrm_core::tensors::{Tensor, TensorName};

use super::judge::{Bound, GRADIENT, Judge, PARAMETER, STATE};
use super::model::{Golden, PREFIX, Session};
use super::{Check, Error, Report};
use crate::row_metrics::{MetricSums, trained_rows};

/// Runs the steps of `part` ("train_softmax", "grad_stablemax", ...); `twin` is its f32 counterpart where it is
/// bf16.
pub(super) fn check<K: TrainKernels, E: fmt::Display>(
    golden: &Golden,
    part: &str,
    twin: Option<&str>,
    progress: &mut dyn FnMut(&Check),
    factory: &impl Fn(&Plan) -> Result<K, E>,
) -> Result<Report, Error> {
    let Some(file) = golden.find(part)? else { return Ok(Report::without(golden.file_name(part))) };
    let twin_file = match twin {
        None => None,
        Some(twin) => match golden.find(twin)? {
            None => return Ok(Report::without(golden.file_name(twin))),
            found => found,
        },
    };
    let mut judge = Judge::new(&file, twin_file.as_ref());
    let mut session = Session::load(golden, Mode::Training, file.path(), factory)?;
    let plan = session.plan;
    let missing = || file.wrong("the plan", "for inference", "for training");
    let backward = plan.backward.ok_or_else(missing)?;
    let hyper = golden.hyper()?;
    let train = TrainConfig {
        loss: if part.ends_with("softmax") { LossKind::Softmax } else { LossKind::Stablemax },
        adam: hyper.adam,
        puzzle_emb: hyper.puzzle_emb,
        average: hyper.average,
        global_batch_size: hyper.global_batch_size,
    };
    // Some gradients have the states of their step beside them.
    let states = golden.is_trained() || file.has("s1.carry.z_H");
    let contents = Contents { states, updates: golden.is_trained() && twin.is_none() };
    for step in 1..=if contents.updates { 5 } else { 1 } {
        let prefix = format!("s{step}.");
        if step > 1 && !judge.has("steps", &format!("{prefix}batch.inputs")) {
            break;
        }
        session.write_batch(&file, &prefix)?;
        let table = plan.params.puzzle_emb;
        let rows_before = session.read(Region::Params, table.offset, table.len())?;
        let (lr, puzzle_emb_lr) = (hyper.lr, hyper.puzzle_emb_lr);
        let scalars = StepScalars { step, lr, puzzle_emb_lr, seed: 0 };
        train_step(&mut session.k, &plan, &backward, &train, &scalars).map_err(session.failed())?;

        losses(&mut session, &mut judge, &backward, &prefix)?;
        gradients(&mut session, &mut judge, &backward, &prefix)?;
        if contents.states {
            session.compare_states(&mut judge, &prefix)?;
            let labels = session.ids(plan.current.labels)?;
            session.compare_halting(&mut judge, &prefix, &labels)?;
            local_rows(&mut session, &mut judge, &rows_before, &prefix)?;
        } else if file.has(&format!("{prefix}out.q_halt_logits")) {
            session.compare_q(&mut judge, &prefix)?;
        }
        if contents.updates {
            parameters(&mut session, &mut judge, &prefix)?;
        }
    }
    file.close()?;
    Ok(judge.finish(progress))
}

/// What a training file holds beside losses and gradients.
struct Contents {
    states: bool,
    updates: bool,
}

fn losses<K: TrainKernels>(
    session: &mut Session<K>,
    judge: &mut Judge,
    backward: &BackwardPlan,
    prefix: &str,
) -> Result<(), Error> {
    let plan = session.plan;
    let rows = trained_rows(&mut session.k, &plan, backward).map_err(session.failed())?;
    judge.floats("loss", STATE, &format!("{prefix}loss"), &[], &[MetricSums::of(&rows).loss()])?;
    let labels = session.ids(plan.current.labels)?;
    session.compare_metrics(judge, prefix, &rows, &labels, !plan.config.no_act_continue)?;

    let (halt, cont) = (session.column(backward.next_q, 0)?, session.column(backward.next_q, 1)?);
    let last = session.ids(plan.steps)?.into_iter().map(|steps| steps as usize >= plan.config.halt_max_steps);
    let targets = halt.into_iter().zip(cont).zip(last);
    let targets: Vec<_> = targets.map(|((halt, cont), last)| PublishedQ.target(last, [halt, cont])).collect();
    if plan.config.no_act_continue {
        return Ok(());
    }
    judge.floats(
        "target_q_continue",
        STATE,
        &format!("{prefix}out.target_q_continue"),
        &[plan.batch],
        &targets,
    )
}

/// The shape under which a tensor is stored.
fn shape(tensor: &Tensor) -> Vec<usize> {
    let span = tensor.span;
    if tensor.is_vector() { vec![span.len()] } else { vec![span.rows, span.cols] }
}

/// The group of a parameter: its name without level and layer.
fn part(name: TensorName) -> String {
    match name {
        TensorName::Block(level, _, part) => format!("{level:?} {part:?}"),
        other => other.to_string(),
    }
}

fn gradients<K: TrainKernels>(
    session: &mut Session<K>,
    judge: &mut Judge,
    backward: &BackwardPlan,
    prefix: &str,
) -> Result<(), Error> {
    let plan = session.plan;
    for tensor in plan.params.tensors().filter(Tensor::is_trained) {
        let ours = session.read(Region::Gradients, tensor.span.offset, tensor.span.len())?;
        let (group, name) =
            (format!("grad {}", part(tensor.name)), format!("{prefix}grad.{PREFIX}{}", tensor.name));
        judge.floats(&group, GRADIENT, &name, &shape(&tensor), &ours)?;
    }
    let rows = backward.dpuzzle;
    let ours = session.act(rows)?;
    let name = format!("{prefix}grad.local_weights");
    judge.floats("grad local_weights", GRADIENT, &name, &[rows.rows, rows.cols], &ours)
}

/// The puzzle embeddings that the step read: those of the current data, before their update.
fn local_rows<K: TrainKernels>(
    session: &mut Session<K>,
    judge: &mut Judge,
    table: &[f64],
    prefix: &str,
) -> Result<(), Error> {
    let plan = session.plan;
    let (batch, ndim) = (plan.batch, plan.params.puzzle_emb.cols);
    let ids = session.ids(plan.current.puzzle_ids)?;
    judge.ints("local rows", &format!("{prefix}local_ids"), &[batch], &ids)?;
    let rows: Vec<_> = ids.iter().flat_map(|id| &table[*id as usize * ndim..][..ndim]).copied().collect();
    let name = format!("{prefix}local_weights");
    // f32 in both precisions: they are compared with the file itself.
    if judge.golden().has(&name) {
        let theirs = judge.golden().floats(&name, &[batch, ndim])?;
        judge.values("local weights", PARAMETER, &rows, &theirs);
    } else {
        judge.lacks("local weights", &name);
    }
    Ok(())
}

fn parameters<K: TrainKernels>(
    session: &mut Session<K>,
    judge: &mut Judge,
    prefix: &str,
) -> Result<(), Error> {
    const MOMENTS: [(Region, &str); 2] =
        [(Region::FirstMoments, "exp_avg"), (Region::SecondMoments, "exp_avg_sq")];
    let plan = session.plan;
    for tensor in plan.params.tensors() {
        let mut same = |judge: &mut Judge, region, group: &str, bound: Bound| {
            let ours = session.read(region, tensor.span.offset, tensor.span.len())?;
            let name = format!("{prefix}{group}.{PREFIX}{}", tensor.name);
            judge.floats(group, bound, &name, &shape(&tensor), &ours)
        };
        // TRM's traces leave out what never changes.
        let constant = matches!(tensor.name, TensorName::HInit | TensorName::LInit);
        if !constant || judge.golden().has(&format!("{prefix}param.{PREFIX}{}", tensor.name)) {
            same(judge, Region::Params, "param", PARAMETER)?;
        }
        if tensor.is_trained() {
            for (region, group) in MOMENTS {
                same(judge, region, group, GRADIENT)?;
            }
            if plan.averages {
                same(judge, Region::Averages, "ema", PARAMETER)?;
            }
        }
    }
    Ok(())
}
