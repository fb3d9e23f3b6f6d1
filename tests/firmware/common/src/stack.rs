//! How much of the stack was used: all that is free is painted at the start, and what has lost its colour was in use. The
//! only unsafe code of this crate.
#![expect(unsafe_code, reason = "reads and writes memory by address")]

use core::hint::black_box;

const PAINT: u32 = 0x5AAC_5AAC;
/// What lies so near below the caller's frame is left alone: it is ours.
const MARGIN: usize = 512;

/// A painted stack.
#[derive(Clone, Copy, Debug)]
pub struct Stack {
    low: usize,
    high: usize,
}

impl Stack {
    /// Paints the stack from `low` up to what is in use now; `high` is where it begins.
    ///
    /// # Safety
    /// From `low` to `high` lies the stack that this runs on, and no other code uses what is free of it.
    #[must_use]
    #[inline(never)]
    pub unsafe fn paint(low: usize, high: usize) -> Self {
        let marker = 0u32;
        let free = (black_box(&raw const marker) as usize).saturating_sub(MARGIN);
        let low = low.next_multiple_of(size_of::<u32>());
        for at in (low..free).step_by(size_of::<u32>()) {
            // SAFETY: below the frames of this and all calling functions, on the stack: the caller vouches for it.
            unsafe { (at as *mut u32).write_volatile(PAINT) };
        }
        Self { low, high }
    }

    /// Bytes in use when it was deepest.
    #[must_use]
    pub fn peak(&self) -> usize {
        let painted = (self.low..self.high)
            .step_by(size_of::<u32>())
            // SAFETY: as in `paint`; any bits are a u32.
            .take_while(|&at| unsafe { (at as *const u32).read_volatile() } == PAINT)
            .count();
        self.high - self.low - painted * size_of::<u32>()
    }
}
