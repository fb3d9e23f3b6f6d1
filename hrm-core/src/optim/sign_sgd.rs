//! Sign-SGD, the optimizer of the puzzle embedding.

use crate::scalar::Scalar;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sign_sgd_decays_without_a_gradient() {
        let sgd = SignSgd { weight_decay: 0.5 };
        assert_eq!(sgd.update(1.0, 0.0, 0.1), 0.95);
        assert_eq!(sgd.update(1.0, -3.0, 0.1), 1.05);
        assert!(sgd.update(1.0, f64::NAN, 0.1).is_nan());
    }
}
