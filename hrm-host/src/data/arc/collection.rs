//! Reads collections of ARC tasks whatever files they are in, and says what is to be known about them.

use super::augment::Augmentation;
use super::find::TaskFile;
use super::grid::Grid;
use super::merge::{Found, Merged, merge};
use super::role::{Judge, Role, Roles};
use super::task::{Content, Outputs, Task};
use crate::data::error::{Error, Place, Result};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Tasks, by name, each name once.
#[derive(Debug, Default)]
pub struct Collection {
    /// The tasks.
    pub tasks: Vec<Found>,
    /// Outputs of tests whose tasks were not given.
    pub solutions: Vec<(PathBuf, Outputs)>,
    /// What is to be known about them, a line each.
    pub notes: Vec<String>,
}

impl Collection {
    /// The tasks in the files and directories `given`, to train on or to evaluate on.
    ///
    /// # Errors
    /// [`Error::Io`] if a path cannot be read; [`Error::Format`] at a file that holds no task, at solutions without
    /// tasks, and at tasks of which nothing says whether their tests are held out.
    pub fn to_build(given: &[PathBuf], roles: &Roles) -> Result<Self> {
        let judge = Judge::new(roles)?;
        let collection = Self::read(given, true, |source| source.role(&judge))?;
        if let Some((path, _)) = collection.solutions.first() {
            let expected =
                format!("{} beside it, with the tasks", partner(path, SOLUTIONS, CHALLENGES).display());
            return Err(Error::format(path, Place::File, "content", "outputs without tasks", expected));
        }
        judge.finish()?;
        Ok(collection)
    }

    /// The tasks in the files and directories `given`, for the outputs of their tests. Which of them are held out
    /// decides about names only.
    ///
    /// # Errors
    /// As [`Self::to_build`], but for what that refuses after it has read the files.
    pub fn to_score(given: &[PathBuf]) -> Result<Self> {
        let roles = Roles::default();
        let judge = Judge::new(&roles)?;
        Self::read(given, false, |source| Ok(judge.told(&source.names).unwrap_or(Role::Train)))
    }

    fn read(given: &[PathBuf], to_train: bool, role: impl Fn(&Source) -> Result<Role>) -> Result<Self> {
        let Sources { mut sources, solutions, mut notes } = sources(TaskFile::find(given)?)?;
        forget_placeholders(&mut sources, &mut notes);
        let mut found = Vec::new();
        for source in sources {
            let role = role(&source)?;
            for task in source.tasks {
                expect_plain_name(&source.path, &task.name)?;
                found.push(Found { task, role });
            }
        }
        if found.is_empty() && solutions.is_empty() {
            let path = given.first().map_or(Path::new(""), PathBuf::as_path);
            return Err(Error::format(path, Place::File, "content", "no task", "tasks of ARC"));
        }
        let (tasks, met) = merge(found, to_train);
        met.tell(&mut notes);
        Ok(Self { tasks, solutions, notes })
    }
}

/// The tasks of one file.
struct Source {
    path: PathBuf,
    /// What may say whether its tests are held out: its own name if it holds many tasks, and those of its folders.
    names: Vec<String>,
    tasks: Vec<Task>,
}

/// What files hold.
struct Sources {
    sources: Vec<Source>,
    /// Outputs whose tasks are in none of them.
    solutions: Vec<(PathBuf, Outputs)>,
    notes: Vec<String>,
}

impl Source {
    fn role(&self, judge: &Judge<'_>) -> Result<Role> {
        let has_tests = self.tasks.iter().any(|task| !task.test.is_empty());
        if has_tests {
            return judge.role(&self.path, &self.names);
        }
        // A list of pairs: none of them is said to be a test.
        match judge.told(&self.names) {
            None | Some(Role::Train) => Ok(Role::Train),
            Some(Role::HoldOut) => {
                let name = self.names.first().map_or("", String::as_str);
                let expected = format!(
                    "a task with train and test: in {name} tests are held out, and a list of pairs does not say which \
                     they are; --train-on {name} trains on all of them"
                );
                Err(Error::format(&self.path, Place::File, "content", "a list of pairs", expected))
            }
        }
    }
}

/// What the names of the files with the tasks and of those with the outputs have, and the others do not.
const CHALLENGES: &str = "challenges";
const SOLUTIONS: &str = "solutions";

/// `path` with `by` in the place of `word`, in the name of the file.
fn partner(path: &Path, word: &str, by: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.contains(word) { path.with_file_name(name.replace(word, by)) } else { path.with_file_name(by) }
}

/// The other file of the two that a subset has.
fn other_half(file: &TaskFile) -> Option<TaskFile> {
    let stem = file.stem();
    let path = if stem.contains(CHALLENGES) {
        partner(&file.path, CHALLENGES, SOLUTIONS)
    } else if stem.contains(SOLUTIONS) {
        partner(&file.path, SOLUTIONS, CHALLENGES)
    } else {
        return None;
    };
    path.exists().then(|| TaskFile { path, folders: file.folders.clone() })
}

