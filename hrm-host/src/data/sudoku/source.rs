//! A file of Sudokus, whatever its form, as rows: a table, a list with a puzzle in every line, or a text of grids.

use super::csv::{KIND, PuzzleReader, Row};
use super::grid::Size;
use super::text::{self, Found, TextError};
use crate::data::error::{Error, Place, Result};
use crate::data::plain;
use crate::files;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Bytes of the largest file of grids: it is read as a whole.
const LARGEST: u64 = 64 << 20;
/// Bytes of the longest line of a list.
const LONGEST: u64 = 1 << 20;
/// Lines that the form of a file is seen from.
const LINES: usize = 200;

/// A file of Sudokus being read.
#[derive(Debug)]
pub struct PuzzleFile {
    path: PathBuf,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Table(Box<PuzzleReader>),
    List { lines: BufReader<File>, line: u64 },
    Grids(std::vec::IntoIter<Found>),
}

impl PuzzleFile {
    /// Opens `path` and finds out what form it has.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Format`] if it has none of the forms.
    pub fn open(path: &Path) -> Result<Self> {
        let form = match PuzzleReader::open(path, KIND) {
            Ok(table) if table.has_header() => Form::Table(Box::new(table)),
            Ok(table) => match first_line(path)? {
                First::Puzzle => list(path)?,
                _ => Form::Table(Box::new(table)),
            },
            Err(error @ Error::Format { .. }) => match first_line(path)? {
                First::Puzzle => list(path)?,
                First::Cells => Form::Grids(grids(path)?.into_iter()),
                // Titles and comments, and then perhaps grids; if not, what is missing is a header.
                First::Words => grids(path).map_err(|_| error).map(|found| Form::Grids(found.into_iter()))?,
            },
            Err(error) => return Err(error),
        };
        Ok(Self { path: path.to_owned(), form })
    }

    /// The next row, or `None` at the end.
    ///
    /// # Errors
    /// As [`PuzzleReader::next_row`].
    pub fn next_row(&mut self) -> Result<Option<Row>> {
        match &mut self.form {
            Form::Table(table) => table.next_row(),
            Form::Grids(found) => Ok(found.next().map(|found| row(&found, found.line as u64))),
            Form::List { lines, line } => {
                while let Some(text) = next_line(lines, &self.path, line)? {
                    let found =
                        text::list_line(&text).map_err(|error| format_error(&self.path, *line, error))?;
                    if let Some(found) = found {
                        return Ok(Some(row(&found, *line)));
                    }
                }
                Ok(None)
            }
        }
    }
}

fn row(found: &Found, line: u64) -> Row {
    Row {
        line,
        question: found.question.to_string(),
        answer: found.answer.map(|answer| answer.to_string()),
        rating: found.rating,
    }
}

fn format_error(path: &Path, line: u64, error: TextError) -> Error {
    Error::format(path, Place::Line(line), "puzzle", error.found, error.expected)
}

/// What the first line of a file is that is neither empty, a comment nor a title.
enum First {
    Puzzle,
    Cells,
    Words,
}

fn first_line(path: &Path) -> Result<First> {
    let mut lines = reader(path)?;
    let mut number = 0;
    for _ in 0..LINES {
        let Some(line) = next_line(&mut lines, path, &mut number)? else { break };
        match text::list_line(&line) {
            Ok(Some(_)) => return Ok(First::Puzzle),
            Ok(None) => {}
            Err(_) if line.chars().any(|c| c.is_ascii_digit() || c == '.') => return Ok(First::Cells),
            Err(_) => return Ok(First::Words),
        }
    }
    Ok(First::Words)
}

fn list(path: &Path) -> Result<Form> {
    Ok(Form::List { lines: reader(path)?, line: 0 })
}

fn reader(path: &Path) -> Result<BufReader<File>> {
    Ok(BufReader::new(files::try_open_again(path).map_err(Error::io(path, "open the puzzles"))?))
}

/// The next line, and its number.
fn next_line(lines: &mut BufReader<File>, path: &Path, number: &mut u64) -> Result<Option<String>> {
    let mut bytes = Vec::new();
    lines.take(LONGEST).read_until(b'\n', &mut bytes).map_err(Error::io(path, "read the puzzles"))?;
    if bytes.is_empty() {
        return Ok(None);
    }
    *number += 1;
    if bytes.len() as u64 == LONGEST {
        let found = format!("more than {LONGEST} bytes");
        return Err(Error::format(path, Place::Line(*number), "line", found, "a puzzle in every line"));
    }
    Ok(Some(plain::plain(&String::from_utf8_lossy(&bytes)).trim_end_matches('\n').to_owned()))
}

