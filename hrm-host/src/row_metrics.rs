//! The published metrics: what one row contributes after an ACT step, summed over rows and reduced as the
//! published program reports them.
//!
//! Counts and accuracies look only at rows that halt and have at least one label; losses look at all rows.

use hrm_core::halting::{PublishedQ, Q_LOSS_WEIGHT, QLearning, solved};
use hrm_core::kernels::{Memory, Region};
use hrm_core::loss::{LossKind, TokenLoss, argmax};
use hrm_core::plan::{BackwardPlan, Plan};
use serde::{Deserialize, Serialize};

/// What became of one row in one ACT step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RowOutcome {
    /// Whether the row halts after this step.
    pub halted: bool,
    /// ACT steps the row has done, this one included.
    pub steps: i32,
    /// Labels that are not ignored.
    pub valid: i32,
    /// Correct predictions among them.
    pub correct: i32,
    /// Logit of halting.
    pub q_halt: f64,
    /// Token loss: mean cross-entropy over the labels that are not ignored, in nats.
    pub lm_loss: f64,
    /// Binary cross-entropy of the halting value.
    pub q_halt_loss: f64,
    /// Binary cross-entropy of the value of going on; 0 where it has no target.
    pub q_continue_loss: f64,
}

impl RowOutcome {
    /// The outcome of a row that the published evaluation sees: logits `[seq_len, vocab]` of the row's cells,
    /// its labels, and the logit of halting. There is no target for going on. A label outside the vocabulary
    /// counts as one that is not predicted and has no loss.
    #[must_use]
    pub fn evaluated(
        logits: &[f32],
        labels: &[i32],
        kind: LossKind,
        q_halt: f32,
        steps: i32,
        halted: bool,
    ) -> Self {
        let vocab = logits.len() / labels.len().max(1);
        let (mut valid, mut correct, mut sum) = (0, 0, 0.0);
        for (cell, label) in logits.chunks_exact(vocab.max(1)).zip(labels) {
            let Ok(label) = usize::try_from(*label) else { continue };
            valid += 1;
            if label < vocab {
                sum += kind.loss(cell, label);
                correct += i32::from(argmax(cell) == label);
            }
        }
        let q_halt = f64::from(q_halt);
        let losses = PublishedQ.losses([q_halt, 0.0], solved(correct, valid), None);
        Self {
            halted,
            steps,
            valid,
            correct,
            q_halt,
            lm_loss: sum / f64::from(valid.max(1)),
            q_halt_loss: losses.halt,
            q_continue_loss: 0.0,
        }
    }
}

/// The outcomes of all rows of the training step that was just done.
///
/// # Errors
/// Those of the backend's memory.
pub fn trained_rows<M: Memory>(
    memory: &mut M,
    plan: &Plan,
    backward: &BackwardPlan,
) -> Result<Vec<RowOutcome>, M::Error> {
    let batch = plan.batch;
    let mut stats = |offset, len| {
        let mut values = vec![0.0f32; len];
        memory.read(Region::Stats, offset, &mut values).map(|()| values)
    };
    let q = stats(plan.q.offset, 2 * batch)?;
    let lm_loss = stats(backward.lm_loss.offset, batch)?;
    let q_losses = stats(backward.q_losses.offset, 2 * batch)?;
    let mut ids = |offset| {
        let mut values = vec![0; batch];
        memory.read_ids(offset, &mut values).map(|()| values)
    };
    let (halted, steps) = (ids(plan.halted.offset)?, ids(plan.steps.offset)?);
    let (valid, correct) = (ids(backward.valid.offset)?, ids(backward.correct.offset)?);
    Ok((0..batch)
        .map(|b| RowOutcome {
            halted: halted[b] != 0,
            steps: steps[b],
            valid: valid[b],
            correct: correct[b],
            q_halt: f64::from(q[2 * b]),
            lm_loss: f64::from(lm_loss[b]),
            q_halt_loss: f64::from(q_losses[2 * b]),
            q_continue_loss: f64::from(q_losses[2 * b + 1]),
        })
        .collect())
}

/// Sums over rows, under the published names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricSums {
    /// Rows that halted with at least one label.
    pub count: f64,
    /// Their shares of correct cells.
    pub accuracy: f64,
    /// Rows among them whose every label is predicted.
    pub exact_accuracy: f64,
    /// Rows among them whose Q head was right: `q_halt >= 0` exactly when the row is solved.
    pub q_halt_accuracy: f64,
    /// Their ACT steps.
    pub steps: f64,
    /// Token losses of all rows.
    pub lm_loss: f64,
    /// Halting losses of all rows.
    pub q_halt_loss: f64,
    /// Losses of going on, of all rows.
    pub q_continue_loss: f64,
}

impl MetricSums {
    /// The sums over `rows`.
    #[must_use]
    pub fn of(rows: &[RowOutcome]) -> Self {
        let mut sums = Self::default();
        rows.iter().for_each(|row| sums.add(row));
        sums
    }

    /// Adds a row.
    pub fn add(&mut self, row: &RowOutcome) {
        self.lm_loss += row.lm_loss;
        self.q_halt_loss += row.q_halt_loss;
        self.q_continue_loss += row.q_continue_loss;
        if !row.halted || row.valid == 0 {
            return;
        }
        let is_solved = solved(row.correct, row.valid);
        self.count += 1.0;
        self.accuracy += f64::from(row.correct) / f64::from(row.valid);
        self.exact_accuracy += f64::from(u8::from(is_solved));
        self.q_halt_accuracy += f64::from(u8::from((row.q_halt >= 0.0) == is_solved));
        self.steps += f64::from(row.steps);
    }

