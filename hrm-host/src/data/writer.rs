//! Writes a split of a dataset in the published format, as a stream.
//!
//! Every array grows in a temporary file beside its destination. [`DatasetWriter::finish`] puts them on the disk,
//! removes an older `dataset.json`, renames the arrays into place and writes the new `dataset.json` last: whatever
//! interrupts it, a directory with a `dataset.json` is one whole dataset. A writer that is dropped unfinished leaves
//! nothing behind, nor the directories that were made for it.

use super::error::{Error, Result};
use super::identifiers::IdentifierWriter;
use super::metadata::Metadata;
use super::new_directory::NewDirectory;
use super::npy::{Dtype, NpyWriter, commit};
use crate::files::{self, Ours, Staged, Writers};
use rayon::prelude::*;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The name of the only set that these builders write.
const SET: &str = "all";

/// The rating of a group that has none, in the array of ratings.
pub const UNRATED: i64 = i64::MIN;

/// What a dataset is, before its examples are known.
#[derive(Clone, Copy, Debug)]
pub struct Format<'a> {
    /// Tokens of one example.
    pub seq_len: usize,
    /// Tokens are below this, at most 256.
    pub vocab_size: u32,
    /// The token of padding.
    pub pad_id: i32,
    /// The token of ignored labels.
    pub ignore_label_id: Option<i32>,
    /// The names of the puzzle identifiers; the first is that of padding rows.
    pub identifiers: &'a [&'a str],
}

/// A split being written.
#[derive(Debug)]
pub struct DatasetWriter {
    dir: PathBuf,
    split: PathBuf,
    metadata: Metadata,
    identifiers: String,
    inputs: NpyWriter,
    labels: NpyWriter,
    puzzle_indices: NpyWriter,
    group_indices: NpyWriter,
    puzzle_identifiers: NpyWriter,
    ratings: Option<NpyWriter>,
    examples: i32,
    puzzles: i32,
    /// The last field, to be dropped when the unfinished files are gone.
    directory: NewDirectory,
}

impl DatasetWriter {
    /// Starts `dir/split`, making the directories. With `ratings`, there is also `all__ratings.npy`, one `i64` for
    /// each group, [`UNRATED`] where it has none, which the published loader passes over. One writer at a time: what an interrupted one has left in
    /// the directory is removed.
    ///
    /// # Errors
    /// [`Error::Io`] if the disk refuses.
    pub fn create(dir: &Path, split: &str, format: &Format<'_>, ratings: bool) -> Result<Self> {
        let path = dir.join(split);
        let directory = NewDirectory::create(&path)?;
        files::try_remove_stale(&path, &owns, Writers::Anyone)
            .map_err(|(path, source)| Error::io(&path, "remove what is unfinished")(source))?;
        let array = |field, dtype, columns| NpyWriter::create(&array_path(&path, field), dtype, columns);
        let offsets = |field| {
            let mut offsets = array(field, Dtype::I32, None)?;
            offsets.write(&[0])?;
            Ok(offsets)
        };
        Ok(Self {
            inputs: array("inputs", Dtype::U8, Some(format.seq_len))?,
            labels: array("labels", Dtype::U8, Some(format.seq_len))?,
            puzzle_indices: offsets("puzzle_indices")?,
            group_indices: offsets("group_indices")?,
            puzzle_identifiers: array("puzzle_identifiers", Dtype::I32, None)?,
            ratings: if ratings { Some(array("ratings", Dtype::I64, None)?) } else { None },
            dir: dir.to_owned(),
            split: path,
            metadata: Metadata {
                pad_id: format.pad_id,
                ignore_label_id: format.ignore_label_id,
                blank_identifier_id: 0,
                vocab_size: format.vocab_size,
                seq_len: format.seq_len,
                num_puzzle_identifiers: u32::try_from(format.identifiers.len()).unwrap_or(u32::MAX),
                total_groups: 0,
                mean_puzzle_examples: 0.0,
                total_puzzles: None,
                sets: vec![SET.to_owned()],
            },
            identifiers: serde_json::json!(format.identifiers).to_string(),
            examples: 0,
            puzzles: 0,
            directory,
        })
    }

