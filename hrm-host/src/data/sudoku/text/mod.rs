//! Sudokus as people write them, read into boards.
//!
//! | form | example |
//! |---|---|
//! | a line | `53..7....6..195...`, with a name, a rating or the answer beside it |
//! | rows | `53..7....`, `5 3 . \| . 7 .`, `5,3,0,0,7`, with frames and rules of any kind around them |
//! | JSON | `[[5, 3, 0, ..], ..]`, a list of 81 numbers, `{"puzzle": "53..7...."}`, one object a line |
//! | pencil marks | `\| 5 3 1248 \| 26 7 2468 \|`: a cell of several candidates is blank |
//!
//! Blanks are `. 0 * _ - x ?` and, where a row holds nothing but digits and them, spaces, also those that an editor has
//! taken away at its end. Titles (`Grid 01`) and comments (`# ...`) are passed over. A text holds any number of boards.
//! What is left over is an error that names the line: no digit is ever passed over in silence.
//!
//! `line` says what a line is, `assemble` puts rows together, `json` reads values.

mod assemble;
mod json;
mod line;

use super::grid::{Board, Size};
use crate::data::plain::plain;
use std::error;
use std::fmt;

/// A puzzle found in a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The line that it begins in, from 1.
    pub line: usize,
    /// The title above it, if there is one.
    pub name: Option<String>,
    /// The puzzle.
    pub question: Board,
    /// The answer that stands beside it.
    pub answer: Option<Board>,
    /// The only number that stands in its line beside it.
    pub rating: Option<f64>,
}

/// Why a text is no Sudoku.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextError {
    /// The line, from 1, of a text that has several.
    pub line: Option<usize>,
    /// What is there.
    pub found: String,
    /// What should be there.
    pub expected: String,
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("puzzle")?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        write!(f, ": found {}, expected {}", self.found, self.expected)
    }
}

impl error::Error for TextError {}

/// All boards in `text`. They are looked for in `size` first, then in the other sizes.
///
/// # Errors
/// [`TextError`] if there is none, or something is left over.
pub fn boards(text: &str, size: Size) -> Result<Vec<Found>, TextError> {
    let text = plain(text);
    let others = Size::ALL.into_iter().filter(|&other| other != size);
    let mut first = None;
    for size in [size].into_iter().chain(others) {
        match boards_of(&text, size) {
            Ok(found) => return Ok(found),
            Err(error) => drop(first.get_or_insert(error)),
        }
    }
    let error = first.unwrap_or_else(|| TextError {
        line: None,
        found: "nothing".to_owned(),
        expected: "a Sudoku".to_owned(),
    });
    Err(unknown_size(&text).unwrap_or(error))
}

fn boards_of(text: &str, size: Size) -> Result<Vec<Found>, TextError> {
    match json::boards(text, size) {
        Some(found) => found,
        None => assemble::boards(text, size),
    }
}

/// The puzzle in one line of a list, of whichever size; `None` where the line is empty, a comment or a title.
///
/// # Errors
/// [`TextError`] where something else stands in the line, a single row for example.
pub fn list_line(text: &str) -> Result<Option<Found>, TextError> {
    let mut first = None;
    let mut is_text = false;
    for size in Size::ALL {
        match line::Line::of(text, size) {
            line::Line::Boards(found) => return assemble::of_line(found, 1).map(Some),
            line::Line::Empty | line::Line::Comment | line::Line::Title(_) | line::Line::Section(_) => {
                is_text = true;
            }
            line::Line::Odd(error) => drop(first.get_or_insert(error)),
            _ => drop(first.get_or_insert(TextError {
                line: None,
                found: format!("{text:?}"),
                expected: format!("a whole puzzle in the line: {SIZES}"),
            })),
        }
    }
    match unknown_size(text).or(first) {
        Some(error) if !is_text => Err(error),
        _ => Ok(None),
    }
}

/// The one board that a field of a table holds.
///
/// # Errors
/// [`TextError`] if it holds none, or several.
pub fn field(text: &str) -> Result<Board, TextError> {
    // Most files hold nothing but these.
    if let Ok(board) = Board::from_line(text) {
        return Ok(board);
    }
    let size =
        if text.chars().filter(|c| !c.is_whitespace()).count() <= 40 { Size::Four } else { Size::Nine };
    let found = boards(text, size)?;
    match &found[..] {
        [only] if only.answer.is_none() => Ok(only.question),
        _ => Err(TextError {
            line: None,
            found: format!("{} boards", found.len() + found.iter().filter(|it| it.answer.is_some()).count()),
            expected: "one board in the field".to_owned(),
        }),
    }
}

impl Board {
    /// The one board that `text` holds, in any form that this module knows. What [`Self::render`] draws without
    /// styles reads back as the same board.
    ///
    /// # Errors
    /// [`TextError`] if it holds none, or several.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        field(text)
    }
}

/// The sizes that boards have, as an error says them.
pub(super) const SIZES: &str = "81 cells (9x9) or 16 (4x4)";

/// Says so where a text has just the cells of a Sudoku of a size that there are no models of.
fn unknown_size(text: &str) -> Option<TextError> {
    let cells = |line: &str| {
        // Letters are cells of large boards, words are not.
        let cell = |c: &char| c.is_alphanumeric() || matches!(c, '.' | '*' | '_' | '?');
        let count = line.chars().filter(cell).count();
        if line.starts_with('#') { 0 } else { count }
    };
    let total: usize = text.lines().map(cells).sum();
    let rows = text.lines().map(cells).filter(|&count| count > 0).count();
    let side = total.isqrt();
    let known = matches!(side, 6 | 8 | 10 | 12 | 15 | 16 | 20 | 25) && side * side == total;
    (known && (rows == 1 || rows == side)).then(|| TextError {
        line: None,
        found: format!("{total} cells, a {side}x{side} Sudoku"),
        expected: format!("{SIZES}: no other sizes are supported"),
    })
}

#[cfg(test)]
mod tests;
