//! The kernels that work on one row, or on one position, at a time.

use super::pieces::pieces_mut;
use super::sums::dot;
use crate::backend::math::exp;

/// The rotation of one position of some heads side by side: `[x1 cos - x2 sin, x2 cos + x1 sin]`, where `x1` and `x2` are
/// the halves of a head. `cos` and `sin` are of that position, half a head each.
#[inline(always)]
pub fn rotate(heads: &mut [f32], cos: &[f32], sin: &[f32]) {
    let half = cos.len();
    for head in pieces_mut(heads, 2 * half) {
        let (first, second) = head.split_at_mut_checked(half).unwrap_or_default();
        for (((x1, x2), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
            (*x1, *x2) = (*x1 * cos - *x2 * sin, *x2 * cos + *x1 * sin);
        }
    }
}

/// `a = silu(gate) * up`, `silu(x) = x / (1 + exp(-x))`, of one row: `a` `[F]`, `gate_up` `[2F]`.
#[inline(always)]
pub fn swiglu(a: &mut [f32], gate_up: &[f32]) {
    let (gate, up) = gate_up.split_at_checked(a.len()).unwrap_or_default();
    for ((a, &gate), &up) in a.iter_mut().zip(gate).zip(up) {
        *a = gate / (1.0 + exp(-gate)) * up;
    }
}

/// `s = x + t`, `rstd = 1 / sqrt(mean(s^2) + eps)`, `y = s * rstd`, of one row; returns `rstd`.
#[inline(always)]
#[must_use]
pub fn add_rms_norm(y: &mut [f32], x: &[f32], t: &[f32], eps: f32) -> f32 {
    y.iter_mut().zip(x).zip(t).for_each(|((y, x), t)| *y = x + t);
    let rstd = 1.0 / libm::sqrtf(dot(y, y) / y.len() as f32 + eps);
    y.iter_mut().for_each(|y| *y *= rstd);
    rstd
}
