//! The token losses: cross-entropy over stablemax (the published default) or over softmax.

use crate::scalar::Scalar;

/// Which cross-entropy the tokens are trained with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum LossKind {
    /// Stablemax (Prieto et al. 2025, "Grokking at the edge of numerical stability").
    #[cfg_attr(feature = "serde", serde(rename = "stablemax_cross_entropy"))]
    Stablemax,
    /// Softmax.
    #[cfg_attr(feature = "serde", serde(rename = "softmax_cross_entropy"))]
    Softmax,
}

/// A loss over the logits of one cell.
pub trait TokenLoss {
    /// The cross-entropy of `label` under `logits`, in nats. `label` must be below `logits.len()`.
    fn loss<T: Scalar>(&self, logits: &[T], label: usize) -> f64;

    /// Writes `scale * d loss / d logits` to `dlogits` and returns the loss.
    fn loss_and_gradient<T: Scalar>(&self, logits: &[T], label: usize, scale: f64, dlogits: &mut [T]) -> f64;
}

/// Stablemax: probabilities proportional to `s(x) = x + 1` for `x >= 0`, `1 / (1 - x)` below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stablemax;

/// Softmax: probabilities proportional to `exp(x)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Softmax;

/// The published guard against division by zero; it vanishes in f64 unless `x` is 1, where it is not used.
const GUARD: f64 = 1e-30;

/// `s(x)` of [`Stablemax`].
#[must_use]
pub fn stablemax(x: f64) -> f64 {
    if x < 0.0 { 1.0 / (1.0 - x + GUARD) } else { x + 1.0 }
}

/// `d s / d x` of [`Stablemax`], in closed form.
fn stablemax_slope(x: f64) -> f64 {
    if x < 0.0 { 1.0 / ((1.0 - x) * (1.0 - x)) } else { 1.0 }
}

impl TokenLoss for Stablemax {
    fn loss<T: Scalar>(&self, logits: &[T], label: usize) -> f64 {
        let sum: f64 = logits.iter().map(|x| stablemax(x.to_f64())).sum();
        libm::log(sum) - libm::log(stablemax(logits[label].to_f64()))
    }

    fn loss_and_gradient<T: Scalar>(&self, logits: &[T], label: usize, scale: f64, dlogits: &mut [T]) -> f64 {
        let sum: f64 = logits.iter().map(|x| stablemax(x.to_f64())).sum();
        for (i, (d, x)) in dlogits.iter_mut().zip(logits).enumerate() {
            let x = x.to_f64();
            let own = if i == label { 1.0 / stablemax(x) } else { 0.0 };
            *d = T::from_f64(scale * stablemax_slope(x) * (1.0 / sum - own));
        }
        libm::log(sum) - libm::log(stablemax(logits[label].to_f64()))
    }
}

impl Softmax {
    fn max_and_sum<T: Scalar>(logits: &[T]) -> (f64, f64) {
        let max = logits.iter().map(|x| x.to_f64()).fold(f64::NEG_INFINITY, f64::max);
        (max, logits.iter().map(|x| libm::exp(x.to_f64() - max)).sum())
    }
}

impl TokenLoss for Softmax {
    fn loss<T: Scalar>(&self, logits: &[T], label: usize) -> f64 {
        let (max, sum) = Self::max_and_sum(logits);
        max + libm::log(sum) - logits[label].to_f64()
    }

    fn loss_and_gradient<T: Scalar>(&self, logits: &[T], label: usize, scale: f64, dlogits: &mut [T]) -> f64 {
        let (max, sum) = Self::max_and_sum(logits);
        for (i, (d, x)) in dlogits.iter_mut().zip(logits).enumerate() {
            let p = libm::exp(x.to_f64() - max) / sum;
            *d = T::from_f64(scale * if i == label { p - 1.0 } else { p });
        }
        max + libm::log(sum) - logits[label].to_f64()
    }
}

impl TokenLoss for LossKind {
    fn loss<T: Scalar>(&self, logits: &[T], label: usize) -> f64 {
        match self {
            Self::Stablemax => Stablemax.loss(logits, label),
            Self::Softmax => Softmax.loss(logits, label),
        }
    }

    fn loss_and_gradient<T: Scalar>(&self, logits: &[T], label: usize, scale: f64, dlogits: &mut [T]) -> f64 {
        match self {
            Self::Stablemax => Stablemax.loss_and_gradient(logits, label, scale, dlogits),
            Self::Softmax => Softmax.loss_and_gradient(logits, label, scale, dlogits),
        }
    }
}

/// The position of the largest value, the first of equals. NaN counts as largest, so that it does not hide.
#[must_use]
pub fn argmax<T: Scalar>(values: &[T]) -> usize {
    let larger = |a: T, b: T| a > b || (a.is_nan() && !b.is_nan());
    let first = (0, values.first().copied().unwrap_or_default());
    values.iter().enumerate().fold(first, |best, (i, &x)| if larger(x, best.1) { (i, x) } else { best }).0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both branches meet at 0, and ds/dx at x = 1 is finite, where the published formula's is not in f32.
    #[test]
    fn stablemax_is_smooth_where_its_branches_meet() {
        assert_eq!(stablemax(0.0), 1.0);
        assert!((stablemax(-1e-9) - (1.0 - 1e-9)).abs() < 1e-15);
        assert_eq!(stablemax_slope(0.0), 1.0);
        let mut d = [0.0f32; 3];
        Stablemax.loss_and_gradient(&[1.0f32, -2.0, 0.0], 1, 1.0, &mut d);
        assert!(d.iter().all(|x| x.is_finite()));
    }

    #[test]
    fn gradients_match_finite_differences() {
        let logits = [0.3f64, -1.7, 0.0, 2.4, -0.2];
        for kind in [LossKind::Stablemax, LossKind::Softmax] {
            let mut gradient = [0.0; 5];
            let loss = kind.loss_and_gradient(&logits, 1, 0.5, &mut gradient);
            assert_eq!(loss, kind.loss(&logits, 1));
            for i in [0, 1, 3, 4] {
                let (mut up, mut down) = (logits, logits);
                up[i] += 1e-6;
                down[i] -= 1e-6;
                let slope = 0.5 * (kind.loss(&up, 1) - kind.loss(&down, 1)) / 2e-6;
                assert!((slope - gradient[i]).abs() < 1e-8, "{kind:?} {i}: {slope} {}", gradient[i]);
            }
        }
    }

    #[test]
    fn the_first_of_equals_wins() {
        assert_eq!(argmax(&[1.0f32, 3.0, 3.0]), 1);
        assert_eq!(argmax(&[1.0f32, f32::NAN, 3.0]), 1);
    }
}
