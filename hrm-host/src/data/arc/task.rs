//! Reads ARC tasks: JSON files of pairs of grids, in the folders of `ARC-AGI/data` or of ConceptARC's `corpus`.

use super::grid::{COLOURS, Grid, SIDE};
use crate::data::error::{Error, Place, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes of the largest file that is read; the largest task of 30 pairs stays far below.
const MAX_BYTES: u64 = 4 << 20;
/// The folder whose tasks are held out.
const EVALUATION: &str = "evaluation";

/// A task and its pairs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The name of its file, without `.json`.
    pub name: String,
    /// The pairs that show the rule.
    pub train: Vec<Pair>,
    /// The pairs to be solved.
    pub test: Vec<Pair>,
}

/// A grid and what the rule makes of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pair {
    /// The grid.
    pub input: Grid,
    /// What becomes of it.
    pub output: Grid,
}

/// Where a task lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskFile {
    /// The file.
    pub path: PathBuf,
    /// The name of the file, without `.json`.
    pub name: String,
    /// Whether it lies in a folder `evaluation`, so that its test pairs are held out.
    pub evaluation: bool,
}

impl TaskFile {
    /// The tasks in the folders of `dirs`, by name, whatever order the disk lists them in.
    ///
    /// # Errors
    /// [`Error::Io`] if a directory cannot be listed; [`Error::Format`] at a directory without tasks, and at two
    /// tasks of one name.
    pub fn find(dirs: &[PathBuf]) -> Result<Vec<Self>> {
        let mut found: BTreeMap<String, Self> = BTreeMap::new();
        for dir in dirs {
            let mut tasks = 0;
            for folder in entries(dir)?.into_iter().filter(|entry| entry.is_dir()) {
                let evaluation = folder.file_name().is_some_and(|name| name == EVALUATION);
                for path in entries(&folder)? {
                    let Some(name) = task_name(&path) else { continue };
                    tasks += 1;
                    let task = Self { path, name, evaluation };
                    if let Some(other) = found.get(&task.name) {
                        let expected = format!("another name than that of {}", other.path.display());
                        return Err(Error::format(&task.path, Place::File, "task", &task.name, expected));
                    }
                    found.insert(task.name.clone(), task);
                }
            }
            if tasks == 0 {
                let meant = meant(dir).map_or(String::new(), |dir| format!("; {} has them", dir.display()));
                let expected =
                    format!("folders with tasks in JSON files, such as training/ and evaluation/{meant}");
                return Err(Error::format(dir, Place::File, "folders", "no task", expected));
            }
        }
        Ok(found.into_values().collect())
    }

    /// Reads the task.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, and as [`Task::parse`].
    pub fn read(&self) -> Result<Task> {
        let mut bytes = Vec::new();
        File::open(&self.path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
            .map_err(Error::io(&self.path, "read the task"))?;
        Task::parse(&self.path, &self.name, &bytes)
    }
}

/// Directories below the given one, where folders of tasks are looked for.
const DEPTH: usize = 2;

/// The directory that was meant by one without folders of tasks: the one above a folder of tasks, or one below.
fn meant(dir: &Path) -> Option<PathBuf> {
    if has_tasks(dir) {
        let above = dir.file_name().and(dir.parent()).map_or_else(|| dir.join(".."), Path::to_owned);
        return Some(if above.as_os_str().is_empty() { ".".into() } else { above });
    }
    below(dir, DEPTH)
}

fn below(dir: &Path, depth: usize) -> Option<PathBuf> {
    let inner = folders(dir);
    if inner.iter().any(|folder| has_tasks(folder)) {
        return Some(dir.to_owned());
    }
    if depth == 0 { None } else { inner.iter().find_map(|folder| below(folder, depth - 1)) }
}

fn has_tasks(folder: &Path) -> bool {
    entries(folder).is_ok_and(|paths| paths.iter().any(|path| task_name(path).is_some()))
}

/// The folders in `dir`, in order; none where it cannot be listed.
fn folders(dir: &Path) -> Vec<PathBuf> {
    let mut folders = entries(dir).unwrap_or_default();
    folders.retain(|path| path.is_dir() && !path.is_symlink());
    folders.sort();
    folders
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let listed = fs::read_dir(dir).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    listed.map_err(Error::io(dir, "list the directory"))
}

/// The name of a task's file; `None` of any other file, also of those that a dataset is described in.
fn task_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?.strip_suffix(".json")?;
    (!matches!(name, "" | "dataset" | "identifiers") && !name.starts_with('.') && path.is_file())
        .then(|| name.to_owned())
}

