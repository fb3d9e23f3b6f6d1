//! One training step: an ACT step of every row, its losses, the backward pass and both optimizers.

use super::{bootstrap, recurrence};
use crate::kernels::{Advance, Keep, LmLoss, QLoss, TrainKernels};
use crate::loss::LossKind;
use crate::model;
use crate::optim::{AdamAtan2, Average, SignSgd, StepScalars};
use crate::plan::{BackwardPlan, Plan};

/// What stays the same over all steps of a training run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainConfig {
    /// Which cross-entropy.
    pub loss: LossKind,
    /// The optimizer of everything but the puzzle embedding.
    pub adam: AdamAtan2,
    /// The optimizer of the puzzle embedding.
    pub puzzle_emb: SignSgd,
    /// Averages of the parameters, if they are kept; the plan has room for them then.
    pub average: Option<Average>,
    /// Rows over which the loss is averaged: the batch, unless it is one part of several.
    pub global_batch_size: usize,
}

/// Forward and backward pass of one step: everything but the update of the parameters. Losses and counts by row
/// are left in the plan's spans, gradients in the gradient arena and `dpuzzle`.
///
/// The order is the published one: halted rows take their incoming puzzles; forward pass; losses; every row
/// counts its step and halts or not; a second forward pass, without gradient and from scratch states,
/// bootstraps the Q target from the next step. Without a second step to speak of (`halt_max_steps` 1) there is
/// neither target nor exploration. Nor is there a target, and no second pass, where the value of going on is not learned.
///
/// # Errors
/// Those of the kernels.
pub fn gradients<K: TrainKernels>(
    k: &mut K,
    plan: &Plan,
    b: &BackwardPlan,
    train: &TrainConfig,
) -> Result<(), K::Error> {
    let config = &plan.config;
    let scale = 1.0 / train.global_batch_size as f64;
    model::refill(k, plan)?;
    model::embed(k, plan)?;
    recurrence::forward(k, plan, plan.carry, plan.carry, Keep::All)?;
    model::lm_head(k, plan)?;
    model::q_head(k, plan, plan.carry.z_h, plan.q)?;
    k.lm_loss(&LmLoss {
        logits: plan.logits,
        labels: plan.current.labels,
        dlogits: b.dlogits,
        loss: b.lm_loss,
        valid: b.valid,
        correct: b.correct,
        kind: train.loss,
        scale,
    })?;
    k.advance(&Advance {
        q: plan.q,
        steps: plan.steps,
        halted: plan.halted,
        max_steps: config.halt_max_steps,
        rule: config.halt_rule(),
        exploration: config.halt_exploration_prob,
    })?;
    let next_q = if config.halt_max_steps > 1 && !config.no_act_continue {
        bootstrap::next_q(k, plan, b)?;
        Some(b.next_q)
    } else {
        None
    };
    k.q_loss(&QLoss {
        q: plan.q,
        next_q,
        dq: b.dq,
        losses: b.q_losses,
        steps: plan.steps,
        valid: b.valid,
        correct: b.correct,
        max_steps: config.halt_max_steps,
        scale,
    })?;
    recurrence::backward(k, plan, b)
}

/// One whole training step. The caller has written the incoming rows.
///
/// # Errors
/// Those of the kernels.
pub fn train_step<K: TrainKernels>(
    k: &mut K,
    plan: &Plan,
    b: &BackwardPlan,
    train: &TrainConfig,
    scalars: &StepScalars,
) -> Result<(), K::Error> {
    k.begin_step(scalars)?;
    gradients(k, plan, b, train)?;
    update(k, plan, b, train)
}

/// The update of all parameters by the gradients that [`gradients`] left: the puzzle embedding first, then
/// everything else, as published, then the averages. A caller that wants to look at the losses first calls
/// [`TrainKernels::begin_step`], [`gradients`] and this in turn.
///
/// # Errors
/// Those of the kernels.
pub fn update<K: TrainKernels>(
    k: &mut K,
    plan: &Plan,
    b: &BackwardPlan,
    train: &TrainConfig,
) -> Result<(), K::Error> {
    if !plan.params.puzzle_emb.is_empty() {
        k.sign_sgd(plan.params.puzzle_emb, plan.current.puzzle_ids, b.dpuzzle, &train.puzzle_emb)?;
    }
    k.adam_atan2(plan.params.trained, &train.adam)?;
    match &train.average {
        Some(average) => k.average(plan.params.trained, average),
        None => Ok(()),
    }
}
