//! The conformance suite that every backend passes.
//!
//! [`op`] holds every kernel as a value, [`case`] gives each its operands, [`suite`] says what each must do. A
//! backend joins by a file in `tests/` with a [`Subject`](suite::Subject) and [`conformance!`].

pub mod case;
pub mod counting;
pub mod fixture;
pub mod op;
pub mod suite;

use std::path::{Path, PathBuf};

use hrm_host::golden::{Check, Error, Report};

/// The directory of the published program's numbers: `golden` below `HRM_SHARED`, or below `shared` beside the
/// workspace. `HRM_SHARED=none` says that there are none here: then the tests that read them pass without a look.
///
/// # Panics
/// It is not there; the message says where to put it, and how to do without.
#[must_use]
pub fn golden_dir() -> Option<PathBuf> {
    let shared = std::env::var_os("HRM_SHARED");
    if shared.as_deref() == Some("none".as_ref()) {
        return None;
    }
    let shared =
        shared.map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let dir = shared.join("golden");
    assert!(
        dir.is_dir(),
        "no golden numbers at {}: put the directory `golden` there, set HRM_SHARED to the directory that holds \
         it, or set HRM_SHARED=none to go without these tests",
        dir.display()
    );
    Some(dir)
}

/// Runs `check` on the golden directory, if there is to be one, and asks that every verdict be good.
///
/// # Panics
/// A verdict is bad, or there is none.
pub fn golden_passes(check: impl Fn(&Path) -> Result<Report, Error>) {
    let Some(dir) = golden_dir() else { return };
    let report = check(&dir).unwrap_or_else(|error| panic!("{error}"));
    for check in &report.checks {
        println!("{check}");
    }
    let misses: Vec<_> = report.misses().map(Check::to_string).collect();
    assert!(report.passed(), "{} of {} missed:\n{}", misses.len(), report.checks.len(), misses.join("\n"));
}
