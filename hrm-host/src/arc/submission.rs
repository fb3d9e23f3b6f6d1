//! `submission.json` of the ARC Prize: for each task, for each of its tests in their order, one or more attempts.
//!
//! ```json
//! {"00576224": [{"attempt_1": [[0, 1], [2, 3]], "attempt_2": [[0]]}]}
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use crate::data::arc::find::TaskFile;
use crate::data::arc::{Grid, json};
use crate::error::{Error, Result};
use crate::files::{self, Written};

/// What is read here.
const EXPECTED: &str = "a submission";
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

/// A submission as it was read, and what was wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// What could be read. What could not is left empty, so that it is counted as wrong.
    pub submission: Submission,
    /// What could not be read, a line each.
    pub faults: Vec<String>,
    /// Attempts that are no grids, among the faults.
    pub no_grids: usize,
}

impl Submission {
    /// Reads a submission: one file, or a directory with a file of tests for each task.
    ///
    /// # Errors
    /// The file cannot be read, is too large, or is no object of tasks. A part of it that is no attempt is a fault of
    /// the [`Reading`].
    pub fn read(path: &Path) -> Result<Reading> {
        let value = if path.is_dir() { read_directory(path)? } else { json::read(path, EXPECTED)? };
        Self::of(value).map_err(|problem| {
            Error::input(format!("{}: {problem}", path.display())).hint(
                "a submission is {\"TASK\": [{\"attempt_1\": [[0, 1], [2, 3]], \"attempt_2\": [[0]]}, ...], ...}",
            )
        })
    }

    /// The submission that `text` is.
    ///
    /// # Errors
    /// It is no JSON, or no object of tasks.
    pub fn parse(text: &str) -> Result<Reading, String> {
        let value = json::parse(Path::new("submission.json"), text.as_bytes(), EXPECTED);
        Self::of(value.map_err(|error| error.to_string())?)
    }

