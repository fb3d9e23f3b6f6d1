//! `dataset.json`: what a split of a dataset says about itself.

use super::error::{Error, Place, Result};
use super::plain::unmarked;
use crate::files;
use serde::Serialize;
use serde_json::{Map, Value};
use std::path::Path;

/// The contents of `dataset.json`, under the published keys. Other keys in the file are passed over.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Metadata {
    /// The token of padding in inputs.
    pub pad_id: i32,
    /// The token in labels that stands for "no answer wanted", if there is one.
    pub ignore_label_id: Option<i32>,
    /// The puzzle identifier of padding rows.
    pub blank_identifier_id: i32,
    /// Tokens are below this.
    pub vocab_size: u32,
    /// Tokens of one example.
    pub seq_len: usize,
    /// Puzzle identifiers are below this.
    pub num_puzzle_identifiers: u32,
    /// Groups of all sets together.
    pub total_groups: usize,
    /// Mean examples of one puzzle; with the groups it gives the steps of an epoch.
    pub mean_puzzle_examples: f64,
    /// Puzzles of all sets together: TRM's loader asks for it. Datasets for HRM's may lack it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_puzzles: Option<usize>,
    /// The names of the sets, the prefixes of their arrays.
    pub sets: Vec<String>,
}

impl Metadata {
    /// Reads and checks `path`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Format`] naming the key otherwise.
    pub fn read(path: &Path) -> Result<Self> {
        let text = files::try_text_at_most(path, 1 << 20)
            .map_err(Error::io(path, "read the dataset's description"))?;
        let not_json =
            |e: serde_json::Error| Error::format(path, Place::Line(e.line() as u64), "JSON", e, "an object");
        let Value::Object(map) = crate::json::from_str(unmarked(&text)).map_err(not_json)? else {
            return Err(Error::format(path, Place::File, "JSON", "another value", "an object"));
        };
        let keys = Keys { path, map: &map };

        let vocab_size = keys.integer("vocab_size", 1, i64::from(i32::MAX))? as u32;
        let token_max = i64::from(vocab_size) - 1;
        let num_puzzle_identifiers = keys.integer("num_puzzle_identifiers", 1, i64::from(i32::MAX))? as u32;
        let ignore_label_id = match keys.value("ignore_label_id")? {
            Value::Null => None,
            _ => Some(keys.integer("ignore_label_id", i64::from(i32::MIN), i64::from(i32::MAX))? as i32),
        };
        Ok(Self {
            pad_id: keys.integer("pad_id", 0, token_max)? as i32,
            ignore_label_id,
            blank_identifier_id: keys.integer(
                "blank_identifier_id",
                0,
                i64::from(num_puzzle_identifiers) - 1,
            )? as i32,
            vocab_size,
            seq_len: keys.integer("seq_len", 1, 1 << 24)? as usize,
            num_puzzle_identifiers,
            total_groups: keys.integer("total_groups", 0, i64::from(i32::MAX))? as usize,
            mean_puzzle_examples: keys.mean("mean_puzzle_examples")?,
            total_puzzles: match map.get("total_puzzles") {
                None | Some(Value::Null) => None,
                Some(_) => Some(keys.integer("total_puzzles", 0, i64::from(i32::MAX))? as usize),
            },
            sets: keys.names("sets")?,
        })
    }
}

/// Typed access to the keys of one JSON object.
struct Keys<'a> {
    path: &'a Path,
    map: &'a Map<String, Value>,
}

impl Keys<'_> {
    fn bad(&self, key: &str, found: impl std::fmt::Display, expected: impl std::fmt::Display) -> Error {
        Error::format(self.path, Place::File, key, found, expected)
    }

    fn value(&self, key: &str) -> Result<&Value> {
        self.map.get(key).ok_or_else(|| self.bad(key, "nothing", "the key"))
    }

    fn integer(&self, key: &str, min: i64, max: i64) -> Result<i64> {
        let value = self.value(key)?;
        value
            .as_i64()
            .filter(|n| (min..=max).contains(n))
            .ok_or_else(|| self.bad(key, value, format!("an integer from {min} to {max}")))
    }

    fn mean(&self, key: &str) -> Result<f64> {
        let value = self.value(key)?;
        value
            .as_f64()
            .filter(|mean| mean.is_finite() && *mean >= 0.0)
            .ok_or_else(|| self.bad(key, value, "a number that is not negative"))
    }

    /// Names become parts of file names, so they may not lead out of the directory.
    fn names(&self, key: &str) -> Result<Vec<String>> {
        let value = self.value(key)?;
        let plain = |name: &&str| {
            !name.is_empty()
                && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' '))
        };
        let names: Option<Vec<String>> = value.as_array().and_then(|names| {
            names.iter().map(|name| name.as_str().filter(plain).map(str::to_owned)).collect()
        });
        let names = names.filter(|names| !names.is_empty());
        names.ok_or_else(|| self.bad(key, value, "a list of at least one plain name"))
    }
}
