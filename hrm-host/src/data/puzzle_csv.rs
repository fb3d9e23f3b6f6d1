//! Reads puzzles from tables, a row at a time: CSV with any of the usual separators and headers, or none.
//!
//! | what | how it is found |
//! |---|---|
//! | separator | `,` `;` tab or `\|`, that which gives the columns; a first line `sep=;` names it |
//! | columns | by the names in [`super::puzzle_columns`], in any order and case; without a header by what stands in them |
//! | answer | optional: a row may lack it, and so may the whole file |
//! | rating | optional: any number, a decimal one too; a row may lack it, or have a word in its place |
//! | comments | lines that begin with `#`, and rows of empty fields |

use super::error::{Error, Place, Result};
use super::puzzle_columns::Role;
use crate::files;
use csv::{ByteRecord, Reader, ReaderBuilder};
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

/// Bytes of the longest row that is read, so that a file without lines takes no more memory than one with.
const MAX_ROW: usize = 1 << 20;
/// Bytes from the start of a file that its columns are found by.
const HEAD: u64 = 64 << 10;
const SEPARATORS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// What a field looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looks {
    /// A puzzle to be solved.
    Question,
    /// A solved puzzle.
    Answer,
    /// Neither.
    Other,
}

/// Which puzzles a table holds.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// What a field looks like.
    pub looks: fn(&str) -> Looks,
    /// Whether `#` begins a comment; in mazes it is a wall.
    pub marks_comments: bool,
}

/// A row as it stands in the file: not looked at yet, save for its rating.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its line in the file, from 1.
    pub line: u64,
    /// The question's characters, spaces around them too.
    pub question: String,
    /// The answer's characters, spaces around them too, if there is one.
    pub answer: Option<String>,
    /// The rating, if the row has one.
    pub rating: Option<f64>,
}

/// Where a table's columns are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    separator: u8,
    /// Records before the first row: a header, and what stands above it.
    skipped: u64,
    /// Fields of every row, if there is a header.
    width: Option<usize>,
    question: usize,
    answer: Option<usize>,
    rating: Option<usize>,
}

/// A table of puzzles being read.
#[derive(Debug)]
pub struct PuzzleReader<R = File> {
    path: PathBuf,
    kind: Kind,
    layout: Layout,
    reader: Reader<ShortLines<io::Chain<Cursor<Vec<u8>>, R>>>,
    record: ByteRecord,
    /// Records that were read.
    records: u64,
}

impl PuzzleReader {
    /// Opens `path` and finds its columns.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be opened, [`Error::Format`] if there is no column of questions.
    pub fn open(path: &Path, kind: Kind) -> Result<Self> {
        Self::new(path, kind, files::try_open_again(path).map_err(Error::io(path, "open the puzzles"))?)
    }
}

impl<R: Read> PuzzleReader<R> {
    /// Finds the columns of `file`, which errors call `path`.
    ///
    /// # Errors
    /// As [`Self::next_row`], and [`Error::Format`] if there is no column of questions.
    pub fn new(path: &Path, kind: Kind, mut file: R) -> Result<Self> {
        let mut head = Vec::new();
        (&mut file).take(HEAD).read_to_end(&mut head).map_err(Error::io(path, "read the puzzles"))?;
        if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
            let expected = "UTF-8: save it again in that encoding";
            return Err(Error::format(path, Place::File, "text", "UTF-16", expected));
        }
        // A mark that some editors write; it stands for nothing.
        if head.starts_with(b"\xef\xbb\xbf") {
            head.drain(..3);
        }
        let layout = Layout::find(path, kind, &head)?;
        let lines = ShortLines::new(Cursor::new(head).chain(file));
        let reader = builder(layout.separator, kind).from_reader(lines);
        Ok(Self { path: path.to_owned(), kind, layout, reader, record: ByteRecord::new(), records: 0 })
    }

    /// Whether its columns have names.
    #[must_use]
    pub const fn has_header(&self) -> bool {
        self.layout.width.is_some()
    }

    /// Whether the file has a column of ratings.
    #[must_use]
    pub const fn has_ratings(&self) -> bool {
        self.layout.rating.is_some()
    }

    /// The next row, or `None` at the end.
    ///
    /// # Errors
    /// [`Error::Format`] at a wrong number of fields, [`Error::Io`] if the disk refuses.
    pub fn next_row(&mut self) -> Result<Option<Row>> {
        let line = loop {
            if !self.reader.read_byte_record(&mut self.record).map_err(|e| trouble(&self.path, e))? {
                return Ok(None);
            }
            let line = self.record.position().map_or(0, csv::Position::line);
            self.records += 1;
            if self.records > self.layout.skipped && !is_blank(&self.record) && !self.is_comment() {
                break line;
            }
        };
        let bad = |field: &str, found: String, expected: String| {
            Error::format(&self.path, Place::Line(line), field, found, expected)
        };
        let filled =
            self.record.iter().rposition(|field| !field.trim_ascii().is_empty()).map_or(0, |last| last + 1);
        if let Some(width) = self.layout.width
            && (filled > width || self.record.len() < width)
        {
            let expected = format!("{width}, as in the header");
            return Err(bad("fields", self.record.len().to_string(), expected));
        }
        let text =
            |column: usize| String::from_utf8_lossy(self.record.get(column).unwrap_or_default()).into_owned();
        let rating = self.layout.rating.and_then(|at| rating(&text(at), self.layout.separator));
        let answer = self.layout.answer.map(text).filter(|answer| !answer.is_empty());
        Ok(Some(Row { line, question: text(self.layout.question), answer, rating }))
    }

    /// Whether the row is none of the table's: `# ...`, alone in its line.
    fn is_comment(&self) -> bool {
        let first = self.record.get(0).unwrap_or_default();
        let marked = first.starts_with(b"#");
        let width = self.layout.width.unwrap_or(self.layout.question + 1);
        marked && (self.kind.marks_comments || self.record.len() < width)
    }
}