    /// Adds the sums of other rows.
    pub fn merge(&mut self, other: &Self) {
        let [mine, others] = [self.named(), other.named()];
        *self = Self::from_values(std::array::from_fn(|i| mine[i].1 + others[i].1));
    }

    /// Every sum times `factor`.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        Self::from_values(self.named().map(|(_, value)| value * factor))
    }

    /// The loss that is trained: `lm_loss + (q_halt_loss + q_continue_loss) / 2`.
    #[must_use]
    pub fn loss(&self) -> f64 {
        self.lm_loss + Q_LOSS_WEIGHT * (self.q_halt_loss + self.q_continue_loss)
    }

    /// As the published training reports a step: losses divided by `batch` (the global batch size), everything
    /// else by the rows counted. Without such rows these are 0.
    #[must_use]
    pub fn reduced(&self, batch: usize) -> Self {
        self.divided(self.count.max(1.0), batch.max(1) as f64)
    }

    /// As the published evaluation reports a dataset: everything, losses included, divided by the rows counted.
    #[must_use]
    pub fn reduced_by_count(&self) -> Self {
        self.divided(self.count.max(1.0), self.count.max(1.0))
    }

    fn divided(&self, count: f64, batch: f64) -> Self {
        Self {
            count: self.count / count,
            accuracy: self.accuracy / count,
            exact_accuracy: self.exact_accuracy / count,
            q_halt_accuracy: self.q_halt_accuracy / count,
            steps: self.steps / count,
            lm_loss: self.lm_loss / batch,
            q_halt_loss: self.q_halt_loss / batch,
            q_continue_loss: self.q_continue_loss / batch,
        }
    }

    /// Every sum with its published name.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, f64); 8] {
        [
            ("count", self.count),
            ("accuracy", self.accuracy),
            ("exact_accuracy", self.exact_accuracy),
            ("q_halt_accuracy", self.q_halt_accuracy),
            ("steps", self.steps),
            ("lm_loss", self.lm_loss),
            ("q_halt_loss", self.q_halt_loss),
            ("q_continue_loss", self.q_continue_loss),
        ]
    }

    /// The inverse of [`named`](Self::named), by position.
    const fn from_values(values: [f64; 8]) -> Self {
        let [count, accuracy, exact_accuracy, q_halt_accuracy, steps, lm_loss, q_halt_loss, q_continue_loss] =
            values;
        Self {
            count,
            accuracy,
            exact_accuracy,
            q_halt_accuracy,
            steps,
            lm_loss,
            q_halt_loss,
            q_continue_loss,
        }
    }
}

impl Extend<RowOutcome> for MetricSums {
    fn extend<I: IntoIterator<Item = RowOutcome>>(&mut self, rows: I) {
        rows.into_iter().for_each(|row| self.add(&row));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> RowOutcome {
        RowOutcome { halted: true, steps: 3, valid: 4, correct: 4, q_halt: 0.0, ..RowOutcome::default() }
    }

    #[test]
    fn only_halted_rows_with_labels_count() {
        let mut sums = MetricSums::default();
        sums.extend([
            row(),
            RowOutcome { correct: 1, q_halt: 2.0, lm_loss: 8.0, ..row() },
            RowOutcome { halted: false, lm_loss: 1.0, ..row() },
            RowOutcome { valid: 0, correct: 0, q_halt_loss: 4.0, ..row() },
        ]);
        assert_eq!((sums.count, sums.accuracy, sums.exact_accuracy), (2.0, 1.25, 1.0));
        assert_eq!((sums.q_halt_accuracy, sums.steps), (1.0, 6.0));
        assert_eq!(sums.loss(), 11.0);
        let report = sums.reduced(4);
        assert_eq!((report.count, report.accuracy, report.steps), (1.0, 0.625, 3.0));
        assert_eq!((report.lm_loss, report.q_halt_loss), (2.25, 1.0));
        assert_eq!(sums.reduced_by_count().lm_loss, 4.5);
    }

    #[test]
    fn merging_adds_every_sum() {
        let mut sums = MetricSums::default();
        sums.add(&RowOutcome { lm_loss: 1.0, q_halt_loss: 2.0, q_continue_loss: 3.0, ..row() });
        let once = sums;
        sums.merge(&once);
        for ((name, twice), (_, once)) in sums.named().into_iter().zip(once.named()) {
            assert_eq!(twice, 2.0 * once, "{name}");
        }
    }

    #[test]
    fn an_empty_report_is_zero() {
        assert_eq!(MetricSums::default().reduced(8), MetricSums::default());
    }

    #[test]
    fn evaluation_ignores_negative_labels() {
        let logits = [0.0, 9.0, 0.0, 9.0, 0.0, 0.0];
        let row = RowOutcome::evaluated(&logits, &[1, -100], LossKind::Softmax, 1.0, 2, true);
        assert_eq!((row.valid, row.correct), (1, 1));
        assert!((row.lm_loss - (1.0 + 2.0 * (-9.0f64).exp()).ln()).abs() < 1e-12);
    }
}
