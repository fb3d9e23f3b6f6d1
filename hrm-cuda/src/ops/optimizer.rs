//! The optimizers, and what they need beside.

use hrm_core::optim::{AdamAtan2, Average, SignSgd};

use super::{LANES, blocks, int, launch, optional, typed, width};
use crate::error::Error;
use crate::launch::{Arg, Dtype, Kernel, Launcher, Ptr};

/// Operands of [`adam_atan2`], `len` elements each.
#[derive(Clone, Copy, Debug)]
pub struct AdamOperands {
    /// Parameters, f32.
    pub params: Ptr,
    /// Their copy in bf16, if there is one.
    pub shadow: Option<Ptr>,
    /// Gradients, f32.
    pub gradients: Ptr,
    /// First moments, f32.
    pub first: Ptr,
    /// Second moments, f32.
    pub second: Ptr,
    /// Elements.
    pub len: usize,
    /// The step's scalars, see [`scalars`](super::scalars).
    pub scalars: Ptr,
    /// While this word is set nothing is changed, see [`fault`](super::fault).
    pub fault: Ptr,
}

/// One AdamATan2 update of all parameters and of their copy in bf16.
///
/// # Errors
/// The device fails.
pub fn adam_atan2<L: Launcher>(l: &mut L, op: &AdamOperands, optimizer: &AdamAtan2) -> Result<(), Error> {
    let AdamAtan2 { beta1, beta2, weight_decay } = *optimizer;
    let pointers = [op.gradients, op.first, op.second, op.scalars, op.fault].map(Arg::Ptr);
    let head = [Arg::Ptr(op.params), optional(op.shadow)];
    let rest = [Arg::U64(op.len as u64), Arg::F64(beta1), Arg::F64(beta2), Arg::F64(weight_decay)];
    let args = [&head[..], &pointers, &rest].concat();
    let threads = op.len.div_ceil(width(Dtype::F32, 0));
    launch(l, Kernel { unit: "optimizer", name: "adam_atan2" }, threads, &args)
}

/// Moves `len` averages towards the parameters, unless the word `fault` is set.
///
/// # Errors
/// The device fails.
pub fn average<L: Launcher>(
    l: &mut L,
    averages: Ptr,
    params: Ptr,
    fault: Ptr,
    len: usize,
    average: &Average,
) -> Result<(), Error> {
    let pointers = [averages, params, fault].map(Arg::Ptr);
    let args = [&pointers[..], &[Arg::U64(len as u64), Arg::F64(average.rate)]].concat();
    launch(l, Kernel { unit: "optimizer", name: "average" }, len.div_ceil(width(Dtype::F32, 0)), &args)
}

/// Exchanges `len` parameters and their averages, and writes the parameters' copy in bf16, if there is one.
///
/// # Errors
/// The device fails.
pub fn swap_averages<L: Launcher>(
    l: &mut L,
    params: Ptr,
    shadow: Option<Ptr>,
    averages: Ptr,
    len: usize,
) -> Result<(), Error> {
    let args = [Arg::Ptr(params), optional(shadow), Arg::Ptr(averages), Arg::U64(len as u64)];
    launch(l, Kernel { unit: "optimizer", name: "swap_averages" }, len.div_ceil(width(Dtype::F32, 0)), &args)
}

/// Operands of [`sign_sgd`].
#[derive(Clone, Copy, Debug)]
pub struct SignSgdOperands {
    /// Table `[rows, cols]`, f32.
    pub table: Ptr,
    /// Which rows `[batch]`; a row may come more than once.
    pub ids: Ptr,
    /// Their gradients `[batch, cols]`.
    pub gradients: Ptr,
    /// Sequences.
    pub batch: usize,
    /// Rows of the table.
    pub rows: usize,
    /// Their width.
    pub cols: usize,
    /// The step's scalars, see [`scalars`](super::scalars).
    pub scalars: Ptr,
    /// While this word is set nothing is changed, see [`fault`](super::fault).
    pub fault: Ptr,
}

/// One sign-SGD update of the rows `ids`, once for each distinct row, by the sum of its gradients.
///
/// # Errors
/// The device fails.
pub fn sign_sgd<L: Launcher>(
    l: &mut L,
    dtype: Dtype,
    op: &SignSgdOperands,
    optimizer: &SignSgd,
) -> Result<(), Error> {
    let pointers = [op.table, op.ids, op.gradients, op.scalars, op.fault].map(Arg::Ptr);
    let rest = [int(op.batch)?, int(op.rows)?, int(op.cols)?, Arg::F64(optimizer.weight_decay)];
    let args = [&pointers[..], &rest].concat();
    blocks(l, typed!("optimizer", "sign_sgd", dtype), [op.batch, op.cols.div_ceil(LANES)], &args)
}

/// Sets the word [`fault`](super::fault) if one of `len` elements is infinite or not a number.
///
/// # Errors
/// The device fails.
pub fn check_finite<L: Launcher>(
    l: &mut L,
    dtype: Dtype,
    x: Ptr,
    len: usize,
    fault: Ptr,
) -> Result<(), Error> {
    let args = [Arg::Ptr(x), Arg::U64(len as u64), Arg::Ptr(fault)];
    launch(l, typed!("optimizer", "check_finite", dtype), len.div_ceil(width(dtype, 0)), &args)
}

/// Writes the copy in bf16 of `len` parameters.
///
/// # Errors
/// The device fails.
pub fn round_parameters<L: Launcher>(l: &mut L, shadow: Ptr, params: Ptr, len: usize) -> Result<(), Error> {
    let args = [Arg::Ptr(shadow), Arg::Ptr(params), Arg::U64(len as u64)];
    launch(
        l,
        Kernel { unit: "optimizer", name: "round_parameters" },
        len.div_ceil(width(Dtype::Bf16, 0)),
        &args,
    )
}
