//! The names of what is not yet in its place, and clearing away what killed processes left under such names.
//!
//! Only what this program writes is ever touched: whoever asks says which names those are.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::{remove, sync_dir, write_error};
use crate::error::Result;

/// What a name stands for among those that the program writes in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ours {
    /// A file.
    File,
    /// A directory in which there is nothing but these files.
    Dir(&'static [&'static str]),
}

/// Says what the program writes under a name; `None` for names that are not its own.
pub type Owns<'a> = &'a dyn Fn(&str) -> Option<Ours>;

/// Who may be writing in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// Nobody but this process, which holds the directory's [lock](super::DirLock).
    Us,
    /// Anyone: what a living process is writing stays.
    Anyone,
}

/// Removes what killed processes left unfinished in `dir` (not below it) of what the program `owns` there, and
/// [puts back](put_back) what they had moved aside. Returns what was removed or put back.
///
/// # Errors
/// The disk refuses.
pub fn remove_stale(dir: &Path, owns: Owns<'_>, writers: Writers) -> Result<Vec<PathBuf>> {
    try_remove_stale(dir, owns, writers).map_err(|(path, error)| write_error(&path, error))
}

/// [`remove_stale`] with the path at fault and the system's own error.
pub(crate) fn try_remove_stale(
    dir: &Path,
    owns: Owns<'_>,
    writers: Writers,
) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    let mut handled = try_put_back(dir, owns, writers)?;
    for leftover in leftovers(dir, owns, writers).map_err(|error| (dir.to_owned(), error))? {
        remove(&leftover.path).map_err(|error| (leftover.path.clone(), error))?;
        handled.push(leftover.path);
    }
    handled.sort();
    Ok(handled)
}

/// Puts back each directory that a killed process had moved aside to replace it, if nothing has taken its place.
///
/// # Errors
/// The disk refuses.
pub fn put_back(dir: &Path, owns: Owns<'_>, writers: Writers) -> Result<Vec<PathBuf>> {
    try_put_back(dir, owns, writers).map_err(|(path, error)| write_error(&path, error))
}

fn try_put_back(dir: &Path, owns: Owns<'_>, writers: Writers) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    let mut handled = Vec::new();
    for Leftover { path, target, mark } in
        leftovers(dir, owns, writers).map_err(|error| (dir.to_owned(), error))?
    {
        if mark == REPLACED && target.symlink_metadata().is_err() {
            fs::rename(&path, &target).and_then(|()| sync_dir(dir)).map_err(|error| (path, error))?;
            handled.push(target);
        }
    }
    Ok(handled)
}

/// Whether `name` is that of something unfinished, of which `owns` knows the finished name.
#[must_use]
pub fn is_leftover(name: &str, owns: Owns<'_>) -> bool {
    split_name(name).is_some_and(|(name, ..)| owns(name).is_some())
}

/// The directory that was moved aside to replace `target`, while there is nothing in its place.
#[must_use]
pub fn moved_aside(target: &Path) -> Option<PathBuf> {
    if target.symlink_metadata().is_ok() {
        return None;
    }
    let name = target.file_name()?.to_str()?;
    let dir = target.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = fs::read_dir(dir).ok()?;
    entries.flatten().map(|entry| entry.path()).find(|path| {
        let found = path.file_name().and_then(OsStr::to_str).and_then(split_name);
        found.is_some_and(|(whose, mark, _)| whose == name && mark == REPLACED)
    })
}

/// Something under an unfinished name.
struct Leftover {
    path: PathBuf,
    /// The place that it was meant for, or comes from.
    target: PathBuf,
    mark: &'static str,
}

fn leftovers(dir: &Path, owns: Owns<'_>, writers: Writers) -> io::Result<Vec<Leftover>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        let Some((name, mark, pid)) = path.file_name().and_then(OsStr::to_str).and_then(split_name) else {
            continue;
        };
        let Some(ours) = owns(name) else { continue };
        if ours.is_what_lies_at(&path) && (writers == Writers::Us || !is_in_use(pid, &path)) {
            let target = dir.join(name);
            found.push(Leftover { target, mark, path });
        }
    }
    Ok(found)
}

impl Ours {
    /// Whether there is what the program would have written, and nothing of anyone else's.
    #[must_use]
    pub fn is_what_lies_at(self, path: &Path) -> bool {
        let is_dir = path.symlink_metadata().is_ok_and(|data| data.is_dir());
        match self {
            Self::File => !is_dir,
            Self::Dir(files) => {
                is_dir
                    && fs::read_dir(path).is_ok_and(|mut entries| {
                        entries.all(|entry| {
                            entry.is_ok_and(|entry| {
                                entry.file_name().to_str().is_some_and(|name| {
                                    let name = split_name(name).map_or(name, |(name, ..)| name);
                                    files.contains(&name)
                                })
                            })
                        })
                    })
            }
        }
    }
}

/// Marks what is being written.
pub(super) const TEMPORARY: &str = "tmp";
/// Marks a directory that was moved aside.
pub(super) const REPLACED: &str = "old";

/// `DIR/NAME.MARK-PID`.
pub(super) fn beside(path: &Path, mark: &str, pid: u32) -> io::Result<PathBuf> {
    let unnamed = || io::Error::new(io::ErrorKind::InvalidInput, "expected a path that ends in a name");
    let mut name = path.file_name().ok_or_else(unnamed)?.to_owned();
    name.push(format!(".{mark}-{pid}"));
    Ok(path.with_file_name(name))
}

/// The inverse of [`beside`], on a file name.
fn split_name(name: &str) -> Option<(&str, &'static str, u32)> {
    let (rest, pid) = name.rsplit_once('-')?;
    let (name, mark) = rest.rsplit_once('.')?;
    let mark = [TEMPORARY, REPLACED].into_iter().find(|known| *known == mark)?;
    if name.is_empty() { None } else { Some((name, mark, pid.parse().ok()?)) }
}

/// Whether someone is still writing it. A [staged](super::Staged) file is locked for as long; for a directory, and where
/// there are no locks, the process id must do.
fn is_in_use(pid: u32, path: &Path) -> bool {
    if path.is_file()
        && let Ok(file) = File::open(path)
    {
        match file.try_lock_shared() {
            Ok(()) => return false,
            Err(TryLockError::WouldBlock) => return true,
            Err(TryLockError::Error(_)) => {}
        }
    }
    pid != std::process::id() && is_alive(pid, path)
}

/// Whether a process runs under this id. Where that cannot be known, a temporary younger than a day counts as in use.
fn is_alive(pid: u32, path: &Path) -> bool {
    if Path::new("/proc/self").exists() {
        return Path::new("/proc").join(pid.to_string()).exists();
    }
    let age = path.metadata().and_then(|m| m.modified()).ok().and_then(|at| at.elapsed().ok());
    age.is_some_and(|age| age.as_secs() < 86_400)
}
