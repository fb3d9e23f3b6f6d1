//! Losses with their cotangents, and the decision to halt.

use super::Rounding;
use crate::backend::operands::{Error, at, at_mut, row, split};
use crate::halting::{ActStep, Exploring, HaltPolicy};
use crate::halting::{PublishedQ, QLearning, solved};
use crate::kernels::{Advance, LmLoss, QLoss};
use crate::loss::{TokenLoss, argmax};
use crate::optim::StepScalars;
use crate::scalar::Scalar;

pub(super) fn lm_loss<T: Scalar>(
    op: &LmLoss,
    rounding: Rounding,
    acts: &mut [T],
    stats: &mut [T],
    ids: &mut [i32],
) -> Result<(), Error> {
    let [dlogits, logits] = split(acts, [op.dlogits.range(), op.logits.range()])?;
    let [labels, valid, correct] = split(ids, [op.labels.range(), op.valid.range(), op.correct.range()])?;
    let losses = at_mut(stats, op.loss)?;
    let (vocab, seq_len) = (op.logits.cols, op.labels.cols);
    let positions = op.logits.rows / op.labels.rows.max(1);
    let prefix = (positions - seq_len) * vocab;
    dlogits.fill(T::ZERO);
    for (b, labels) in labels.chunks_exact(seq_len).enumerate() {
        let logits = &logits[b * positions * vocab..][prefix..positions * vocab];
        let dlogits = &mut dlogits[b * positions * vocab..][prefix..positions * vocab];
        valid[b] = labels.iter().filter(|label| **label >= 0).count() as i32;
        correct[b] = 0;
        let share = 1.0 / f64::from(valid[b].max(1));
        let mut sum = 0.0;
        let cells = logits.chunks_exact(vocab).zip(dlogits.chunks_exact_mut(vocab)).zip(labels);
        for ((logits, dlogits), &label) in cells.filter(|(_, label)| **label >= 0) {
            let target = row("label", label, vocab)?;
            sum += op.kind.loss_and_gradient(logits, target, op.scale * share, dlogits);
            correct[b] += i32::from(argmax(logits) == target);
            dlogits.iter_mut().for_each(|x| *x = rounding.apply(*x));
        }
        losses[b] = T::from_f64(sum * share);
    }
    Ok(())
}

pub(super) fn q_loss<T: Scalar>(op: &QLoss, stats: &mut [T], ids: &[i32]) -> Result<(), Error> {
    let (steps, valid, correct) = (at(ids, op.steps)?, at(ids, op.valid)?, at(ids, op.correct)?);
    for b in 0..op.q.rows {
        let pair = |stats: &[T], offset: usize| -> Result<[f64; 2], Error> {
            let pair = stats.get(offset + 2 * b..offset + 2 * b + 2).ok_or(Error::Span)?;
            Ok([pair[0].to_f64(), pair[1].to_f64()])
        };
        let q = pair(stats, op.q.offset)?;
        let last = steps[b] as usize >= op.max_steps;
        let target = match op.next_q {
            Some(next) => Some(PublishedQ.target(last, pair(stats, next.offset)?)),
            None => None,
        };
        let losses = PublishedQ.losses(q, solved(correct[b], valid[b]), target);
        let results =
            [(op.losses, [losses.halt, losses.cont]), (op.dq, losses.gradient.map(|x| x * op.scale))];
        for (span, values) in results {
            at_mut(stats, span)?[2 * b..2 * b + 2].copy_from_slice(&values.map(T::from_f64));
        }
    }
    Ok(())
}

pub(super) fn advance<T: Scalar>(
    op: &Advance,
    scalars: &StepScalars,
    stats: &[T],
    ids: &mut [i32],
) -> Result<(), Error> {
    let q = at(stats, op.q)?;
    let [steps, halted] = split(ids, [op.steps.range(), op.halted.range()])?;
    let policy = Exploring {
        max_steps: op.max_steps,
        rule: op.rule,
        exploration: op.exploration,
        seed: scalars.seed,
        train_step: scalars.step,
    };
    for (row, ((steps, halted), q)) in steps.iter_mut().zip(halted).zip(q.chunks_exact(2)).enumerate() {
        *steps = if *halted != 0 { 1 } else { *steps + 1 };
        let step = ActStep { row, step: *steps as usize, q_halt: q[0].to_f32(), q_continue: q[1].to_f32() };
        *halted = i32::from(policy.halts(&step));
    }
    Ok(())
}
