//! How each puzzle was answered, as JSON lines: what an evaluation leaves for another to be compared with.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files;

/// How one puzzle was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answered {
    /// The set, by its place in the dataset.
    pub set: usize,
    /// The example, by its place in the set.
    pub example: usize,
    /// Whether every label was right.
    pub solved: bool,
    /// Labels that were right.
    pub correct: i32,
    /// ACT steps, those of all views together.
    pub steps: i32,
}

impl Answered {
    /// The answers in a file, one to a line.
    ///
    /// # Errors
    /// It cannot be read, or as [`Self::parse`].
    pub fn read(path: &Path) -> Result<Vec<Self>> {
        Self::parse(path, &files::read_to_string(path)?)
    }

    /// The answers in `text`, which errors call `path`.
    ///
    /// # Errors
    /// A line is no answer: its number, the column, and what is wrong there.
    pub fn parse(path: &Path, text: &str) -> Result<Vec<Self>> {
        let answer = |(index, line)| {
            serde_json::from_str(line).map_err(|error| {
                // The parser counts lines from this one.
                let told = error.to_string();
                let problem = told.split(" at line ").next().unwrap_or_default();
                let (file, line, column) = (path.display(), index + 1, error.column());
                Error::input(format!("{file}, line {line}, column {column}: {problem}"))
                    .hint("expected an answer in every line, as --answers writes it")
            })
        };
        text.lines().enumerate().map(answer).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_back_and_a_bad_one_is_named() {
        let answer = Answered { set: 0, example: 7, solved: true, correct: 81, steps: 5 };
        let line = serde_json::to_string(&answer).unwrap();
        let path = Path::new("a.jsonl");
        assert_eq!(Answered::parse(path, &format!("{line}\n{line}\n")).unwrap(), [answer; 2]);
        assert_eq!(Answered::parse(path, "").unwrap(), []);
        for (bad, words) in
            [("{}", "missing field"), ("[", "EOF"), ("{\"set\": -1}", "column 10: invalid value")]
        {
            let error = Answered::parse(path, &format!("{line}\n{bad}\n")).unwrap_err().to_string();
            assert!(error.starts_with("a.jsonl, line 2, column ") && error.contains(words), "{error}");
        }
    }
}
