//! Compiled kernels on the disk, so that only the first start on a card compiles.
//!
//! They lie in `hrm/kernels` below the user's cache directory, or where `HRM_CACHE_DIR` says. A file's name has the
//! unit, the architecture and a hash of all that the machine code depends on; its content has a checksum, and what
//! fails it is compiled again. Without a directory that can be written every start compiles: it is no error.

use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::nvrtc::{self, Arch, OPTIONS};
use super::sources::{self, HEADERS};
use crate::error::Error;

/// The environment variable that names the directory of compiled kernels.
pub const DIRECTORY_VARIABLE: &str = "HRM_CACHE_DIR";

const MAGIC: &[u8; 8] = b"hrmcubin";

/// A directory of compiled kernels, if there is one.
#[derive(Clone, Debug)]
pub struct Cache {
    directory: Option<PathBuf>,
}

impl Cache {
    /// The user's.
    #[must_use]
    pub fn of_user() -> Self {
        let set = |variable: &str| env::var_os(variable).filter(|dir| !dir.is_empty());
        let below = |variable: &str, path: &str| set(variable).map(|dir| PathBuf::from(dir).join(path));
        let directory = below(DIRECTORY_VARIABLE, "")
            .or_else(|| below("XDG_CACHE_HOME", "hrm/kernels"))
            .or_else(|| below("LOCALAPPDATA", "hrm/kernels"))
            .or_else(|| below("HOME", ".cache/hrm/kernels"));
        Self { directory }
    }

    /// The one at `directory`.
    #[must_use]
    pub fn at(directory: &Path) -> Self {
        Self { directory: Some(directory.into()) }
    }

    /// The machine code of `unit` for `arch`: from the disk, or compiled and put there.
    ///
    /// # Errors
    /// There is no such unit, the compiler is not there, or the source does not compile.
    pub fn cubin(&self, unit: &'static str, arch: Arch) -> Result<Vec<u8>, Error> {
        let path = self.path(unit, arch)?;
        if let Some(cubin) = path.as_deref().and_then(read) {
            return Ok(cubin);
        }
        let cubin = nvrtc::compile(unit, arch, &[])?.cubin;
        if let Some(path) = path {
            write(&path, &cubin);
        }
        Ok(cubin)
    }

    /// Where the machine code of `unit` lies, or would lie.
    fn path(&self, unit: &'static str, arch: Arch) -> Result<Option<PathBuf>, Error> {
        let Some(directory) = &self.directory else { return Ok(None) };
        let mut hasher = DefaultHasher::new();
        (sources::unit(unit)?, HEADERS, OPTIONS, nvrtc::version()?).hash(&mut hasher);
        Ok(Some(directory.join(format!("{unit}-{arch}-{:016x}.cubin", hasher.finish()))))
    }
}

/// The machine code in a file, if the file is whole.
fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = fs::read(path).ok()?;
    let rest = bytes.strip_prefix(MAGIC)?;
    let (checksum, cubin) = rest.split_at_checked(4)?;
    let is_whole = checksum == crc32fast::hash(cubin).to_le_bytes();
    is_whole.then(|| bytes.split_off(MAGIC.len() + 4))
}

/// Writes a file whole or not at all. That it could not be written costs the next start its time, nothing else.
fn write(path: &Path, cubin: &[u8]) {
    let Some(directory) = path.parent() else { return };
    let written = fs::create_dir_all(directory).and_then(|()| {
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(MAGIC)?;
        file.write_all(&crc32fast::hash(cubin).to_le_bytes())?;
        file.write_all(cubin)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)
    });
    drop(written);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/unit.cubin");
        write(&path, b"machine code");
        assert_eq!(read(&path).as_deref(), Some(&b"machine code"[..]));
        let files = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(files, 1, "nothing else is left behind");
    }

    #[test]
    fn what_is_damaged_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("unit.cubin");
        write(&path, b"machine code");
        let whole = fs::read(&path).unwrap();
        for len in 0..whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            assert_eq!(read(&path), None, "cut off after {len} bytes");
        }
        for at in 0..whole.len() {
            let mut spoilt = whole.clone();
            spoilt[at] ^= 1;
            fs::write(&path, &spoilt).unwrap();
            assert_eq!(read(&path), None, "byte {at}");
        }
    }

    #[test]
    fn a_directory_that_cannot_be_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        write(&file.join("unit.cubin"), b"machine code");
        assert_eq!(read(&file.join("unit.cubin")), None);
    }

    /// Compiles for real where NVRTC is installed, as it must be where `HRM_CUDA_PATH` says so, with an entry that is
    /// damaged on the way.
    #[test]
    fn a_damaged_entry_is_compiled_again() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path());
        let arch = Arch { capability: (8, 0) };
        let cubin = match cache.cubin("add", arch) {
            Ok(cubin) => cubin,
            Err(Error::Library { .. }) if std::env::var_os("HRM_CUDA_PATH").is_none() => return,
            Err(other) => panic!("{other}"),
        };
        let path = cache.path("add", arch).unwrap().unwrap();
        assert_eq!(read(&path).as_ref(), Some(&cubin));
        fs::write(&path, b"hrmcubin nonsense").unwrap();
        assert_eq!(cache.cubin("add", arch).unwrap().len(), cubin.len());
        assert!(read(&path).is_some());
        let other = Arch { capability: (9, 0) };
        assert_ne!(cache.path("add", other).unwrap(), Some(path));
    }
}
