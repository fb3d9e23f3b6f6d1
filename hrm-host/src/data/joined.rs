//! Several datasets as one: their sets one after the other.
//!
//! Puzzle identifiers go by name: a puzzle that two datasets know by the same name has one row of the embedding, and others keep
//! their own. TRM's loader adds the numbers up and leaves it to the builders that they do not overlap.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::dataset::{Dataset, Set};
use super::error::{Error, Place, Result};
use super::metadata::Metadata;

const TRAIN: &str = "train";
const TEST: &str = "test";

impl Dataset {
    /// Opens the training split of every directory in `dirs` as one dataset, each checked as by [`open`](Self::open).
    ///
    /// The sets after the first directory's are named after their own name and its number, as in TRM's loader: `all`, `all1`.
    ///
    /// # Errors
    /// As there; the datasets do not fit together, or their identifiers cannot be told apart.
    pub fn open_all(dirs: &[PathBuf]) -> Result<Self> {
        let opened = dirs.iter().map(|dir| Self::open(dir, TRAIN)).collect::<Result<Vec<_>>>()?;
        join(opened)?.ok_or_else(|| Error::argument("directories", "none", "at least one"))
    }

    /// Opens the held-out splits of those of `dirs` that have one, as one dataset with the identifiers of
    /// [`open_all`](Self::open_all).
    ///
    /// # Errors
    /// As there.
    pub fn open_all_held_out(dirs: &[PathBuf]) -> Result<Option<Self>> {
        let held_out = |dir: &Path| dir.join(TEST).exists();
        if !dirs.iter().any(|dir| held_out(dir)) {
            return Ok(None);
        }
        let opened = dirs.iter().map(|dir| {
            if held_out(dir) {
                return Self::open(dir, TEST);
            }
            // Its puzzles have rows in the table, too.
            let mut other = Self::open(dir, TRAIN)?;
            other.sets.clear();
            Ok(other)
        });
        join(opened.collect::<Result<Vec<_>>>()?)
    }

    /// Refuses a dataset of other sizes or tokens.
    fn expect_like(&self, other: &Self) -> Result<()> {
        let of = |m: &Metadata| {
            [
                ("seq_len", m.seq_len as i64),
                ("vocab_size", m.vocab_size.into()),
                ("pad_id", m.pad_id.into()),
                ("ignore_label_id", m.ignore_label_id.map_or(-1, i64::from)),
                ("blank_identifier_id", m.blank_identifier_id.into()),
            ]
        };
        let pairs = of(self.metadata()).into_iter().zip(of(other.metadata()));
        for ((key, expected), (_, found)) in pairs {
            if found != expected {
                let expected = format!("{expected}, as in {}", self.path().display());
                return Err(Error::format(&description(other), Place::File, key, found, expected));
            }
        }
        Ok(())
    }

    /// The row of each identifier of `other` in a table for both, which `self` then describes. None where they stay as they
    /// are.
    fn rows_of(&mut self, other: &Self) -> Result<Option<Vec<i32>>> {
        let (here, there) = (self.metadata.num_puzzle_identifiers, other.metadata.num_puzzle_identifiers);
        let Some(names) = other.identifiers() else {
            // One identifier is the blank one, and that is the same everywhere.
            return if there == 1 { Ok(None) } else { Err(self.unnamed(other, there)) };
        };
        let Some(own) = self.identifiers.as_mut() else {
            return if here == 1 && there == 1 { Ok(None) } else { Err(self.unnamed(other, here)) };
        };
        own.truncate(here as usize);
        let mut places: HashMap<String, usize> = HashMap::new();
        for (row, name) in own.iter().enumerate() {
            places.entry(name.clone()).or_insert(row);
        }
        let rows = names.iter().take(there as usize).map(|name| {
            *places.entry(name.clone()).or_insert_with(|| {
                own.push(name.clone());
                own.len() - 1
            })
        });
        let rows: Vec<i32> = rows.map(|row| i32::try_from(row).unwrap_or(i32::MAX)).collect();
        self.metadata.num_puzzle_identifiers = u32::try_from(own.len()).unwrap_or(u32::MAX);
        Ok(Some(rows))
    }

    fn unnamed(&self, other: &Self, count: u32) -> Error {
        let expected = format!(
            "identifiers.json in both {} and {}: without names, the {count} identifiers of one cannot be told from the other's",
            parent(self).display(),
            parent(other).display()
        );
        Error::format(&description(other), Place::File, "num_puzzle_identifiers", count, expected)
    }
}

/// One after the other; none of none.
fn join(datasets: Vec<Dataset>) -> Result<Option<Dataset>> {
    let alone = datasets.len() == 1;
    let mut rest = datasets.into_iter();
    let Some(mut all) = rest.next() else { return Ok(None) };
    if alone {
        return Ok(Some(all));
    }
    for (number, more) in (1..).zip(rest) {
        all.expect_like(&more)?;
        let rows = all.rows_of(&more)?;
        for set in more.sets {
            all.sets.push(set.renamed(|name| format!("{name}{number}")).with_identifiers(rows.clone()));
        }
    }
    let puzzles: usize = all.sets.iter().map(Set::puzzles).sum();
    all.metadata.sets = all.sets.iter().map(|set| set.name().to_owned()).collect();
    all.metadata.total_groups = all.sets.iter().map(Set::groups).sum();
    all.metadata.total_puzzles = Some(puzzles);
    all.metadata.mean_puzzle_examples = all.examples() as f64 / puzzles.max(1) as f64;
    Ok(Some(all))
}

