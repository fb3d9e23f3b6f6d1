//! Handles into the memory of a backend.
//!
//! The model never sees a tensor. It passes around [`Span`]s, small `Copy` handles that say where in which arena
//! of the backend a row-major matrix lies; only the backend turns one into memory.

use core::fmt;
use core::marker::PhantomData;
use core::ops::Range;

/// Marks the arena of parameters and constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params;
/// Marks the arena of activations, in the backend's working precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acts;
/// Marks the arena of statistics: at least f32, whatever the working precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats;
/// Marks the arena of integers (i32): tokens, labels, identifiers, counters, flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ints;

/// A row-major matrix of `rows` x `cols` elements that starts at element `offset` of arena `A`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Span<A> {
    /// First element.
    pub offset: usize,
    /// Number of rows.
    pub rows: usize,
    /// Number of columns; rows follow each other without gaps.
    pub cols: usize,
    arena: PhantomData<A>,
}

/// A span of the parameters, or of the gradients and moments, which have the same layout.
pub type Param = Span<Params>;
/// A span of the activations.
pub type Act = Span<Acts>;
/// A span of the statistics.
pub type Stat = Span<Stats>;
/// A span of the integers.
pub type Ids = Span<Ints>;

impl<A> Span<A> {
    /// A span of `rows` x `cols` elements at `offset`.
    #[must_use]
    pub const fn new(offset: usize, rows: usize, cols: usize) -> Self {
        Self { offset, rows, cols, arena: PhantomData }
    }

    /// Number of elements.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rows * self.cols
    }

    /// Whether there is no element.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rows == 0 || self.cols == 0
    }

    /// `count` of its rows, from row `first` on.
    #[must_use]
    pub const fn rows_from(&self, first: usize, count: usize) -> Self {
        Self::new(self.offset + first * self.cols, count, self.cols)
    }

    /// The elements' positions in the arena.
    #[must_use]
    pub const fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.len()
    }
}

impl<A> fmt::Debug for Span<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} x {}] at {}", self.rows, self.cols, self.offset)
    }
}

/// Lays spans out one after the other, each at a multiple of [`ALIGN`] elements. Overflow is remembered, not
/// fatal, so that a layout can be `const`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    next: usize,
    overflow: bool,
}

/// Elements to which every span of a plan is aligned: 64 bytes of f32, 32 of bf16.
pub const ALIGN: usize = 16;

impl Layout {
    pub(crate) const fn new() -> Self {
        Self { next: 0, overflow: false }
    }

    pub(crate) const fn span<A>(&mut self, rows: usize, cols: usize) -> Span<A> {
        let span = Span::new(self.next, rows, cols);
        let end = match rows.checked_mul(cols) {
            Some(len) => self.next.checked_add(len),
            None => None,
        };
        match end {
            // Half of the address space leaves room for any element size this crate knows.
            Some(end) if end <= usize::MAX / 16 - ALIGN => self.next = end.div_ceil(ALIGN) * ALIGN,
            _ => self.overflow = true,
        }
        span
    }

    /// Where the next span would start.
    pub(crate) const fn position(&self) -> usize {
        self.next
    }

    /// Goes back to an earlier position, so that what follows overlays what was laid out since.
    pub(crate) const fn rewind(&mut self, position: usize) {
        self.next = position;
    }

    /// Goes forward to `position` if it is ahead.
    pub(crate) const fn reach(&mut self, position: usize) {
        if self.next < position {
            self.next = position;
        }
    }

    pub(crate) const fn overflowed(&self) -> bool {
        self.overflow
    }
}
