//! Counts in bf16, as far as the logits decide them: the rule is in [the parent module](super).

use hrm_core::loss::argmax;

use super::Error;
use super::file::File;
use super::judge::FACTOR;
use crate::evaluate::lead;
use crate::row_metrics::{MetricSums, RowOutcome};

/// What counts follow from.
pub(super) struct Outputs {
    /// `[batch, seq_len, vocab]`.
    pub(super) logits: Vec<f32>,
    /// `[batch]`.
    pub(super) q_halt: Vec<f32>,
}

impl Outputs {
    /// Numbers that are exact in f32.
    pub(super) fn new(logits: &[f64], q_halt: &[f64]) -> Self {
        let exact = |values: &[f64]| values.iter().map(|x| *x as f32).collect();
        Self { logits: exact(logits), q_halt: exact(q_halt) }
    }

    /// Those of a file, logits of the given shape.
    pub(super) fn read(file: &File, prefix: &str, shape: [usize; 3]) -> Result<Self, Error> {
        let read = |name: &str, shape: &[usize]| file.f32s(&format!("{prefix}out.{name}"), shape);
        Ok(Self { logits: read("logits", &shape)?, q_halt: read("q_halt_logits", &shape[..1])? })
    }
}

/// Decides by the f32 run what the bf16 error of the published run leaves decided.
pub(super) struct Decided<'a> {
    /// The published program's f32 run.
    pub(super) exact: &'a Outputs,
    /// Its bf16 run.
    pub(super) upstream: &'a Outputs,
    /// `[batch, seq_len]`.
    pub(super) labels: &'a [i32],
}

impl Decided<'_> {
    /// The counts that a run with the outputs `own` must arrive at: by the f32 run where that decides, elsewhere by
    /// `own`. Of `rows` it takes which halted, and after how many steps.
    pub(super) fn sums(&self, rows: &[RowOutcome], own: &Outputs) -> MetricSums {
        let Outputs { logits, q_halt } = self.exact;
        let (cells, numbers) = (self.labels.len() / rows.len(), logits.len() / rows.len());
        let near_zero = FACTOR * rms_distance(&self.upstream.q_halt, q_halt);
        let outcome = |(b, row): (usize, &RowOutcome)| {
            let labels = &self.labels[b * cells..][..cells];
            let [exact, upstream, own_logits] =
                [logits, &self.upstream.logits, &own.logits].map(|x| &x[b * numbers..][..numbers]);
            // Both logits of a lead may be off.
            let near_tie = 2.0 * FACTOR * rms_distance(upstream, exact);
            let open = f64::from(q_halt[b].abs()) <= near_zero;
            let q = if open { own.q_halt[b] } else { q_halt[b] };
            RowOutcome {
                valid: labels.iter().filter(|label| **label >= 0).count() as i32,
                correct: correct(exact, own_logits, labels, near_tie),
                q_halt: f64::from(q),
                ..*row
            }
        };
        MetricSums::of(&rows.iter().enumerate().map(outcome).collect::<Vec<_>>())
    }
}

/// The right cells of a row: by the `exact` logits `[seq_len, vocab]` where the label leads or falls behind by more than
/// `near_tie`, elsewhere by `own`.
fn correct(exact: &[f32], own: &[f32], labels: &[i32], near_tie: f64) -> i32 {
    let vocab = exact.len() / labels.len();
    let cells = exact.chunks_exact(vocab).zip(own.chunks_exact(vocab)).zip(labels);
    let right = cells.filter(|((exact, own), label)| {
        let Ok(label) = usize::try_from(**label) else { return false };
        // What is not a number leaves nothing open.
        match lead(exact, label) {
            Some((lead, _)) if f64::from(lead.abs()) <= near_tie => argmax(own) == label,
            Some((_, leads)) => leads,
            None => argmax(own) == label,
        }
    });
    right.count() as i32
}

