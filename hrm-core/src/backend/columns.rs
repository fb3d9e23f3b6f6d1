//! Columns of sequences as rows, and back: what [`Kernels::take_columns`](crate::kernels::Kernels::take_columns) and its
//! inverse are in memory.

use crate::arena::Act;
use crate::backend::operands::{Error, split};
use crate::kernels::Columns;

/// `rows[i, s] = z[b, s, d]` with `b D + d = first + i`.
pub(crate) fn take<T: Copy>(acts: &mut [T], op: &Columns) -> Result<(), Error> {
    let (sizes, [rows, z]) = operands(acts, op)?;
    for (i, row) in rows.chunks_exact_mut(sizes.positions).enumerate() {
        let column = z.get(sizes.start(i)..).ok_or(Error::Span)?.iter().step_by(sizes.width);
        row.iter_mut().zip(column).for_each(|(to, from)| *to = *from);
    }
    Ok(())
}

/// `z[b, s, d] = rows[i, s]` with `b D + d = first + i`.
pub(crate) fn put<T: Copy>(acts: &mut [T], op: &Columns) -> Result<(), Error> {
    let (sizes, [rows, z]) = operands(acts, op)?;
    for (i, row) in rows.chunks_exact(sizes.positions).enumerate() {
        let column = z.get_mut(sizes.start(i)..).ok_or(Error::Span)?.iter_mut().step_by(sizes.width);
        column.zip(row).for_each(|(to, from)| *to = *from);
    }
    Ok(())
}

/// Positions and width of a sequence, none of them 0, and the first column.
struct Sizes {
    positions: usize,
    width: usize,
    first: usize,
}

impl Sizes {
    /// Where column `i` from the first one on begins.
    const fn start(&self, i: usize) -> usize {
        let column = self.first.wrapping_add(i);
        let (Some(b), Some(d)) = (column.checked_div(self.width), column.checked_rem(self.width)) else {
            return usize::MAX;
        };
        b.wrapping_mul(self.positions).wrapping_mul(self.width).wrapping_add(d)
    }
}

fn operands<'a, T>(acts: &'a mut [T], op: &Columns) -> Result<(Sizes, [&'a mut [T]; 2]), Error> {
    let rows: Act = op.rows;
    let sizes = Sizes { positions: rows.cols, width: op.z.cols, first: op.first };
    if sizes.positions == 0 || sizes.width == 0 {
        return Err(Error::Span);
    }
    Ok((sizes, split(acts, [rows.range(), op.z.range()])?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn columns_go_and_come_back() {
        // Two sequences of 3 positions and 2 columns, then the rows of columns 1 to 3.
        let mut acts: Vec<i32> = (0..12).chain([0; 9]).collect();
        let op = Columns { z: Act::new(0, 6, 2), rows: Act::new(12, 3, 3), first: 1 };
        take(&mut acts, &op).unwrap();
        assert_eq!(acts[12..], [1, 3, 5, 6, 8, 10, 7, 9, 11]);
        acts[..12].fill(-1);
        put(&mut acts, &op).unwrap();
        assert_eq!(acts[..12], [-1, 1, -1, 3, -1, 5, 6, 7, 8, 9, 10, 11]);
        let beyond = Columns { first: 9, ..op };
        assert_eq!(take(&mut acts, &beyond), Err(Error::Span));
        assert_eq!(put(&mut acts, &Columns { rows: Act::new(6, 3, 3), ..op }), Err(Error::Span));
    }
}
