//! Builds ARC datasets in the published format.
//!
//! As the published builder does: a group is a task and its augmentations, each with an identifier of its own and a
//! name from which [`Augmentation::of_name`] reads it; no two puzzles of a group are equal. A task of a folder
//! `evaluation` has its test pairs in the split `test` and the others in `train`; any other has all pairs in `train`.
//! In `train` every pair but one of each puzzle is moved to a random place of its canvas.
//!
//! The same tasks, options and seed give the same bytes on every machine, in whatever order the disk lists the files;
//! a task's augmentations depend on the seed and on its name only. Memory does not grow with the dataset.

use super::augment::Augmentation;
use super::grid::{CANVAS, Grid, SIDE, VOCAB_SIZE};
use super::task::{Pair, Task, TaskFile};
use crate::data::error::{Error, Result};
use crate::data::identifiers::IdentifierWriter;
use crate::data::new_directory::NewDirectory;
use crate::data::progress::{Progress, tell};
use crate::data::split::Split;
use crate::data::writer::{DatasetWriter, Format};
use hrm_core::rng::{Rng, Stream};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

/// Tasks whose augmentations are drawn at once, on all threads.
const TASKS: usize = 32;
/// Puzzles that are painted at once, on all threads.
const PUZZLES: usize = 256;
/// Augmentations that are drawn for each that is wanted, as the published builder does.
const TRIALS: u64 = 5;

/// What to build.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directories of folders of tasks.
    pub tasks: Vec<PathBuf>,
    /// The directory of the dataset.
    pub out: PathBuf,
    /// Augmented puzzles of each task, beside the original.
    pub augment: u32,
    /// The seed of every choice.
    pub seed: u64,
}

/// What was built.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Tasks read.
    pub tasks: usize,
    /// Tasks that do not have as many different augmentations as were asked for.
    pub short_tasks: usize,
    /// Puzzle identifiers, that of padding rows included.
    pub identifiers: u32,
    /// The splits written, `train` first.
    pub splits: Vec<SplitSummary>,
}

/// One split that was built.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SplitSummary {
    /// Its directory.
    pub path: PathBuf,
    /// Groups: tasks with a pair in this split.
    pub groups: u64,
    /// Puzzles: the tasks and their augmentations.
    pub puzzles: u64,
    /// Examples: the pairs of the puzzles.
    pub examples: u64,
}

/// Builds both splits.
///
/// # Errors
/// [`Error::Format`] naming the file, the pair and the row of a bad task; [`Error::Argument`] if an older split would
/// be left with other identifiers; [`Error::Interrupted`] if `progress` says so; [`Error::Io`] if the disk refuses.
/// Nothing is written over unless all went well.
pub fn build(options: &Options, mut progress: Option<Progress<'_>>) -> Result<Summary> {
    let files = TaskFile::find(&options.tasks)?;
    let has_test = files.iter().any(|file| file.evaluation);
    let old_test = options.out.join(Split::Test.name()).join("dataset.json");
    if !has_test && old_test.exists() {
        let expected =
            format!("no {}: these tasks have no evaluation split to replace it", old_test.display());
        return Err(Error::argument("--out", options.out.display(), expected));
    }
    // The last to be dropped, when all files in it are gone or in place.
    let _directory = NewDirectory::create(&options.out)?;
    let mut output = Output::create(&options.out, has_test)?;
    for chunk in files.chunks(TASKS) {
        let groups: Vec<Result<Group>> =
            chunk.par_iter().map(|file| Ok(Group::draw(file.read()?, file.evaluation, options))).collect();
        for group in groups {
            output.group(&group?, options.augment)?;
            tell(&mut progress, output.summary.tasks as u64, files.len() as u64)?;
        }
    }
    output.finish()
}

/// A task and the augmentations that its group consists of, that which changes nothing first.
struct Group {
    name: String,
    /// Pairs for the split `train`.
    train: Vec<Pair>,
    /// Pairs for the split `test`.
    test: Vec<Pair>,
    augmentations: Vec<Augmentation>,
    rng: Rng,
}

