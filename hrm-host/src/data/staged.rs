//! Files that appear whole or not at all: written beside their destination, synchronised, then renamed.

use super::error::{Error, Result};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

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
    builder.prefix(".partial-");
    #[cfg(unix)]
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    #[cfg(unix)]
    builder.permissions(mode);
    builder.tempfile_in(directory(path)).map_err(Error::io(path, "create a file beside it"))
}
