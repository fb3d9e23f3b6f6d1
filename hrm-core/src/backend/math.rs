//! Branchless f32 functions that a compiler can vectorise: exponential, logistic, arctangent.
//!
//! They use additions, multiplications, divisions and selections only, no fused operation, so they give the
//! same bits on every instruction set.

/// `1.5 * 2^23`: adding it rounds a small f32 to an integer, which then sits in the low bits.
const ROUND: f32 = 12_582_912.0;
/// `ln 2` in two parts; the first has 9 significant bits, so `n * LN2_HI` is exact for the `n` in use.
const LN2_HI: f32 = 0.693_359_4;
const LN2_LO: f32 = -2.121_944_4e-4;

/// `e^x`, within 1 ULP for normal results and 1 ULP (one subnormal step) below; overflows to infinity, underflows to zero, keeps NaN.
///
/// `x = n ln 2 + r` with `|r| <= ln 2 / 2`, then a minimax polynomial of degree 7 in `r` and a scaling by `2^n` in
/// two exact-range steps, so that subnormal results and `n = 128` need no special case.
#[inline(always)]
#[must_use]
pub fn exp(x: f32) -> f32 {
    let x = if x < -104.0 { -104.0 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let shifted = x * core::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN2_HI) - n * LN2_LO;
    let p = 1.979_024_4e-4_f32;
    let p = p * r + 1.394_475_9e-3;
    let p = p * r + 8.333_498e-3;
    let p = p * r + 4.166_629_5e-2;
    let p = p * r + 1.666_666_6e-1;
    let p = p * r + 0.5;
    let p = (p * r * r + r) + 1.0;
    let n = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let half = n >> 1;
    p * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// `2^n` for `n` in `-126..=127`.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// The logistic function `1 / (1 + e^-x)`, within 2.5 ULP, subnormal results included.
#[inline(always)]
#[must_use]
pub fn sigmoid(x: f32) -> f32 {
    let e = exp(-x.abs());
    let numerator = if x < 0.0 { e } else { 1.0 };
    numerator / (1.0 + e)
}

/// `atan2(y, x)` for `x >= 0`, so in `[-pi/2, pi/2]`; relative error at most 2e-7; `atan2(0, 0) = 0`, NaN stays NaN.
#[inline(always)]
#[must_use]
pub fn atan2_right(y: f32, x: f32) -> f32 {
    let ay = y.abs();
    let swap = ay > x;
    let num = if swap { x } else { ay };
    let den = if swap { ay } else { x };
    let q = num / if den == 0.0 { 1.0 } else { den };
    let z = q * q;
    let p = 2.920_687_4e-3_f32;
    let p = p * z - 1.636_791e-2;
    let p = p * z + 4.321_183_6e-2;
    let p = p * z - 7.552_212_5e-2;
    let p = p * z + 1.066_600_4e-1;
    let p = p * z - 1.421_105_6e-1;
    let p = p * z + 1.999_377_3e-1;
    let p = p * z - 3.333_315_3e-1;
    let a = p * z * q + q;
    // pi/2 in two parts: the small angle's last bits survive the subtraction.
    let a = if swap { (core::f32::consts::FRAC_PI_2 - a) - 4.371_139e-8 } else { a };
    a.copysign(y)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distance in units of the last place of `want` rounded to f32 (subnormals count in their own step).
    fn ulps(got: f32, want: f64) -> f64 {
        let near = want as f32;
        if near.is_infinite() {
            return if got == near { 0.0 } else { f64::INFINITY };
        }
        let step = f64::from(f32::from_bits(near.abs().to_bits() + 1)) - f64::from(near.abs());
        (f64::from(got) - want).abs() / step
    }

    /// Every 4,099th float: 4,099 is prime, so all mantissa patterns of the low bits appear.
    fn floats() -> impl Iterator<Item = f32> {
        (0..=u32::MAX / 4099).map(|i| f32::from_bits(i * 4099)).filter(|x| x.is_finite())
    }

    #[test]
    fn exp_is_within_its_bound_everywhere() {
        let dense = (-1_050_000..900_000).map(|i| i as f32 * 1e-4);
        let worst = floats().chain(dense).map(|x| ulps(exp(x), f64::from(x).exp())).fold(0.0, f64::max);
        assert!(worst <= 1.0, "{worst} ULP");
    }

    #[test]
    fn exp_at_the_ends() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn sigmoid_is_within_its_bound_everywhere() {
        let dense = (-1_050_000..1_050_000).map(|i| i as f32 * 1e-4);
        let exact = |x: f32| {
            let e = (-f64::from(x).abs()).exp();
            if x < 0.0 { e / (1.0 + e) } else { 1.0 / (1.0 + e) }
        };
        let worst = floats().chain(dense).map(|x| ulps(sigmoid(x), exact(x))).fold(0.0, f64::max);
        assert!(worst <= 2.5, "{worst} ULP");
        assert!(sigmoid(f32::NAN).is_nan());
    }

    #[test]
    fn atan2_is_within_its_bound() {
        let mut worst = 0.0_f64;
        for i in 0..2_000_i32 {
            let x = 1.01_f32.powi(i - 1000);
            for j in 0..500 {
                let y = x * 1.037_f32.powi(j - 250);
                for y in [y, -y] {
                    let want = f64::from(y).atan2(f64::from(x));
                    if want.abs() > 1e-35 && y.is_finite() {
                        worst = worst.max(((f64::from(atan2_right(y, x)) - want) / want).abs());
                    }
                }
            }
        }
        assert!(worst <= 2e-7, "{worst}");
    }

    #[test]
    fn atan2_at_the_ends() {
        assert_eq!(atan2_right(0.0, 0.0), 0.0);
        assert_eq!(atan2_right(3.0, 0.0), core::f32::consts::FRAC_PI_2);
        assert_eq!(atan2_right(-3.0, 0.0), -core::f32::consts::FRAC_PI_2);
        assert!(atan2_right(f32::NAN, 1.0).is_nan());
        assert!(atan2_right(1.0, f32::NAN).is_nan());
    }
}