    fn of(value: Value) -> Result<Reading, String> {
        let Value::Object(tasks) = value else {
            return Err(format!("found {}, expected an object with a key for each task", kind(&value)));
        };
        let mut reading = Reading::default();
        for (name, value) in tasks {
            let (found, no_grids) = (&mut reading.faults, &mut reading.no_grids);
            let mut faults = Faults { place: format!("task {name}"), found, no_grids };
            let tests = tests_of(&value, &mut faults);
            reading.submission.tasks.insert(name, tests);
        }
        Ok(reading)
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
        let empty = || Value::from(vec![Value::from(vec![0])]);
        let attempts = |attempts: &Vec<Option<Grid>>| -> Value {
            let named = (1..).zip(attempts).map(|(number, grid)| {
                let rows = grid.as_ref().map_or_else(empty, |grid| grid.lines().map(Value::from).collect());
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

/// An object of the files in `dir`: each holds the tests of the task that it is named after.
fn read_directory(dir: &Path) -> Result<Value> {
    let files = TaskFile::find(&[dir.to_owned()])?;
    let tests = files.into_iter().map(|file| Ok((file.stem(), json::read(&file.path, EXPECTED)?)));
    Ok(Value::Object(tests.collect::<Result<_>>()?))
}

/// Where faults are noted, each with its place.
struct Faults<'f> {
    place: String,
    found: &'f mut Vec<String>,
    no_grids: &'f mut usize,
}

impl Faults<'_> {
    fn note(&mut self, problem: &str) {
        self.found.push(format!("{}: {problem}", self.place));
    }

    fn within(&mut self, part: &str) -> Faults<'_> {
        Faults { place: format!("{}, {part}", self.place), found: self.found, no_grids: self.no_grids }
    }
}

fn tests_of(value: &Value, faults: &mut Faults<'_>) -> Vec<Vec<Option<Grid>>> {
    let Value::Array(tests) = value else {
        faults.note(&format!("found {}, expected a list with an object for each test", kind(value)));
        return Vec::new();
    };
    let numbered = (1..).zip(tests);
    numbered.map(|(number, test)| attempts_of(test, &mut faults.within(&format!("test {number}")))).collect()
}

fn attempts_of(value: &Value, faults: &mut Faults<'_>) -> Vec<Option<Grid>> {
    let Value::Object(named) = value else {
        faults.note(&format!("found {}, expected an object with attempt_1 and attempt_2", kind(value)));
        return Vec::new();
    };
    let mut attempts = BTreeMap::new();
    for (name, attempt) in named {
        // Other keys, such as a confidence, are passed over; one that is meant for an attempt is not.
        if !name.to_lowercase().starts_with("attempt") {
            continue;
        }
        let number = name.strip_prefix(ATTEMPT).and_then(|number| number.parse::<usize>().ok());
        let Some(number) = number.filter(|number| (1..=MOST_ATTEMPTS).contains(number)) else {
            faults.note(&format!("found the key {name:?}, expected attempt_1 to attempt_{MOST_ATTEMPTS}"));
            continue;
        };
        // Records of language models have the grid beside what it cost.
        let answer = attempt.as_object().and_then(|record| record.get("answer")).unwrap_or(attempt);
        let grid = attempt_of(answer).unwrap_or_else(|problem| {
            faults.within(name).note(&problem);
            *faults.no_grids += 1;
            None
        });
        attempts.insert(number, grid);
    }
    if attempts.is_empty() {
        faults.note("found no attempt, expected an object with attempt_1 and attempt_2");
    }
    let last = attempts.keys().copied().max().unwrap_or(0);
    (1..=last).map(|number| attempts.remove(&number).flatten()).collect()
}

/// The grid of an attempt. `[[]]` is as empty as `[]`, and 1.0 is 1, as it is where answers are compared in Python.
fn attempt_of(value: &Value) -> Result<Option<Grid>, String> {
    if let Value::Array(rows) = value
        && rows.iter().all(|row| row.as_array().is_some_and(Vec::is_empty))
    {
        return Ok(None);
    }
    grid_of(&whole(value))
}

/// The value with its whole numbers as integers.
fn whole(value: &Value) -> Value {
    match value {
        Value::Array(list) => list.iter().map(whole).collect(),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && (0.0..10.0).contains(&float) && float.fract() == 0.0 => {
                Value::from(float as u8)
            }
            _ => value.clone(),
        },
        _ => value.clone(),
    }
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
    fn what_is_no_submission_is_refused() {
        assert!(problem("").contains("JSON: found EOF"));
        assert!(problem("[]").contains("found a list, expected an object with a key for each task"));
        assert!(problem(&"[".repeat(100_000)).contains("JSON: found recursion limit exceeded"));
    }

    #[test]
    fn faults_are_named_and_the_rest_is_read() {
        for (text, expected) in [
            (r#"{"a": {}}"#, "task a: found an object, expected a list with an object for each test"),
            (r#"{"a": [3]}"#, "task a, test 1: found a number, expected an object with attempt_1"),
            (r#"{"a": [{}]}"#, "task a, test 1: found no attempt"),
            (r#"{"a": [{"confidence": 1}]}"#, "task a, test 1: found no attempt"),
            (r#"{"a": [{"attempt_0": [[1]], "attempt_1": []}]}"#, r#"test 1: found the key "attempt_0""#),
            (r#"{"a": [{"attempt_1": [], "Attempt_2": [[1]]}]}"#, r#"found the key "Attempt_2""#),
            (r#"{"a": [{"attempt_1": [], "attempt_9999999999999999999999": []}]}"#, "found the key"),
            (r#"{"a": [{"attempt_1": "x"}]}"#, "attempt_1: found a text, expected a list of rows"),
            (r#"{"a": [{"attempt_1": [[1], 2]}]}"#, "row 2: found a number, expected a list of colours"),
            (r#"{"a": [{"attempt_1": [[1, 2], [3]]}]}"#, "row 2: found 1 cells, expected 2, as above"),
            (r#"{"a": [{"attempt_1": [[10]]}]}"#, "row 1: found 10, expected a colour, 0 to 9"),
            (r#"{"a": [{"attempt_1": [[1.5]]}]}"#, "row 1: found 1.5, expected a colour"),
            (r#"{"a": [{"attempt_1": [[-0.5]]}]}"#, "row 1: found -0.5, expected a colour"),
            (r#"{"a": [{"attempt_1": [[null]]}]}"#, "row 1: found null, expected a colour"),
            (r#"{"a": [{"attempt_1": [[1], []]}]}"#, "row 2: found 0 cells, expected 1, as above"),
            (
                &format!(r#"{{"a": [{{"attempt_1": [{}]}}]}}"#, ["[0]"; 31].join(",")),
                "found 31 rows of 1 cells",
            ),
        ] {
            let with_another = format!(r#"{},"b": [{{"attempt_1": [[7]]}}]}}"#, &text[..text.len() - 1]);
            let Reading { submission, faults, no_grids } = Submission::parse(&with_another).unwrap();
            assert_eq!(submission.tasks["b"], [[Grid::new(1, 1, vec![7])]], "{text}");
            assert!(submission.tasks["a"].iter().flatten().all(Option::is_none), "{text}");
            assert!(
                faults.len() == 1 && faults[0].contains(expected),
                "{text}: {faults:?}, expected {expected:?}"
            );
            assert_eq!(
                no_grids,
                usize::from(expected.contains("row") || expected.contains("a text")),
                "{text}"
            );
        }
    }

    #[test]
    fn attempts_may_be_empty_whole_floats_or_in_a_record() {
        let text = r#"{"a": [{"attempt_3": [[7]], "attempt_1": [], "cost": {}}, {"attempt_1": [[]], "attempt_2": null}],
                       "b": [], "c": [{"attempt_1": {"answer": [[1.0, 2]], "correct": true}}]}"#;
        let Reading { submission, faults, .. } = Submission::parse(&format!("\u{feff}{text}")).unwrap();
        assert_eq!(faults, [""; 0]);
        assert_eq!(submission.tasks["a"], [vec![None, None, Grid::new(1, 1, vec![7])], vec![None, None]]);
        assert!(submission.tasks["b"].is_empty());
        assert_eq!(submission.tasks["c"], [[Grid::new(1, 2, vec![1, 2])]]);
    }

    #[test]
    fn a_directory_has_a_file_for_each_task() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.json"), r#"[{"attempt_1": [[7]]}]"#).unwrap();
        std::fs::write(dir.path().join("b.json"), r#"[{"attempt_1": "none"}]"#).unwrap();
        let Reading { submission, faults, .. } = Submission::read(dir.path()).unwrap();
        assert_eq!(submission.tasks["a"], [[Grid::new(1, 1, vec![7])]]);
        assert_eq!(faults, ["task b, test 1, attempt_1: found a text, expected a list of rows"]);
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
            prop_assert_eq!(Submission::read(&path).unwrap(), Reading { submission, ..Reading::default() });
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[\\[\\]{}:,\"0-9a-z_ ]{0,60}") {
            let _ = Submission::parse(&text);
        }
    }
}