    /// Appends an example, of `seq_len` tokens each, to the current puzzle.
    ///
    /// # Errors
    /// [`Error::Argument`] at the wrong length or beyond `i32::MAX` examples, [`Error::Io`] if the disk refuses.
    pub fn example(&mut self, inputs: &[u8], labels: &[u8]) -> Result<()> {
        let seq_len = self.metadata.seq_len;
        if inputs.len() != seq_len {
            return Err(wrong_length(inputs, labels, format!("{seq_len} tokens each")));
        }
        self.count(inputs, labels)?;
        self.inputs.write_bytes(inputs)?;
        self.labels.write_bytes(labels)
    }

    /// Appends whole puzzles, of as many examples each, which lie end to end; `identifiers` has one for each.
    ///
    /// # Errors
    /// As [`Self::example`].
    pub fn puzzles(&mut self, identifiers: &[i32], inputs: &[u8], labels: &[u8]) -> Result<()> {
        let before = self.examples;
        self.count(inputs, labels)?;
        let of_each = (self.examples - before) as usize / identifiers.len().max(1);
        if of_each * identifiers.len() * self.metadata.seq_len != inputs.len() {
            let expected = format!("as many examples for each of {} puzzles", identifiers.len());
            return Err(wrong_length(inputs, labels, expected));
        }
        let (these, those) = (&mut self.inputs, &mut self.labels);
        let (these, those) = rayon::join(|| these.write_bytes(inputs), || those.write_bytes(labels));
        these.and(those)?;
        self.puzzles += identifiers.len() as i32;
        let ends = (1..=identifiers.len()).map(|puzzles| before + (puzzles * of_each) as i32);
        self.puzzle_indices.write(&ends.collect::<Vec<i32>>())?;
        self.puzzle_identifiers.write(identifiers)
    }

    /// Counts examples that lie end to end.
    fn count(&mut self, inputs: &[u8], labels: &[u8]) -> Result<()> {
        let seq_len = self.metadata.seq_len;
        if inputs.len() != labels.len() || !inputs.len().is_multiple_of(seq_len) {
            return Err(wrong_length(inputs, labels, format!("as many, {seq_len} for each example")));
        }
        self.examples = i32::try_from(inputs.len() / seq_len)
            .ok()
            .and_then(|more| self.examples.checked_add(more))
            .ok_or_else(|| Error::argument("examples", "more", format!("at most {}", i32::MAX)))?;
        Ok(())
    }

    /// Ends the current puzzle, which has `identifier`.
    ///
    /// # Errors
    /// [`Error::Io`] if the disk refuses.
    pub fn end_puzzle(&mut self, identifier: i32) -> Result<()> {
        self.puzzles += 1;
        self.puzzle_indices.write(&[self.examples])?;
        self.puzzle_identifiers.write(&[identifier])
    }

    /// Ends the current group, which has a rating if the dataset has ratings and the group is rated.
    ///
    /// # Errors
    /// [`Error::Io`] if the disk refuses.
    pub fn end_group(&mut self, rating: Option<i64>) -> Result<()> {
        self.metadata.total_groups += 1;
        self.group_indices.write(&[self.puzzles])?;
        match &mut self.ratings {
            Some(ratings) => ratings.write_wide(&[rating.unwrap_or(UNRATED)]),
            None => Ok(()),
        }
    }

    /// Puts everything in place and gives the description that was written.
    ///
    /// # Errors
    /// [`Error::Io`] if the disk refuses.
    pub fn finish(self) -> Result<Metadata> {
        let (path, text) = (self.dir.join("identifiers.json"), self.identifiers.clone());
        // First, so that it is the last to go if the other is refused: it removes the directories, once empty.
        let split = self.stage()?;
        let identifiers = stage(&path, text.as_bytes())?;
        let metadata = split.metadata.clone();
        put_in_place(vec![split], identifiers)?;
        Ok(metadata)
    }

