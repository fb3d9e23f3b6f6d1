//! Averages of the parameters.

use crate::scalar::Scalar;

/// The exponential moving average of the parameters (TRM, section 4.7): `a = (1 - rate) p + rate a` after every step,
/// without a correction of its beginning, which is the initial parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Average {
    /// What stays of the average in a step.
    pub rate: f64,
}

impl Average {
    /// The average `a` after a step that has led to `p`. Both products are rounded before they are added.
    #[must_use]
    pub fn update<T: Scalar>(&self, a: T, p: T) -> T {
        let [new, old] = self.factors::<T>();
        new * p + old * a
    }

    /// What the parameter and the average are multiplied by, formed in f64 and rounded once.
    #[must_use]
    pub fn factors<T: Scalar>(&self) -> [T; 2] {
        [T::from_f64(1.0 - self.rate), T::from_f64(self.rate)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_average_follows() {
        let average = Average { rate: 0.75 };
        assert_eq!(average.update(1.0, 2.0), 1.25);
        assert_eq!(Average { rate: 0.0 }.update(1.0f32, 2.0), 2.0);
        assert_eq!(Average { rate: 1.0 }.update(1.0f32, 2.0), 1.0);
        assert!(average.update(f32::NAN, 2.0).is_nan());
    }
}
