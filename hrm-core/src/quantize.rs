//! Symmetric quantisation of a row to 8 bits: of a weight's row when it is written, of a token's when it is multiplied.
//!
//! ```text
//! m = max |x|,   scale = m / 127,   q = round(x * (127 / m))      in f32, ties to even
//! ```
//!
//! Every number of a row is then `q * scale` to within half a scale, and `q` is at most 127 in magnitude: -128 does not
//! occur. A row of zeros, or of numbers below [`TINY`], which are zero for any purpose of a model, has scale 1 and zeros.
//!
//! A product of two rows is a sum of integers, exact whatever its order, and one multiplication: see [`product`].

/// Magnitude below which a whole row counts as zeros: its scale, or the inverse of it, would leave the range of f32.
pub const TINY: f32 = 1e-30;

/// Terms that the sum of a product may have: `127 * 127 * MAX_TERMS` still is an i32.
pub const MAX_TERMS: usize = i32::MAX as usize / (127 * 127);

/// `1.5 * 2^23`: adding it to a small f32 rounds that to an integer, ties to even, whose low byte then is the low byte
/// of the sum.
const ROUND: f32 = 12_582_912.0;
/// The bits of infinity. Those of larger magnitudes, taken as integers, are of what is not a number.
const INFINITE: u32 = 0x7f80_0000;

/// Quantises `x` to `q`, of the same length, and returns the scale. If a number is not finite then the scale is not a
/// number and `q` zeros, so that every product is not a number either.
#[inline(always)]
#[must_use]
pub fn row(x: &[f32], q: &mut [i8]) -> f32 {
    // Magnitudes are ordered as their bits are.
    let max = x.iter().fold(0, |max: u32, x| max.max(x.to_bits() & 0x7fff_ffff));
    if max >= INFINITE {
        q.fill(0);
        return f32::NAN;
    }
    let max = f32::from_bits(max);
    if max < TINY {
        q.fill(0);
        return 1.0;
    }
    let inverse = 127.0 / max;
    for (q, &x) in q.iter_mut().zip(x) {
        *q = (x * inverse + ROUND).to_bits() as u8 as i8;
    }
    max / 127.0
}

/// The product of a weight's row and a token from the sum of their integers' products.
#[inline(always)]
#[must_use]
pub fn product(sum: i32, row_scale: f32, token_scale: f32) -> f32 {
    sum as f32 * (row_scale * token_scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn quantised(x: &[f32]) -> (Vec<i8>, f32) {
        let mut q = std::vec![55; x.len()];
        let scale = row(x, &mut q);
        (q, scale)
    }

    proptest! {
        /// The roundings of inverse, product and scale move a number by 127 * 3 / 2^24 of a scale at most.
        #[test]
        fn every_number_is_within_half_a_scale(
            exponent in -99i32..=127,
            x in prop::collection::vec(-1f32..=1.0, 1..70),
        ) {
            let x: Vec<f32> = x.iter().map(|x| x * 2f32.powi(exponent)).collect();
            let (q, scale) = quantised(&x);
            prop_assert!(scale.is_normal() && scale > 0.0);
            for (&x, &q) in x.iter().zip(&q) {
                let error = (f64::from(x) - f64::from(q) * f64::from(scale)).abs();
                let slack = f64::from(TINY).max(f64::from(scale) * (0.5 + 381.0 / 2f64.powi(24)));
                prop_assert!(error <= slack, "{} became {} * {}", x, q, scale);
                prop_assert!(q != i8::MIN);
            }
        }

        #[test]
        fn the_largest_becomes_127_whatever_the_bits(bits in 0x0d80_0000u32..INFINITE, negative: bool) {
            let x = f32::from_bits(bits) * if negative { -1.0 } else { 1.0 };
            prop_assume!(x.abs() >= TINY);
            let (q, scale) = quantised(&[0.0, x, -x]);
            prop_assert_eq!(q, if negative { [0, -127, 127] } else { [0, 127, -127] });
            prop_assert!((scale * 127.0 / x.abs() - 1.0).abs() < 1e-6 || !(scale * 127.0).is_finite());
        }
    }

    #[test]
    fn ties_go_to_even() {
        let (q, scale) = quantised(&[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 63.5]);
        assert_eq!((&q[..], scale), (&[127, 0, 2, 2, 0, -2, -2, 64][..], 1.0));
    }

    #[test]
    fn zeros_and_what_is_as_good_as_zero() {
        for x in [[0.0, -0.0], [1e-45, -1e-45], [9e-31, 0.0]] {
            assert_eq!(quantised(&x), (std::vec![0, 0], 1.0));
        }
        assert_eq!(quantised(&[]), (Vec::new(), 1.0));
    }

    #[test]
    fn the_extremes_are_kept_and_what_is_not_finite_is_not_hidden() {
        let (q, scale) = quantised(&[f32::MAX, f32::MIN, f32::MAX / 2.0]);
        assert_eq!(q, [127, -127, 64]);
        assert!(scale.is_finite());
        for odd in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let (q, scale) = quantised(&[1.0, odd, 3.0]);
            assert_eq!(q, [0, 0, 0]);
            assert!(product(0, 1.0, scale).is_nan());
        }
    }

    #[test]
    fn the_longest_sum_is_exact() {
        assert!(127i64 * 127 * MAX_TERMS as i64 <= i64::from(i32::MAX));
        assert!(127i64 * 127 * (MAX_TERMS as i64 + 1) > i64::from(i32::MAX));
        assert_eq!(product(-3, 0.5, 4.0), -6.0);
    }
}
