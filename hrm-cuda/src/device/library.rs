//! CUDA's shared libraries: the driver, the compiler NVRTC, and cuBLASLt.
//!
//! The driver comes with the system. The other two are looked for in this order:
//!
//! 1. in the directories that the environment variable `HRM_CUDA_PATH` lists, separated as in `PATH`: each may hold
//!    the libraries itself or in `lib` or `lib64`, or be the `site-packages` of a Python environment with NVIDIA's
//!    wheels (`nvidia-cuda-nvrtc`, `nvidia-cublas`);
//! 2. where the system's loader looks;
//! 3. in `CUDA_HOME`, `CUDA_PATH` and `/usr/local/cuda`.
#![expect(unsafe_code, reason = "loading a library runs its initialisers")]

use std::env;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::error::Error;

/// The environment variable that names directories of CUDA's libraries.
pub const PATH_VARIABLE: &str = "HRM_CUDA_PATH";

/// A shared library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// The driver.
    Driver,
    /// The compiler of kernels.
    Nvrtc,
    /// Matrix products.
    CublasLt,
}

impl Library {
    const fn name(self) -> &'static str {
        match self {
            Self::Driver => "the NVIDIA driver's library (libcuda)",
            Self::Nvrtc => "CUDA's run-time compiler (libnvrtc)",
            Self::CublasLt => "cuBLASLt (libcublasLt)",
        }
    }

    /// The files to load, each before those that need it.
    const fn files(self) -> &'static [&'static str] {
        match self {
            Self::Driver => &[],
            Self::Nvrtc => &["libnvrtc-builtins.so.", "libnvrtc.so."],
            Self::CublasLt => &["libcublasLt.so."],
        }
    }

    fn is_present(self) -> bool {
        // SAFETY: these are NVIDIA's own libraries, made to be loaded by any program.
        unsafe {
            match self {
                Self::Driver => cudarc::driver::sys::is_culib_present(),
                Self::Nvrtc => cudarc::nvrtc::sys::is_culib_present(),
                Self::CublasLt => cudarc::cublaslt::sys::is_culib_present(),
            }
        }
    }

    /// Makes sure that the library can be used. Nothing of it may be called before.
    ///
    /// # Errors
    /// It is not there.
    pub fn require(self) -> Result<(), Error> {
        static RESULTS: [OnceLock<Result<(), Error>>; 3] = [const { OnceLock::new() }; 3];
        RESULTS[self as usize].get_or_init(|| self.find()).clone()
    }

    fn find(self) -> Result<(), Error> {
        let named = directories(env::var_os(PATH_VARIABLE).iter().flat_map(env::split_paths));
        self.load_from(&named);
        if self.is_present() {
            return Ok(());
        }
        let usual = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(env::var_os).map(PathBuf::from);
        let usual = directories(usual.chain([PathBuf::from("/usr/local/cuda")]));
        self.load_from(&usual);
        if self.is_present() {
            return Ok(());
        }
        let hint = match self {
            Self::Driver => "is an NVIDIA GPU and its driver installed? see `nvidia-smi`".into(),
            Self::Nvrtc | Self::CublasLt => format!(
                "install CUDA 13, or NVIDIA's Python wheels (`pip install nvidia-cuda-nvrtc nvidia-cublas`) and set \
                 {PATH_VARIABLE} to the site-packages directory; looked in {}the loader's path, CUDA_HOME, \
                 CUDA_PATH and /usr/local/cuda",
                env::var(PATH_VARIABLE).map(|path| format!("{path}, ")).unwrap_or_default(),
            ),
        };
        Err(Error::Library { name: self.name(), hint })
    }

    /// Loads the library's files from the first directory that has all of them, for the rest of the program.
    #[cfg(unix)]
    fn load_from(self, directories: &[PathBuf]) {
        use libloading::os::unix::{Library as Loaded, RTLD_GLOBAL, RTLD_NOW};
        let files = |directory: &PathBuf| -> Option<Vec<PathBuf>> {
            self.files().iter().map(|start| file_that_starts(directory, start)).collect()
        };
        for files in directories.iter().filter_map(files) {
            // SAFETY: as in `is_present`. What was loaded stays loaded, so no symbol of it ever dangles.
            let load = |file: &PathBuf| unsafe { Loaded::open(Some(file), RTLD_NOW | RTLD_GLOBAL) };
            if files.iter().all(|file| load(file).map(core::mem::forget).is_ok()) {
                return;
            }
        }
    }

    /// Elsewhere the libraries are found by the system's loader alone.
    #[cfg(not(unix))]
    fn load_from(self, _: &[PathBuf]) {}
}

/// Where below each root libraries may lie.
fn directories(roots: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let below = ["", "lib", "lib64", "nvidia/cu13/lib", "nvidia/cuda_nvrtc/lib", "nvidia/cublas/lib"];
    roots.flat_map(|root| below.map(|path| root.join(path))).filter(|path| path.is_dir()).collect()
}

/// The file of a directory whose name goes on from `start` with a version; the last by name of several.
#[cfg(unix)]
fn file_that_starts(directory: &PathBuf, start: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(directory).ok()?;
    let is_version = |rest: &str| rest.chars().all(|c| c.is_ascii_digit() || c == '.');
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let name = names.filter(|name| name.strip_prefix(start).is_some_and(is_version)).max()?;
    Some(directory.join(name))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_version_follows_the_name() {
        let dir = tempfile::tempdir().unwrap();
        let files = ["libnvrtc.so.12", "libnvrtc.so.13", "libnvrtc.so.13.alt", "libnvrtc-builtins.so.13.0"];
        for name in files {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let found = file_that_starts(&dir.path().into(), "libnvrtc.so.").unwrap();
        assert_eq!(found.file_name().unwrap(), "libnvrtc.so.13");
        assert_eq!(file_that_starts(&dir.path().into(), "libcublasLt.so."), None);
    }
}
