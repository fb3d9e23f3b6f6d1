//! Files that appear whole or not at all: written beside their destination, synchronised, then renamed.

use super::error::{Error, Result};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// How the names of unfinished files begin.
const PREFIX: &str = ".partial-";

/// Removes the unfinished files that a killed process has left in `dir`.
///
/// # Errors
/// [`Error::Io`] if the directory cannot be read or a file not removed.
pub fn remove_unfinished(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(Error::io(dir, "list the directory"))? {
        let entry = entry.map_err(Error::io(dir, "list the directory"))?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            let path = entry.path();
            fs::remove_file(&path).map_err(Error::io(&path, "remove the unfinished file"))?;
        }
    }
    Ok(())
}

/// A directory to write into. Dropped, it is removed again, with those parents that were made for it, if nothing has
/// come to lie in it.
#[derive(Debug)]
pub struct NewDirectory {
    /// What was not there before, the innermost first.
    made: Vec<PathBuf>,
}

impl NewDirectory {
    /// Makes `path` and its parents, where they are not there.
    ///
    /// # Errors
    /// [`Error::Io`] if the file system refuses.
    pub fn create(path: &Path) -> Result<Self> {
        let missing = path.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists());
        // In place before the first directory is made, so that half of them go again too.
        let this = Self { made: missing.map(Path::to_owned).collect() };
        fs::create_dir_all(path).map_err(Error::io(path, "make the directory"))?;
        Ok(this)
    }
}

impl Drop for NewDirectory {
    fn drop(&mut self) {
        for dir in &self.made {
            // Refused for a directory that holds something, which is just what is wanted.
            let _ = fs::remove_dir(dir);
        }
    }
}

/// A file that is written and synchronised, waiting for its name. Dropped, it is deleted.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    file: NamedTempFile,
}

impl Staged {
    /// Synchronises `file`, the future `path`.
    pub(super) fn new(path: PathBuf, file: NamedTempFile) -> Result<Self> {
        file.as_file().sync_all().map_err(Error::io(&path, "synchronise the file"))?;
        Ok(Self { path, file })
    }

    /// Stages `bytes` as the future content of `path`.
    ///
    /// # Errors
    /// [`Error::Io`] if the disk refuses.
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self> {
        let mut file = temporary(path)?;
        file.write_all(bytes).map_err(Error::io(path, "write the file"))?;
        Self::new(path.to_owned(), file)
    }

    /// Gives the file its name, in place of any older file, and synchronises the directory.
    ///
    /// # Errors
    /// [`Error::Io`] if the file system refuses.
    pub fn commit(self) -> Result<()> {
        let Self { path, file } = self;
        file.persist(&path).map_err(|e| Error::io(&path, "rename the file into place")(e.error))?;
        sync_directory(&path)
    }
}

/// Puts the directory entry of `path` on the disk.
fn sync_directory(path: &Path) -> Result<()> {
    if cfg!(unix) {
        let dir = directory(path);
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(Error::io(dir, "synchronise the directory"))?;
    }
    Ok(())
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A new file beside `path`, with the permissions of an ordinary one.
pub(super) fn temporary(path: &Path) -> Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX);
    #[cfg(unix)]
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    #[cfg(unix)]
    builder.permissions(mode);
    builder.tempfile_in(directory(path)).map_err(Error::io(path, "create a file beside it"))
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
        assert!(matches!(Staged::from_bytes(&dir.path().join("none/a"), b""), Err(Error::Io { .. })));
    }

    #[test]
    fn unfinished_files_of_a_killed_process_go() {
        let dir = tempfile::tempdir().unwrap();
        let staged = Staged::from_bytes(&dir.path().join("a"), b"new").unwrap();
        // As if the process had ended without dropping it.
        std::mem::forget(staged);
        fs::write(dir.path().join("other"), "").unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        remove_unfinished(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_that_stays_empty_goes() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("a/b/c"));
        drop(NewDirectory::create(&b).unwrap());
        assert!(!a.exists());
        let made = NewDirectory::create(&b).unwrap();
        fs::write(a.join("file"), "").unwrap();
        drop(made);
        assert!(a.join("file").exists() && !a.join("b").exists());
        // What was there before is not ours to remove.
        fs::create_dir(a.join("b")).unwrap();
        drop(NewDirectory::create(&b).unwrap());
        assert!(a.join("b").exists() && !b.exists());
        assert!(matches!(NewDirectory::create(&a.join("file/d")), Err(Error::Io { .. })));
    }
}
