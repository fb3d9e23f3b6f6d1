//! The Q head, and the positions that it reads.

use super::{LANES, blocks, int, launch_rows, typed};
use crate::error::Error;
use crate::launch::{Arg, Dtype, Launcher, Ptr};

/// Operands of [`q_head`].
#[derive(Clone, Copy, Debug)]
pub struct QHead {
    /// Q values `[batch, 2]`, f32; their cotangent for [`q_head_vjp`].
    pub q: Ptr,
    /// State of H `[batch, positions, hidden]`.
    pub z: Ptr,
    /// Weight `[2, hidden]`.
    pub w: Ptr,
    /// Bias `[2]`, a weight. [`q_head_vjp`] does not read it.
    pub bias: Ptr,
    /// Sequences.
    pub batch: usize,
    /// Positions of a sequence.
    pub positions: usize,
    /// Width of a state.
    pub hidden: usize,
}

/// `q[b] = W z[b, 0] + bias`.
///
/// # Errors
/// The device fails.
pub fn q_head<L: Launcher>(l: &mut L, dtype: Dtype, op: &QHead) -> Result<(), Error> {
    let &QHead { q, z, w, bias, batch, positions, hidden } = op;
    let pointers = [q, z, w, bias].map(Arg::Ptr);
    let sizes = [int(batch)?, int(positions)?, int(hidden)?];
    launch_rows(l, typed!("q_head", "q_head", dtype), batch, &[&pointers[..], &sizes].concat())
}

/// Operands of [`take_first`].
#[derive(Clone, Copy, Debug)]
pub struct TakeFirst {
    /// Result `[batch, hidden]`.
    pub y: Ptr,
    /// Where it is taken from `[batch, positions, hidden]`.
    pub x: Ptr,
    /// Sequences.
    pub batch: usize,
    /// Positions of a sequence.
    pub positions: usize,
    /// Width of a state.
    pub hidden: usize,
}

/// `y[b] = x[b, 0]`.
///
/// # Errors
/// The device fails.
pub fn take_first<L: Launcher>(l: &mut L, dtype: Dtype, op: &TakeFirst) -> Result<(), Error> {
    let &TakeFirst { y, x, batch, positions, hidden } = op;
    let args = [Arg::Ptr(y), Arg::Ptr(x), int(batch)?, int(positions)?, int(hidden)?];
    launch_rows(l, typed!("q_head", "take_first", dtype), batch, &args)
}

/// vjp of [`q_head`]: adds `dq W` to the first position of each sequence of `dz` `[batch, positions, hidden]`, and
/// overwrites the gradients `dw` `[2, hidden]` and `dbias` `[2]`, f32. `op.q` holds `dq`.
///
/// # Errors
/// The device fails.
pub fn q_head_vjp<L: Launcher>(
    l: &mut L,
    dtype: Dtype,
    op: &QHead,
    dz: Ptr,
    dw: Ptr,
    dbias: Ptr,
) -> Result<(), Error> {
    let &QHead { q, z, w, batch, positions, hidden, .. } = op;
    let sizes = [int(batch)?, int(positions)?, int(hidden)?];
    let args = [&[dz, q, w].map(Arg::Ptr)[..], &sizes].concat();
    launch_rows(l, typed!("q_head", "q_head_vjp_state", dtype), batch, &args)?;
    // One block for each 32 columns of both rows of the weight, and one for the bias.
    let args = [&[dw, dbias, q, z].map(Arg::Ptr)[..], &sizes].concat();
    blocks(l, typed!("q_head", "q_head_vjp_weight", dtype), [hidden.div_ceil(LANES) + 1, 1], &args)
}
