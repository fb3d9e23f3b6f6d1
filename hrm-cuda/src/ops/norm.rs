//! Residual sum and RMSNorm.

use super::{int, launch_rows, typed};
use crate::error::Error;
use crate::launch::{Arg, Dtype, Launcher, Ptr};

/// Operands of [`add_rms_norm`].
#[derive(Clone, Copy, Debug)]
pub struct AddRmsNorm {
    /// Result `[rows, cols]`.
    pub y: Ptr,
    /// Reciprocal root mean square `[rows]`, f32.
    pub rstd: Ptr,
    /// Residual stream `[rows, cols]`.
    pub x: Ptr,
    /// What is added to it `[rows, cols]`.
    pub t: Ptr,
    /// Rows.
    pub rows: usize,
    /// Their width.
    pub cols: usize,
    /// Added to the mean square.
    pub eps: f64,
}

/// `s = x + t`, `rstd = 1 / sqrt(mean(s^2) + eps)`, `y = s * rstd`, by row.
///
/// # Errors
/// The device fails.
pub fn add_rms_norm<L: Launcher>(l: &mut L, dtype: Dtype, op: &AddRmsNorm) -> Result<(), Error> {
    let &AddRmsNorm { y, rstd, x, t, rows, cols, eps } = op;
    let pointers = [y, rstd, x, t].map(Arg::Ptr);
    let sizes = [int(rows)?, int(cols)?, Arg::F32(eps as f32)];
    launch_rows(l, typed!("norm", "add_rms_norm", dtype), rows, &[&pointers[..], &sizes].concat())
}

/// Operands of [`add_rms_norm_vjp`].
#[derive(Clone, Copy, Debug)]
pub struct AddRmsNormVjp {
    /// Result: cotangent of both summands `[rows, cols]`.
    pub ds: Ptr,
    /// Cotangent of the output `[rows, cols]`.
    pub dy: Ptr,
    /// Output of the forward kernel `[rows, cols]`.
    pub y: Ptr,
    /// What it kept `[rows]`, f32.
    pub rstd: Ptr,
    /// Rows.
    pub rows: usize,
    /// Their width.
    pub cols: usize,
}

/// `ds = rstd * (dy - y * mean(dy * y))`, by row.
///
/// # Errors
/// The device fails.
pub fn add_rms_norm_vjp<L: Launcher>(l: &mut L, dtype: Dtype, op: &AddRmsNormVjp) -> Result<(), Error> {
    let &AddRmsNormVjp { ds, dy, y, rstd, rows, cols } = op;
    let pointers = [ds, dy, y, rstd].map(Arg::Ptr);
    let sizes = [int(rows)?, int(cols)?];
    launch_rows(l, typed!("norm", "add_rms_norm_vjp", dtype), rows, &[&pointers[..], &sizes].concat())
}