impl Group {
    fn draw(task: Task, evaluation: bool, options: &Options) -> Self {
        let rng = Rng::new(options.seed, Stream::Augment, crc32fast::hash(task.name.as_bytes()));
        let mut augmentations = vec![Augmentation::default()];
        let mut seen = HashSet::from([fingerprint(&task, &augmentations[0])]);
        for trial in 0..TRIALS * u64::from(options.augment) {
            if augmentations.len() > options.augment as usize {
                break;
            }
            let augmentation = Augmentation::random(&mut rng.at(trial << 8));
            if seen.insert(fingerprint(&task, &augmentation)) {
                augmentations.push(augmentation);
            }
        }
        let Task { name, mut train, mut test } = task;
        if !evaluation {
            train.append(&mut test);
        }
        Self { name, train, test, augmentations, rng }
    }

    /// Paints the puzzles from `start` on, [`PUZZLES`] or as many as there are, on all threads.
    fn paint_block(&self, start: usize, [train, test]: &mut [Canvases; 2]) {
        let count = self.augmentations.len().saturating_sub(start).min(PUZZLES);
        let (train, test) = (train.puzzles(count, self.train.len()), test.puzzles(count, self.test.len()));
        let puzzles = self.augmentations.par_iter().enumerate().skip(start).zip(train).zip(test);
        puzzles.for_each(|(((index, augmentation), train), test)| {
            self.paint(index, augmentation, train, test);
        });
    }

    /// Paints the examples of puzzle `index` in each of the two splits.
    fn paint(&self, index: usize, augmentation: &Augmentation, train: Painted<'_>, test: Painted<'_>) {
        // Far from the draws of the augmentations, and from those of the next puzzle.
        let mut rng = self.rng.at(1 << 63 | (index as u64) << 16);
        let stays = rng.below(self.train.len() as u32) as usize;
        let moved = |(i, pair): (usize, &Pair)| {
            let pair = augment(pair, augmentation);
            let room = |side: fn(&Grid) -> usize| (SIDE - side(&pair.input).max(side(&pair.output))) as u32;
            let mut draw = |room: u32| if i == stays { 0 } else { rng.below(room + 1) as usize };
            let (top, left) = (draw(room(Grid::rows)), draw(room(Grid::columns)));
            (pair, top, left)
        };
        paint(self.train.iter().enumerate().map(moved), train);
        paint(self.test.iter().map(|pair| (augment(pair, augmentation), 0, 0)), test);
    }
}

fn augment(pair: &Pair, augmentation: &Augmentation) -> Pair {
    Pair { input: augmentation.apply(&pair.input), output: augmentation.apply(&pair.output) }
}

/// A number by which an equal puzzle is known: one with the same augmented pairs, in whatever order.
fn fingerprint(task: &Task, augmentation: &Augmentation) -> u64 {
    let hash = |value: &dyn Fn(&mut DefaultHasher)| {
        let mut hasher = DefaultHasher::new();
        value(&mut hasher);
        hasher.finish()
    };
    let pairs = task.train.iter().chain(&task.test);
    let mut hashes: Vec<u64> =
        pairs.map(|pair| hash(&|hasher| augment(pair, augmentation).hash(hasher))).collect();
    hashes.sort_unstable();
    hash(&|hasher| hashes.hash(hasher))
}

/// The canvases of one puzzle in one split: inputs and labels.
type Painted<'a> = [&'a mut [[u8; CANVAS]]; 2];

/// Paints pairs at their places, over what was there.
fn paint(pairs: impl Iterator<Item = (Pair, usize, usize)>, [inputs, labels]: Painted<'_>) {
    for (((pair, top, left), input), label) in pairs.zip(inputs).zip(labels) {
        pair.input.paint(top, left, input);
        pair.output.paint(top, left, label);
    }
}

/// The examples of some puzzles in one split, end to end.
#[derive(Default)]
struct Canvases {
    inputs: Vec<[u8; CANVAS]>,
    labels: Vec<[u8; CANVAS]>,
}

