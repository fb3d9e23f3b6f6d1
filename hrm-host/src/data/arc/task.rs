//! ARC tasks, and the forms in which JSON files hold them.
//!
//! | form | where |
//! |---|---|
//! | `{"train": [PAIR, ..], "test": [PAIR, ..]}` | a file for each task: ARC-AGI, ConceptARC |
//! | `{NAME: {"train": .., "test": ..}, ..}` | `*_challenges.json` of the ARC Prize, TRM's `test_puzzles.json` |
//! | `{NAME: [OUTPUT, ..], ..}` | `*_solutions.json` of the ARC Prize |
//! | `[PAIR, ..]` | RE-ARC: a task without tests |
//!
//! A PAIR is `{"input": GRID, "output": GRID}`, a GRID a list of rows of colours. Other keys are passed over.

use super::grid::Grid;
use super::json;
use super::place::At;
use crate::data::error::Result;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// A task and its pairs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The name of its file, without `.json`, or its key in a file of many.
    pub name: String,
    /// The pairs that show the rule; each has an output.
    pub train: Vec<Pair>,
    /// The pairs to be solved; none of a task that is a list of pairs.
    pub test: Vec<Pair>,
}

/// A grid and what the rule makes of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pair {
    /// The grid.
    pub input: Grid,
    /// What becomes of it; `None` of a test whose answer is kept back.
    pub output: Option<Grid>,
}

/// The outputs of each task's tests, by the task's name.
pub type Outputs = BTreeMap<String, Vec<Option<Grid>>>;

/// What a JSON file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// One task, named after the file.
    Task(Task),
    /// Many tasks with their names.
    Tasks(Vec<Task>),
    /// Outputs of tests, without the tests.
    Solutions(Outputs),
    /// Attempts at tests: nothing to read tasks from.
    Submission,
}

impl Content {
    /// Reads the file `path`.
    ///
    /// # Errors
    /// As [`json::read`] and [`Self::parse`].
    pub fn read(path: &Path) -> Result<Self> {
        Self::of(path, &json::read(path, "a task")?)
    }

    /// What `bytes` hold, the content of the file `path`.
    ///
    /// # Errors
    /// [`Error::Format`](crate::data::Error::Format) naming the task, the pair, the row and the column of what is none
    /// of the forms.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        Self::of(path, &json::parse(path, bytes, "a task")?)
    }

    fn of(path: &Path, value: &Value) -> Result<Self> {
        let root = At::new(path, "");
        let Value::Object(map) = value else { return task(&root, &own_name(path), value).map(Self::Task) };
        match Values::of(map) {
            Values::Parts => task(&root, &own_name(path), value).map(Self::Task),
            Values::Tasks => {
                let tasks =
                    map.iter().map(|(name, value)| task(&root.within(format!("task {name}")), name, value));
                Ok(Self::Tasks(tasks.collect::<Result<_>>()?))
            }
            Values::Solutions => {
                let outputs = map.iter().map(|(name, value)| {
                    let place = root.within(format!("task {name}"));
                    let tests = list(&place, Some(value), "a list with an output for each test")?;
                    let tests =
                        numbered(&place, "test", tests).map(|(place, output)| place.answer(Some(output)));
                    Ok((name.clone(), tests.collect::<Result<_>>()?))
                });
                Ok(Self::Solutions(outputs.collect::<Result<_>>()?))
            }
            Values::Attempts => Ok(Self::Submission),
        }
    }
}

/// The name of a task that is named after its file.
fn own_name(path: &Path) -> String {
    path.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// What the values of an object are, by the first that tells.
enum Values {
    /// `train` and `test`, or nothing that is known.
    Parts,
    Tasks,
    Solutions,
    Attempts,
}

impl Values {
    fn of(map: &Map<String, Value>) -> Self {
        if ["train", "test"].iter().any(|key| map.get(*key).is_some_and(Value::is_array)) {
            return Self::Parts;
        }
        let told = map.values().find_map(|value| match value {
            Value::Object(_) => Some(Self::Tasks),
            Value::Array(list) => list.iter().find_map(|first| match first {
                Value::Array(_) | Value::Null => Some(Self::Solutions),
                Value::Object(keys) if keys.contains_key("input") => Some(Self::Tasks),
                Value::Object(keys) if keys.keys().any(|key| key.starts_with("attempt")) => {
                    Some(Self::Attempts)
                }
                _ => None,
            }),
            _ => None,
        });
        told.unwrap_or(Self::Parts)
    }
}

/// The task that `value` is: an object of pairs, or a list of them.
fn task(at: &At<'_>, name: &str, value: &Value) -> Result<Task> {
    let pairs = |key: &str, value: Option<&Value>, may_lack_outputs: bool| -> Result<Vec<Pair>> {
        let place = at.within(key);
        let pairs = list(&place, value, "a list of at least one pair")?;
        numbered(&place, "pair", pairs).map(|(place, value)| pair(&place, value, may_lack_outputs)).collect()
    };
    let (train, test) = match value {
        Value::Array(_) => (pairs("list", Some(value), false)?, Vec::new()),
        _ => (pairs("train", value.get("train"), false)?, pairs("test", value.get("test"), true)?),
    };
    Ok(Task { name: name.to_owned(), train, test })
}

fn pair(at: &At<'_>, value: &Value, may_lack_output: bool) -> Result<Pair> {
    let input = at.within("input").grid(value.get("input"))?;
    let (place, output) = (at.within("output"), value.get("output"));
    let output = if may_lack_output { place.answer(output)? } else { Some(place.grid(output)?) };
    Ok(Pair { input, output })
}

fn list<'v>(at: &At<'_>, value: Option<&'v Value>, expected: &str) -> Result<&'v [Value]> {
    let list = value.and_then(Value::as_array).filter(|list| !list.is_empty());
    list.map(Vec::as_slice).ok_or_else(|| at.bad(value, expected))
}

/// The values and their places: `pair 1`, `pair 2`, ..
fn numbered<'p, 'v>(at: &At<'p>, what: &str, list: &'v [Value]) -> impl Iterator<Item = (At<'p>, &'v Value)> {
    (1..).zip(list).map(move |(number, value)| (at.within(format!("{what} {number}")), value))
}

#[cfg(test)]
#[path = "task_tests.rs"]
mod tests;
