//! The files of a run, and the right to write them.
//!
//! A run belongs to one process at a time: [`RunDir`] holds its lock. Nothing in the directory is touched before that,
//! and nothing is ever removed that a run does not write itself.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::checkpoint::TRAINER;
use crate::error::{Error, Result};
use crate::files::{self, Asked, DirLock, LOCK, Ours, Writers};
use crate::model_dir::{CARD, CONFIG, WEIGHTS, checkpoint_step, checkpoints};

/// Metrics of a run: the same bytes whether it was interrupted or not.
pub const METRICS: &str = "metrics.jsonl";
/// Wall-clock times of a run.
pub const TIMING: &str = "timing.jsonl";
/// Settings of a run, as they were merged; its steps follow what a resumed run is asked for.
pub const SETTINGS: &str = "settings.toml";
/// The best model of a run.
pub const BEST: &str = "best";
/// The chart of a run.
pub const CURVE: &str = "curve.svg";

/// What a run writes under `name`, of what is written whole or not at all.
fn owns(name: &str) -> Option<Ours> {
    match name {
        SETTINGS | CURVE => Some(Ours::File),
        BEST => Some(Ours::Dir(&[CARD, CONFIG, WEIGHTS])),
        _ => checkpoint_step(name).map(|_| CHECKPOINT),
    }
}

/// What a checkpoint holds.
const CHECKPOINT: Ours = Ours::Dir(&[CARD, CONFIG, WEIGHTS, TRAINER]);

/// The directory of a run that nobody else writes to.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    lock: DirLock,
}

impl RunDir {
    /// The directory of a new run, made if it is not there.
    ///
    /// # Errors
    /// There is something in it, another process has it, or the disk refuses.
    pub fn create(path: &Path) -> Result<Self> {
        expect_free(path)?;
        files::create_dir_all(path)?;
        let run = Self::take(path)?;
        // Somebody may have come first.
        expect_free(path)?;
        run.clear()?;
        Ok(run)
    }

    /// The directory of a run that is there. What a killed process had moved aside is put back.
    ///
    /// # Errors
    /// It is no run, another process trains it, or the disk refuses.
    pub fn reopen(path: &Path) -> Result<Self> {
        let known = |name: &str| owns(name).is_some() || files::is_leftover(name, &owns);
        let entries = fs::read_dir(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => nothing_to_resume(path),
            _ => files::read_error(path, error),
        })?;
        if !entries.flatten().any(|entry| entry.file_name().to_str().is_some_and(known)) {
            return Err(nothing_to_resume(path));
        }
        let run = Self::take(path)?;
        files::put_back(path, &owns, run.writers())?;
        Ok(run)
    }

    fn take(path: &Path) -> Result<Self> {
        match DirLock::ask(path).map_err(|error| files::write_error(&path.join(LOCK), error))? {
            Asked::Taken(lock) => Ok(Self { path: path.to_owned(), lock }),
            Asked::Held(who) => Err(held(path, &who)),
        }
    }

    /// Removes what killed processes left unfinished: to be called when it is certain that the run goes on.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn clear(&self) -> Result<()> {
        files::remove_stale(&self.path, &owns, self.writers()).map(drop)
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether other processes are kept out: a file system may have no locks.
    #[must_use]
    pub const fn keeps_others_out(&self) -> bool {
        self.lock.keeps_others_out()
    }

    const fn writers(&self) -> Writers {
        if self.lock.keeps_others_out() { Writers::Us } else { Writers::Anyone }
    }
}

/// Refuses a directory in which a new run would not be alone, and leaves it as it is.
///
/// # Errors
/// It holds something, or it cannot be read.
pub fn expect_free(path: &Path) -> Result<()> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(files::write_error(path, error)),
    };
    // What a process that was killed at its start has left is no obstacle.
    let unfinished = |name: &str| name == LOCK || files::is_leftover(name, &owns);
    let mut names = entries.flatten().map(|entry| entry.file_name());
    if !names.any(|name| !name.to_str().is_some_and(unfinished)) {
        return Ok(());
    }
    if let Some(who) = DirLock::holder(path) {
        return Err(held(path, &who));
    }
    let error = Error::input(format!("{} exists and is not empty", path.display()));
    Err(if path.join(SETTINGS).is_file() || !checkpoints(path).is_empty() {
        error.hint("add --resume to go on with the run in it, or name another directory")
    } else {
        error.hint("name another directory")
    })
}