fn builder(separator: u8, kind: Kind) -> ReaderBuilder {
    let mut builder = ReaderBuilder::new();
    builder.delimiter(separator).flexible(true).has_headers(false);
    builder.comment(kind.marks_comments.then_some(b'#'));
    builder
}

fn is_blank(record: &ByteRecord) -> bool {
    record.iter().all(|field| field.trim_ascii().is_empty())
}

/// The number that a rating is. A field without one (`NA`, `hard`, nothing) is no rating: nobody is the worse for that.
fn rating(text: &str, separator: u8) -> Option<f64> {
    let text = text.trim();
    // Where fields are not separated by commas, decimals may be.
    let number = if separator == b',' { text.parse::<f64>() } else { text.replace(',', ".").parse() };
    number.ok().filter(|number| number.abs() < 9e15)
}

/// The records of `head` that hold something, after the first `skipped`, with their numbers from 1.
fn records(separator: u8, kind: Kind, head: &[u8], skipped: u64) -> impl Iterator<Item = (u64, ByteRecord)> {
    let lines = ShortLines::new(Cursor::new(head.to_vec()));
    let records = builder(separator, kind).from_reader(lines).into_byte_records();
    (1..)
        .zip(records.map_while(std::result::Result::ok))
        .filter(move |(number, record)| *number > skipped && !is_blank(record))
}

fn texts(record: &ByteRecord) -> Vec<String> {
    record.iter().map(|field| String::from_utf8_lossy(field).into_owned()).collect()
}

impl Layout {
    /// The layout of the table that begins with `head`.
    fn find(path: &Path, kind: Kind, head: &[u8]) -> Result<Self> {
        let first_line = head.split(|&byte| byte == b'\n').next().unwrap_or_default().trim_ascii();
        let named = first_line.to_ascii_lowercase();
        let (separators, named) = match named.strip_prefix(b"sep=") {
            Some([separator]) if SEPARATORS.contains(separator) => (vec![*separator], true),
            _ => (SEPARATORS.to_vec(), false),
        };
        let skipped = u64::from(named);
        let by_names = separators.iter().find_map(|&it| Self::by_names(it, kind, head, skipped));
        // Of what the rows look like, the separator that makes most of them counts.
        let by_rows = || {
            let layouts = separators.iter().filter_map(|&it| Self::by_rows(it, kind, head, skipped));
            layouts.max_by_key(|(fields, _)| *fields).map(|(_, layout)| layout)
        };
        if let Some(layout) = by_names.or_else(by_rows) {
            return Ok(layout);
        }
        let found = match first_line {
            b"" => "an empty line".to_owned(),
            bytes => format!("{:?}", abridged(bytes)),
        };
        let expected = "a header with the column question (or puzzle, quizzes, ..), or puzzles: \
                        source,question,answer,rating";
        Err(Error::format(path, Place::Line(1), "header", found, expected))
    }