fn grids(path: &Path) -> Result<Vec<Found>> {
    let file = files::try_open_again(path).map_err(Error::io(path, "open the puzzles"))?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(Error::io(path, "read the puzzles"))?;
    if bytes.len() as u64 > LARGEST {
        let expected =
            format!("at most {LARGEST} of grids; a list with a puzzle in every line may be of any size");
        return Err(Error::format(path, Place::File, "bytes", "more", expected));
    }
    let bad = |line: Option<usize>, error: TextError| {
        Error::format(
            path,
            line.map_or(Place::File, |line| Place::Line(line as u64)),
            "puzzle",
            error.found,
            error.expected,
        )
    };
    let text =
        plain::decode(bytes).map_err(|found| Error::format(path, Place::File, "text", found, "UTF-8"))?;
    text::boards(&text, Size::Nine).map_err(|error| bad(error.line, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &str =
        "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79";
    const ANSWER: &str = "534678912672195348198342567859761423426853791713924856961537284287419635345286179";

    fn read(bytes: &[u8]) -> Result<Vec<Row>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("puzzles.txt");
        std::fs::write(&path, bytes).unwrap();
        let mut file = PuzzleFile::open(&path)?;
        std::iter::from_fn(|| file.next_row().transpose()).collect()
    }

    #[test]
    fn every_form_gives_the_same_rows() {
        let grid: String =
            QUESTION.as_bytes().chunks(9).map(|row| format!("{}\n", String::from_utf8_lossy(row))).collect();
        let answers: String =
            ANSWER.as_bytes().chunks(9).map(|row| format!("{}\n", String::from_utf8_lossy(row))).collect();
        for (text, answered, rating) in [
            (format!("puzzle,solution,rating\n{QUESTION},{ANSWER},3\n"), true, Some(3.0)),
            (format!("mine,{QUESTION},{ANSWER},3\n"), true, Some(3.0)),
            (format!("question,answer\n\"{grid}\",\"{answers}\"\n"), true, None),
            (format!("\"{}\",\"{}\"\n", grid.trim(), answers.trim()), true, None),
            (format!("\u{feff}# seventeen\r\n\r\n{}\r\n", QUESTION.replace('.', "0")), false, None),
            (format!("Top puzzles\n{QUESTION};GP;11.9\n"), false, Some(11.9)),
            (format!("00000000000a {QUESTION}  1.5\n"), false, Some(1.5)),
            (format!("{{\"quiz\": \"{QUESTION}\", \"n\": 4}}\n"), false, Some(4.0)),
            (format!("Grid 01\n{grid}"), false, None),
            (grid.clone(), false, None),
            (format!("#A me\n{grid}"), false, None),
        ] {
            let rows = read(text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"));
            let [row] = &rows[..] else { panic!("{rows:?}\n{text}") };
            assert_eq!(text::field(&row.question).unwrap().to_string(), QUESTION, "{text}");
            assert_eq!((row.answer.is_some(), row.rating), (answered, rating), "{text}");
        }
        assert_eq!(read(format!("{grid}\n{grid}").as_bytes()).unwrap().len(), 2);
    }

    #[test]
    fn errors_name_the_line() {
        for (text, words) in [
            ("", "line 1, header: found an empty line"),
            ("a,b\n1,2\n", "line 1, header: found \"a,b\", expected a header"),
            (&format!("{QUESTION}\n{}\n", &QUESTION[1..]), "line 2, puzzle: found 80 cells, expected 81"),
            (
                &format!("{QUESTION}\n{}\n", QUESTION.replacen('7', "y", 1)),
                "line 2, puzzle: found 'y' at character 5",
            ),
            ("53..7....\n6..195...\n", "line 1, puzzle: found 2 rows to line 2, expected 9 rows"),
            (&".".repeat(256), "a 16x16 Sudoku"),
        ] {
            let error = read(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(words), "{error}\n{words}");
        }
        assert!(matches!(PuzzleFile::open(Path::new("none.csv")), Err(Error::Io { .. })));
    }
}