    /// Puts the splits of one dataset in place, which share their `identifiers`, and gives the descriptions that were
    /// written.
    ///
    /// # Errors
    /// [`Error::Io`] if the disk refuses.
    pub fn finish_together(splits: Vec<Self>, identifiers: IdentifierWriter) -> Result<Vec<Metadata>> {
        let (identifiers, count) = identifiers.stage()?;
        let stage = |mut split: Self| {
            split.metadata.num_puzzle_identifiers = count;
            split.stage()
        };
        let splits = splits.into_iter().map(stage).collect::<Result<Vec<StagedSplit>>>()?;
        let metadata = splits.iter().map(|split| split.metadata.clone()).collect();
        put_in_place(splits, identifiers)?;
        Ok(metadata)
    }

    /// Puts the files on the disk, not yet under their names.
    fn stage(mut self) -> Result<StagedSplit> {
        self.metadata.mean_puzzle_examples = f64::from(self.examples) / f64::from(self.puzzles.max(1));
        self.metadata.total_puzzles = usize::try_from(self.puzzles).ok();
        let has_ratings = self.ratings.is_some();
        let arrays =
            [self.inputs, self.labels, self.puzzle_indices, self.group_indices, self.puzzle_identifiers];
        let arrays: Vec<NpyWriter> = arrays.into_iter().chain(self.ratings).collect();
        // The disk is waited for once, not for one array after the other.
        let arrays = arrays.into_par_iter().map(NpyWriter::stage).collect::<Result<Vec<Staged>>>()?;
        let json = self.split.join("dataset.json");
        let text = serde_json::to_string(&self.metadata)
            .map_err(|e| Error::io(&json, "write the dataset's description")(e.into()))?;
        let description = stage(&json, text.as_bytes())?;
        let old_ratings = (!has_ratings).then(|| array_path(&self.split, "ratings"));
        let (metadata, directory) = (self.metadata, self.directory);
        Ok(StagedSplit { json, description, arrays, old_ratings, metadata, _directory: directory })
    }
}

/// A split that is on the disk and has no names yet.
struct StagedSplit {
    /// The path of `dataset.json`.
    json: PathBuf,
    description: Staged,
    arrays: Vec<Staged>,
    /// An array that the split no longer has.
    old_ratings: Option<PathBuf>,
    metadata: Metadata,
    _directory: NewDirectory,
}

fn put_in_place(mut splits: Vec<StagedSplit>, identifiers: Staged) -> Result<()> {
    // From here to the last line there is no dataset, so that no mixture of two can be opened.
    for split in &splits {
        remove(&split.json)?;
        split.old_ratings.as_deref().map_or(Ok(()), remove)?;
    }
    for split in &mut splits {
        split.arrays.drain(..).try_for_each(commit)?;
    }
    commit(identifiers)?;
    splits.into_iter().try_for_each(|split| commit(split.description))
}

/// What a writer writes into the directory of a split.
fn owns(name: &str) -> Option<Ours> {
    let field = name.strip_prefix(SET).and_then(|rest| rest.strip_prefix("__")?.strip_suffix(".npy"));
    (name == "dataset.json" || field.is_some()).then_some(Ours::File)
}

fn wrong_length(inputs: &[u8], labels: &[u8], expected: String) -> Error {
    Error::argument("example", format!("{} and {} tokens", inputs.len(), labels.len()), expected)
}

fn array_path(split: &Path, field: &str) -> PathBuf {
    split.join(format!("{SET}__{field}.npy"))
}

fn stage(path: &Path, bytes: &[u8]) -> Result<Staged> {
    Staged::from_bytes(path, bytes).map_err(Error::io(path, "write the file"))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io(path, "remove the old file")(e)),
        _ => Ok(()),
    }
}
