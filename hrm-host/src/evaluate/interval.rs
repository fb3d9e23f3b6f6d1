//! 95% confidence intervals of what a sample of puzzles says about all puzzles of its kind.

use serde::Serialize;

/// The 97.5% quantile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// Bounds of an interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval(
    /// The lower bound.
    pub f64,
    /// The upper bound.
    pub f64,
);

impl Interval {
    /// Of a proportion of which `successes` among `count` were seen (Wilson 1927):
    /// `(p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)`.
    #[must_use]
    pub fn wilson(successes: f64, count: f64) -> Self {
        if count <= 0.0 {
            return Self(0.0, 1.0);
        }
        let p = successes / count;
        let z2 = Z * Z / count;
        let middle = (p + z2 / 2.0) / (1.0 + z2);
        let half = Z * (p * (1.0 - p) / count + z2 / (4.0 * count)).sqrt() / (1.0 + z2);
        // At the ends the bound is exact; rounding must not put it past the proportion itself.
        Self((middle - half).clamp(0.0, p), (middle + half).clamp(p, 1.0))
    }

    /// Of a mean, from the sum and the sum of squares of `count` values that are not negative: the normal approximation.
    #[must_use]
    pub fn mean(sum: f64, squares: f64, count: f64) -> Self {
        let mean = sum / count.max(1.0);
        let variance = (squares / count.max(1.0) - mean * mean).max(0.0) * count / (count - 1.0).max(1.0);
        let half = Z * (variance / count.max(1.0)).sqrt();
        Self((mean - half).max(0.0), mean + half)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(found: Interval, low: f64, high: f64) {
        assert!((found.0 - low).abs() < 5e-5 && (found.1 - high).abs() < 5e-5, "{found:?}, {low} {high}");
    }

    /// Against the values of Newcombe (1998), table I.
    #[test]
    fn wilson_s_known_values() {
        close(Interval::wilson(81.0, 263.0), 0.2553, 0.3662);
        close(Interval::wilson(15.0, 148.0), 0.0624, 0.1605);
        close(Interval::wilson(0.0, 20.0), 0.0, 0.1611);
        close(Interval::wilson(1.0, 29.0), 0.0061, 0.1718);
        close(Interval::wilson(0.0, 0.0), 0.0, 1.0);
    }

    #[test]
    fn a_mean_s_interval_is_that_of_its_standard_error() {
        // 1, 2, 3, 4: mean 2.5, standard deviation 1.290994, standard error 0.645497.
        close(Interval::mean(10.0, 30.0, 4.0), 2.5 - 1.265_15, 2.5 + 1.265_15);
        close(Interval::mean(7.0, 49.0, 1.0), 7.0, 7.0);
    }

    proptest! {
        #[test]
        fn wilson_holds_the_proportion_and_narrows(n in 1u32..2000, k in 0u32..2000) {
            let k = f64::from(k.min(n));
            let n = f64::from(n);
            let one = Interval::wilson(k, n);
            let ten = Interval::wilson(10.0 * k, 10.0 * n);
            prop_assert!(0.0 <= one.0 && one.0 <= k / n && k / n <= one.1 && one.1 <= 1.0);
            prop_assert!(ten.1 - ten.0 < one.1 - one.0);
        }
    }
}
