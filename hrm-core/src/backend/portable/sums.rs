//! Reductions in one order: [`LANES`] running results, element `i` into lane `i % LANES`, folded in a fixed tree.
//!
//! So wide a register as a machine may have, it adds the same numbers to the same lanes: the bits are the same with and
//! without vectors.

/// Running results of a reduction.
pub const LANES: usize = 16;

/// Sixteen numbers to one: the halves with each other, until one is left.
#[inline(always)]
fn fold(lanes: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let [a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7] = lanes;
    let (c0, c1, c2, c3) = (f(a0, b0), f(a1, b1), f(a2, b2), f(a3, b3));
    let (d0, d1, d2, d3) = (f(a4, b4), f(a5, b5), f(a6, b6), f(a7, b7));
    let (e0, e1, e2, e3) = (f(c0, d0), f(c1, d1), f(c2, d2), f(c3, d3));
    f(f(e0, e2), f(e1, e3))
}

/// `sum(a * b)`.
#[inline(always)]
#[must_use]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        lanes.iter_mut().zip(a).zip(b).for_each(|((lane, a), b)| *lane += a * b);
    }
    lanes.iter_mut().zip(a_rest).zip(b_rest).for_each(|((lane, a), b)| *lane += a * b);
    fold(lanes, |a, b| a + b)
}

/// `sum(x)`.
#[inline(always)]
#[must_use]
pub fn sum(x: &[f32]) -> f32 {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, x)| *lane += x);
    }
    lanes.iter_mut().zip(rest).for_each(|(lane, x)| *lane += x);
    fold(lanes, |a, b| a + b)
}

/// `max(x)`, of what is a number; minus infinity of nothing.
#[inline(always)]
#[must_use]
pub fn max(x: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, x)| *lane = larger(*lane, *x));
    }
    lanes.iter_mut().zip(rest).for_each(|(lane, x)| *lane = larger(*lane, *x));
    fold(lanes, larger)
}

/// `sum(a * b)` of integers: exact, so in any order, for up to [`MAX_TERMS`](crate::quantize::MAX_TERMS) of them that are
/// quantised.
#[inline(always)]
#[must_use]
pub fn dot_integers(a: &[i8], b: &[i8]) -> i32 {
    a.iter().zip(b).fold(0, |sum: i32, (&a, &b)| sum.wrapping_add(i32::from(a) * i32::from(b)))
}

/// `y += a x`.
#[inline(always)]
pub fn add_scaled(y: &mut [f32], a: f32, x: &[f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += a * x);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// The order that is promised, by indices.
    fn in_order(x: &[f32], f: impl Fn(f32, f32) -> f32, start: f32) -> f32 {
        let mut lanes = [start; LANES];
        for (i, &x) in x.iter().enumerate() {
            lanes[i % LANES] = f(lanes[i % LANES], x);
        }
        let mut width = LANES;
        while width > 1 {
            width /= 2;
            for i in 0..width {
                lanes[i] = f(lanes[i], lanes[i + width]);
            }
        }
        lanes[0]
    }

    proptest! {
        #[test]
        fn the_order_is_the_promised_one(pairs in prop::collection::vec((-9f32..9.0, -9f32..9.0), 0..100)) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let products: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a * b).collect();
            let add = |a, b| a + b;
            prop_assert_eq!(dot(&a, &b).to_bits(), in_order(&products, add, 0.0).to_bits());
            prop_assert_eq!(sum(&a).to_bits(), in_order(&a, add, 0.0).to_bits());
            prop_assert_eq!(max(&a), in_order(&a, f32::max, f32::NEG_INFINITY));
        }

        #[test]
        fn integers_are_summed_exactly(pairs in prop::collection::vec((-127i8.., -127i8..), 0..100)) {
            let (a, b): (Vec<i8>, Vec<i8>) = pairs.into_iter().unzip();
            let exact: i64 = a.iter().zip(&b).map(|(&a, &b)| i64::from(a) * i64::from(b)).sum();
            prop_assert_eq!(i64::from(dot_integers(&a, &b)), exact);
        }
    }

    #[test]
    fn what_is_no_number_is_passed_over_by_max_only() {
        assert_eq!(max(&[1.0, f32::NAN, 3.0]), 3.0);
        assert_eq!(max(&[f32::NAN]), f32::NEG_INFINITY);
        assert!(sum(&[1.0, f32::NAN]).is_nan());
    }
}
