//! The published program's models of Sudoku, if they are there: import and export keep every number of them.

use std::path::PathBuf;

use half::bf16;
use hrm_host::model_dir::{CONFIG, WEIGHTS, read_config};
use hrm_host::model_io::export::{Target, export};
use hrm_host::model_io::import::{Options, import};
use hrm_host::numbers::Precision;

use crate::support::read_all;

/// The directory of a model below `HRM_SHARED`, or below `shared` beside the workspace.
fn model(name: &str) -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let dir = std::env::var_os("HRM_SHARED").map_or_else(beside, PathBuf::from).join("models").join(name);
    if dir.is_dir() {
        return Some(dir);
    }
    eprintln!("no model at {}: nothing was compared with it", dir.display());
    None
}

#[test]
fn published_models_keep_every_number() {
    for name in ["sudoku_1m", "sudoku_27m"] {
        let Some(theirs) = model(name) else { continue };
        let config = read_config::<std::convert::Infallible>(&theirs.join(CONFIG)).unwrap();
        let expected = read_all(&theirs.join(WEIGHTS), &config);
        let dir = tempfile::tempdir().unwrap();
        let (ours, bundle) = (dir.path().join("ours"), dir.path().join("ours.hrm"));
        let imported = import(&theirs.join(WEIGHTS), &ours, &Options::default()).unwrap();
        assert_eq!(imported.config, config);
        // Their weights are bf16: a bundle of that precision loses nothing.
        assert!(expected.iter().flat_map(|(_, values)| values).all(|x| bf16::from_f32(*x).to_f32() == *x));
        export(&ours, &bundle, Target::Postcard, Precision::Bf16).unwrap();
        for found in [ours.join(WEIGHTS), bundle] {
            assert!(read_all(&found, &config) == expected, "{}", found.display());
        }
    }
}
