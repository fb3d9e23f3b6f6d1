//! Keeps generated test puzzles out of training: every puzzle belongs to one of the two splits, by its digits alone.
//!
//! Whatever their seeds, a generated training set and a generated test set therefore share no puzzle. It matters for
//! 4x4, where there are only some 86 thousand minimal puzzles and a shuffled training puzzle may well be a test one.

use super::grid::Board;
use hrm_core::rng::philox4x32;
use std::fmt;

/// A split of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// For training.
    Train,
    /// Held out.
    Test,
}

impl Split {
    /// The name of its directory.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }

    /// The split that `question` belongs to: one puzzle in eight is for testing.
    #[must_use]
    pub fn of(question: &Board) -> Self {
        let mut hash = [0; 4];
        for chunk in question.cells().chunks(16) {
            for (word, digits) in hash.iter_mut().zip(chunk.chunks(4)) {
                *word ^= digits.iter().fold(0, |word, &digit| word << 8 | u32::from(digit));
            }
            hash = philox4x32(hash, [question.size().side() as u32, 0]);
        }
        if hash[0] % 8 == 0 { Self::Test } else { Self::Train }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
