//! Votes for answers: whose answers they are, and in which order they come in, does not matter.

use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Who wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The answer with the most trust: each vote weighs `sigmoid(q_halt)`, the model's own probability of being right.
    Trust,
    /// The answer with the most votes and, of equals, with the highest mean trust: the published rule for ARC.
    Votes,
}

/// What speaks for an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Support {
    /// Votes for it.
    pub votes: u64,
    /// Their weights, each a multiple of 2^-40, so that their sum does not depend on their order.
    trust: u64,
    /// The highest Q-halt among them.
    pub strongest: f32,
}

/// One, as a weight.
const ONE: f64 = (1u64 << 40) as f64;

impl Support {
    /// The sum of `sigmoid(q_halt)` over its votes.
    #[must_use]
    pub fn trust(&self) -> f64 {
        self.trust as f64 / ONE
    }

    /// Greater is stronger.
    fn compare(&self, other: &Self, rule: Rule) -> Ordering {
        // Where the weights round to the same, as those of hopeless answers do, the logits still differ.
        let strongest = self.strongest.total_cmp(&other.strongest);
        match rule {
            Rule::Trust => self.trust.cmp(&other.trust).then(strongest),
            Rule::Votes => {
                let mean = |it: &Self, votes: u64| u128::from(it.trust) * u128::from(votes);
                let means = mean(self, other.votes).cmp(&mean(other, self.votes));
                self.votes.cmp(&other.votes).then(means).then(strongest)
            }
        }
    }
}

/// Answers and what speaks for each.
///
/// ```
/// use hrm_host::vote::{Ballot, Rule};
/// let mut ballot = Ballot::default();
/// for (answer, q_halt) in [("a", 0.1), ("b", 2.0), ("a", 0.2)] {
///     ballot.cast(answer, q_halt);
/// }
/// assert_eq!(ballot.ranked(Rule::Trust)[0].0, "a");
/// ```
#[derive(Clone, Debug)]
pub struct Ballot<B> {
    answers: BTreeMap<B, Support>,
}

impl<B> Default for Ballot<B> {
    fn default() -> Self {
        Self { answers: BTreeMap::new() }
    }
}

impl<B: Ord> Ballot<B> {
    /// Counts a vote with the logit of halting that came with the answer. At most 2^23 votes.
    pub fn cast(&mut self, answer: B, q_halt: f32) {
        let q_halt = if q_halt.is_nan() { f32::NEG_INFINITY } else { q_halt };
        let weight = (ONE / (1.0 + f64::from(-q_halt).exp())).round() as u64;
        let none = Support { votes: 0, trust: 0, strongest: f32::NEG_INFINITY };
        let support = self.answers.entry(answer).or_insert(none);
        support.votes += 1;
        support.trust = support.trust.saturating_add(weight);
        support.strongest = support.strongest.max(q_halt);
    }

    /// The answers, the winner first; of those that nothing tells apart, the smallest in their own order first.
    #[must_use]
    pub fn ranked(self, rule: Rule) -> Vec<(B, Support)> {
        let mut ranked: Vec<(B, Support)> = self.answers.into_iter().collect();
        ranked.sort_by(|(_, a), (_, b)| b.compare(a, rule));
        ranked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn winner(votes: &[(u8, f32)], rule: Rule) -> u8 {
        ranked(votes, rule)[0].0
    }

    fn ranked(votes: &[(u8, f32)], rule: Rule) -> Vec<(u8, Support)> {
        let mut ballot = Ballot::default();
        votes.iter().for_each(|&(answer, q)| ballot.cast(answer, q));
        ballot.ranked(rule)
    }

    #[test]
    fn trust_outweighs_numbers_and_numbers_outweigh_trust() {
        let votes = [(1, -4.0), (1, -4.0), (2, 3.0)];
        assert_eq!((winner(&votes, Rule::Trust), winner(&votes, Rule::Votes)), (2, 1));
        let even = [(1, -1.0), (2, 1.0), (1, -1.0), (2, 1.0)];
        assert_eq!(winner(&even, Rule::Votes), 2);
    }

    #[test]
    fn trust_is_a_sum_of_probabilities() {
        let support = ranked(&[(1, 0.0), (1, 0.0), (1, f32::INFINITY), (1, f32::NAN)], Rule::Trust)[0].1;
        assert_eq!((support.votes, support.trust(), support.strongest), (4, 2.0, f32::INFINITY));
    }

    #[test]
    fn hopeless_answers_are_told_apart_and_equal_ones_go_by_their_order() {
        assert_eq!(winner(&[(1, -90.0), (2, -80.0)], Rule::Trust), 2);
        assert_eq!(winner(&[(9, 1.0), (3, 1.0)], Rule::Trust), 3);
        assert_eq!(winner(&[(9, f32::NAN), (3, f32::NAN)], Rule::Votes), 3);
    }

    proptest! {
        #[test]
        fn the_order_of_votes_does_not_matter(
            (votes, shuffled) in proptest::collection::vec((0u8..6, -30f32..30.0), 1..64)
                .prop_flat_map(|votes| (Just(votes.clone()), Just(votes).prop_shuffle())),
        ) {
            for rule in [Rule::Trust, Rule::Votes] {
                prop_assert_eq!(ranked(&votes, rule), ranked(&shuffled, rule));
            }
        }
    }
}
