//! The rules of a task: an answer can keep them without being the label.

use crate::data::maze::is_shortest_path;
use crate::data::sudoku::Board;
use crate::task::Task;

/// Whether `answer` keeps the rules of `task` for `question`, both as tokens; `None` where no rules are known.
///
/// A Sudoku is lawful if no row, column or box holds a digit twice, no cell is blank, and every given is kept; a maze, if
/// the path is a shortest one, whichever that is, and all else is kept.
#[must_use]
pub fn lawful(task: Task, question: &[i32], answer: &[i32]) -> Option<bool> {
    match task {
        Task::Sudoku(size) => {
            let (question, answer) = (Board::from_tokens(size, question)?, Board::from_tokens(size, answer)?);
            Some(answer.is_solved() && answer.first_difference(&question).is_none())
        }
        Task::Maze { .. } => Some(is_shortest_path(question, answer)),
        Task::Arc { .. } | Task::Other => None,
    }
}

/// What lawful answers are called.
#[must_use]
pub const fn name(task: Task) -> &'static str {
    match task {
        Task::Sudoku(_) => "valid Sudokus",
        Task::Maze { .. } => "any shortest path",
        Task::Arc { .. } | Task::Other => "lawful",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::sudoku::Size;

    fn tokens(line: &str) -> Vec<i32> {
        line.chars().map(|c| c.to_digit(10).map_or(1, |digit| digit as i32 + 1)).collect()
    }

    #[test]
    fn a_sudoku_keeps_rows_columns_boxes_and_givens() {
        let lawful = |question: &str, answer: &str| {
            super::lawful(Task::Sudoku(Size::Four), &tokens(question), &tokens(answer))
        };
        assert_eq!(lawful("1...............", "1234341221434321"), Some(true));
        assert_eq!(lawful("2...............", "1234341221434321"), Some(false));
        assert_eq!(lawful("1...............", "123434122143432."), Some(false));
        assert_eq!(lawful("1...............", "1234341221434312"), Some(false));
        assert_eq!(super::lawful(Task::Other, &[1], &[1]), None);
    }

    /// `S`, free, free, `G`: two shortest paths, of which the label is one.
    #[test]
    fn any_shortest_path_solves_a_maze() {
        let lawful =
            |answer: [i32; 9]| super::lawful(Task::Maze { side: 3 }, &[3, 2, 1, 2, 2, 2, 1, 2, 4], &answer);
        assert_eq!(lawful([3, 5, 1, 2, 5, 5, 1, 2, 4]), Some(true));
        assert_eq!(lawful([3, 2, 1, 5, 5, 2, 1, 5, 4]), Some(true));
        assert_eq!(lawful([3, 5, 1, 5, 5, 5, 1, 2, 4]), Some(false));
        assert_eq!(lawful([3, 2, 1, 2, 2, 2, 1, 2, 4]), Some(false));
    }
}
