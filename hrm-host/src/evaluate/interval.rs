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

    /// Of the difference of two proportions of the same `count` (Newcombe 1998, method 10): `both` are successes of
    /// either, `first` and `second` of one alone. It joins the two Wilson intervals by the correlation of the pairs.
    #[must_use]
    pub fn paired(both: f64, first: f64, second: f64, count: f64) -> Self {
        if count <= 0.0 {
            return Self(-1.0, 1.0);
        }
        let neither = count - both - first - second;
        let (p, q) = ((both + first) / count, (both + second) / count);
        let (of_p, of_q) = (Self::wilson(both + first, count), Self::wilson(both + second, count));
        let margins = (both + first) * (both + second) * (neither + first) * (neither + second);
        let product = both * neither - first * second;
        // With a correction for continuity, which only positive correlations take.
        let product = if product > 0.0 { (product - count / 2.0).max(0.0) } else { product };
        let phi = if margins > 0.0 { product / margins.sqrt() } else { 0.0 };
        let join = |a: f64, b: f64| (a * a - 2.0 * phi * a * b + b * b).max(0.0).sqrt();
        let difference = p - q;
        Self(
            (difference - join(p - of_p.0, of_q.1 - q)).max(-1.0),
            (difference + join(of_p.1 - p, q - of_q.0)).min(1.0),
        )
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

    /// Against the values of Newcombe (1998, paired data), table II.
    #[test]
    fn newcombe_s_known_values() {
        close(Interval::paired(36.0, 12.0, 2.0, 50.0), 0.0569, 0.3404);
        close(Interval::paired(36.0, 14.0, 0.0, 50.0), 0.1528, 0.4167);
        close(Interval::paired(0.0, 0.0, 0.0, 0.0), -1.0, 1.0);
    }

    #[test]
    fn a_mean_s_interval_is_that_of_its_standard_error() {
        // 1, 2, 3, 4: mean 2.5, standard deviation 1.290994, standard error 0.645497.
        close(Interval::mean(10.0, 30.0, 4.0), 2.5 - 1.265_15, 2.5 + 1.265_15);
        close(Interval::mean(7.0, 49.0, 1.0), 7.0, 7.0);
    }

    proptest! {
        #[test]
        fn a_difference_lies_in_its_interval_which_turns_with_the_pair(
            counts in prop::array::uniform4(0u32..300),
        ) {
            let [both, first, second, neither] = counts.map(f64::from);
            let count = both + first + second + neither;
            prop_assume!(count > 0.0);
            let (a, b) = (Interval::paired(both, first, second, count), Interval::paired(both, second, first, count));
            let difference = (first - second) / count;
            prop_assert!(a.0 <= difference + 1e-12 && difference <= a.1 + 1e-12);
            prop_assert!((a.0 + b.1).abs() < 1e-12 && (a.1 + b.0).abs() < 1e-12);
        }

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
