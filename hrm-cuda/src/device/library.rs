//! CUDA's shared libraries: the driver, the compiler NVRTC, and cuBLASLt.
//!
//! The compiler and cuBLASLt are looked for in this order:
//!
//! 1. in the directories that the environment variable `HRM_CUDA_PATH` lists, separated as in `PATH`. Each may hold
//!    the libraries itself or in `lib` or `lib64`, be a Python environment with NVIDIA's wheels (`nvidia-cuda-nvrtc`,
//!    `nvidia-cublas`), or its `site-packages`;
//! 2. where the system's loader looks;
//! 3. in `CUDA_HOME`, `CUDA_PATH`, `/usr/local/cuda` and the Python environment that is active (`VIRTUAL_ENV`,
//!    `CONDA_PREFIX`).
//!
//! The driver is looked for where the loader looks, in `HRM_CUDA_PATH`, and in `/usr/lib/wsl/lib`.
#![expect(unsafe_code, reason = "loading a library runs its initialisers")]

use std::env;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::driver::Driver;
use crate::error::Error;

/// The environment variable that names directories of CUDA's libraries.
pub const PATH_VARIABLE: &str = "HRM_CUDA_PATH";

/// The oldest CUDA whose libraries, and whose driver, are used.
pub const OLDEST_CUDA: (u32, u32) = (13, 0);

/// What gives NVRTC and cuBLASLt to a machine that lacks them, or has older ones.
const WHEELS: &str = "`pip install nvidia-cuda-nvrtc nvidia-cublas`, names without a suffix: those that end in -cu11 or -cu12 \
                      are of an older CUDA";

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
    pub(super) const fn name(self) -> &'static str {
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

    /// The version of CUDA that a library which is present belongs to.
    fn version(self) -> (u32, u32) {
        let (mut major, mut minor) = (0, 0);
        match self {
            Self::Driver => {}
            Self::Nvrtc => {
                // SAFETY: the library is there, and writes two ints.
                let _ = unsafe { cudarc::nvrtc::sys::nvrtcVersion(&raw mut major, &raw mut minor) };
            }
            Self::CublasLt => {
                // SAFETY: the library is there. 13.1.2 is 130102.
                let version = unsafe { cudarc::cublaslt::sys::cublasLtGetVersion() } as i32;
                (major, minor) = (version / 10_000, version / 100 % 100);
            }
        }
        (major.unsigned_abs(), minor.unsigned_abs())
    }

    /// Makes sure that the library can be used. Nothing of it may be called before.
    ///
    /// # Errors
    /// It is not there, or of an older CUDA.
    pub fn require(self) -> Result<(), Error> {
        static RESULTS: [OnceLock<Result<(), Error>>; 3] = [const { OnceLock::new() }; 3];
        RESULTS[self as usize]
            .get_or_init(|| match self {
                Self::Driver => self.known_to_cudarc(),
                Self::Nvrtc | Self::CublasLt => self.find(),
            })
            .clone()
    }

    /// The driver that [`Driver`] has found, as cudarc finds it: by the name that it gives itself, since it is loaded.
    fn known_to_cudarc(self) -> Result<(), Error> {
        let driver = Driver::get()?;
        if self.is_present() {
            return Ok(());
        }
        let directory = driver.file().and_then(Path::parent).map_or("?".into(), Path::to_string_lossy);
        let hint =
            format!("it is in {directory}, where the loader does not look: set LD_LIBRARY_PATH={directory}");
        Err(Error::Library { name: self.name(), hint })
    }

    fn find(self) -> Result<(), Error> {
        self.load_from(&named_directories());
        if self.is_present() {
            return self.is_recent();
        }
        let of = |names: &[&str]| -> Vec<PathBuf> {
            names.iter().filter_map(env::var_os).map(PathBuf::from).collect()
        };
        let usual = of(&["CUDA_HOME", "CUDA_PATH"]).into_iter().chain([PathBuf::from("/usr/local/cuda")]);
        self.load_from(&directories(usual.chain(of(&["VIRTUAL_ENV", "CONDA_PREFIX"]))));
        if self.is_present() {
            return self.is_recent();
        }
        let hint = format!(
            "install CUDA 13, or NVIDIA's Python wheels ({WHEELS}), and set {PATH_VARIABLE} to the Python environment; looked \
             in {}the loader's path, CUDA_HOME, CUDA_PATH, /usr/local/cuda, VIRTUAL_ENV and CONDA_PREFIX",
            named_for_messages(),
        );
        Err(Error::Library { name: self.name(), hint })
    }

    fn is_recent(self) -> Result<(), Error> {
        let given = self.version();
        if given >= OLDEST_CUDA {
            return Ok(());
        }
        let file = self.files().last().and_then(|start| mapped(start));
        let hint = format!(
            "{} is of CUDA {}.{}, CUDA 13 is needed: {WHEELS}, and set {PATH_VARIABLE} to the Python environment",
            file.map_or_else(|| "what was found".into(), |file| file.display().to_string()),
            given.0,
            given.1
        );
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

/// The file that is loaded whose name begins like this, if the system says so.
fn mapped(start: &str) -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let files = maps.lines().filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])));
    let of_name =
        |file: &&Path| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start));
    files.into_iter().find(of_name).map(Path::to_path_buf)
}