impl Canvases {
    /// Room for `count` puzzles of `pairs` examples each.
    fn puzzles(&mut self, count: usize, pairs: usize) -> Vec<Painted<'_>> {
        self.inputs.resize(count * pairs, [0; CANVAS]);
        self.labels.resize(count * pairs, [0; CANVAS]);
        if pairs == 0 {
            return (0..count).map(|_| Painted::default()).collect();
        }
        let (inputs, labels) = (self.inputs.chunks_exact_mut(pairs), self.labels.chunks_exact_mut(pairs));
        inputs.zip(labels).map(|(inputs, labels)| [inputs, labels]).collect()
    }
}

/// The dataset being written, and what to say of it.
struct Output {
    identifiers: IdentifierWriter,
    splits: Vec<DatasetWriter>,
    summary: Summary,
    /// Room for the puzzles that are written and for those that are painted, used again and again.
    blocks: [[Canvases; 2]; 2],
}

impl Output {
    fn create(out: &Path, has_test: bool) -> Result<Self> {
        let format = Format {
            seq_len: CANVAS,
            vocab_size: VOCAB_SIZE,
            pad_id: 0,
            ignore_label_id: Some(0),
            identifiers: &["<blank>"],
        };
        let splits = if has_test { &[Split::Train, Split::Test][..] } else { &[Split::Train] };
        let writer = |split: &Split| DatasetWriter::create(out, split.name(), &format, false);
        let summary =
            |split: &Split| SplitSummary { path: out.join(split.name()), groups: 0, puzzles: 0, examples: 0 };
        Ok(Self {
            identifiers: IdentifierWriter::create(out)?,
            splits: splits.iter().map(writer).collect::<Result<_>>()?,
            summary: Summary {
                tasks: 0,
                short_tasks: 0,
                identifiers: 1,
                splits: splits.iter().map(summary).collect(),
            },
            blocks: Default::default(),
        })
    }

    fn group(&mut self, group: &Group, augment: u32) -> Result<()> {
        let puzzles = group.augmentations.len();
        let [mut ready, mut next] = std::mem::take(&mut self.blocks);
        group.paint_block(0, &mut ready);
        for start in (0..puzzles).step_by(PUZZLES) {
            // While a block is written the next one is painted.
            let (written, ()) = rayon::join(
                || self.block(group, start, &ready),
                || group.paint_block(start + PUZZLES, &mut next),
            );
            written?;
            std::mem::swap(&mut ready, &mut next);
        }
        self.blocks = [ready, next];
        for ((split, summary), pairs) in
            self.splits.iter_mut().zip(&mut self.summary.splits).zip([&group.train, &group.test])
        {
            if !pairs.is_empty() {
                split.end_group(None)?;
                summary.groups += 1;
                summary.puzzles += puzzles as u64;
                summary.examples += (puzzles * pairs.len()) as u64;
            }
        }
        self.summary.tasks += 1;
        self.summary.short_tasks += usize::from(puzzles <= augment as usize);
        Ok(())
    }

    /// Writes the puzzles of `group` from `start` on.
    fn block(&mut self, group: &Group, start: usize, painted: &[Canvases; 2]) -> Result<()> {
        let augmentations = group.augmentations.iter().skip(start).take(PUZZLES);
        let identifiers = augmentations.map(|it| self.identifiers.push(&it.name(&group.name)));
        let identifiers = identifiers.collect::<Result<Vec<i32>>>()?;
        for (split, canvases) in self.splits.iter_mut().zip(painted) {
            if !canvases.inputs.is_empty() {
                let (inputs, labels) = (canvases.inputs.as_flattened(), canvases.labels.as_flattened());
                split.puzzles(&identifiers, inputs, labels)?;
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Summary> {
        let Self { identifiers, splits, mut summary, .. } = self;
        for metadata in DatasetWriter::finish_together(splits, identifiers)? {
            summary.identifiers = metadata.num_puzzle_identifiers;
        }
        Ok(summary)
    }
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
