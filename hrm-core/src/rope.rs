//! Rotary position tables.

use crate::arena::Param;

/// The rotary angle of position `s` and frequency `i` of a head of width `head_dim`: `s * theta^(-2i / head_dim)`.
///
/// The published program forms frequency and angle in f32, and at position 900 that rounding moves the angle by
/// 1e-5: so do we.
#[must_use]
pub fn angle(theta: f64, head_dim: usize, s: usize, i: usize) -> f32 {
    let exponent = (2 * i) as f32 / head_dim as f32;
    let power = libm::pow(f64::from(theta as f32), f64::from(exponent)) as f32;
    s as f32 * (1.0 / power)
}

/// Cosine and sine of [`angle`].
#[must_use]
pub fn cos_sin(theta: f64, head_dim: usize, s: usize, i: usize) -> (f32, f32) {
    let angle = f64::from(angle(theta, head_dim, s, i));
    (libm::cos(angle) as f32, libm::sin(angle) as f32)
}

/// Where the rotary tables of a model lie, `[S, head_dim / 2]` each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RopeTables {
    /// Cosines.
    pub cos: Param,
    /// Sines.
    pub sin: Param,
}