/// Reads `files`, and the other halves of those that have one; outputs go to the tasks that they are for.
fn sources(files: Vec<TaskFile>) -> Result<Sources> {
    let mut all = files.clone();
    for half in files.iter().filter_map(other_half) {
        if !all.iter().any(|file| file.path == half.path) {
            all.push(half);
        }
    }
    let contents = all.par_iter().map(|file| Content::read(&file.path)).collect::<Result<Vec<Content>>>()?;
    let (mut sources, mut solutions, mut notes) = (Vec::new(), BTreeMap::new(), Vec::new());
    for (file, content) in all.into_iter().zip(contents) {
        let stem = file.stem();
        let TaskFile { path, folders } = file;
        match content {
            Content::Task(task) => sources.push(Source { path, names: folders, tasks: vec![task] }),
            Content::Tasks(tasks) => {
                let names = [&[stem][..], &folders].concat();
                sources.push(Source { path, names, tasks });
            }
            Content::Solutions(outputs) => drop(solutions.insert(path, outputs)),
            Content::Submission => notes.push(format!("{}: a submission, passed over", path.display())),
        }
    }
    for source in &mut sources {
        let path = partner(&source.path, CHALLENGES, SOLUTIONS);
        if let Some(outputs) = solutions.remove(&path) {
            answer(&mut source.tasks, outputs, &path, &mut notes)?;
        }
    }
    Ok(Sources { sources, solutions: solutions.into_iter().collect(), notes })
}

/// Gives the tests of `tasks` their outputs, which come from `path`.
fn answer(tasks: &mut [Task], mut outputs: Outputs, path: &Path, notes: &mut Vec<String>) -> Result<()> {
    for task in tasks {
        let Some(outputs) = outputs.remove(&task.name) else { continue };
        let place = |what: &str| format!("task {}{what}", task.name);
        if outputs.len() != task.test.len() {
            let (found, expected) = (outputs.len(), task.test.len());
            let (found, expected) = (format!("{found} outputs"), format!("{expected}, one for each test"));
            return Err(Error::format(path, Place::File, &place(""), found, expected));
        }
        for ((number, test), output) in (1..).zip(&mut task.test).zip(outputs) {
            let Some(output) = output else { continue };
            if test.output.as_ref().is_some_and(|known| *known != output) {
                let expected = "the one that the file with the tasks has, or none there";
                let place = place(&format!(", test {number}"));
                return Err(Error::format(path, Place::File, &place, "another output", expected));
            }
            test.output = Some(output);
        }
    }
    if !outputs.is_empty() {
        let names: Vec<String> = outputs.into_keys().collect();
        let what = format!(
            "of {} {} in the file with the tasks",
            path.display(),
            is_are(names.len(), "is not", "are not")
        );
        notes.push(format!("{} {what}: {}", count(names.len(), "task"), some(&names)));
    }
    Ok(())
}

/// Takes a single black cell for no answer where it stands for one: programs write it when the outputs are missing.
///
/// A task whose tests all have that output, while none that it shows has one cell, has not been answered; nor has one in
/// the same file or folder. No task of ARC-AGI-1, ARC-AGI-2 and ConceptARC is one of the former.
fn forget_placeholders(sources: &mut [Source], notes: &mut Vec<String>) {
    let is_cell = |grid: &Grid| grid.cells().len() == 1;
    let is_black_cell = |grid: &Grid| is_cell(grid) && grid.cells() == [0];
    let all_black = |task: &Task| {
        !task.test.is_empty() && task.test.iter().all(|test| test.output.as_ref().is_some_and(is_black_cell))
    };
    let told = |task: &Task| {
        all_black(task) && !task.train.iter().any(|pair| pair.output.as_ref().is_some_and(is_cell))
    };
    let folder = |source: &Source| match source.tasks.len() {
        1 => source.path.parent().map(Path::to_owned).unwrap_or_default(),
        _ => source.path.clone(),
    };
    let mut places: Vec<PathBuf> =
        sources.iter().filter(|source| source.tasks.iter().any(told)).map(folder).collect();
    places.dedup();
    let mut forgotten = 0;
    for source in sources.iter_mut().filter(|source| places.contains(&folder(source))) {
        for task in source.tasks.iter_mut().filter(|task| all_black(task)) {
            forgotten += task.test.len();
            task.test.iter_mut().for_each(|test| test.output = None);
        }
    }
    if forgotten > 0 {
        let have = is_are(forgotten, "has", "have");
        notes.push(format!(
            "{} {have} a single black cell for an output, which stands for a missing one",
            count(forgotten, "test")
        ));
    }
}

/// Refuses a name that would be read as that of an augmented task.
fn expect_plain_name(path: &Path, name: &str) -> Result<()> {
    if Augmentation::of_name(name).0 == name && !name.is_empty() {
        return Ok(());
    }
    let expected = "a name that does not end as an augmented puzzle's does, such as 007bbfb7";
    Err(Error::format(path, Place::File, "task", name, expected))
}

impl Merged {
    fn tell(&self, notes: &mut Vec<String>) {
        let mut tell = |names: &[String], text: &str| {
            if !names.is_empty() {
                notes.push(format!("{} {text}: {}", count(names.len(), "task"), some(names)));
            }
        };
        tell(&self.same, "in more than one place with the same pairs, taken once");
        tell(&self.held_out, "both trained on in one place and held out in another, so held out");
        tell(&self.leaking, "with tests held out under the same name, which are not trained on");
        tell(&self.renamed, "with the name of another task and other pairs, under a new name");
    }
}

/// `1 task`, `2 tasks`.
pub(crate) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

pub(crate) const fn is_are(number: usize, one: &'static str, many: &'static str) -> &'static str {
    if number == 1 { one } else { many }
}

/// The first few names.
pub(crate) fn some(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let mut text = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        // Writing to a string cannot fail.
        let _ = write!(text, " and {} more", names.len() - SHOWN);
    }
    text
}

#[cfg(test)]
#[path = "collection_tests.rs"]
mod tests;
