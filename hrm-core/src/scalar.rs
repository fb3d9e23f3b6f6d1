//! The arithmetic that the reference needs of a number: f32 or f64, by libm.

use core::fmt::Debug;
use core::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

/// f32 or f64. Every function is libm's, so that the same bits come out on every machine.
pub trait Scalar:
    Copy
    + Debug
    + Default
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + Send
    + Sync
    + 'static
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// The nearest value to `x`.
    fn from_f64(x: f64) -> Self;
    /// This value, exactly.
    fn to_f64(self) -> f64;
    /// The nearest value to `x`.
    fn from_f32(x: f32) -> Self;
    /// The nearest f32.
    fn to_f32(self) -> f32;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Exponential.
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// `self * a + b`, rounded once.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// The angle of the point (`x`, `self`).
    fn atan2(self, x: Self) -> Self;
    /// Whether this is not a number.
    fn is_nan(self) -> bool;
    /// The nearest bf16, ties to even.
    fn round_to_bf16(self) -> Self;
}

macro_rules! scalar {
    ($t:ty, $sqrt:path, $exp:path, $ln:path, $fma:path, $atan2:path) => {
        impl Scalar for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            fn from_f64(x: f64) -> Self {
                x as Self
            }
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            fn from_f32(x: f32) -> Self {
                Self::from(x)
            }
            fn to_f32(self) -> f32 {
                self as f32
            }
            fn sqrt(self) -> Self {
                $sqrt(self)
            }
            fn exp(self) -> Self {
                $exp(self)
            }
            fn ln(self) -> Self {
                $ln(self)
            }
            fn mul_add(self, a: Self, b: Self) -> Self {
                $fma(self, a, b)
            }
            fn atan2(self, x: Self) -> Self {
                $atan2(self, x)
            }
            fn is_nan(self) -> bool {
                <$t>::is_nan(self)
            }
            fn round_to_bf16(self) -> Self {
                half::bf16::from_f32(self as f32).to_f32() as Self
            }
        }
    };
}

scalar!(f32, libm::sqrtf, libm::expf, libm::logf, libm::fmaf, libm::atan2f);
scalar!(f64, libm::sqrt, libm::exp, libm::log, libm::fma, libm::atan2);
