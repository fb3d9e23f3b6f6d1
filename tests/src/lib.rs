//! The conformance suite that every backend passes.
//!
//! [`op`] holds every kernel as a value, [`case`] gives each its operands, [`suite`] says what each must do. A
//! backend joins by a file in `tests/` with a [`Subject`](suite::Subject) and [`conformance!`]. [`readers`] are the
//! readers of foreign bytes, for `fuzz/` and `tests/readers.rs`.

pub mod case;
pub mod counting;
pub mod cuda;
pub mod cycles;
pub mod fixture;
pub mod forgetful;
pub mod op;
pub mod portable;
pub mod readers;
pub mod steps;
pub mod suite;
pub mod target;

use std::path::{Path, PathBuf};

use hrm_host::golden::{Check, Error, Report};
use tempfile::TempDir;

/// The directory of the published program's numbers, `golden` in the shared directory; see [`shared_dir`].
#[must_use]
pub fn golden_dir() -> Option<PathBuf> {
    shared_dir("golden").map(|shared| shared.join("golden"))
}

/// What is shared between projects, if it holds the directory `name`: `HRM_SHARED`, or `shared` beside the workspace.
/// Where it is not there, the tests that read it say so and pass, except in CI (`CI=true`) or where `HRM_SHARED` promises
/// it.
///
/// # Panics
/// It is promised and not there; the message says where to put it.
#[must_use]
pub fn shared_dir(name: &str) -> Option<PathBuf> {
    let promised = std::env::var_os("HRM_SHARED");
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let shared = promised.as_ref().map_or_else(beside, PathBuf::from);
    let dir = shared.join(name);
    if dir.is_dir() {
        return Some(shared);
    }
    let needed = promised.is_some() || std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(
        !needed,
        "no {}: put the directory `{name}` there, or set HRM_SHARED to the directory that holds it",
        dir.display()
    );
    eprintln!("no {}: nothing was compared with it", dir.display());
    None
}

/// Runs `check` on the golden directory, if there is to be one, and asks that every verdict be good.
///
/// # Panics
/// A verdict is bad, or there is none.
pub fn golden_passes(check: impl Fn(&Path) -> Result<Report, Error>) {
    let Some(dir) = golden_dir() else { return };
    agrees(check(&dir), &[]);
}

/// Asks that every verdict be good, and that nothing be left out but of files whose names begin with one of `known`.
fn agrees(report: Result<Report, Error>, known: &[&str]) {
    let report = report.unwrap_or_else(|error| panic!("{error}"));
    for check in &report.checks {
        println!("{check}");
    }
    let lacking: Vec<_> = report
        .lacking
        .iter()
        .filter(|lacking| !known.iter().any(|known| lacking.file.starts_with(known)))
        .map(ToString::to_string)
        .collect();
    assert!(lacking.is_empty(), "not compared:\n{}", lacking.join("\n"));
    let misses: Vec<_> = report.misses().map(Check::to_string).collect();
    assert!(report.passed(), "{} of {} missed:\n{}", misses.len(), report.checks.len(), misses.join("\n"));
}

/// As [`golden_passes`] on the numbers of the Tiny Recursive Model's program: each model of it but its two ablations with other
/// states, which no backend runs.
///
/// # Panics
/// As there.
pub fn trm_golden_passes(check: impl Fn(&Path) -> Result<Report, Error>) {
    let Some(shared) = shared_dir("golden-trm") else { return };
    agrees(check(&shared.join("golden-trm")), &NOT_OF_TRM);
}

/// The same with the models whose names begin with `trm_tiny`.
///
/// # Panics
/// As there, or the files cannot be copied.
pub fn small_trm_golden_passes(check: impl Fn(&Path) -> Result<Report, Error>) {
    let Some(shared) = shared_dir("golden-trm") else { return };
    let dir = copy_of(&shared.join("golden-trm"), &["trm_tiny"]);
    agrees(check(dir.path()), &NOT_OF_TRM);
}

/// Neither single functions nor the moments of softmax are among them, and of softmax the first and the last step.
const NOT_OF_TRM: [&str; 4] = ["functions", "trm_singlez", "trm_hier6", "trm_tiny_att.train_softmax"];

/// [`golden_passes`] with the functions and the models whose names begin with `tiny`.
///
/// # Panics
/// As there, or the files cannot be copied.
pub fn small_golden_passes(check: impl Fn(&Path) -> Result<Report, Error>) {
    let Some(dir) = small_golden() else { return };
    golden_passes(|_| check(dir.path()));
}

/// A directory with the functions and the models whose names begin with `tiny`.
///
/// # Panics
/// The files cannot be copied.
#[must_use]
pub fn small_golden() -> Option<TempDir> {
    golden_dir().map(|golden| copy_of(&golden, &["tiny_", "functions."]))
}

/// A directory with the files of `golden` whose names begin with one of `starts`.
fn copy_of(golden: &Path, starts: &[&str]) -> TempDir {
    let copy = || -> std::io::Result<TempDir> {
        let dir = tempfile::tempdir()?;
        for file in std::fs::read_dir(golden)? {
            let file = file?;
            let name = file.file_name();
            if starts.iter().any(|start| name.to_string_lossy().starts_with(start)) {
                std::fs::copy(file.path(), dir.path().join(name))?;
            }
        }
        Ok(dir)
    };
    copy().unwrap_or_else(|error| panic!("copy of the small golden files: {error}"))
}
