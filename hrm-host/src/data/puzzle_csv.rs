//! Reads puzzles from CSV with the columns `source,question,answer,rating`, a row at a time.
//!
//! `question` and `answer` are required; `rating` is an optional whole number; other columns are passed over.

use super::error::{Error, Place, Result};
use csv::{ByteRecord, Reader, ReaderBuilder};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Bytes of the longest row that is read, so that a file without lines takes no more memory than one with.
const MAX_ROW: usize = 1 << 20;

/// A row as it stands in the file: not looked at yet, save for its rating.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its line in the file, from 1.
    pub line: u64,
    /// The question's characters, spaces around them too.
    pub question: String,
    /// The answer's characters, spaces around them too.
    pub answer: String,
    /// The rating, if the file has them.
    pub rating: Option<i32>,
}

/// A CSV file of puzzles being read.
#[derive(Debug)]
pub struct PuzzleReader<R = File> {
    path: PathBuf,
    reader: Reader<ShortLines<R>>,
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
        Self::new(path, File::open(path).map_err(Error::io(path, "open the puzzles"))?)
    }
}

impl<R: Read> PuzzleReader<R> {
    /// Reads the header of `file`, which errors call `path`.
    ///
    /// # Errors
    /// As [`Self::next_row`], and [`Error::Format`] if a column is missing.
    pub fn new(path: &Path, file: R) -> Result<Self> {
        let lines = ShortLines { inner: file, length: 0 };
        let mut reader = ReaderBuilder::new().flexible(true).has_headers(true).from_reader(lines);
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
        let line = self.record.position().map_or(0, csv::Position::line);
        let bad = |field: &str, found: String, expected: String| {
            Error::format(&self.path, Place::Line(line), field, found, expected)
        };
        if self.record.len() != self.width {
            let expected = format!("{}, as in the header", self.width);
            return Err(bad("fields", self.record.len().to_string(), expected));
        }
        let text =
            |column: usize| String::from_utf8_lossy(self.record.get(column).unwrap_or_default()).into_owned();
        let rating = match self.rating.map(text) {
            Some(rating) => Some(rating.trim().parse().map_err(|_| {
                bad("rating", format!("{:?}", abridged(rating.as_bytes())), "a whole number".to_owned())
            })?),
            None => None,
        };
        Ok(Some(Row { line, question: text(self.question), answer: text(self.answer), rating }))
    }
}

/// An error of the CSV reader as one of ours.
fn trouble(path: &Path, error: csv::Error) -> Error {
    let line = error.position().map_or(Place::File, |position| Place::Line(position.line()));
    let text = error.to_string();
    match error.into_kind() {
        csv::ErrorKind::Io(source) => Error::io(path, "read the puzzles")(source),
        _ => Error::format(path, line, "CSV", text, "rows of comma-separated fields"),
    }
}

/// The start of `bytes`, fit for a message.
pub(super) fn abridged(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut start: String = text.chars().take(60).collect();
    if start.len() < text.len() {
        start.push_str("...");
    }
    start
}

/// Passes bytes through until a line is longer than [`MAX_ROW`].
#[derive(Debug)]
struct ShortLines<R> {
    inner: R,
    length: usize,
}

impl<R: Read> Read for ShortLines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        for line in buffer[..read].split_inclusive(|&byte| byte == b'\n') {
            self.length += line.len();
            if self.length > MAX_ROW {
                let message = format!("found a line of more than {MAX_ROW} bytes, expected rows of puzzles");
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            if line.ends_with(b"\n") {
                self.length = 0;
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<Vec<Row>> {
        let mut reader = PuzzleReader::new(Path::new("a.csv"), text)?;
        let mut rows = Vec::new();
        while let Some(row) = reader.next_row()? {
            rows.push(row);
        }
        Ok(rows)
    }

    #[test]
    fn spaces_in_a_field_are_kept() {
        let rows = read(b"question, rating ,answer\n  S #, 7 ,G  \n").unwrap();
        let [Row { line: 2, question, answer, rating: Some(7) }] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!((&**question, &**answer), ("  S #", "G  "));
    }

    #[test]
    fn a_file_without_lines_is_refused_before_it_fills_memory() {
        let endless = b"question,answer\n".chain(io::repeat(b'1'));
        let mut reader = PuzzleReader::new(Path::new("a.csv"), endless).unwrap();
        let error = reader.next_row().unwrap_err();
        assert!(
            error.to_string().contains("a line of more than 1048576 bytes") && error.is_bad_input(),
            "{error}"
        );
        let long = [&b"question,answer\n"[..], &vec![b'1'; MAX_ROW - 3], b",2\n3,4\n"].concat();
        assert_eq!(read(&long).unwrap().len(), 2);
    }
}
