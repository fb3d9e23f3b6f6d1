//! Finds ARC's JSON files: those that are given, and those in the directories that are given.

use crate::data::error::{Error, Place, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Directories below a given one that are looked into: `data/training`, or a concept's.
const DEPTH: usize = 2;
/// Directories below a given one in which the one that was meant is looked for.
const HINT_DEPTH: usize = 5;

/// A file, and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskFile {
    /// The file.
    pub path: PathBuf,
    /// The names of the folders that it lies in, the nearest first, up to the one that was given.
    pub folders: Vec<String>,
}

impl TaskFile {
    /// The name of the file, without `.json`.
    #[must_use]
    pub fn stem(&self) -> String {
        self.path.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    /// The files among and below `given`, in the order of their paths within each of them.
    ///
    /// # Errors
    /// [`Error::Io`] if a path is not there or cannot be listed; [`Error::Format`] at a directory without JSON files.
    pub fn find(given: &[PathBuf]) -> Result<Vec<Self>> {
        let mut found = Vec::new();
        for path in given {
            let is_dir = fs::metadata(path).map_err(Error::io(path, "find the tasks"))?.is_dir();
            let before = found.len();
            if is_dir {
                collect(path, &[name(path)], DEPTH, &mut found)?;
            } else {
                let folder = path.parent().map_or_else(String::new, name);
                found.push(Self { path: path.clone(), folders: vec![folder] });
            }
            if found.len() == before {
                let meant = meant(path, HINT_DEPTH)
                    .map_or(String::new(), |dir| format!("; {} has some", dir.display()));
                let expected =
                    format!("JSON files, or folders of them such as training/ and evaluation/{meant}");
                return Err(Error::format(path, Place::File, "folders", "no task", expected));
            }
        }
        Ok(found)
    }
}

fn collect(dir: &Path, folders: &[String], depth: usize, found: &mut Vec<TaskFile>) -> Result<()> {
    for path in entries(dir)? {
        let is_json = is_json(&path);
        if path.is_dir() && !is_json {
            if depth > 0 && !is_hidden(&path) {
                let folders = [&[name(&path)], folders].concat();
                collect(&path, &folders, depth - 1, found)?;
            }
        } else if is_json {
            found.push(TaskFile { path, folders: folders.to_vec() });
        }
    }
    Ok(())
}

/// The nearest directory below `dir` that has JSON files or folders of them.
fn meant(dir: &Path, depth: usize) -> Option<PathBuf> {
    let entries = entries(dir).ok()?;
    if entries.iter().any(|path| is_json(path)) {
        return Some(dir.to_owned());
    }
    let mut inner = entries.iter().filter(|path| depth > 0 && path.is_dir() && !path.is_symlink());
    inner.find_map(|path| meant(path, depth - 1))
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let listed = fs::read_dir(dir).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut paths: Vec<PathBuf> = listed.map_err(Error::io(dir, "list the directory"))?;
    paths.sort();
    Ok(paths)
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Names of files that describe a collection (RE-ARC has `metadata.json`) or a dataset, and hold no task.
const DESCRIPTIONS: [&str; 6] = ["dataset", "identifiers", "metadata", "manifest", "dataset_info", "package"];

/// Whether it is called as a task's file is.
fn is_json(path: &Path) -> bool {
    let stem = path.file_stem().unwrap_or_default();
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
        && !is_hidden(path)
        && !DESCRIPTIONS.iter().any(|other| stem == *other)
}

/// The last part of a directory's path, also of `.` and `..`.
fn name(dir: &Path) -> String {
    let own = dir.file_name().map(ToOwned::to_owned);
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let own = own.or_else(|| fs::canonicalize(dir).ok()?.file_name().map(ToOwned::to_owned));
    own.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, names: &[&str]) {
        for name in names {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "{}").unwrap();
        }
    }

    #[test]
    fn files_are_found_with_the_names_of_their_folders() {
        let dir = tempfile::tempdir().unwrap();
        write(
            dir.path(),
            &[
                "one/training/b.json",
                "one/evaluation/a.JSON",
                "one/evaluation/c.txt",
                "one/training/.d.json",
                "one/e.json",
                "one/.git/f.json",
                "one/data/far/g.json",
                "one/data/far/away/h.json",
                "one/dataset.json",
                "one/metadata.json",
                "two/AboveBelow/f.json",
            ],
        );
        let find = |given: &[&str]| {
            let given: Vec<PathBuf> = given.iter().map(|name| dir.path().join(name)).collect();
            TaskFile::find(&given).map_err(|error| error.to_string())
        };
        let found = find(&["two", "one", "one/e.json", "one/training/."]).unwrap();
        let found: Vec<(String, String)> =
            found.iter().map(|file| (file.stem(), file.folders.join(" < "))).collect();
        let expected = [
            ("f", "AboveBelow < two"),
            ("g", "far < data < one"),
            ("e", "one"),
            ("a", "evaluation < one"),
            ("b", "training < one"),
            ("e", "one"),
            ("b", "training"),
        ];
        assert_eq!(found, expected.map(|(stem, folders)| (stem.to_owned(), folders.to_owned())));

        write(dir.path(), &["deep/1/2/3/tasks/a.json"]);
        let error = find(&["deep"]).unwrap_err();
        assert!(error.contains("folders: found no task, expected JSON files"), "{error}");
        assert!(error.ends_with("deep/1/2/3/tasks has some"), "{error}");
        assert!(find(&["none"]).unwrap_err().contains("cannot find the tasks"));
    }
}
