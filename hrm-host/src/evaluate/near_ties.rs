//! Rows that rounding could decide: where two programs that compute the same may count differently.

use serde::Serialize;

use super::sample::Example;
use super::walk::Row;

/// A row after an ACT step on which a small change of a logit would change what is counted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NearTie {
    /// The set, by its place in the dataset.
    pub set: usize,
    /// The example, by its place in the set.
    pub example: usize,
    /// The view.
    pub view: usize,
    /// The ACT step.
    pub step: usize,
    /// Whether it is solved after it.
    pub solved: bool,
    /// By how much logits would have to change for it to be solved, or not to be any more.
    pub logit_margin: f32,
    /// How far Q-halt and Q-continue are apart.
    pub q_margin: f32,
}

impl NearTie {
    /// `row`, if either margin is below `threshold`.
    #[must_use]
    pub fn find(row: &Row<'_>, example: Example, threshold: f32) -> Option<Self> {
        let (solved, logit_margin) = logit_margin(row.now.logits, row.labels);
        let q_margin = (row.now.q_halt - row.now.q_continue).abs();
        (logit_margin < threshold || q_margin < threshold).then_some(Self {
            set: example.set,
            example: example.example,
            view: row.view,
            step: row.now.step,
            solved,
            logit_margin,
            q_margin,
        })
    }
}

/// Whether every label has the largest logit of its cell, and by how much logits would have to change to change that:
/// if it has, the least lead of a label over the next token; if not, the most by which a label falls behind.
fn logit_margin(logits: &[f32], labels: &[i32]) -> (bool, f32) {
    let vocab = logits.len() / labels.len().max(1);
    let leads = logits
        .chunks_exact(vocab.max(1))
        .zip(labels)
        .filter_map(|(cell, &label)| lead(cell, usize::try_from(label).ok()?));
    let (mut solved, mut least) = (true, f32::INFINITY);
    for (lead, leads) in leads {
        solved &= leads;
        least = least.min(lead);
    }
    (solved, least.abs())
}

/// By how much the logit of `label` leads over the largest other logit of its cell, and whether it is the largest: of
/// equal ones the first is. None for a label outside the vocabulary.
pub(crate) fn lead(cell: &[f32], label: usize) -> Option<(f32, bool)> {
    let own = *cell.get(label)?;
    let others = cell.iter().enumerate().filter(|(token, _)| *token != label);
    let lead = others.map(|(token, &logit)| (own - logit, token > label)).min_by(|a, b| a.0.total_cmp(&b.0));
    lead.map(|(lead, first)| (lead, lead > 0.0 || (lead == 0.0 && first)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::RowStep;

    #[test]
    fn the_margin_is_that_of_the_cell_that_decides() {
        let logits = [0.0, 1.0, 0.75, 5.0, 2.0, 1.0];
        assert_eq!(logit_margin(&logits, &[1, 0]), (true, 0.25));
        assert_eq!(logit_margin(&logits, &[2, 0]), (false, 0.25));
        assert_eq!(logit_margin(&logits, &[2, 1]), (false, 3.0));
        assert_eq!(logit_margin(&logits, &[-100, 0]), (true, 3.0));
        assert_eq!(logit_margin(&[1.0, 1.0], &[0]), (true, 0.0));
        assert_eq!(logit_margin(&[1.0, 1.0], &[1]), (false, 0.0));
    }

    #[test]
    fn either_margin_counts() {
        let now = RowStep {
            puzzle: 0,
            step: 3,
            q_halt: 1.0,
            q_continue: 1.001,
            predictions: &[1],
            logits: &[0.0, 1.0],
            halted: false,
        };
        let row = Row { puzzle: 0, view: 0, now, labels: &[1] };
        let example = Example { set: 0, example: 7 };
        assert_eq!(NearTie::find(&row, example, 1e-4), None);
        let found = NearTie::find(&row, example, 0.01).unwrap();
        assert_eq!((found.example, found.step, found.solved, found.logit_margin), (7, 3, true, 1.0));
    }
}
