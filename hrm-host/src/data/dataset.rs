//! A dataset directory in the published format, memory-mapped and checked.
//!
//! `DIR/SPLIT` holds `dataset.json` and, for each set named in it, five arrays. An *example* is a row of
//! `SET__inputs.npy` and of `SET__labels.npy`. Puzzle `p` owns the examples
//! `puzzle_indices[p] .. puzzle_indices[p + 1]` and has the identifier `puzzle_identifiers[p]`; group `g` owns the
//! puzzles `group_indices[g] .. group_indices[g + 1]`. `DIR/identifiers.json` names the identifiers. A set may have
//! `SET__ratings.npy`, one number for each group: how hard its puzzles are. The published program knows no such file.
//!
//! Shapes, indices and identifiers are checked when the dataset is opened; tokens when an example is read, or all
//! at once by [`Dataset::verify`].

pub use super::metadata::Metadata;

use super::error::{Error, Place, Result};
use super::npy::Npy;
use super::plain::unmarked;
use super::split::Split;
use super::writer::UNRATED;
use crate::files;
use std::fs;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The label of a token that counts neither in the loss nor in the accuracy.
pub const IGNORE_LABEL: i32 = -100;

/// One split of a dataset.
#[derive(Debug)]
pub struct Dataset {
    path: PathBuf,
    pub(super) metadata: Metadata,
    pub(super) sets: Vec<Set>,
    pub(super) identifiers: Option<Vec<String>>,
}

impl Dataset {
    /// Opens `dir/split` and checks everything but the tokens.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Format`], naming the file, the row and the field.
    pub fn open(dir: &Path, split: &str) -> Result<Self> {
        expect_split(dir, split)?;
        let path = dir.join(split);
        let json = path.join("dataset.json");
        let metadata = Metadata::read(&json)?;
        let sets = metadata
            .sets
            .iter()
            .map(|name| Set::open(&path, name, &metadata))
            .collect::<Result<Vec<Set>>>()?;
        let groups: usize = sets.iter().map(Set::groups).sum();
        if groups != metadata.total_groups {
            let expected = format!("{groups}, the groups of its sets");
            return Err(Error::format(&json, Place::File, "total_groups", metadata.total_groups, expected));
        }
        let identifiers = read_identifiers(&dir.join("identifiers.json"), &metadata)?;
        Ok(Self { path, metadata, sets, identifiers })
    }

    /// The directory of the split.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What `dataset.json` says.
    #[must_use]
    pub const fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The sets, in the order of `dataset.json`.
    #[must_use]
    pub fn sets(&self) -> &[Set] {
        &self.sets
    }

    /// The names of the puzzle identifiers, if the dataset has `identifiers.json`.
    #[must_use]
    pub fn identifiers(&self) -> Option<&[String]> {
        self.identifiers.as_deref()
    }

    /// Examples of all sets together.
    #[must_use]
    pub fn examples(&self) -> usize {
        self.sets.iter().map(Set::examples).sum()
    }

    /// Bytes of the mapped arrays; the operating system may count those that were touched as resident memory.
    #[must_use]
    pub fn mapped_bytes(&self) -> usize {
        self.sets.iter().flat_map(Set::arrays).map(|array| array.bytes().len()).sum()
    }

    /// Copies an example of set `set` to `inputs` and `labels`, each of `seq_len` tokens, with ignored labels as
    /// [`IGNORE_LABEL`], and gives the identifier of the puzzle that owns it.
    ///
    /// # Errors
    /// [`Error::Format`] at a token outside the vocabulary; [`Error::Argument`] at a set, an example or a buffer
    /// that does not exist in this dataset.
    pub fn read(&self, set: usize, example: usize, inputs: &mut [i32], labels: &mut [i32]) -> Result<i32> {
        let data = self
            .sets
            .get(set)
            .ok_or_else(|| Error::argument("set", set, format!("below {}", self.sets.len())))?;
        data.read_tokens(&self.metadata, example, inputs, labels)?;
        Ok(data.identifier(data.puzzle_of(example)))
    }

    /// Reads every example, so that a bad token shows before the first step rather than during it.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn verify(&self) -> Result<()> {
        let mut inputs = vec![0; self.metadata.seq_len];
        let mut labels = inputs.clone();
        for set in &self.sets {
            for example in 0..set.examples() {
                set.read_tokens(&self.metadata, example, &mut inputs, &mut labels)?;
            }
        }
        Ok(())
    }
}

