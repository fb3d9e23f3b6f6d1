//! `submission.json` of the ARC Prize: for each task, for each of its tests in their order, one or more attempts.
//!
//! ```json
//! {"00576224": [{"attempt_1": [[0, 1], [2, 3]], "attempt_2": [[0]]}]}
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::data::arc::Grid;
use crate::error::{Error, Result};
use crate::files::{self, Written};

/// Largest file that is read: a submission for a thousand tasks takes a few MiB.
const LARGEST: u64 = 64 << 20;
/// Most attempts at one test.
pub const MOST_ATTEMPTS: usize = 1000;
/// What every attempt's key begins with.
const ATTEMPT: &str = "attempt_";

/// Attempts at the tests of tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Submission {
    /// By task: for each of its tests, the attempts in their order. An attempt that was left empty is `None`.
    pub tasks: BTreeMap<String, Vec<Vec<Option<Grid>>>>,
}

impl Submission {
    /// Reads a submission.
    ///
    /// # Errors
    /// The file cannot be read or is no submission: the message names the task, the test, the attempt and the row.
    pub fn read(path: &Path) -> Result<Self> {
        let length = path.metadata().map_err(|error| files::read_error(path, error))?.len();
        if length > LARGEST {
            return Err(Error::input(format!(
                "{}: {length} bytes, expected a submission of at most {LARGEST}",
                path.display()
            )));
        }
        let text = files::read_to_string(path)?;
        Self::parse(&text).map_err(|problem| {
            Error::input(format!("{}: {problem}", path.display())).hint(
                "a submission is {\"TASK\": [{\"attempt_1\": [[0, 1], [2, 3]], \"attempt_2\": [[0]]}, ...], ...}",
            )
        })
    }

    /// The submission that `text` is, or what is wrong with it.
    ///
    /// # Errors
    /// The first thing that is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
        let Value::Object(tasks) = value else {
            return Err(format!("found {}, expected an object with a key for each task", kind(&value)));
        };
        let tasks = tasks.into_iter().map(|(name, tests)| {
            let read = tests_of(tests).map_err(|problem| format!("task {name:?}, {problem}"))?;
            Ok((name, read))
        });
        Ok(Self { tasks: tasks.collect::<Result<_, String>>()? })
    }

    /// The same with just so many attempts at each test: the first of them, and empty ones where there are fewer.
    #[must_use]
    pub fn with_attempts(mut self, count: usize) -> Self {
        self.tasks.values_mut().flatten().for_each(|attempts| attempts.resize(count, None));
        self
    }

    /// Writes it, whole or not at all. An attempt that was left empty becomes a single black cell, as the prize wants a
    /// grid there.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn write(&self, path: &Path) -> Result<Written> {
        let attempts = |attempts: &Vec<Option<Grid>>| -> Value {
            let named = (1..).zip(attempts).map(|(number, grid)| {
                let rows =
                    grid.as_ref().map_or(json!([[0]]), |grid| grid.lines().map(|row| json!(row)).collect());
                (format!("{ATTEMPT}{number}"), rows)
            });
            Value::Object(named.collect::<Map<String, Value>>())
        };
        let tasks: Map<String, Value> = self
            .tasks
            .iter()
            .map(|(name, tests)| (name.clone(), tests.iter().map(attempts).collect()))
            .collect();
        files::write_bytes(path, Value::Object(tasks).to_string().as_bytes())
    }
}

fn tests_of(value: Value) -> Result<Vec<Vec<Option<Grid>>>, String> {
    let Value::Array(tests) = value else {
        return Err(format!("found {}, expected a list with an object for each test", kind(&value)));
    };
    (1..)
        .zip(tests)
        .map(|(number, test)| attempts_of(&test).map_err(|problem| format!("test {number}, {problem}")))
        .collect()
}

fn attempts_of(value: &Value) -> Result<Vec<Option<Grid>>, String> {
    let Value::Object(named) = value else {
        return Err(format!("found {}, expected an object with attempt_1 and attempt_2", kind(value)));
    };
    let mut attempts = BTreeMap::new();
    for (name, grid) in named {
        let number = name.strip_prefix(ATTEMPT).and_then(|number| number.parse::<usize>().ok());
        let Some(number) = number.filter(|number| (1..=MOST_ATTEMPTS).contains(number)) else {
            return Err(format!("found the key {name:?}, expected attempt_1 to attempt_{MOST_ATTEMPTS}"));
        };
        attempts.insert(number, grid_of(grid).map_err(|problem| format!("{name}, {problem}"))?);
    }
    let last = attempts.keys().copied().max().unwrap_or(0);
    Ok((1..=last).map(|number| attempts.remove(&number).flatten()).collect())
}