/// Root mean square of the difference.
fn rms_distance(a: &[f32], b: &[f32]) -> f64 {
    let squares = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
    (squares.sum::<f64>() / a.len() as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first cell leads by 0.125, the second by 4, the third falls behind by 4; the label of the last is ignored.
    const EXACT: [f32; 8] = [0.125, 0.0, 4.0, 0.0, 0.0, 4.0, 0.0, 0.0];
    const LABELS: [i32; 4] = [0, 0, 0, -100];
    /// Off by 1/16 everywhere, so a lead of up to 1/4 decides nothing, nor a Q value of up to 1/8.
    const OFF: f32 = 0.0625;

    /// Whether a run of one halted row with these outputs passes, Q head `q` in f32 and `own_q` in the run.
    fn passes(own: [f32; 8], [q, own_q]: [f32; 2]) -> bool {
        let outputs = |logits: [f32; 8], q: f32| Outputs { logits: logits.into(), q_halt: vec![q] };
        let (exact, upstream) = (outputs(EXACT, q), outputs(EXACT.map(|x| x + OFF), q + OFF));
        let rule = Decided { exact: &exact, upstream: &upstream, labels: &LABELS };
        let right =
            own.chunks(2).zip(LABELS).filter(|(cell, label)| *label >= 0 && cell[0] >= cell[1]).count();
        let row = RowOutcome {
            halted: true,
            steps: 2,
            valid: 3,
            correct: right as i32,
            q_halt: f64::from(own_q),
            ..RowOutcome::default()
        };
        rule.sums(&[row], &outputs(own, own_q)) == MetricSums::of(&[row])
    }

    /// `EXACT` with the logits of some cells the other way round.
    fn flipped<const N: usize>(cells: [usize; N]) -> [f32; 8] {
        let mut logits = EXACT;
        cells.into_iter().for_each(|cell| logits.swap(2 * cell, 2 * cell + 1));
        logits
    }

    #[test]
    fn only_an_undecided_cell_may_fall_the_other_way() {
        let q = [1.0, 1.0];
        assert!(passes(EXACT, q));
        assert!(passes(flipped([0]), q));
        assert!(passes(flipped([3]), q));
        for decided in [1, 2] {
            assert!(!passes(flipped([decided]), q), "cell {decided}");
            assert!(!passes(flipped([0, decided]), q), "cell {decided} beside the undecided one");
        }
    }

    #[test]
    fn only_an_undecided_q_may_change_its_sign() {
        assert!(passes(EXACT, [0.1, -0.05]));
        assert!(passes(EXACT, [-0.1, 0.05]));
        assert!(!passes(EXACT, [0.2, -0.05]));
        assert!(!passes(EXACT, [-0.2, 0.05]));
    }

    #[test]
    fn an_undecided_cell_decides_its_row_only_if_all_others_are_right() {
        let near_tie = 0.25;
        let (solved, lost) = ([0.125, 0.0, 4.0, 0.0], [0.0, 0.125, 4.0, 0.0]);
        assert_eq!(correct(&solved, &solved, &[0, 0], near_tie), 2);
        assert_eq!(correct(&solved, &lost, &[0, 0], near_tie), 1);
        assert_eq!(correct(&solved, &lost, &[0, 1], near_tie), 0);
    }

    #[test]
    fn another_rows_undecided_cell_excuses_nothing() {
        // Two rows of one cell: a near tie, and a clear lead.
        let exact = Outputs::new(&[0.125, 0.0, 4.0, 0.0], &[1.0, 1.0]);
        let upstream = Outputs::new(&[0.1875, 0.0625, 4.0625, 0.0625], &[1.0, 1.0]);
        let rule = Decided { exact: &exact, upstream: &upstream, labels: &[0, 0] };
        let row = |correct| RowOutcome { halted: true, valid: 1, correct, ..RowOutcome::default() };
        let passes = |own: [f64; 4], correct: [i32; 2]| {
            let rows = correct.map(row);
            let expected = rule.sums(&rows, &Outputs::new(&own, &[1.0, 1.0]));
            expected.accuracy == MetricSums::of(&rows).accuracy
        };
        assert!(passes([0.0, 0.125, 4.0, 0.0], [0, 1]));
        assert!(!passes([0.125, 0.0, 0.0, 4.0], [1, 0]));
    }
}
