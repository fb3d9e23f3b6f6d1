//! The optimizers, element by element, and the learning-rate schedule.

use crate::kernels::StepScalars;
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

/// Sign-SGD with decoupled weight decay, for the puzzle embedding.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SignSgd {
    /// Weight decay, multiplied by the learning rate.
    pub weight_decay: f64,
}

impl SignSgd {
    /// One parameter after an update by the summed gradient `g`: `p (1 - lr wd) - lr sign(g)`, `sign(0) = 0`.
    #[must_use]
    pub fn update<T: Scalar>(&self, p: T, g: T, lr: f64) -> T {
        let sign = if g > T::ZERO {
            T::ONE
        } else if g < T::ZERO {
            -T::ONE
        } else {
            // Also NaN, which must not vanish.
            g * T::ZERO
        };
        p * T::from_f64(1.0 - lr * self.weight_decay) - T::from_f64(lr) * sign
    }
}

/// Linear warm-up, the base rate for `hold_steps`, then half a cosine down to `min_ratio` of it. The published
/// schedule holds for no step.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct CosineSchedule {
    /// Steps of the warm-up.
    pub warmup_steps: u64,
    /// Steps between the warm-up and the cosine.
    pub hold_steps: u64,
    /// Steps of the whole run.
    pub total_steps: u64,
    /// Where the cosine ends, as a share of the base rate; 1 keeps the rate constant.
    pub min_ratio: f64,
}

impl CosineSchedule {
    /// The learning rate of `step` for the base rate `base`. Training counts its steps from 1.
    #[must_use]
    pub fn at(&self, step: u64, base: f64) -> f64 {
        if step < self.warmup_steps {
            return base * step as f64 / self.warmup_steps.max(1) as f64;
        }
        let held = self.warmup_steps.saturating_add(self.hold_steps);
        if self.hold_steps > 0 && step < held {
            return base;
        }
        let span = self.total_steps.saturating_sub(held).max(1) as f64;
        let progress = (step - held) as f64 / span;
        let cosine = 0.5 * (1.0 + libm::cos(core::f64::consts::PI * progress));
        base * (self.min_ratio + ((1.0 - self.min_ratio) * cosine).max(0.0))
    }
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

    #[test]
    fn sign_sgd_decays_without_a_gradient() {
        let sgd = SignSgd { weight_decay: 0.5 };
        assert_eq!(sgd.update(1.0, 0.0, 0.1), 0.95);
        assert_eq!(sgd.update(1.0, -3.0, 0.1), 1.05);
        assert!(sgd.update(1.0, f64::NAN, 0.1).is_nan());
    }

    #[test]
    fn the_schedule_warms_up_and_comes_down() {
        let schedule = CosineSchedule { warmup_steps: 10, hold_steps: 0, total_steps: 110, min_ratio: 0.1 };
        assert_eq!(schedule.at(0, 1.0), 0.0);
        assert_eq!(schedule.at(5, 1.0), 0.5);
        assert_eq!(schedule.at(10, 1.0), 1.0);
        assert!((schedule.at(60, 1.0) - 0.55).abs() < 1e-12);
        assert!((schedule.at(110, 1.0) - 0.1).abs() < 1e-12);
        let held = CosineSchedule { hold_steps: 60, ..schedule };
        assert_eq!([9, 10, 69, 70].map(|step| held.at(step, 1.0)), [0.9, 1.0, 1.0, 1.0]);
        assert!((held.at(90, 1.0) - 0.55).abs() < 1e-12);
        assert!((held.at(110, 1.0) - 0.1).abs() < 1e-12);
        let none = CosineSchedule { warmup_steps: 0, hold_steps: 0, total_steps: 0, min_ratio: 1.0 };
        assert_eq!(none.at(7, 0.5), 0.5);
    }
}
