//! What kernels found wrong: one word of device memory that they all can set.
//!
//! A kernel never reads outside a table; it sets the word and goes on with something harmless. While the word is
//! set the optimizers do nothing, so that a bad step leaves the parameters as they were. The backend looks at the
//! word at its next wait, and clears it.

use core::fmt;

/// Bytes of the word. All zero: nothing is wrong.
pub const BYTES: usize = 8;

/// What a kernel found wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A token outside its table.
    Token(i32),
    /// A puzzle identifier outside its table.
    Puzzle(i32),
    /// A label outside the vocabulary.
    Label(i32),
    /// A loss or a gradient is infinite or not a number. The parameters were not changed.
    NotFinite,
}

impl Fault {
    /// The fault in the word, if there is one: the code in its upper half, the value in its lower, as
    /// `kernels/common.cuh` has them.
    #[must_use]
    pub const fn decode(bytes: [u8; BYTES]) -> Option<Self> {
        let word = u64::from_le_bytes(bytes);
        let value = word as u32 as i32;
        match word >> 32 {
            0 => None,
            1 => Some(Self::Token(value)),
            2 => Some(Self::Puzzle(value)),
            3 => Some(Self::Label(value)),
            _ => Some(Self::NotFinite),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(id) => write!(f, "token {id} is outside its table"),
            Self::Puzzle(id) => write!(f, "puzzle identifier {id} is outside its table"),
            Self::Label(id) => write!(f, "label {id} is outside the vocabulary"),
            Self::NotFinite => f.write_str("a loss or a gradient is infinite or not a number"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_has_code_and_value() {
        assert_eq!(Fault::decode([0; 8]), None);
        assert_eq!(Fault::decode([0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0]), Some(Fault::Token(-1)));
        assert_eq!(Fault::decode([7, 0, 0, 0, 3, 0, 0, 0]), Some(Fault::Label(7)));
    }
}
