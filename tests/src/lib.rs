//! The conformance suite.

pub mod fixture;

use std::path::PathBuf;

/// The directory of the published program's numbers: `golden` below `HRM_SHARED`, or below `shared` beside the
/// workspace.
///
/// # Panics
/// It is not there; the message says where to put it.
#[must_use]
pub fn golden_dir() -> PathBuf {
    let shared = std::env::var_os("HRM_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let dir = shared.join("golden");
    assert!(
        dir.is_dir(),
        "no golden numbers at {}: put the directory `golden` there, or set HRM_SHARED to the directory that \
         holds it",
        dir.display()
    );
    dir
}