fn description(dataset: &Dataset) -> PathBuf {
    dataset.path().join("dataset.json")
}

fn parent(dataset: &Dataset) -> &Path {
    dataset.path().parent().unwrap_or(dataset.path())
}

#[cfg(test)]
mod tests {
    use super::super::test_support::write_dataset;
    use super::*;
    use std::fs;

    fn small(dir: &Path) {
        write_dataset(dir, &[vec![2, 1], vec![3]]);
    }

    fn names(dir: &Path, names: &[&str]) {
        fs::write(dir.join("identifiers.json"), serde_json::to_string(names).unwrap()).unwrap();
    }

    #[test]
    fn sets_lie_one_after_the_other_and_identifiers_go_by_name() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let paths: Vec<PathBuf> = dirs.iter().map(|dir| dir.path().to_owned()).collect();
        paths.iter().for_each(|path| small(path));
        let one = Dataset::open(&paths[0], "train").unwrap();
        let count = one.metadata().num_puzzle_identifiers as usize;
        assert_eq!(count, 3, "what the names below are for");
        names(&paths[0], &["<blank>", "a", "b"]);
        names(&paths[1], &["<blank>", "b", "c"]);
        names(&paths[2], &["<blank>", "c", "a"]);
        let all = Dataset::open_all(&paths).unwrap();
        assert_eq!(all.metadata().sets, ["all", "all1", "all2"]);
        assert_eq!(all.identifiers().unwrap(), ["<blank>", "a", "b", "c"]);
        assert_eq!(
            (all.examples(), all.metadata().total_groups),
            (3 * one.examples(), 3 * one.metadata().total_groups)
        );
        assert_eq!(all.metadata().num_puzzle_identifiers, 4);
        let of = |set: usize| (0..3).map(|puzzle| all.sets()[set].identifier(puzzle)).collect::<Vec<_>>();
        // Each has the puzzles 0, 1, 2 of its own names.
        assert_eq!([of(0), of(1), of(2)], [vec![0, 1, 2], vec![0, 2, 3], vec![0, 3, 1]]);
        let (mut inputs, mut labels) = (vec![0; 4], vec![0; 4]);
        assert_eq!(all.read(2, 5, &mut inputs, &mut labels).unwrap(), 1);
        // One alone is what it was.
        let alone = Dataset::open_all(&paths[..1]).unwrap();
        assert_eq!(alone.metadata(), one.metadata());
        assert!(Dataset::open_all(&[]).is_err());
    }

    #[test]
    fn held_out_puzzles_have_the_rows_that_they_were_trained_with() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let paths: Vec<PathBuf> = dirs.iter().map(|dir| dir.path().to_owned()).collect();
        paths.iter().for_each(|path| small(path));
        assert!(Dataset::open_all_held_out(&paths).unwrap().is_none());
        names(&paths[0], &["<blank>", "a", "b"]);
        names(&paths[1], &["<blank>", "b", "c"]);
        let test = paths[1].join("test");
        fs::create_dir(&test).unwrap();
        for entry in fs::read_dir(paths[1].join("train")).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), test.join(entry.file_name())).unwrap();
        }
        let held_out = Dataset::open_all_held_out(&paths).unwrap().unwrap();
        assert_eq!(held_out.identifiers(), Dataset::open_all(&paths).unwrap().identifiers());
        assert_eq!(held_out.metadata().sets, ["all1"]);
        assert_eq!((0..3).map(|puzzle| held_out.sets()[0].identifier(puzzle)).collect::<Vec<_>>(), [0, 2, 3]);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let paths: Vec<PathBuf> = dirs.iter().map(|dir| dir.path().to_owned()).collect();
        paths.iter().for_each(|path| small(path));
        fs::remove_file(paths[1].join("identifiers.json")).unwrap();
        let error = Dataset::open_all(&paths).unwrap_err().to_string();
        assert!(
            error.contains("num_puzzle_identifiers") && error.contains("identifiers.json in both"),
            "{error}"
        );
        small(&paths[1]);
        let json = paths[1].join("train/dataset.json");
        let text = fs::read_to_string(&json).unwrap();
        let vocabulary = Dataset::open(&paths[1], "train").unwrap().metadata().vocab_size;
        let more = text.replace(&format!("\"vocab_size\":{vocabulary}"), "\"vocab_size\":99");
        assert_ne!(more, text);
        fs::write(&json, more).unwrap();
        let error = Dataset::open_all(&paths).unwrap_err().to_string();
        assert!(error.contains("vocab_size: found 99, expected"), "{error}");
    }
}
