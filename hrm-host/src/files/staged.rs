//! A file on its way to its place.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::leftover::{TEMPORARY, beside};
use super::sync_parent;

/// A file that is being written as `NAME.tmp-PID` beside the place where it will appear whole. Dropped before
/// [`commit`](Self::commit), it is removed.
#[derive(Debug)]
pub struct Staged {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
}

impl Staged {
    /// Starts the file that will be `target`. One process stages a path once at a time. The file is locked until it is
    /// in its place or dropped, which tells others that it is no leftover.
    ///
    /// # Errors
    /// The directory cannot be written to, or `target` does not end in a name.
    pub fn create(target: &Path) -> io::Result<Self> {
        let temporary = beside(target, TEMPORARY, std::process::id())?;
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&temporary)?;
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            // Of the same number on another machine or in another container.
            return Err(io::Error::other("another process is writing it"));
        }
        file.set_len(0)?;
        Ok(Self { file, temporary, target: target.to_owned() })
    }

    /// Stages `bytes` as the future content of `target`.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn from_bytes(target: &Path, bytes: &[u8]) -> io::Result<Self> {
        let mut staged = Self::create(target)?;
        staged.file.write_all(bytes)?;
        staged.sync()?;
        Ok(staged)
    }

    /// Where the file will appear.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Where it is until then, for a writer that wants a path.
    #[must_use]
    pub fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Puts what was written on the disk.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Puts the content on the disk, gives the file its name, in place of any older file, and flushes the directory.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn commit(self) -> io::Result<()> {
        self.sync()?;
        fs::rename(&self.temporary, &self.target)?;
        sync_parent(&self.target)
    }
}

impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for Staged {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Gone already if it is in its place; there is nobody to tell otherwise.
        let _ = fs::remove_file(&self.temporary);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_appears_at_commit_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "old").unwrap();
        let staged = Staged::from_bytes(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        staged.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        drop(Staged::from_bytes(&path, b"newer").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(Staged::from_bytes(&dir.path().join("none/a"), b"").is_err());
    }
}
