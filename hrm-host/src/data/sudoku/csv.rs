//! Sudoku rows of a CSV file: `question` and `answer` have 81 or 16 characters.
//!
//! Every puzzle that is used is solved: it must have one solution, and `answer` must be it.

use super::generate::Puzzle;
use super::grid::{Board, ParseError, Size};
use super::solver::{Solutions, solve};
use crate::data::error::{Error, Place, Result};
pub use crate::data::puzzle_csv::{PuzzleReader, Row};
use std::path::Path;

/// Parses and proves the puzzle of `row`, which came from `path`. `size` is that of the file's first puzzle, if known.
///
/// # Errors
/// [`Error::Format`] at a wrong length or character, an answer that does not fit the question, and a question
/// without exactly one solution.
pub fn check(path: &Path, row: &Row, size: Option<Size>) -> Result<Puzzle> {
    let bad = |field: &str, found: String, expected: String| {
        Error::format(path, Place::Line(row.line), field, found, expected)
    };
    let parse = |field: &str, text: &str| {
        Board::from_line(text.trim()).map_err(|error| {
            // A maze begins and ends with cells that are spaces: its number is that of what stands in the file.
            let written = text.chars().count();
            let error = match error {
                ParseError::Length(_) if Size::from_cells(written).is_none() => ParseError::Length(written),
                other => other,
            };
            let (found, expected) = error.found_and_expected();
            bad(field, found, expected)
        })
    };
    let question = parse("question", &row.question)?;
    let answer = parse("answer", &row.answer)?;
    for (field, board, size) in
        [("question", question, size.unwrap_or(question.size())), ("answer", answer, question.size())]
    {
        if board.size() != size {
            let found = format!("{} cells", board.size().cells());
            return Err(bad(field, found, format!("{} cells, as before it", size.cells())));
        }
    }
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
    let solution = match solve(&question) {
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
        None => Ok(Puzzle { question, answer }),
    }
}

#[cfg(test)]
#[path = "csv_tests.rs"]
mod tests;
