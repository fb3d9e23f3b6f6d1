//! How a model is asked: when a puzzle halts, which step's board is its answer, and how many views of it vote.

use hrm_core::config::Config;
use hrm_core::halting::{AlwaysMax, FixedSteps, HaltOnQ, HaltPolicy};
use serde::Serialize;

/// When a puzzle halts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Halt {
    /// At the maximum of ACT steps: the published evaluation.
    Max,
    /// When the model's own Q values say so, at the latest at the maximum.
    Q,
    /// After this many steps.
    Steps(usize),
}

/// Which step's board is the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The board of the last step: the published evaluation
    Last,
    /// The board with the highest Q-halt; of equals, the first
    BestQ,
}

impl Answer {
    /// Whether the board of a later step, with the Q-halt `new`, replaces the one kept so far, with `kept`.
    #[must_use]
    pub fn replaces(self, new: f32, kept: f32) -> bool {
        match self {
            Self::Last => true,
            Self::BestQ => new > kept || kept.is_nan(),
        }
    }

    /// The index of the answer among the steps with these values of Q-halt; 0 if there are none.
    #[must_use]
    pub fn pick(self, q_halt: impl IntoIterator<Item = f32>) -> usize {
        let mut kept: Option<(usize, f32)> = None;
        for (index, q) in q_halt.into_iter().enumerate() {
            if kept.is_none_or(|(_, best)| self.replaces(q, best)) {
                kept = Some((index, q));
            }
        }
        kept.map_or(0, |(index, _)| index)
    }
}

/// A setting of inference.
///
/// ```
/// use hrm_host::strategy::{Answer, Halt, Strategy};
/// let careful = Strategy { answer: Answer::BestQ, views: 8, ..Strategy::from(Halt::Q) };
/// assert_ne!(careful, Strategy::DEFAULT);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Strategy {
    /// When a row halts.
    pub halt: Halt,
    /// Which of its boards is its answer.
    pub answer: Answer,
    /// Symmetric views of the puzzle that vote, the puzzle as it is among them; 1 asks it alone.
    pub views: usize,
    /// ACT steps after which a row halts at the latest; `None` for the model's `halt_max_steps`. A halt after a number
    /// of steps does not look at it.
    pub max_steps: Option<usize>,
}

impl Strategy {
    /// What the published program evaluates: the last board, after the maximum of steps.
    pub const PUBLISHED: Self = Self { halt: Halt::Max, answer: Answer::Last, views: 1, max_steps: None };

    /// What `hrm solve` does unless it is told otherwise: each row stops where its own Q says so, and of the boards that
    /// it has seen the one that Q thought best is the answer. It costs no more steps than the published evaluation, and
    /// `docs/evaluation.md` has the table by which it was chosen.
    pub const DEFAULT: Self = Self { halt: Halt::Q, answer: Answer::BestQ, views: 1, max_steps: None };

    /// The halting policy for a model of `config`.
    #[must_use]
    pub fn policy(&self, config: &Config) -> Box<dyn HaltPolicy> {
        let max_steps = self.most_steps(config);
        match self.halt {
            Halt::Max => Box::new(AlwaysMax { max_steps }),
            Halt::Q => Box::new(HaltOnQ { max_steps, rule: config.halt_rule() }),
            Halt::Steps(steps) => Box::new(FixedSteps(steps)),
        }
    }

    /// ACT steps that a view takes at most, with a model of `config`.
    #[must_use]
    pub fn most_steps(&self, config: &Config) -> usize {
        match self.halt {
            Halt::Steps(steps) => steps.max(1),
            Halt::Max | Halt::Q => self.max_steps.unwrap_or(config.halt_max_steps),
        }
    }
}

impl From<Halt> for Strategy {
    /// One view and its last board.
    fn from(halt: Halt) -> Self {
        Self { halt, ..Self::PUBLISHED }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_the_first_of_equals_and_the_last_is_the_last() {
        assert_eq!(Answer::BestQ.pick([-1.0, 2.0, 2.0, 1.0]), 1);
        assert_eq!(Answer::Last.pick([-1.0, 2.0, 2.0, 1.0]), 3);
        assert_eq!(Answer::BestQ.pick([f32::NAN, -7.0, f32::NAN]), 1);
        assert_eq!(Answer::BestQ.pick([]), 0);
    }

    #[test]
    fn a_maximum_of_its_own_replaces_the_model_s() {
        let config = Config { halt_max_steps: 16, ..Config::SUDOKU_EXTREME };
        assert_eq!(Strategy::DEFAULT.most_steps(&config), 16);
        assert_eq!(Strategy { max_steps: Some(40), ..Strategy::DEFAULT }.most_steps(&config), 40);
        assert_eq!(Strategy { max_steps: Some(40), ..Halt::Steps(0).into() }.most_steps(&config), 1);
    }
}