    /// The layout that a header gives, if there is one with a column of questions.
    fn by_names(separator: u8, kind: Kind, head: &[u8], skipped: u64) -> Option<Self> {
        let mut records = records(separator, kind, head, skipped);
        let (number, header) = records.next()?;
        let names = texts(&header);
        let question = Role::Question.find(names.iter().map(String::as_str))?;
        // A word alone is perhaps a title.
        if names.len() == 1
            && let Some((_, row)) = records.next()
            && (kind.looks)(texts(&row).first()?) == Looks::Other
        {
            return None;
        }
        let column = |role: Role| role.find(names.iter().map(String::as_str));
        Some(Self {
            separator,
            skipped: number,
            width: Some(names.len()),
            question,
            answer: column(Role::Answer),
            rating: column(Role::Rating),
        })
    }

    /// The layout that the first row gives, or the second below names that nobody else gives to columns; and how many
    /// fields it has.
    fn by_rows(separator: u8, kind: Kind, head: &[u8], skipped: u64) -> Option<(usize, Self)> {
        let mut records = records(separator, kind, head, skipped);
        let (number, first) = records.next()?;
        if let Some(layout) = Self::by_content(&first, separator, kind) {
            return Some((first.len(), Self { skipped, ..layout }));
        }
        let (_, second) = records.next()?;
        let layout = Self::by_content(&second, separator, kind)?;
        let names = texts(&first);
        let rating = Role::Rating.find(names.iter().map(String::as_str));
        (names.len() > 1 && names.len() == second.len())
            .then(|| (second.len(), Self { skipped: number, width: Some(names.len()), rating, ..layout }))
    }

    /// The layout of a row, by what stands in it. A rating is the only number behind the puzzles.
    fn by_content(row: &ByteRecord, separator: u8, kind: Kind) -> Option<Self> {
        let fields: Vec<&str> =
            row.iter().map(|field| std::str::from_utf8(field).unwrap_or_default()).collect();
        let looks: Vec<Looks> = fields.iter().map(|field| (kind.looks)(field)).collect();
        let find = |wanted: Looks| looks.iter().position(|&looks| looks == wanted);
        let answer = find(Looks::Answer);
        let question = find(Looks::Question).or(answer)?;
        let answer = answer.filter(|&answer| answer != question);
        let last = question.max(answer.unwrap_or(0));
        let is_number = |&at: &usize| rating(fields[at], separator).is_some();
        let numbers: Vec<usize> = (last + 1..fields.len()).filter(is_number).collect();
        let rating = if let [only] = numbers[..] { Some(only) } else { None };
        Some(Self { separator, skipped: 0, width: None, question, answer, rating })
    }
}

