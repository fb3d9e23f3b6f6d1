//! Columns of sequences as rows, and back.

use super::{LANES, blocks, int, typed};
use crate::error::Error;
use crate::launch::{Arg, Dtype, Launcher, Ptr};

/// Operands of [`take_columns`] and [`put_columns`].
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    /// Columns as rows `[columns, positions]`.
    pub rows: Ptr,
    /// Sequences `[batch, positions, width]`.
    pub z: Ptr,
    /// Number of the first column: column `d` of sequence `b` is number `b width + d`.
    pub first: usize,
    /// How many.
    pub columns: usize,
    /// Positions of a sequence.
    pub positions: usize,
    /// Columns of a sequence.
    pub width: usize,
}

impl Columns {
    fn sizes(&self) -> Result<[Arg; 4], Error> {
        Ok([Arg::U64(self.first as u64), int(self.columns)?, int(self.positions)?, int(self.width)?])
    }

    const fn grid(&self) -> [usize; 2] {
        [self.columns.div_ceil(LANES), self.positions.div_ceil(LANES)]
    }
}

/// `rows[i, s] = z[b, s, d]` with `b width + d = first + i`.
///
/// # Errors
/// The device fails.
pub fn take_columns<L: Launcher>(l: &mut L, dtype: Dtype, op: &Columns) -> Result<(), Error> {
    let args = [&[Arg::Ptr(op.rows), Arg::Ptr(op.z)][..], &op.sizes()?].concat();
    blocks(l, typed!("columns", "take_columns", dtype), op.grid(), &args)
}

/// `z[b, s, d] = rows[i, s]`: the inverse.
///
/// # Errors
/// The device fails.
pub fn put_columns<L: Launcher>(l: &mut L, dtype: Dtype, op: &Columns) -> Result<(), Error> {
    let args = [&[Arg::Ptr(op.z), Arg::Ptr(op.rows)][..], &op.sizes()?].concat();
    blocks(l, typed!("columns", "put_columns", dtype), op.grid(), &args)
}
