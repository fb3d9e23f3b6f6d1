//! What every backend in memory needs: operands as slices of its arenas, checked, and the error if they are not.

use core::fmt;
use core::ops::Range;

use crate::arena::Span;
use crate::kernels::Region;

/// What can go wrong in a backend that works in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A span lies outside its arena, or two spans of one kernel overlap.
    Span,
    /// A region is smaller than the plan asks for.
    TooSmall {
        /// Which one.
        region: Region,
        /// Elements it has.
        given: usize,
        /// Elements the plan needs.
        needed: usize,
    },
    /// Scratch beside the arenas is smaller than a kernel needs.
    Scratch {
        /// Elements it has.
        given: usize,
        /// Elements the kernel needs.
        needed: usize,
    },
    /// A read or write beyond the end of a region, or to one that this storage does not have.
    OutOfRange {
        /// Which one.
        region: Region,
        /// One past the last element asked for.
        end: usize,
        /// Elements it has.
        len: usize,
    },
    /// The parameters lie in read-only memory.
    ReadOnly,
    /// A token, label or identifier outside its table.
    Id {
        /// What it is.
        what: &'static str,
        /// What was given.
        given: i32,
        /// Rows of the table.
        rows: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Span => f.write_str("operands of a kernel overlap or lie outside their arena"),
            Self::TooSmall { region, given, needed } => {
                write!(f, "the arena of {region:?} has {given} elements, the plan needs {needed}")
            }
            Self::Scratch { given, needed } => {
                write!(f, "the scratch has {given} elements, a kernel needs {needed}")
            }
            Self::OutOfRange { region, end, len } => {
                write!(f, "access up to element {end} of {region:?}, which has {len}")
            }
            Self::ReadOnly => f.write_str("the parameters lie in read-only memory"),
            Self::Id { what, given, rows } => write!(f, "{what} {given} is outside its table of {rows} rows"),
        }
    }
}

impl core::error::Error for Error {}

/// Exclusive slices of several spans of one arena at once.
pub(crate) fn split<const N: usize, U>(
    arena: &mut [U],
    ranges: [Range<usize>; N],
) -> Result<[&mut [U]; N], Error> {
    arena.get_disjoint_mut(ranges).map_err(|_| Error::Span)
}

/// The slice of a span.
pub(crate) fn at<U, A>(arena: &[U], span: Span<A>) -> Result<&[U], Error> {
    arena.get(span.range()).ok_or(Error::Span)
}

/// The exclusive slice of a span.
pub(crate) fn at_mut<U, A>(arena: &mut [U], span: Span<A>) -> Result<&mut [U], Error> {
    arena.get_mut(span.range()).ok_or(Error::Span)
}

/// `id` as a row of a table of `rows`.
pub(crate) fn row(what: &'static str, id: i32, rows: usize) -> Result<usize, Error> {
    usize::try_from(id).ok().filter(|&i| i < rows).ok_or(Error::Id { what, given: id, rows })
}

/// The elements from `offset` on, `count` of them.
pub(crate) fn window<U>(arena: &[U], region: Region, offset: usize, count: usize) -> Result<&[U], Error> {
    let (len, end) = (arena.len(), offset.saturating_add(count));
    arena.get(offset..end).ok_or(Error::OutOfRange { region, end, len })
}

/// The same, exclusively.
pub(crate) fn window_mut<U>(
    arena: &mut [U],
    region: Region,
    offset: usize,
    count: usize,
) -> Result<&mut [U], Error> {
    let (len, end) = (arena.len(), offset.saturating_add(count));
    arena.get_mut(offset..end).ok_or(Error::OutOfRange { region, end, len })
}
