//! Arenas in a launcher's memory: spans become pointers, and only those that lie within.

use hrm_core::arena::Span;

use crate::error::Error;
use crate::launch::{Launcher, Ptr};

/// Consecutive elements of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arena {
    name: &'static str,
    base: Ptr,
    len: usize,
    element: usize,
}

/// The size of an arena before it is allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// Its name, for messages.
    pub name: &'static str,
    /// Elements.
    pub len: usize,
    /// Bytes of an element.
    pub element: usize,
}

/// Bytes to whose multiples allocations are rounded up.
const GRAIN: usize = 256;

impl Size {
    /// Bytes that the arena takes.
    pub const fn bytes(&self) -> usize {
        (self.len * self.element).div_ceil(GRAIN) * GRAIN
    }
}

impl Arena {
    /// An arena, zeroed.
    pub fn new<L: Launcher>(launcher: &mut L, size: Size) -> Result<Self, Error> {
        let Size { name, len, element } = size;
        let base = if len == 0 { Ptr(0) } else { launcher.alloc(size.bytes())? };
        let arena = Self { name, base, len, element };
        arena.clear(launcher)?;
        Ok(arena)
    }

    /// Zeroes the arena.
    pub fn clear<L: Launcher>(&self, launcher: &mut L) -> Result<(), Error> {
        let Self { name, len, element, .. } = *self;
        let bytes = Size { name, len, element }.bytes();
        if bytes == 0 { Ok(()) } else { launcher.fill(self.base, 0, bytes) }
    }

    /// Where the arena begins.
    pub const fn base(&self) -> Ptr {
        self.base
    }

    /// Elements of the arena.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// The pointer to a span.
    pub fn at<A>(&self, span: Span<A>) -> Result<Ptr, Error> {
        let end = span.rows.checked_mul(span.cols).and_then(|len| span.offset.checked_add(len));
        self.within(span.offset, end).ok_or_else(|| {
            Error::Operand(format!(
                "an operand {span:?} lies outside {}, which have {} elements",
                self.name, self.len
            ))
        })
    }

    /// The pointer to `count` elements from `offset` on, if they are there.
    pub fn window(&self, offset: usize, count: usize) -> Option<Ptr> {
        self.within(offset, offset.checked_add(count))
    }

    fn within(&self, start: usize, end: Option<usize>) -> Option<Ptr> {
        end.filter(|end| *end <= self.len).map(|_| self.base.offset(start * self.element))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hrm_core::arena::Act;

    const ARENA: Arena = Arena { name: "activations", base: Ptr(4096), len: 100, element: 2 };

    #[test]
    fn spans_within_become_pointers() {
        assert_eq!(ARENA.at(Act::new(16, 12, 7)), Ok(Ptr(4096 + 32)));
        assert_eq!(ARENA.at(Act::new(100, 0, 7)), Ok(Ptr(4096 + 200)));
        assert_eq!(ARENA.window(0, 100), Some(Ptr(4096)));
    }

    #[test]
    fn spans_outside_are_an_error() {
        let message = ARENA.at(Act::new(16, 17, 5)).unwrap_err().to_string();
        assert_eq!(message, "an operand [17 x 5] at 16 lies outside activations, which have 100 elements");
        assert!(ARENA.at(Act::new(1, usize::MAX, 2)).is_err());
        assert!(ARENA.at(Act::new(usize::MAX, 1, 2)).is_err());
        assert_eq!(ARENA.window(99, 2), None);
        assert_eq!(ARENA.window(usize::MAX, 2), None);
    }

    #[test]
    fn allocations_are_rounded_up() {
        let size = |len| Size { name: "ids", len, element: 4 }.bytes();
        assert_eq!([size(0), size(1), size(64), size(65)], [0, 256, 256, 512]);
    }
}