fn held(path: &Path, who: &str) -> Error {
    Error::input(format!("{}: {who} is training this run", path.display()))
        .hint("a run has one process at a time: wait for that one to end, or stop it")
}

fn nothing_to_resume(path: &Path) -> Error {
    Error::input(format!("{}: no checkpoint step-N in it, so nothing to resume", path.display()))
        .hint("check --out, or begin a run with --preset or --config")
}

/// The newest checkpoint of `run`.
///
/// # Errors
/// There is none.
pub fn newest(run: &Path) -> Result<PathBuf> {
    checkpoints(run).pop().map(|(_, path)| path).ok_or_else(|| nothing_to_resume(run))
}

/// Removes all checkpoints of `run` but the `keep` newest. One that holds something of somebody else's is left alone.
///
/// # Errors
/// The disk refuses.
pub fn trim(run: &Path, keep: usize) -> Result<()> {
    let found = checkpoints(run);
    let old = found.iter().take(found.len().saturating_sub(keep.max(1)));
    old.filter(|(_, path)| CHECKPOINT.is_what_lies_at(path)).try_for_each(|(_, path)| files::remove_dir(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_somebody_else_s_is_never_touched() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path();
        fs::write(run.join("thesis.old-4194305"), "mine").unwrap();
        fs::create_dir(run.join("photos.tmp-4194305")).unwrap();
        let before = names(run);
        assert!(RunDir::create(run).unwrap_err().to_string().contains("is not empty"));
        assert!(RunDir::reopen(run).unwrap_err().to_string().contains("nothing to resume"));
        assert_eq!(names(run), before);

        // Among what is a run's own, a folder that holds a person's notes stays.
        for name in ["best.tmp-4194305", "step-00000010.tmp-4194305", "step-10.tmp-4194305"] {
            fs::create_dir(run.join(name)).unwrap();
            fs::write(run.join(name).join(WEIGHTS), "half").unwrap();
        }
        fs::write(run.join("best.tmp-4194305/notes.txt"), "mine").unwrap();
        fs::write(run.join("settings.toml.tmp-4194305"), "half").unwrap();
        let reopened = RunDir::reopen(run).unwrap();
        reopened.clear().unwrap();
        let left =
            ["best.tmp-4194305", "photos.tmp-4194305", LOCK, "step-10.tmp-4194305", "thesis.old-4194305"];
        assert_eq!(names(run), left);
        drop(reopened);
        assert!(!names(run).contains(&LOCK.to_owned()));
    }

    #[test]
    fn the_best_model_comes_back_whoever_has_the_old_process_id() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path();
        // Process 1 is always alive, and never was ours.
        let aside = run.join("best.old-1");
        fs::create_dir(&aside).unwrap();
        fs::write(aside.join(CONFIG), "{}").unwrap();
        assert_eq!(crate::model_dir::resolve::<std::convert::Infallible>(run).unwrap(), aside);
        drop(RunDir::reopen(run).unwrap());
        assert_eq!(names(run), [BEST]);
    }

    #[test]
    fn one_process_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/run");
        let run = RunDir::create(&path).unwrap();
        assert!(run.keeps_others_out());
        fs::write(path.join(SETTINGS), "").unwrap();
        let us = format!("process {} on ", std::process::id());
        for refused in [RunDir::create(&path), RunDir::reopen(&path)] {
            let error = refused.unwrap_err();
            assert!(error.to_string().contains(&us) && error.exit_code() == 2, "{error}");
        }
        drop(run);
        let error = RunDir::create(&path).unwrap_err();
        assert!(error.hint_text().unwrap().contains("--resume"), "{error}");
        drop(RunDir::reopen(&path).unwrap());
    }

    #[test]
    fn as_many_checkpoints_stay_as_are_kept_and_those_of_others_beside_them() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path();
        for name in
            ["step-00000005", "step-00000010", "step-00000015", "step-00000020", "step-7", "step-+0000006"]
        {
            fs::create_dir(run.join(name)).unwrap();
            fs::write(run.join(name).join(TRAINER), "").unwrap();
        }
        fs::write(run.join("step-00000010/notes.txt"), "").unwrap();
        trim(run, 2).unwrap();
        let left = ["step-+0000006", "step-00000010", "step-00000015", "step-00000020", "step-7"];
        assert_eq!(names(run), left);
        assert_eq!(newest(run).unwrap(), run.join("step-00000020"));
    }
}
