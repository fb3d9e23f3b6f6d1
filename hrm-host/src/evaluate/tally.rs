//! Sums over puzzles, and the means and intervals that they come to.

use serde::Serialize;

use super::interval::Interval;
use crate::row_metrics::{MetricSums, RowOutcome};

/// Means over puzzles.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Means {
    /// Puzzles with at least one label.
    pub puzzles: u64,
    /// Share of cells that are right, averaged over puzzles.
    pub accuracy: f64,
    /// Puzzles that are right in every cell.
    pub solved: u64,
    /// Share of puzzles that are right in every cell.
    pub exact_accuracy: f64,
    /// Share of puzzles whose answer keeps the rules of the task, whether it is the label or not; see
    /// [`lawful`](super::laws::lawful). `None` where a task has no rules that are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lawful: Option<f64>,
    /// Share of puzzles whose Q-halt says correctly whether they are solved.
    pub q_halt_accuracy: f64,
    /// Mean ACT steps of a puzzle, all its views together.
    pub steps: f64,
    /// Mean token loss of a puzzle, in nats per cell.
    pub lm_loss: f64,
    /// Mean Q-halt loss of a puzzle.
    pub q_halt_loss: f64,
    /// 95% confidence intervals, if the puzzles are a random sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval95: Option<Intervals>,
}

/// 95% confidence intervals of [`Means`]: Wilson's for proportions, that of the standard error for other means. The
/// sample is taken as one of endlessly many puzzles; a stratified one is a little better than they say.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[expect(missing_docs, reason = "each field is the interval of the mean of the same name")]
pub struct Intervals {
    pub accuracy: Interval,
    pub exact_accuracy: Interval,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lawful: Option<Interval>,
    pub q_halt_accuracy: Interval,
    pub steps: Interval,
    pub lm_loss: Interval,
    pub q_halt_loss: Interval,
}

/// Sums over puzzles.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    sums: MetricSums,
    /// Sums of squares of cell accuracy, steps, token loss and Q-halt loss.
    squares: [f64; 4],
    lawful: f64,
    judged: f64,
}

impl Tally {
    /// Adds a puzzle by what became of it, and whether its answer is lawful, where that is known.
    pub fn add(&mut self, outcome: &RowOutcome, lawful: Option<bool>) {
        let outcome = RowOutcome { halted: true, ..*outcome };
        self.sums.add(&outcome);
        if outcome.valid > 0 {
            let accuracy = f64::from(outcome.correct) / f64::from(outcome.valid);
            let values = [accuracy, f64::from(outcome.steps), outcome.lm_loss, outcome.q_halt_loss];
            self.squares.iter_mut().zip(values).for_each(|(sum, value)| *sum += value * value);
        }
        self.judged += f64::from(u8::from(lawful.is_some()));
        self.lawful += f64::from(u8::from(lawful == Some(true)));
    }

    /// What they come to; with intervals if the puzzles are a `random` sample.
    #[must_use]
    pub fn means(&self, random: bool) -> Means {
        let sums = &self.sums;
        let means = sums.reduced_by_count();
        let any = self.judged > 0.0;
        let wilson = |successes| Interval::wilson(successes, sums.count);
        let mean = |sum, squares| Interval::mean(sum, squares, sums.count);
        let [accuracy, steps, lm_loss, q_halt_loss] = self.squares;
        let intervals = || Intervals {
            accuracy: mean(sums.accuracy, accuracy),
            exact_accuracy: wilson(sums.exact_accuracy),
            lawful: any.then(|| Interval::wilson(self.lawful, self.judged)),
            q_halt_accuracy: wilson(sums.q_halt_accuracy),
            steps: mean(sums.steps, steps),
            lm_loss: mean(sums.lm_loss, lm_loss),
            q_halt_loss: mean(sums.q_halt_loss, q_halt_loss),
        };
        Means {
            puzzles: sums.count as u64,
            accuracy: means.accuracy,
            solved: sums.exact_accuracy as u64,
            exact_accuracy: means.exact_accuracy,
            lawful: any.then_some(self.lawful / self.judged),
            q_halt_accuracy: means.q_halt_accuracy,
            steps: means.steps,
            lm_loss: means.lm_loss,
            q_halt_loss: means.q_halt_loss,
            interval95: random.then(intervals),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lawful_answers_are_counted_among_those_that_can_be_judged() {
        let mut tally = Tally::default();
        let row = RowOutcome { steps: 3, valid: 4, correct: 4, q_halt: 1.0, ..RowOutcome::default() };
        tally.add(&row, Some(true));
        tally.add(&RowOutcome { correct: 2, steps: 5, ..row }, Some(false));
        let means = tally.means(true);
        assert_eq!((means.puzzles, means.solved, means.lawful), (2, 1, Some(0.5)));
        assert_eq!((means.accuracy, means.steps), (0.75, 4.0));
        let intervals = means.interval95.unwrap();
        assert_eq!(intervals.exact_accuracy, Interval::wilson(1.0, 2.0));
        assert!(intervals.steps.0 < 4.0 && 4.0 < intervals.steps.1);
        assert_eq!(Tally::default().means(false), Means::default());
    }
}
