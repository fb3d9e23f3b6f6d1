//! Reads puzzles from CSV with the columns `source,question,answer,rating`, a row at a time.
//!
//! `question` and `answer` are required, of 81 or 16 characters; `rating` is an optional whole number. Every puzzle
//! that is used is solved: it must have one solution, and `answer` must be it.

use super::generate::Puzzle;
use super::grid::{Board, Size};
use super::solver::{Solutions, solve};
use crate::data::error::{Error, Place, Result};
use ::csv::{ByteRecord, Reader, ReaderBuilder};
use std::fs::File;
use std::path::{Path, PathBuf};

/// A row as it stands in the file: not looked at yet, save for its rating.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its line in the file, from 1.
    pub line: u64,
    /// The question's characters.
    pub question: String,
    /// The answer's characters.
    pub answer: String,
    /// The rating, if the file has them.
    pub rating: Option<i32>,
}

/// A CSV file of puzzles being read.
#[derive(Debug)]
pub struct PuzzleReader {
    path: PathBuf,
    reader: Reader<File>,
    record: ByteRecord,
    width: usize,
    question: usize,
    answer: usize,
    rating: Option<usize>,
}

impl PuzzleReader {
    /// Opens `path` and reads its header.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be opened, [`Error::Format`] if a column is missing.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path, "open the puzzles"))?;
        let mut reader = ReaderBuilder::new().flexible(true).has_headers(true).from_reader(file);
        let header = reader.byte_headers().map_err(|e| trouble(path, e))?.clone();
        let column = |name: &str| header.iter().position(|field| field.trim_ascii() == name.as_bytes());
        let required = |name: &str| {
            column(name).ok_or_else(|| {
                let fields: Vec<&[u8]> = header.iter().collect();
                let found = match fields.join(&b","[..]) {
                    bytes if bytes.is_empty() => "an empty line".to_owned(),
                    bytes => format!("{:?}", abridged(&bytes)),
                };
                let expected = format!("a header with the column {name}: source,question,answer,rating");
                Error::format(path, Place::Line(1), "header", found, expected)
            })
        };
        Ok(Self {
            width: header.len(),
            question: required("question")?,
            answer: required("answer")?,
            rating: column("rating"),
            path: path.to_owned(),
            reader,
            record: ByteRecord::new(),
        })
    }

    /// Whether the file has ratings.
    #[must_use]
    pub const fn has_ratings(&self) -> bool {
        self.rating.is_some()
    }

    /// The next row, or `None` at the end.
    ///
    /// # Errors
    /// [`Error::Format`] at a wrong number of fields or a rating that is no whole number, [`Error::Io`] if the disk
    /// refuses.
    pub fn next_row(&mut self) -> Result<Option<Row>> {
        if !self.reader.read_byte_record(&mut self.record).map_err(|e| trouble(&self.path, e))? {
            return Ok(None);
        }
        let line = self.record.position().map_or(0, ::csv::Position::line);
        let bad = |field: &str, found: String, expected: String| {
            Error::format(&self.path, Place::Line(line), field, found, expected)
        };
        if self.record.len() != self.width {
            let expected = format!("{}, as in the header", self.width);
            return Err(bad("fields", self.record.len().to_string(), expected));
        }
        let text = |column: usize| {
            String::from_utf8_lossy(self.record.get(column).unwrap_or_default()).trim().to_owned()
        };
        let rating = match self.rating.map(text) {
            Some(rating) => Some(rating.parse().map_err(|_| {
                bad("rating", format!("{:?}", abridged(rating.as_bytes())), "a whole number".to_owned())
            })?),
            None => None,
        };
        Ok(Some(Row { line, question: text(self.question), answer: text(self.answer), rating }))
    }
}

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
        Board::from_line(text).map_err(|e| {
            let (found, expected) = e.found_and_expected();
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

/// An error of the CSV reader as one of ours.
fn trouble(path: &Path, error: ::csv::Error) -> Error {
    let line = error.position().map_or(Place::File, |position| Place::Line(position.line()));
    let text = error.to_string();
    match error.into_kind() {
        ::csv::ErrorKind::Io(source) => Error::io(path, "read the puzzles")(source),
        _ => Error::format(path, line, "CSV", text, "rows of comma-separated fields"),
    }
}

/// The start of `bytes`, fit for a message.
fn abridged(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut start: String = text.chars().take(60).collect();
    if start.len() < text.len() {
        start.push_str("...");
    }
    start
}

#[cfg(test)]
#[path = "csv_tests.rs"]
mod tests;
