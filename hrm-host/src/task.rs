//! Which task a dataset or a model is for. Neither says so: it is told by the number of cells and of tokens, in which
//! the published tasks differ.

use std::fmt;

use crate::data::sudoku::Size;

/// A task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Sudoku.
    Sudoku(Size),
    /// A path through a square maze.
    Maze {
        /// Cells of a row.
        side: usize,
    },
    /// A puzzle of ARC, in a square of padding.
    Arc {
        /// Cells of a row.
        side: usize,
    },
    /// Any other.
    Other,
}

/// Tokens of a maze: padding, wall, free, start, goal, path.
const MAZE_TOKENS: usize = 6;
/// Tokens of ARC: padding, end mark, ten colours.
const ARC_TOKENS: usize = 12;

impl Task {
    /// The task with `seq_len` cells of `vocab_size` tokens.
    #[must_use]
    pub fn of(seq_len: usize, vocab_size: usize) -> Self {
        if let Some(size) = Size::from_cells(seq_len).filter(|size| size.vocab_size() as usize == vocab_size)
        {
            return Self::Sudoku(size);
        }
        let side = seq_len.isqrt();
        match vocab_size {
            MAZE_TOKENS if side * side == seq_len => Self::Maze { side },
            ARC_TOKENS if side * side == seq_len => Self::Arc { side },
            _ => Self::Other,
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sudoku(size) => write!(f, "a {size} Sudoku"),
            Self::Maze { side } => write!(f, "a maze of {side}x{side} cells"),
            Self::Arc { .. } => f.write_str("an ARC puzzle"),
            Self::Other => f.write_str("this task"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_tasks_are_told_apart() {
        assert_eq!(Task::of(81, 11), Task::Sudoku(Size::Nine));
        assert_eq!(Task::of(16, 6), Task::Sudoku(Size::Four));
        assert_eq!(Task::of(900, 6), Task::Maze { side: 30 });
        assert_eq!(Task::of(900, 12), Task::Arc { side: 30 });
        for (cells, tokens) in [(81, 12 + 1), (899, 6), (16, 9), (0, 7)] {
            assert_eq!(Task::of(cells, tokens), Task::Other, "{cells} {tokens}");
        }
    }
}
