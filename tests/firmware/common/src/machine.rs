//! What a machine must offer, and how its program ends.

use core::fmt;

/// How a program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All was as expected.
    Right,
    /// An answer, a hash or an input was not what it should be.
    Wrong,
    /// The program panicked.
    Panic,
    /// The processor trapped: HardFault on ARM, an exception on RISC-V.
    Fault,
}

impl Exit {
    /// Its exit code.
    #[must_use]
    pub const fn code(self) -> i32 {
        match self {
            Self::Right => 0,
            Self::Wrong => 1,
            Self::Panic => 101,
            Self::Fault => 102,
        }
    }
}

/// A console, and what can be measured. Text is written through [`fmt::Write`].
pub trait Machine: fmt::Write {
    /// The next byte of input; none at its end.
    fn read(&mut self) -> Option<u8>;

    /// Bytes of stack in use when it was deepest, where that can be measured.
    fn peak_stack(&self) -> Option<usize>;

    /// Instructions since the start, where the machine can count them. To be called at least every few hundred million.
    fn instructions(&mut self) -> Option<u64> {
        None
    }

    /// Does what the processor traps.
    fn fault(&mut self) -> !;
}

/// A console that does not take text is of no use.
impl From<fmt::Error> for Exit {
    fn from(_: fmt::Error) -> Self {
        Self::Wrong
    }
}
