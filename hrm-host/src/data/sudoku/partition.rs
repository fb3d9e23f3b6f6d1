//! Keeps generated test puzzles out of training: every puzzle belongs to one of the two splits, by its digits alone.
//!
//! Whatever their seeds, a generated training set and a generated test set therefore share no puzzle. It matters for
//! 4x4, where there are only some 86 thousand minimal puzzles and a shuffled training puzzle may well be a test one.

use super::grid::Board;
pub use crate::data::split::Split;
use hrm_core::rng::philox4x32;

impl Split {
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
