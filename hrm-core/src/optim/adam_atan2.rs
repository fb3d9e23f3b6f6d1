//! AdamATan2, the optimizer of everything but the puzzle embedding.

use super::StepScalars;
use crate::scalar::Scalar;

/// AdamATan2 (Everett et al. 2024): Adam with `atan2(m, sqrt(v))` in place of `m / (sqrt(v) + eps)`, and
/// decoupled weight decay.
///
/// ```text
/// m  = m + (1 - beta1) (g - m)
/// v  = v + (1 - beta2) (g^2 - v)
/// p  = p (1 - lr wd) - lr / (1 - beta1^t) atan2(m, sqrt(v) / sqrt(1 - beta2^t))
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct AdamAtan2 {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Weight decay, multiplied by the learning rate.
    pub weight_decay: f64,
}

/// The factors of one AdamATan2 update, formed in f64 and rounded once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamFactors<T> {
    /// `1 - beta1`.
    pub rate1: T,
    /// `1 - beta2`.
    pub rate2: T,
    /// `1 - lr wd`.
    pub decay: T,
    /// `lr / (1 - beta1^t)`.
    pub step: T,
    /// `sqrt(1 - beta2^t)`.
    pub correction: T,
}

impl AdamAtan2 {
    /// The factors of the update `scalars.step`, which counts from 1.
    #[must_use]
    pub fn factors<T: Scalar>(&self, scalars: &StepScalars) -> AdamFactors<T> {
        let t = scalars.step as f64;
        AdamFactors {
            rate1: T::from_f64(1.0 - self.beta1),
            rate2: T::from_f64(1.0 - self.beta2),
            decay: T::from_f64(1.0 - scalars.lr * self.weight_decay),
            step: T::from_f64(scalars.lr / (1.0 - libm::pow(self.beta1, t))),
            correction: T::from_f64(libm::sqrt(1.0 - libm::pow(self.beta2, t))),
        }
    }
}

impl<T: Scalar> AdamFactors<T> {
    /// Updates one parameter `p` with its moments `m` and `v` by the gradient `g`.
    pub fn update(&self, p: &mut T, m: &mut T, v: &mut T, g: T) {
        *m = lerp(*m, g, self.rate1);
        *v = lerp(*v, g * g, self.rate2);
        *p = *p * self.decay - self.step * m.atan2(v.sqrt() / self.correction);
    }
}

/// `a + t (b - a)` by two fused multiply-adds, as the published optimizer computes it.
fn lerp<T: Scalar>(a: T, b: T, t: T) -> T {
    t.mul_add(b, (-t).mul_add(a, a))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalars(step: u64, lr: f64) -> StepScalars {
        StepScalars { step, lr, puzzle_emb_lr: lr, seed: 0 }
    }

    /// The first update is `lr atan(0.1) / 0.1` in the direction of the sign.
    #[test]
    fn the_first_update_is_a_sign() {
        let adam = AdamAtan2 { beta1: 0.9, beta2: 0.95, weight_decay: 0.0 };
        let factors = adam.factors::<f64>(&scalars(1, 1e-3));
        for g in [1e-12, 3.0, -7e5] {
            let (mut p, mut m, mut v) = (0.0, 0.0, 0.0);
            factors.update(&mut p, &mut m, &mut v, g);
            assert!((p + 1e-3 * 0.996_686_5 * f64::signum(g)).abs() < 1e-9, "{p}");
        }
        let (mut p, mut m, mut v) = (2.0, 0.0, 0.0);
        factors.update(&mut p, &mut m, &mut v, 0.0);
        assert_eq!(p, 2.0, "no gradient, no step");
    }
}
