//! What the tests of the data modules share.

use super::error::Error;
use super::writer::{DatasetWriter, Format};
use std::path::{Path, PathBuf};

/// The real data, below `HRM_SHARED` or below `shared` beside the workspace. Where there is none, the tests that read it
/// say so and pass, except in CI (`CI=true`) or where `HRM_SHARED` promises it.
pub fn shared(path: &str) -> Option<PathBuf> {
    let promised = std::env::var_os("HRM_SHARED");
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let path = promised.as_ref().map_or_else(beside, PathBuf::from).join(path);
    if path.exists() {
        return Some(path);
    }
    let needed = promised.is_some() || std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!needed, "{} is missing", path.display());
    eprintln!("{} is missing: nothing was read from it", path.display());
    None
}

/// A training split of examples of four tokens, in which example `i` reads `[i, 1, 2, 3]`. `groups` holds, for each
/// group, the number of examples of each of its puzzles; puzzle `p` has identifier `p % 3`.
pub fn write_dataset(dir: &Path, groups: &[Vec<usize>]) {
    let format = Format {
        seq_len: 4,
        vocab_size: 200,
        pad_id: 0,
        ignore_label_id: Some(0),
        identifiers: &["<blank>", "one", "two"],
    };
    let mut writer = DatasetWriter::create(dir, "train", &format, false).unwrap();
    let (mut example, mut puzzle) = (0, 0);
    for group in groups {
        for &examples in group {
            for _ in 0..examples {
                writer.example(&[example, 1, 2, 3], &[0, 4, 5, example]).unwrap();
                example += 1;
            }
            writer.end_puzzle(puzzle % 3).unwrap();
            puzzle += 1;
        }
        writer.end_group(None).unwrap();
    }
    writer.finish().unwrap();
}

/// The file name and the field that an error names.
pub fn file_and_field<T: std::fmt::Debug>(result: Result<T, Error>) -> (String, String) {
    match result {
        Err(Error::Format { path, field, .. }) => {
            (path.file_name().unwrap().to_string_lossy().into_owned(), field)
        }
        other => panic!("{other:?}"),
    }
}
