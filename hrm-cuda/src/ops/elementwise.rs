//! Sums and SwiGLU.

use super::{int, launch, typed, width};
use crate::error::Error;
use crate::launch::{Arg, Dtype, Launcher, Ptr};

/// `y = a + b`, `len` elements each.
///
/// # Errors
/// The device fails.
pub fn add<L: Launcher>(l: &mut L, dtype: Dtype, y: Ptr, a: Ptr, b: Ptr, len: usize) -> Result<(), Error> {
    let args = [Arg::Ptr(y), Arg::Ptr(a), Arg::Ptr(b), Arg::U64(len as u64)];
    launch(l, typed!("add", "add", dtype), len.div_ceil(width(dtype, 0)), &args)
}

/// `a = silu(gate) * up`: `a` is `[rows, cols]`, `gate_up` `[rows, 2 cols]`.
///
/// # Errors
/// The device fails.
pub fn swiglu<L: Launcher>(
    l: &mut L,
    dtype: Dtype,
    a: Ptr,
    gate_up: Ptr,
    rows: usize,
    cols: usize,
) -> Result<(), Error> {
    let args = [Arg::Ptr(a), Arg::Ptr(gate_up), int(rows)?, int(cols)?];
    launch(l, typed!("swiglu", "swiglu", dtype), rows * (cols / width(dtype, cols)), &args)
}

/// vjp of [`swiglu`], in place: `gate_up` becomes its cotangent, and `a`, the cotangent of the activation, becomes
/// the activation.
///
/// # Errors
/// The device fails.
pub fn swiglu_vjp<L: Launcher>(
    l: &mut L,
    dtype: Dtype,
    a: Ptr,
    gate_up: Ptr,
    rows: usize,
    cols: usize,
) -> Result<(), Error> {
    let args = [Arg::Ptr(a), Arg::Ptr(gate_up), int(rows)?, int(cols)?];
    launch(l, typed!("swiglu", "swiglu_vjp", dtype), rows * (cols / width(dtype, cols)), &args)
}
