//! A lock on a directory: one process works in it at a time, and the others are told which one.
//!
//! The lock is the operating system's, on the file [`LOCK`]: it is gone with the process that held it, however that
//! ended. What stands in the file is for people: who holds it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// Name of the file in the directory.
pub const LOCK: &str = "run.lock";

/// A directory that nobody else works in until this is dropped.
#[derive(Debug)]
pub struct DirLock {
    path: PathBuf,
    /// Holds the lock; `None` where the file system has none.
    file: Option<File>,
}

/// What asking for a lock came to.
#[derive(Debug)]
pub enum Asked {
    /// It is ours.
    Taken(DirLock),
    /// Another process has it; its name for people, such as `process 4711 on lab-3`.
    Held(String),
}

impl DirLock {
    /// Asks for the lock on `dir`, and does not wait for it.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn ask(dir: &Path) -> io::Result<Asked> {
        let path = dir.join(LOCK);
        loop {
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).create(true).truncate(false).open(&path)?;
            match file.try_lock() {
                // Whoever had the lock may have removed the file after it was opened here.
                Ok(()) if !is_at(&file, &path)? => {}
                Ok(()) => {
                    sign(&file)?;
                    return Ok(Asked::Taken(Self { path, file: Some(file) }));
                }
                Err(TryLockError::WouldBlock) => return Ok(Asked::Held(signature(&path))),
                Err(TryLockError::Error(error)) if has_no_locks(&error) => {
                    return Ok(Asked::Taken(Self { path, file: None }));
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }

    /// Who has the lock on `dir`, if anyone. Makes no file.
    #[must_use]
    pub fn holder(dir: &Path) -> Option<String> {
        let path = dir.join(LOCK);
        let file = File::open(&path).ok()?;
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)).then(|| signature(&path))
    }

    /// Whether the file system has locks: where it has none, nobody is kept out.
    #[must_use]
    pub const fn keeps_others_out(&self) -> bool {
        self.file.is_some()
    }
}

impl Drop for DirLock {
    fn drop(&mut self) {
        // Removed while it is still held. What cannot be removed is taken over by the next process.
        let _ = fs::remove_file(&self.path);
    }
}

/// File systems without locks say so in several ways: `Unsupported`, or `ENOLCK` (37 on Linux, 77 on BSD).
fn has_no_locks(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported || matches!(error.raw_os_error(), Some(37 | 77) if cfg!(unix))
}

/// Writes who we are.
fn sign(mut file: &File) -> io::Result<()> {
    file.set_len(0)?;
    let host = gethostname::gethostname();
    writeln!(file, "process {} on {}", std::process::id(), host.display())
}

/// Who has signed, which may take a moment after the lock was taken.
fn signature(path: &Path) -> String {
    for _ in 0..20 {
        let mut text = Vec::new();
        let read = File::open(path).and_then(|file| file.take(512).read_to_end(&mut text));
        if read.is_ok()
            && let Some(line) = String::from_utf8_lossy(&text).strip_suffix('\n')
        {
            return line.to_owned();
        }
        sleep(Duration::from_millis(5));
    }
    "another process".to_owned()
}

/// Whether `file` is what lies at `path` now.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let ours = file.metadata()?;
    match path.metadata() {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Elsewhere an open file cannot be removed.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> io::Result<bool> {
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(dir: &Path) -> DirLock {
        match DirLock::ask(dir).unwrap() {
            Asked::Taken(lock) => lock,
            Asked::Held(who) => panic!("held by {who}"),
        }
    }

    #[test]
    fn the_second_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(DirLock::holder(dir.path()), None);
        let lock = taken(dir.path());
        assert!(lock.keeps_others_out());
        let us = format!("process {} on ", std::process::id());
        let Asked::Held(who) = DirLock::ask(dir.path()).unwrap() else { panic!("two have it") };
        assert!(who.starts_with(&us) && who.len() > us.len(), "{who}");
        assert_eq!(DirLock::holder(dir.path()), Some(who));
        drop(lock);
        assert_eq!(DirLock::holder(dir.path()), None);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    /// A process id says nothing: the file of a killed process stays, its lock does not.
    #[test]
    fn what_a_killed_process_left_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(LOCK), format!("process {} on elsewhere\n", std::process::id())).unwrap();
        drop(taken(dir.path()));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    /// Whoever opened the file before it was removed must not believe that its lock counts.
    #[test]
    fn many_at_once_are_one_after_the_other() {
        use std::sync::atomic::{AtomicU32, Ordering};
        let dir = tempfile::tempdir().unwrap();
        let inside = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut turns = 0;
                    while turns < 50 {
                        let Asked::Taken(_lock) = DirLock::ask(dir.path()).unwrap() else { continue };
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        turns += 1;
                    }
                });
            }
        });
    }
}
