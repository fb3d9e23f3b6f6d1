//! Builds ARC datasets in the published format.
//!
//! As the published builder does: a group is a task and its augmentations, each with an identifier of its own and a
//! name from which [`Augmentation::of_name`](super::Augmentation::of_name) reads it; no two puzzles of a group are
//! equal. A task that is held out has its test pairs in the split `test` and the others in `train`; any other has all
//! pairs in `train`. In `train` every pair but one of each puzzle is moved to a random place of its canvas. Labels of a
//! test whose answer is kept back are all ignored; no such test is trained on.
//!
//! The same tasks, options and seed give the same bytes on every machine, whatever files the tasks are in; a task's
//! augmentations depend on the seed and on its name only. All tasks are in memory, the dataset is not.

use super::augment::Naming;
use super::collection::{Collection, count, is_are};
use super::grid::{CANVAS, VOCAB_SIZE};
use super::group::{Canvases, Group, PUZZLES};
use super::merge::Found;
use super::role::{Role, Roles};
use super::test_puzzles::TestPuzzles;
use crate::data::error::{Error, Result};
use crate::data::identifiers::IdentifierWriter;
use crate::data::new_directory::NewDirectory;
use crate::data::progress::{Progress, tell};
use crate::data::split::Split;
use crate::data::writer::{DatasetWriter, Format};
use rayon::prelude::*;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Tasks whose augmentations are drawn at once, on all threads.
const TASKS: usize = 32;

/// What to build.
#[derive(Clone, Debug)]
pub struct Options {
    /// Files of tasks, and directories of such files or of folders of them.
    pub tasks: Vec<PathBuf>,
    /// Which of them are held out, where their names do not say so.
    pub roles: Roles,
    /// How augmented puzzles are called. With [`Naming::Trm`] there is `test_puzzles.json` too.
    pub naming: Naming,
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
    /// Tests whose answer is kept back, so that their labels are ignored.
    pub unanswered: usize,
    /// What is to be known about the tasks, a line each.
    pub notes: Vec<String>,
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
    let Collection { mut tasks, mut notes, .. } = Collection::to_build(&options.tasks, &options.roles)?;
    let unanswered = note_unanswered(&mut tasks, &mut notes);
    let has_test = tasks.iter().any(|found| found.role == Role::HoldOut);
    if !has_test {
        notes.push("no test is held out: every answer is trained on".to_owned());
    }
    let old_test = options.out.join(Split::Test.name()).join("dataset.json");
    if !has_test && old_test.exists() {
        let expected =
            format!("no {}: these tasks have no evaluation split to replace it", old_test.display());
        return Err(Error::argument("--out", options.out.display(), expected));
    }
    let test_puzzles = TestPuzzles::of(&tasks, options.naming);
    // The last to be dropped, when all files in it are gone or in place.
    let _directory = NewDirectory::create(&options.out)?;
    let mut output = Output::create(options, has_test)?;
    let total = tasks.len() as u64;
    let mut tasks = tasks.into_iter().peekable();
    while tasks.peek().is_some() {
        let chunk: Vec<Found> = tasks.by_ref().take(TASKS).collect();
        let draw = |found: Found| {
            Group::draw(found.task, found.role == Role::HoldOut, options.augment, options.seed)
        };
        for group in chunk.into_par_iter().map(draw).collect::<Vec<Group>>() {
            output.group(&group)?;
            tell(&mut progress, output.summary.tasks as u64, total)?;
        }
    }
    let test_puzzles = test_puzzles.stage(&options.out)?;
    let summary = output.finish()?;
    test_puzzles.finish(&options.out)?;
    Ok(Summary { unanswered, notes, ..summary })
}

/// Takes tests without an answer out of tasks that are trained on, and says what answers are missing; gives the number
/// of tests that are held out without one.
fn note_unanswered(tasks: &mut Vec<Found>, notes: &mut Vec<String>) -> usize {
    let (mut unanswered, mut left_out) = (0, 0);
    for Found { task, role } in &mut *tasks {
        let missing = task.test.iter().filter(|test| test.output.is_none()).count();
        if *role == Role::HoldOut {
            unanswered += missing;
        } else {
            left_out += missing;
            task.test.retain(|test| test.output.is_some());
        }
    }
    tasks.retain(|found| found.task.train.len() + found.task.test.len() > 0);
    if unanswered > 0 {
        let (have, their) = (is_are(unanswered, "has", "have"), is_are(unanswered, "its", "their"));
        notes.push(format!(
            "{} {have} no answer: {their} labels are ignored, hrm arc predict answers them",
            count(unanswered, "test")
        ));
    }
    if left_out > 0 {
        let have = is_are(left_out, "has", "have");
        notes.push(format!("{} of tasks to train on {have} no answer, left out", count(left_out, "test")));
    }
    unanswered
}

/// The dataset being written, and what to say of it.
struct Output {
    identifiers: IdentifierWriter,
    naming: Naming,
    augment: usize,
    splits: Vec<DatasetWriter>,
    summary: Summary,
    /// Room for the puzzles that are written and for those that are painted, used again and again.
    blocks: [[Canvases; 2]; 2],
}

impl Output {
    fn create(options: &Options, has_test: bool) -> Result<Self> {
        let out: &Path = &options.out;
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
            naming: options.naming,
            augment: options.augment as usize,
            splits: splits.iter().map(writer).collect::<Result<_>>()?,
            summary: Summary {
                tasks: 0,
                short_tasks: 0,
                identifiers: 1,
                unanswered: 0,
                notes: Vec::new(),
                splits: splits.iter().map(summary).collect(),
            },
            blocks: Default::default(),
        })
    }

    fn group(&mut self, group: &Group) -> Result<()> {
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
        self.summary.short_tasks += usize::from(puzzles <= self.augment);
        Ok(())
    }

    /// Writes the puzzles of `group` from `start` on.
    fn block(&mut self, group: &Group, start: usize, painted: &[Canvases; 2]) -> Result<()> {
        let augmentations = group.augmentations.iter().skip(start).take(PUZZLES);
        let (names, naming) = (&mut self.identifiers, self.naming);
        let identifiers = augmentations.map(|it| names.push(&it.name(&group.name, naming)));
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