/// The whole number that is kept of a rating.
#[must_use]
pub fn whole(rating: Option<f64>) -> Option<i64> {
    rating.map(|rating| rating.round() as i64)
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

/// Passes bytes through until a line is longer than [`MAX_ROW`], with a line feed for line ends of any kind.
#[derive(Debug)]
struct ShortLines<R> {
    inner: R,
    length: usize,
    /// Whether the last byte was a carriage return.
    returned: bool,
}

impl<R> ShortLines<R> {
    const fn new(inner: R) -> Self {
        Self { inner, length: 0, returned: false }
    }
}

impl<R: Read> Read for ShortLines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.inner.read(buffer)?;
            let mut kept = 0;
            for index in 0..read {
                let byte = buffer[index];
                let paired = byte == b'\n' && self.returned;
                self.returned = byte == b'\r';
                if !paired {
                    buffer[kept] = if self.returned { b'\n' } else { byte };
                    kept += 1;
                }
            }
            for line in buffer[..kept].split_inclusive(|&byte| byte == b'\n') {
                self.length += line.len();
                if self.length > MAX_ROW {
                    let message =
                        format!("found a line of more than {MAX_ROW} bytes, expected rows of puzzles");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, message));
                }
                if line.ends_with(b"\n") {
                    self.length = 0;
                }
            }
            // Nothing kept of something read is no end.
            if kept > 0 || read == 0 {
                return Ok(kept);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Letters are puzzles, capitals answers.
    const KIND: Kind = Kind {
        looks: |field| match field.chars().next() {
            Some('a'..='z') if field.len() == 3 => Looks::Question,
            Some('A'..='Z') if field.len() == 3 => Looks::Answer,
            _ => Looks::Other,
        },
        marks_comments: true,
    };

    fn read(text: &[u8]) -> Result<Vec<Row>> {
        let mut reader = PuzzleReader::new(Path::new("a.csv"), KIND, text)?;
        let mut rows = Vec::new();
        while let Some(row) = reader.next_row()? {
            rows.push(row);
        }
        Ok(rows)
    }

    /// Question, answer and rating of the rows.
    fn cells(text: &str) -> Vec<(String, Option<String>, Option<f64>)> {
        let rows = read(text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"));
        rows.into_iter().map(|row| (row.question, row.answer, row.rating)).collect()
    }

    #[test]
    fn headers_of_any_usual_kind_give_the_same_rows() {
        let rated = [
            ("abc".to_owned(), Some("ABC".to_owned()), Some(2.5)),
            ("def".to_owned(), Some("DEF".to_owned()), None),
        ];
        for text in [
            "question,answer,rating\nabc,ABC,2.5\ndef,DEF,\n",
            "\u{feff}ID,Puzzle,Solution,Clues,Difficulty\r\n1,abc,ABC,17,2.5\r\n2,def,DEF,20,NA\r\n",
            "rating;solutions;quizzes\n2,5;ABC;abc\n;DEF;def\n",
            "sep=;\nrating;solutions;quizzes\n2.5;ABC;abc\n;DEF;def\n",
            "# mine\n\nquestion\tanswer\trating\n# a note, \"quoted\n2\nabc\tABC\t2.5\n\t\t\ndef\tDEF\tnan\n"
                .replace("\n2\n", "\n")
                .as_str(),
            "\"question\",\"answer\",\"rating\"\n\"abc\",\"ABC\",\"2.5\"\n\"def\",\"DEF\",\"\"",
            "question|answer|rating\nabc|ABC|2.5\ndef|DEF|-\n",
            "mine,abc,ABC,2.5\nmine,def,DEF\n",
            "abc,ABC,2.5,easy\ndef,DEF,,hard\n",
            "p,s,rating\nabc,ABC,2.5\ndef,DEF,?,,\n",
        ] {
            assert_eq!(cells(text), rated, "{text}");
        }
    }

    #[test]
    fn answers_and_ratings_may_be_missing() {
        let question = |text: &str| (text.to_owned(), None, None);
        assert_eq!(cells("puzzle\nabc\ndef\n"), [question("abc"), question("def")]);
        assert_eq!(cells("abc\ndef\n"), [question("abc"), question("def")]);
        assert_eq!(cells("question,answer,difficulty\nabc,,easy\n"), [question("abc")]);
        for word in ["hard", "inf", "NaN", "-", "?", "N/A", "null", "1e300", ""] {
            assert_eq!(cells(&format!("question,rating\nabc,{word}\n")), [question("abc")], "{word}");
        }
        // Two numbers: which of them is the rating, nobody says.
        assert_eq!(cells("abc,17,2.5\n"), [question("abc")]);
        assert_eq!(cells("question,rating\nabc,3000000000\n")[0].2, Some(3e9));
    }

    #[test]
    fn what_is_no_table_of_puzzles_is_refused() {
        for (text, words) in [
            ("", "line 1, header: found an empty line, expected a header with the column question"),
            ("ab,c\n1,22\n", "line 1, header: found \"ab,c\", expected a header"),
            ("question,answer\nabc,ABC,1\n", "line 2, fields: found 3, expected 2"),
            ("question,answer\nabc\n", "line 2, fields: found 1, expected 2"),
            ("\u{fffe}", "header"),
        ] {
            let error = read(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(words), "{error}\n{words}");
        }
        assert!(read(b"\xff\xfeq\0").unwrap_err().to_string().contains("UTF-16"));
    }

    #[test]
    fn spaces_in_a_field_are_kept() {
        let rows = read(b"question, rating ,answer\n  S #, 7 ,G  \n").unwrap();
        let [Row { line: 2, question, answer: Some(answer), rating: Some(7.0) }] = &rows[..] else {
            panic!("{rows:?}")
        };
        assert_eq!((&**question, &**answer), ("  S #", "G  "));
    }

    #[test]
    fn a_file_without_lines_is_refused_before_it_fills_memory() {
        let endless = b"question,answer\n".chain(io::repeat(b'1'));
        let mut reader = PuzzleReader::new(Path::new("a.csv"), KIND, endless).unwrap();
        let error = reader.next_row().unwrap_err();
        assert!(
            error.to_string().contains("a line of more than 1048576 bytes") && error.is_bad_input(),
            "{error}"
        );
        let long = [&b"question,answer\n"[..], &vec![b'1'; MAX_ROW - 3], b",2\n3,4\n"].concat();
        assert_eq!(read(&long).unwrap().len(), 2);
    }
}
