//! Where a dataset is written: nothing that is there is replaced unless that was asked for, and never a part of another
//! dataset.

use super::error::{Error, Result};
use super::metadata::Metadata;
use super::split::Split;
use super::writer::Format;
use std::fs;
use std::path::Path;

/// Refuses a directory that holds one of `splits` already.
///
/// # Errors
/// [`Error::Argument`] saying what is there.
pub fn expect_free(dir: &Path, splits: &[Split]) -> Result<()> {
    for split in splits {
        let path = dir.join(split.name());
        if !parts(&path).iter().any(|name| name == "dataset.json" || is_array(name)) {
            continue;
        }
        let groups = Metadata::read(&path.join("dataset.json"));
        let holds = groups
            .map_or("a dataset".to_owned(), |found| format!("a dataset of {} groups", found.total_groups));
        let found = format!("{}, which holds {holds} already", path.display());
        let expected = "a directory without one: name another, or replace it with --force";
        return Err(Error::argument("--out", found, expected));
    }
    Ok(())
}

/// Refuses a directory whose `split` is not free, but for one of the very form that generated puzzles have, `puzzles` of
/// `cells` cells: the same command twice is no error, nor is another seed, and no puzzle goes that cannot be made again.
/// Returns whether there is one.
///
/// # Errors
/// [`Error::Argument`] saying what is there.
pub fn expect_free_or_as_many(dir: &Path, split: Split, puzzles: u32, cells: usize) -> Result<bool> {
    let Err(refused) = expect_free(dir, &[split]) else { return Ok(false) };
    let path = dir.join(split.name());
    let Ok(there) = Metadata::read(&path.join("dataset.json")) else { return Err(refused) };
    // A generated split has neither augmented puzzles nor ratings.
    let made = ["inputs", "labels", "puzzle_identifiers", "puzzle_indices", "group_indices"];
    let made = |name: &String| {
        name == "dataset.json" || made.iter().any(|array| *name == format!("all__{array}.npy"))
    };
    let alike = there.seq_len == cells
        && there.num_puzzle_identifiers == 1
        && there.total_groups == puzzles as usize
        && there.mean_puzzle_examples == 1.0
        && there.total_puzzles.is_none_or(|total| total == there.total_groups)
        && parts(&path).iter().all(made);
    if alike { Ok(true) } else { Err(refused) }
}

/// The names in a directory, none if it cannot be read.
fn parts(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn is_array(name: &str) -> bool {
    name.starts_with("all__") && name.ends_with(".npy")
}

/// Refuses to write `split` beside another split that is not of the same kind: the two share `identifiers.json`.
///
/// # Errors
/// [`Error::Argument`] saying what is there.
pub fn expect_same_kind(dir: &Path, split: Split, format: &Format<'_>) -> Result<()> {
    for other in Split::ALL.into_iter().filter(|&other| other != split) {
        let path = dir.join(other.name()).join("dataset.json");
        if !path.exists() {
            continue;
        }
        let there = Metadata::read(&path)?;
        let names = format.identifiers.len();
        let of = |cells: usize, tokens: u32, names: usize| {
            let plural = if names == 1 { "" } else { "s" };
            format!("{cells} cells and {tokens} tokens with {names} name{plural}")
        };
        let is = of(there.seq_len, there.vocab_size, there.num_puzzle_identifiers as usize);
        let wanted = of(format.seq_len, format.vocab_size, names);
        if is != wanted {
            let found = format!("{}, whose split {other} is a dataset of {is}", dir.display());
            return Err(Error::argument("--out", found, format!("one of {wanted}: name another directory")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::sudoku;
    use crate::data::test_support::write_dataset;

    #[test]
    fn what_is_there_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        expect_free(&at.join("none"), &Split::ALL).unwrap();
        write_dataset(at, &[vec![1]]);
        expect_free(at, &[Split::Test]).unwrap();
        let error = expect_free(at, &Split::ALL).unwrap_err().to_string();
        assert!(
            error.contains("train, which holds a dataset of 1 groups already") && error.contains("--force"),
            "{error}"
        );
        fs::remove_file(at.join("train/dataset.json")).unwrap();
        assert!(expect_free(at, &[Split::Train]).is_err(), "its arrays are there");
        fs::create_dir(at.join("test")).unwrap();
        fs::write(at.join("test/notes.txt"), "").unwrap();
        expect_free(at, &[Split::Test]).unwrap();
    }

    #[test]
    fn generated_puzzles_take_the_place_of_as_many() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        let split = Split::Test;
        assert!(!expect_free_or_as_many(at, split, 3, 16).unwrap());
        let options = sudoku::GenerateOptions {
            count: 3,
            size: sudoku::Size::Four,
            clues: None,
            out: at.to_owned(),
            split,
            augment: 0,
            seed: 1,
        };
        sudoku::build::generate(&options, None).unwrap();
        assert!(expect_free_or_as_many(at, split, 3, 16).unwrap());
        for (puzzles, cells) in [(2, 16), (4, 16), (3, 81)] {
            let error = expect_free_or_as_many(at, split, puzzles, cells).unwrap_err().to_string();
            assert!(error.contains("a dataset of 3 groups already") && error.contains("--force"), "{error}");
        }
        fs::write(at.join("test/all__ratings.npy"), "").unwrap();
        assert!(expect_free_or_as_many(at, split, 3, 16).is_err(), "ratings are not generated");
        fs::remove_file(at.join("test/all__ratings.npy")).unwrap();
        fs::remove_file(at.join("test/dataset.json")).unwrap();
        assert!(expect_free_or_as_many(at, split, 3, 16).is_err(), "who knows what it was");
    }

    #[test]
    fn both_splits_are_of_one_kind() {
        let dir = tempfile::tempdir().unwrap();
        write_dataset(dir.path(), &[vec![1]]);
        let same = Format {
            seq_len: 4,
            vocab_size: 200,
            pad_id: 0,
            ignore_label_id: Some(0),
            identifiers: &["<blank>", "one", "two"],
        };
        expect_same_kind(dir.path(), Split::Test, &same).unwrap();
        for other in [
            Format { seq_len: 5, ..same },
            Format { vocab_size: 12, ..same },
            Format { identifiers: &["<blank>"], ..same },
        ] {
            let error = expect_same_kind(dir.path(), Split::Test, &other).unwrap_err().to_string();
            assert!(
                error.contains("split train is a dataset of 4 cells and 200 tokens with 3 names"),
                "{error}"
            );
            // What is replaced need not be of that kind.
            expect_same_kind(dir.path(), Split::Train, &other).unwrap();
        }
    }
}
