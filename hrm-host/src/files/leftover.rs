//! The names of what is not yet in its place, and removing what killed processes left under such names.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{remove, write_error};
use crate::error::Result;

/// Removes what killed processes left in `dir` (not below it), and puts back a directory that one of them had moved
/// aside. Returns what was removed or put back.
///
/// Called before this process writes there. Temporaries of processes that are still alive stay.
pub fn remove_stale(dir: &Path) -> Result<Vec<PathBuf>> {
    try_remove_stale(dir).map_err(|(path, error)| write_error(&path, error))
}

/// [`remove_stale`] with the path at fault and the system's own error.
pub(crate) fn try_remove_stale(dir: &Path) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    try_remove_stale_of(dir, |_| true)
}

/// [`try_remove_stale`] of those files alone whose names, once they are in their place, are `ours`.
pub(crate) fn try_remove_stale_of(
    dir: &Path,
    ours: impl Fn(&str) -> bool,
) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    let at_dir = |error| (dir.to_owned(), error);
    let mut handled = Vec::new();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(handled),
        Err(error) => return Err(at_dir(error)),
    };
    for entry in entries {
        let path = entry.map_err(at_dir)?.path();
        let Some((name, mark, pid)) = path.file_name().and_then(OsStr::to_str).and_then(split_name) else {
            continue;
        };
        if !ours(name) || pid != std::process::id() && is_alive(pid, &path) {
            continue;
        }
        let target = dir.join(name);
        let put_back = mark == REPLACED && target.symlink_metadata().is_err();
        let done = if put_back { fs::rename(&path, &target) } else { remove(&path) };
        done.map_err(|error| (path.clone(), error))?;
        handled.push(if put_back { target } else { path });
    }
    handled.sort();
    Ok(handled)
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
fn split_name(name: &str) -> Option<(&str, &str, u32)> {
    let (rest, pid) = name.rsplit_once('-')?;
    let (name, mark) = rest.rsplit_once('.')?;
    let ours = !name.is_empty() && (mark == TEMPORARY || mark == REPLACED);
    if ours { Some((name, mark, pid.parse().ok()?)) } else { None }
}

/// Whether a process runs under this id. Where that cannot be known, a temporary younger than a day counts as in use.
fn is_alive(pid: u32, path: &Path) -> bool {
    if Path::new("/proc/self").exists() {
        return Path::new("/proc").join(pid.to_string()).exists();
    }
    let age = path.metadata().and_then(|m| m.modified()).ok().and_then(|at| at.elapsed().ok());
    age.is_some_and(|age| age.as_secs() < 86_400)
}
