//! What happens to rows between ACT steps: reset, replacement, and the decision to halt.

use hrm_core::halting::HaltRule;

use super::{int, launch, launch_rows, typed};
use crate::error::Error;
use crate::launch::{Arg, Dtype, Kernel, Launcher, Ptr};

/// Operands of [`reset_rows`].
#[derive(Clone, Copy, Debug)]
pub struct ResetRows {
    /// States `[batch, positions, hidden]`.
    pub z: Ptr,
    /// Their initial value `[hidden]`, f32.
    pub init: Ptr,
    /// Which rows `[batch]`.
    pub halted: Ptr,
    /// Sequences.
    pub batch: usize,
    /// Positions of a sequence.
    pub positions: usize,
    /// Width of a state.
    pub hidden: usize,
}

/// Every position of `z[b]` becomes `init` where `halted[b]` is not 0.
///
/// # Errors
/// The device fails.
pub fn reset_rows<L: Launcher>(l: &mut L, dtype: Dtype, op: &ResetRows) -> Result<(), Error> {
    let &ResetRows { z, init, halted, batch, positions, hidden } = op;
    let rows = batch * positions;
    let pointers = [z, init, halted].map(Arg::Ptr);
    let sizes = [int(rows)?, int(positions)?, int(hidden)?];
    launch_rows(l, typed!("carry", "reset_rows", dtype), rows, &[&pointers[..], &sizes].concat())
}

/// `current[b] = incoming[b]` `[batch, cols]` where `halted[b]` is not 0, integers.
///
/// # Errors
/// The device fails.
pub fn replace_rows<L: Launcher>(
    l: &mut L,
    current: Ptr,
    incoming: Ptr,
    halted: Ptr,
    batch: usize,
    cols: usize,
) -> Result<(), Error> {
    let pointers = [current, incoming, halted].map(Arg::Ptr);
    let args = [&pointers[..], &[int(batch)?, int(cols)?]].concat();
    launch(l, Kernel { unit: "carry", name: "replace_rows" }, batch * cols, &args)
}

/// Operands of [`advance`].
#[derive(Clone, Copy, Debug)]
pub struct Advance {
    /// Q values `[batch, 2]`, f32.
    pub q: Ptr,
    /// Replaced: ACT steps done `[batch]`.
    pub steps: Ptr,
    /// Replaced: whether each row halts `[batch]`.
    pub halted: Ptr,
    /// Sequences.
    pub batch: usize,
    /// Steps after which every row halts.
    pub max_steps: usize,
    /// When the Q values say that a row is done.
    pub rule: HaltRule,
    /// Probability of exploration.
    pub exploration: f64,
    /// The step's scalars, see [`scalars`](super::scalars).
    pub scalars: Ptr,
}

/// Counts the step and decides which rows halt.
///
/// # Errors
/// The device fails.
pub fn advance<L: Launcher>(l: &mut L, op: &Advance) -> Result<(), Error> {
    let pointers = [op.q, op.steps, op.halted, op.scalars].map(Arg::Ptr);
    let positive = Arg::I32(i32::from(op.rule == HaltRule::Positive));
    let sizes = [int(op.batch)?, int(op.max_steps)?, positive, Arg::F64(op.exploration)];
    let kernel = Kernel { unit: "carry", name: "advance" };
    launch(l, kernel, op.batch, &[&pointers[..], &sizes].concat())
}