/// Refuses a dataset that has no `split`, with the splits that it has.
fn expect_split(dir: &Path, split: &str) -> Result<()> {
    fs::read_dir(dir).map_err(Error::io(dir, "open the dataset"))?;
    if dir.join(split).is_dir() {
        return Ok(());
    }
    let others = Split::ALL.map(Split::name).into_iter().filter(|name| dir.join(name).is_dir());
    let found = others.map(|name| format!("only {name}")).next();
    let found = found.unwrap_or_else(|| "neither train nor test".to_owned());
    Err(Error::format(dir, Place::File, "splits", found, split))
}

/// `identifiers.json`: a list of names, at least one for each identifier. Some published datasets lack it.
fn read_identifiers(path: &Path, metadata: &Metadata) -> Result<Option<Vec<String>>> {
    let text = match files::try_text_at_most(path, 1 << 30) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(path, "read the identifiers")(e)),
    };
    let names: Vec<String> = serde_json::from_str(unmarked(&text))
        .map_err(|e| Error::format(path, Place::Line(e.line() as u64), "JSON", e, "a list of names"))?;
    let expected = metadata.num_puzzle_identifiers as usize;
    if names.len() < expected {
        return Err(Error::format(path, Place::File, "length", names.len(), format!("{expected} names")));
    }
    Ok(Some(names))
}

/// One set of a split: a named group of five arrays.
#[derive(Debug)]
pub struct Set {
    name: String,
    inputs: Npy,
    labels: Npy,
    puzzle_indices: Npy,
    group_indices: Npy,
    puzzle_identifiers: Npy,
    ratings: Option<Npy>,
    /// What stands for each identifier, if not the identifier itself.
    rows: Option<Vec<i32>>,
}

impl Set {
    fn open(dir: &Path, name: &str, metadata: &Metadata) -> Result<Self> {
        let path = |field: &str| dir.join(format!("{name}__{field}.npy"));
        let array = |field: &str| Npy::open(&path(field));
        let rated = path("ratings").exists();
        let set = Self {
            name: name.to_owned(),
            inputs: array("inputs")?,
            labels: array("labels")?,
            puzzle_indices: array("puzzle_indices")?,
            group_indices: array("group_indices")?,
            puzzle_identifiers: array("puzzle_identifiers")?,
            ratings: if rated { Some(array("ratings")?) } else { None },
            rows: None,
        };
        let examples = check_offsets(&set.puzzle_indices, "puzzle_indices")?;
        let puzzles = check_offsets(&set.group_indices, "group_indices")?;
        check_shape(&set.inputs, &[examples, metadata.seq_len])?;
        check_shape(&set.labels, &[examples, metadata.seq_len])?;
        check_shape(&set.puzzle_indices, &[puzzles + 1])?;
        check_shape(&set.puzzle_identifiers, &[puzzles])?;
        if let Some(ratings) = &set.ratings {
            check_shape(ratings, &[set.groups()])?;
        }
        let identifiers = i64::from(metadata.num_puzzle_identifiers);
        for puzzle in 0..puzzles {
            let id = set.puzzle_identifiers.get(puzzle).unwrap_or(-1);
            if !(0..identifiers).contains(&id) {
                return Err(Error::format(
                    set.puzzle_identifiers.path(),
                    Place::Row(puzzle as u64),
                    "puzzle_identifiers",
                    id,
                    format!("0 to {}, below num_puzzle_identifiers", identifiers - 1),
                ));
            }
        }
        Ok(set)
    }

    fn arrays(&self) -> [&Npy; 5] {
        [&self.inputs, &self.labels, &self.puzzle_indices, &self.group_indices, &self.puzzle_identifiers]
    }

    /// The set's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of examples.
    #[must_use]
    pub fn examples(&self) -> usize {
        self.inputs.shape().first().copied().unwrap_or(0)
    }

    /// The number of puzzles.
    #[must_use]
    pub fn puzzles(&self) -> usize {
        self.puzzle_identifiers.len()
    }

