//! The Q-learning loss of ACT (paper, section 2): halting is right when the answer is, going on is worth what
//! the next step is.

/// The Q losses of one row, and their gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QLosses {
    /// Binary cross-entropy of halting.
    pub halt: f64,
    /// Binary cross-entropy of going on; 0 without a target.
    pub cont: f64,
    /// Gradient of `weight * (halt + cont)` by the two logits.
    pub gradient: [f64; 2],
}

/// A Q-learning rule.
pub trait QLearning {
    /// The value of going on, a probability, from the Q logits `[halt, continue]` of the next step. `last` says
    /// whether this step is the last one allowed.
    fn target(&self, last: bool, next: [f64; 2]) -> f64;

    /// The losses of the Q logits `[halt, continue]` of a row whose answer is right or not, given the value of
    /// going on, if that is trained.
    fn losses(&self, q: [f64; 2], solved: bool, target: Option<f64>) -> QLosses;
}

/// The published rule: `G_halt = 1[answer right]`, `G_continue = sigmoid(next halt)` at the last step and
/// `sigmoid(max(next halt, next continue))` before it; binary cross-entropy for both, weighted by a half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishedQ;

/// Weight of the Q losses beside the token loss.
pub const Q_LOSS_WEIGHT: f64 = 0.5;

impl QLearning for PublishedQ {
    fn target(&self, last: bool, next: [f64; 2]) -> f64 {
        sigmoid(if last { next[0] } else { next[0].max(next[1]) })
    }

    fn losses(&self, q: [f64; 2], solved: bool, target: Option<f64>) -> QLosses {
        let solved = f64::from(u8::from(solved));
        let (cont, slope) = match target {
            Some(target) => (bce_with_logits(q[1], target), sigmoid(q[1]) - target),
            None => (0.0, 0.0),
        };
        QLosses {
            halt: bce_with_logits(q[0], solved),
            cont,
            gradient: [Q_LOSS_WEIGHT * (sigmoid(q[0]) - solved), Q_LOSS_WEIGHT * slope],
        }
    }
}

/// Whether a row counts as solved: every label that is not ignored is predicted. As published, a row without any
/// label counts.
#[must_use]
pub const fn solved(correct: i32, valid: i32) -> bool {
    correct == valid
}

/// `1 / (1 + exp(-x))`.
#[must_use]
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-x))
}

/// Binary cross-entropy of the logit `x` with the probability `target`: `max(x, 0) - x target + ln(1 +
/// exp(-|x|))`.
#[must_use]
pub fn bce_with_logits(x: f64, target: f64) -> f64 {
    x.max(0.0) - x * target + libm::log1p(libm::exp(-x.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_match_their_gradient() {
        let rule = PublishedQ;
        let loss = |q| {
            let losses = rule.losses(q, true, Some(0.3));
            Q_LOSS_WEIGHT * (losses.halt + losses.cont)
        };
        let q = [0.7, -1.1];
        let gradient = rule.losses(q, true, Some(0.3)).gradient;
        for i in 0..2 {
            let (mut up, mut down) = (q, q);
            up[i] += 1e-6;
            down[i] -= 1e-6;
            assert!(((loss(up) - loss(down)) / 2e-6 - gradient[i]).abs() < 1e-8);
        }
    }

    #[test]
    fn the_last_step_is_worth_halting() {
        assert_eq!(PublishedQ.target(true, [-1.0, 3.0]), sigmoid(-1.0));
        assert_eq!(PublishedQ.target(false, [-1.0, 3.0]), sigmoid(3.0));
        assert_eq!(PublishedQ.losses([0.0, 9.0], false, None).gradient[1], 0.0);
    }

    #[test]
    fn large_logits_stay_finite() {
        assert_eq!(bce_with_logits(-800.0, 1.0), 800.0);
        assert_eq!(bce_with_logits(800.0, 1.0), 0.0);
    }
}