/// Where below the roots that the user names libraries may lie.
pub(super) fn named_directories() -> Vec<PathBuf> {
    directories(env::var_os(PATH_VARIABLE).iter().flat_map(env::split_paths))
}

/// The roots that the user names, as the beginning of a list.
pub(super) fn named_for_messages() -> String {
    let named = env::var_os(PATH_VARIABLE).filter(|path| !path.is_empty());
    named.map(|path| format!("{} ({PATH_VARIABLE}), ", path.display())).unwrap_or_default()
}

/// Where below each root libraries may lie: in itself, as in a toolkit, or with its Python packages.
fn directories(roots: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let below = [
        "",
        "lib",
        "lib64",
        "nvidia/cu13/lib",
        "nvidia/cuda_nvrtc/lib",
        "nvidia/cublas/lib",
        "cu13/lib",
        "cuda_nvrtc/lib",
        "cublas/lib",
    ];
    roots
        // What is not set names no directory, not the one that the program was started in.
        .filter(|root| !root.as_os_str().is_empty())
        .flat_map(|root| [vec![root.clone()], site_packages(&root)].concat())
        .flat_map(|root| below.map(|path| root.join(path)))
        .filter(|path| path.is_dir())
        .collect()
}

/// The directories of Python's packages below the root of an environment, `lib/python3.*/site-packages`, the last
/// version first.
fn site_packages(root: &Path) -> Vec<PathBuf> {
    let of = |lib: &str| {
        let entries = std::fs::read_dir(root.join(lib)).into_iter().flatten().flatten();
        let pythons = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("python3"));
        pythons.flat_map(|entry| ["site-packages", "dist-packages"].map(|name| entry.path().join(name)))
    };
    let mut found: Vec<PathBuf> =
        ["lib", "lib64"].into_iter().flat_map(of).filter(|path| path.is_dir()).collect();
    // python3.9 comes before python3.13.
    found.sort_by_key(|path| core::cmp::Reverse((path.as_os_str().len(), path.clone())));
    found
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

    #[test]
    fn an_environment_is_as_good_as_its_packages() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let wheels = |python: &str| root.join("lib").join(python).join("site-packages/nvidia/cu13/lib");
        for python in ["python3.9", "python3.13"] {
            std::fs::create_dir_all(wheels(python)).unwrap();
        }
        let found = |below: &str| directories([root.join(below)].into_iter());
        let of_root = found("");
        let at = |python: &str| of_root.iter().position(|path| *path == wheels(python)).unwrap();
        assert!(at("python3.13") < at("python3.9"), "{of_root:?}");
        for below in [
            "site-packages",
            "site-packages/nvidia",
            "site-packages/nvidia/cu13",
            "site-packages/nvidia/cu13/lib",
        ] {
            let path = format!("lib/python3.13/{below}");
            assert!(found(&path).contains(&wheels("python3.13")), "{below}");
        }
        assert!(directories([PathBuf::new()].into_iter()).is_empty());
    }
}
