//! Directories that go again if nothing comes to lie in them.

use super::error::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

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

#[cfg(test)]
mod tests {
    use super::*;

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