/// A grid, or `None` of an empty list or null, which some programs leave where they have no answer.
pub(crate) fn grid_of(value: &Value) -> Result<Option<Grid>, String> {
    let rows = match value {
        Value::Null => return Ok(None),
        Value::Array(rows) if rows.is_empty() => return Ok(None),
        Value::Array(rows) => rows,
        other => return Err(format!("found {}, expected a list of rows", kind(other))),
    };
    let (mut cells, mut columns) = (Vec::new(), 0);
    for (number, row) in (1..).zip(rows) {
        let Value::Array(row) = row else {
            return Err(format!("row {number}: found {}, expected a list of colours", kind(row)));
        };
        if number == 1 {
            columns = row.len();
        } else if row.len() != columns {
            return Err(format!("row {number}: found {} cells, expected {columns}, as above", row.len()));
        }
        for cell in row {
            let colour =
                cell.as_u64().and_then(|colour| u8::try_from(colour).ok()).filter(|&colour| colour < 10);
            cells.push(colour.ok_or_else(|| {
                let found = if cell.is_number() { cell.to_string() } else { kind(cell).to_owned() };
                format!("row {number}: found {found}, expected a colour, 0 to 9")
            })?);
        }
    }
    Grid::new(rows.len(), columns, cells)
        .map(Some)
        .ok_or_else(|| format!("found {} rows of {columns} cells, expected 1 to 30 of each", rows.len()))
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn problem(text: &str) -> String {
        Submission::parse(text).unwrap_err()
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("", "not JSON"),
            ("[]", "found a list, expected an object with a key for each task"),
            (r#"{"a": {}}"#, r#"task "a", found an object, expected a list with an object for each test"#),
            (r#"{"a": [3]}"#, r#"task "a", test 1, found a number, expected an object with attempt_1"#),
            (r#"{"a": [{}, {"attempt_0": []}]}"#, r#"task "a", test 2, found the key "attempt_0""#),
            (r#"{"a": [{"attempt_9999999999999999999999": []}]}"#, "found the key"),
            (r#"{"a": [{"attempt_1": "x"}]}"#, "attempt_1, found a text, expected a list of rows"),
            (r#"{"a": [{"attempt_1": [[1], 2]}]}"#, "row 2: found a number, expected a list of colours"),
            (r#"{"a": [{"attempt_1": [[1, 2], [3]]}]}"#, "row 2: found 1 cells, expected 2, as above"),
            (r#"{"a": [{"attempt_1": [[10]]}]}"#, "row 1: found 10, expected a colour, 0 to 9"),
            (r#"{"a": [{"attempt_1": [[1.5]]}]}"#, "row 1: found 1.5, expected a colour"),
            (r#"{"a": [{"attempt_1": [[null]]}]}"#, "row 1: found null, expected a colour"),
            (r#"{"a": [{"attempt_1": [[]]}]}"#, "found 1 rows of 0 cells, expected 1 to 30 of each"),
        ] {
            let found = problem(text);
            assert!(found.contains(expected), "{text}: {found:?}, expected {expected:?}");
        }
        let tall = format!(r#"{{"a": [{{"attempt_1": [{}]}}]}}"#, vec!["[0]"; 31].join(","));
        assert!(problem(&tall).contains("found 31 rows of 1 cells"));
        assert!(problem(&"[".repeat(100_000)).contains("not JSON: recursion limit exceeded"));
    }

    #[test]
    fn attempts_may_be_empty_or_missing() {
        let read =
            Submission::parse(r#"{"a": [{"attempt_3": [[7]], "attempt_1": []}, {}], "b": []}"#).unwrap();
        let seven = Grid::new(1, 1, vec![7]);
        assert_eq!(read.tasks["a"], [vec![None, None, seven], vec![]]);
        assert!(read.tasks["b"].is_empty());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(rows in 1usize..5, columns in 1usize..5, colour in 0u8..10) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("submission.json");
            let grid = Grid::new(rows, columns, vec![colour; rows * columns]);
            let tasks = BTreeMap::from([("t".to_owned(), vec![vec![grid.clone(), grid.clone()], vec![grid]])]);
            let submission = Submission { tasks };
            submission.write(&path).unwrap();
            prop_assert_eq!(Submission::read(&path).unwrap(), submission);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[\\[\\]{}:,\"0-9a-z_ ]{0,60}") {
            let _ = Submission::parse(&text);
        }
    }
}