impl Task {
    /// The task `name` of the JSON text `bytes`, which errors call `path`: `{"train": [{"input": [[0, 1], ..],
    /// "output": [[..], ..]}, ..], "test": [..]}`. Other keys are passed over.
    ///
    /// # Errors
    /// [`Error::Format`] naming the pair, the row and the column of what is no task.
    pub fn parse(path: &Path, name: &str, bytes: &[u8]) -> Result<Self> {
        if bytes.len() as u64 > MAX_BYTES {
            let (found, expected) =
                ("more bytes", format!("at most {MAX_BYTES}, far more than any task has"));
            return Err(Error::format(path, Place::File, "size", found, expected));
        }
        let value: Value = serde_json::from_slice(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes))
            .map_err(|e| Error::format(path, Place::Line(e.line() as u64), "JSON", e, "a task"))?;
        let pairs = |key: &str| {
            let place = At { path, place: key.to_owned() };
            let pairs = match value.get(key).and_then(Value::as_array) {
                Some(pairs) if !pairs.is_empty() => pairs,
                _ => return Err(place.bad(value.get(key), "a list of at least one pair")),
            };
            let numbered = pairs.iter().enumerate();
            numbered.map(|(i, pair)| place.within(format!("pair {}", i + 1)).pair(pair)).collect()
        };
        Ok(Self { name: name.to_owned(), train: pairs("train")?, test: pairs("test")? })
    }
}

/// The list of 1 to 30 things that `value` is.
fn short_list(value: Option<&Value>) -> Option<&Vec<Value>> {
    value.and_then(Value::as_array).filter(|list| (1..=SIDE).contains(&list.len()))
}

/// A place in a task's file.
struct At<'p> {
    path: &'p Path,
    place: String,
}

impl At<'_> {
    fn within(&self, part: String) -> Self {
        Self { path: self.path, place: format!("{}, {part}", self.place) }
    }

    fn bad(&self, found: Option<&Value>, expected: &str) -> Error {
        let found = found.map_or("nothing".to_owned(), |value| {
            let text = value.to_string();
            let short: String = text.chars().take(60).collect();
            if short.len() < text.len() { short + "..." } else { text }
        });
        Error::format(self.path, Place::File, &self.place, found, expected)
    }

    fn pair(&self, pair: &Value) -> Result<Pair> {
        let grid = |key: &str| self.within(key.to_owned()).grid(pair.get(key));
        Ok(Pair { input: grid("input")?, output: grid("output")? })
    }

    fn grid(&self, value: Option<&Value>) -> Result<Grid> {
        let rows = short_list(value).ok_or_else(|| self.bad(value, "a grid: a list of 1 to 30 rows"))?;
        let mut cells = Vec::new();
        let mut columns = 0;
        for (i, row) in rows.iter().enumerate() {
            let place = self.within(format!("row {}", i + 1));
            let row = short_list(Some(row))
                .ok_or_else(|| place.bad(Some(row), "a row: a list of 1 to 30 colours"))?;
            if i > 0 && row.len() != columns {
                let (found, expected) = (Value::from(row.len()), format!("{columns} colours, as in row 1"));
                return Err(place.bad(Some(&found), &expected));
            }
            columns = row.len();
            for (j, cell) in row.iter().enumerate() {
                let colour =
                    cell.as_u64().filter(|&colour| colour < u64::from(COLOURS)).ok_or_else(|| {
                        place.within(format!("column {}", j + 1)).bad(Some(cell), "a colour, 0 to 9")
                    })?;
                cells.push(colour as u8);
            }
        }
        Grid::new(rows.len(), columns, cells).ok_or_else(|| self.bad(value, "a grid"))
    }
}

#[cfg(test)]
#[path = "task_tests.rs"]
mod tests;
