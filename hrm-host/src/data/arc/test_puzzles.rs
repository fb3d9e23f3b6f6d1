//! `test_puzzles.json`, where TRM's evaluation finds the tasks that are held out: `{NAME: {"train": [PAIR, ..], "test":
//! [PAIR, ..]}, ..}`.

use super::augment::Naming;
use super::grid::Grid;
use super::merge::Found;
use super::role::Role;
use super::task::Pair;
use crate::data::error::{Error, Result};
use crate::files::Staged;
use serde_json::{Map, Value, json};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The text of the file; `None` where there is to be none.
pub(super) struct TestPuzzles(Option<String>);

/// The file on the disk, not yet under its name.
pub(super) struct StagedPuzzles(Option<Staged>);

impl TestPuzzles {
    pub(super) fn of(tasks: &[Found], naming: Naming) -> Self {
        let held_out = || tasks.iter().filter(|found| found.role == Role::HoldOut).map(|found| &found.task);
        let text = || {
            let tasks = held_out().map(|task| {
                (task.name.clone(), json!({"train": pairs(&task.train), "test": pairs(&task.test)}))
            });
            Value::Object(tasks.collect::<Map<String, Value>>()).to_string()
        };
        Self((naming == Naming::Trm && held_out().next().is_some()).then(text))
    }

    pub(super) fn stage(self, out: &Path) -> Result<StagedPuzzles> {
        let path = path(out);
        let stage = |text: String| Staged::from_bytes(&path, text.as_bytes());
        Ok(StagedPuzzles(self.0.map(stage).transpose().map_err(Error::io(&path, "write the file"))?))
    }
}

impl StagedPuzzles {
    /// Puts the file in place, or removes one that an older dataset has left.
    pub(super) fn finish(self, out: &Path) -> Result<()> {
        let path = path(out);
        match self.0 {
            Some(staged) => staged.commit().map_err(Error::io(&path, "put the file in place")),
            None => match fs::remove_file(&path) {
                Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io(&path, "remove the old file")(e)),
                _ => Ok(()),
            },
        }
    }
}

fn path(out: &Path) -> PathBuf {
    out.join("test_puzzles.json")
}

/// An answer that is kept back is a single black cell, as TRM's builder writes it.
fn pairs(pairs: &[Pair]) -> Value {
    let rows = |grid: &Grid| grid.lines().map(|row| json!(row)).collect::<Value>();
    let pair = |pair: &Pair| json!({"input": rows(&pair.input), "output": pair.output.as_ref().map_or(json!([[0]]), rows)});
    pairs.iter().map(pair).collect()
}
