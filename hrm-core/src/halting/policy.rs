//! Adaptive computation time: when a row halts (paper, section 2, "Adaptive computational time").

use crate::config::Config;
use crate::rng::{Stream, philox4x32};

/// What a policy may look at after an ACT step of one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ActStep {
    /// Position of the row in the batch.
    pub row: usize,
    /// ACT steps this row has done, this one included: 1 after the first.
    pub step: usize,
    /// Logit of halting.
    pub q_halt: f32,
    /// Logit of going on.
    pub q_continue: f32,
}

/// Decides after each ACT step whether a row halts.
pub trait HaltPolicy {
    /// Whether the row halts now. A policy must halt every row at some step.
    fn halts(&self, step: &ActStep) -> bool;
}

impl<P: HaltPolicy + ?Sized> HaltPolicy for &P {
    fn halts(&self, step: &ActStep) -> bool {
        (**self).halts(step)
    }
}

/// Always goes on to the maximum: the published evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlwaysMax {
    /// `halt_max_steps` of the model.
    pub max_steps: usize,
}

impl HaltPolicy for AlwaysMax {
    fn halts(&self, step: &ActStep) -> bool {
        step.step >= self.max_steps
    }
}

/// When the Q values say that a row is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HaltRule {
    /// `q_halt > q_continue`: HRM.
    Larger,
    /// `q_halt > 0`, more likely right than wrong: TRM, which learns no value of going on (`no_ACT_continue`).
    Positive,
}

impl HaltRule {
    /// What `q_halt` must exceed.
    #[must_use]
    pub const fn threshold(self, q_continue: f32) -> f32 {
        match self {
            Self::Larger => q_continue,
            Self::Positive => 0.0,
        }
    }
}

impl Config {
    /// When a row halts by its Q values.
    #[must_use]
    pub const fn halt_rule(&self) -> HaltRule {
        if self.no_act_continue { HaltRule::Positive } else { HaltRule::Larger }
    }
}

/// Halts when the model says so, at the latest after `max_steps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HaltOnQ {
    /// Steps after which a row halts whatever its Q values.
    pub max_steps: usize,
    /// When the Q values say that it is done.
    pub rule: HaltRule,
}

impl HaltOnQ {
    /// The rule and the maximum that a model was trained with.
    #[must_use]
    pub const fn of(config: &Config) -> Self {
        Self { max_steps: config.halt_max_steps, rule: config.halt_rule() }
    }
}

impl HaltPolicy for HaltOnQ {
    fn halts(&self, step: &ActStep) -> bool {
        step.step >= self.max_steps || step.q_halt > self.rule.threshold(step.q_continue)
    }
}

/// Halts after a fixed number of steps, which may exceed the training maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedSteps(
    /// The number of steps; 0 counts as 1.
    pub usize,
);

impl HaltPolicy for FixedSteps {
    fn halts(&self, step: &ActStep) -> bool {
        step.step >= self.0
    }
}

/// The published training rule: [`HaltOnQ`], except that with probability `exploration` a row must have done
/// a number of steps drawn from `2..=max_steps`, anew at every step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exploring {
    /// `halt_max_steps` of the model.
    pub max_steps: usize,
    /// When the Q values say that a row is done.
    pub rule: HaltRule,
    /// `halt_exploration_prob` of the model.
    pub exploration: f64,
    /// Seed of the run.
    pub seed: u64,
    /// Optimizer step: the position in the random sequence.
    pub train_step: u64,
}

impl Exploring {
    /// The least number of steps this row must have done: 0 unless it explores.
    #[must_use]
    pub const fn min_steps(&self, row: usize) -> usize {
        if self.max_steps < 2 {
            return 0;
        }
        let words = philox4x32(
            [self.train_step as u32, (self.train_step >> 32) as u32, row as u32, Stream::Exploration as u32],
            [self.seed as u32, (self.seed >> 32) as u32],
        );
        let uniform = (words[0] >> 8) as f64 * (1.0 / (1u32 << 24) as f64);
        if uniform >= self.exploration {
            return 0;
        }
        // The high word of a product: uniform to within max_steps / 2^32.
        2 + ((words[1] as u64 * (self.max_steps as u64 - 1)) >> 32) as usize
    }
}

impl HaltPolicy for Exploring {
    fn halts(&self, step: &ActStep) -> bool {
        HaltOnQ { max_steps: self.max_steps, rule: self.rule }.halts(step)
            && step.step >= self.min_steps(step.row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: usize, q_halt: f32, q_continue: f32) -> ActStep {
        ActStep { row: 0, step, q_halt, q_continue }
    }

    #[test]
    fn the_last_step_always_halts() {
        assert!(AlwaysMax { max_steps: 4 }.halts(&step(4, -1.0, 1.0)));
        assert!(HaltOnQ { max_steps: 4, rule: HaltRule::Larger }.halts(&step(4, -1.0, 1.0)));
        for train_step in 0..1000 {
            let policy =
                Exploring { rule: HaltRule::Larger, max_steps: 4, exploration: 1.0, seed: 5, train_step };
            assert!(policy.halts(&step(4, -1.0, 1.0)));
            assert!(!policy.halts(&step(1, 1.0, -1.0)), "exploration asks for at least two steps");
        }
    }

    #[test]
    fn equal_values_go_on() {
        assert!(!HaltOnQ { max_steps: 4, rule: HaltRule::Larger }.halts(&step(1, 0.5, 0.5)));
        assert!(HaltOnQ { max_steps: 4, rule: HaltRule::Larger }.halts(&step(1, 0.6, 0.5)));
        assert!(!HaltOnQ { max_steps: 4, rule: HaltRule::Larger }.halts(&step(1, f32::NAN, 0.5)));
    }

    #[test]
    fn without_a_value_of_going_on_halting_is_a_matter_of_its_sign() {
        let policy = HaltOnQ { max_steps: 4, rule: HaltRule::Positive };
        assert!(policy.halts(&step(1, 0.1, 5.0)));
        assert!(!policy.halts(&step(1, 0.0, -5.0)) && !policy.halts(&step(1, -0.1, -5.0)));
        assert!(policy.halts(&step(4, -0.1, -5.0)));
    }

    #[test]
    fn exploration_has_its_probability_and_range() {
        let mut counts = [0u32; 17];
        for train_step in 0..100_000 {
            let policy =
                Exploring { rule: HaltRule::Larger, max_steps: 16, exploration: 0.1, seed: 1, train_step };
            counts[policy.min_steps(3)] += 1;
        }
        assert!((89_500..90_500).contains(&counts[0]), "{counts:?}");
        assert_eq!(counts[1], 0);
        assert!(counts[2..].iter().all(|&n| (550..790).contains(&n)), "{counts:?}");
    }
}