    /// The number of groups.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.group_indices.len() - 1
    }

    /// The puzzles of `group`; empty beyond the last group.
    #[must_use]
    pub fn group(&self, group: usize) -> Range<usize> {
        offsets(&self.group_indices, group)
    }

    /// The examples of `puzzle`; empty beyond the last puzzle.
    #[must_use]
    pub fn puzzle(&self, puzzle: usize) -> Range<usize> {
        offsets(&self.puzzle_indices, puzzle)
    }

    /// The identifier of `puzzle`; 0 beyond the last puzzle.
    #[must_use]
    pub fn identifier(&self, puzzle: usize) -> i32 {
        let stored = self.puzzle_identifiers.get(puzzle).and_then(|id| i32::try_from(id).ok()).unwrap_or(0);
        match &self.rows {
            Some(rows) => usize::try_from(stored).ok().and_then(|id| rows.get(id).copied()).unwrap_or(0),
            None => stored,
        }
    }

    /// The same under another name.
    pub(super) fn renamed(self, name: impl FnOnce(&str) -> String) -> Self {
        Self { name: name(&self.name), ..self }
    }

    /// The same with `rows[id]` in place of each identifier `id`.
    pub(super) fn with_identifiers(self, rows: Option<Vec<i32>>) -> Self {
        Self { rows, ..self }
    }

    /// The puzzle that owns `example`.
    #[must_use]
    pub fn puzzle_of(&self, example: usize) -> usize {
        last_start(self.puzzles(), example, |puzzle| self.puzzle(puzzle).start)
    }

    /// The group that `puzzle` belongs to.
    #[must_use]
    pub fn group_of(&self, puzzle: usize) -> usize {
        last_start(self.groups(), puzzle, |group| self.group(group).start)
    }

    /// How hard the puzzles of the group that owns `example` are, if the set says so.
    #[must_use]
    pub fn rating_of(&self, example: usize) -> Option<i64> {
        let rating = self.ratings.as_ref()?.get(self.group_of(self.puzzle_of(example)))?;
        (rating != UNRATED).then_some(rating)
    }

    fn read_tokens(
        &self,
        metadata: &Metadata,
        example: usize,
        inputs: &mut [i32],
        labels: &mut [i32],
    ) -> Result<()> {
        let seq_len = metadata.seq_len;
        if inputs.len() != seq_len || labels.len() != seq_len {
            let found = format!("{} and {} tokens", inputs.len(), labels.len());
            return Err(Error::argument("buffers", found, format!("{seq_len} tokens each")));
        }
        if example >= self.examples() {
            return Err(Error::argument("example", example, format!("below {}", self.examples())));
        }
        self.inputs.read(example * seq_len, inputs)?;
        self.labels.read(example * seq_len, labels)?;
        let vocabulary = 0..metadata.vocab_size as i32;
        let outside = |array: &Npy, field: &str, column: usize, token: i32| {
            let expected = format!("0 to {}, below vocab_size", vocabulary.end - 1);
            let field = format!("{field}, column {column}");
            Error::format(
                array.path(),
                Place::Row(example as u64),
                &field,
                format!("token {token}"),
                expected,
            )
        };
        if let Some(column) = inputs.iter().position(|token| !vocabulary.contains(token)) {
            return Err(outside(&self.inputs, "inputs", column, inputs[column]));
        }
        for (column, label) in labels.iter_mut().enumerate() {
            if metadata.ignore_label_id == Some(*label) {
                *label = IGNORE_LABEL;
            } else if !vocabulary.contains(label) {
                return Err(outside(&self.labels, "labels", column, *label));
            }
        }
        Ok(())
    }
}

/// The last of `count` ranges that starts at `place` or before it.
fn last_start(count: usize, place: usize, start: impl Fn(usize) -> usize) -> usize {
    let (mut low, mut high) = (0, count);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if start(middle) <= place { low = middle } else { high = middle }
    }
    low
}

/// Entries `index` and `index + 1` of an array of offsets that [`check_offsets`] has passed.
fn offsets(array: &Npy, index: usize) -> Range<usize> {
    let at = |i: usize| array.get(i).and_then(|offset| usize::try_from(offset).ok());
    match (at(index), at(index.saturating_add(1))) {
        (Some(start), Some(end)) => start..end,
        _ => 0..0,
    }
}

/// Offsets start at 0 and rise. Gives the last one.
fn check_offsets(array: &Npy, field: &str) -> Result<usize> {
    let bad = |row: usize, found: i64, expected: String| {
        Err(Error::format(array.path(), Place::Row(row as u64), field, found, expected))
    };
    let [rows] = *array.shape() else {
        return Err(Error::format(
            array.path(),
            Place::File,
            "shape",
            format!("{:?}", array.shape()),
            "one axis",
        ));
    };
    let mut last = match array.get(0) {
        Some(0) => 0,
        Some(other) => return bad(0, other, "0".to_owned()),
        None => return Err(Error::format(array.path(), Place::File, "shape", "[0]", "at least one offset")),
    };
    for row in 1..rows {
        let offset = array.get(row).unwrap_or(-1);
        if offset <= last || offset > i64::from(i32::MAX) {
            return bad(
                row,
                offset,
                format!("more than {last}, the offset before it, and at most {}", i32::MAX),
            );
        }
        last = offset;
    }
    Ok(last as usize)
}

fn check_shape(array: &Npy, expected: &[usize]) -> Result<()> {
    if array.shape() == expected {
        return Ok(());
    }
    let found = format!("{:?}", array.shape());
    Err(Error::format(array.path(), Place::File, "shape", found, format!("{expected:?}")))
}

#[cfg(test)]
#[path = "dataset_tests.rs"]
mod tests;
