//! Sudoku rows of a file, in any form that [`super::text`] reads.
//!
//! Every puzzle that is used is solved: it must have one solution, and its answer, where the row has one, must be it.

use super::generate::Puzzle;
use super::grid::{Board, Size};
use super::solver::{Solutions, solve};
use super::text;
use crate::data::error::{Error, Place, Result};
use crate::data::puzzle_csv::{Kind, Looks};
pub use crate::data::puzzle_csv::{PuzzleReader, Row};
use std::path::Path;

/// How a field of a table without a header is known as a Sudoku.
pub const KIND: Kind = Kind { looks, marks_comments: true };

fn looks(field: &str) -> Looks {
    // Spares a reader of large tables from trying every form on every name.
    if field.chars().count() < 16 {
        return Looks::Other;
    }
    match text::field(field) {
        Ok(board) if board.is_complete() => Looks::Answer,
        Ok(_) => Looks::Question,
        Err(_) => Looks::Other,
    }
}

/// What has come of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// A puzzle whose answer stands in the row.
    Given(Puzzle),
    /// A puzzle whose answer was found.
    Found(Puzzle),
    /// A row without an answer, whose puzzle has several.
    Several,
    /// A row without an answer, whose puzzle has none.
    Unsolvable,
}

impl Checked {
    /// The puzzle, if it can be used.
    #[must_use]
    pub const fn puzzle(&self) -> Option<&Puzzle> {
        match self {
            Self::Given(puzzle) | Self::Found(puzzle) => Some(puzzle),
            Self::Several | Self::Unsolvable => None,
        }
    }
}

fn bad(path: &Path, row: &Row, field: &str, found: String, expected: String) -> Error {
    Error::format(path, Place::Line(row.line), field, found, expected)
}

fn board(path: &Path, row: &Row, field: &str, text: &str) -> Result<Board> {
    text::field(text).map_err(|error| bad(path, row, field, error.found, error.expected))
}

/// The size of the board in `row`, which came from `path`.
///
/// # Errors
/// [`Error::Format`] if there is none.
pub fn size(path: &Path, row: &Row) -> Result<Size> {
    board(path, row, "question", &row.question).map(|board| board.size())
}

/// Parses and proves the puzzle of `row`, which came from `path`. `size` is that of the file's first puzzle, if known.
///
/// # Errors
/// [`Error::Format`] at a wrong length or character, an answer that does not fit the question, and a question that has
/// an answer but not exactly one solution.
pub fn check(path: &Path, row: &Row, size: Option<Size>) -> Result<Checked> {
    let bad = |field: &str, found: String, expected: String| bad(path, row, field, found, expected);
    let question = board(path, row, "question", &row.question)?;
    let answer = row.answer.as_ref().map(|answer| board(path, row, "answer", answer)).transpose()?;
    let sizes =
        [("question", Some(question), size.unwrap_or(question.size())), ("answer", answer, question.size())];
    for (field, board, size) in sizes {
        if let Some(board) = board.filter(|board| board.size() != size) {
            let found = format!("{} cells", board.size().cells());
            return Err(bad(field, found, format!("{} cells, as before it", size.cells())));
        }
    }
    let solutions = solve(&question);
    let Some(answer) = answer else {
        return Ok(match solutions {
            Solutions::One(answer) => Checked::Found(Puzzle { question, answer }),
            Solutions::Many(..) => Checked::Several,
            Solutions::None => Checked::Unsolvable,
        });
    };
    let place = |cell: usize| {
        let side = question.size().side();
        format!("row {}, column {}", cell / side + 1, cell % side + 1)
    };
    if let Some(cell) = answer.first_blank() {
        return Err(bad("answer", format!("a blank at {}", place(cell)), "a digit in every cell".to_owned()));
    }
    if let Some(cell) = answer.first_difference(&question) {
        let found = format!("{} at {}", answer.get(cell), place(cell));
        return Err(bad("answer", found, format!("{}, as given in the question", question.get(cell))));
    }
    let solution = match solutions {
        Solutions::One(solution) => solution,
        Solutions::None => {
            return Err(bad("question", format!("no solution of {question}"), "exactly one".to_owned()));
        }
        Solutions::Many(..) => {
            return Err(bad(
                "question",
                format!("several solutions of {question}"),
                "exactly one".to_owned(),
            ));
        }
    };
    match answer.first_difference(&solution) {
        Some(cell) => {
            let found = format!("{} at {}", answer.get(cell), place(cell));
            Err(bad("answer", found, format!("{}, as in the only solution", solution.get(cell))))
        }
        None => Ok(Checked::Given(Puzzle { question, answer })),
    }
}

#[cfg(test)]
#[path = "csv_tests.rs"]
mod tests;
