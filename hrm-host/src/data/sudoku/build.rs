//! Builds Sudoku datasets in the published format, from a file of puzzles or from the generator.
//!
//! As the published builder does: token = digit + 1, padding 0, one puzzle identifier, one group for each original
//! puzzle, and in it one puzzle of one example for the original and for each shuffled copy. The same options give the
//! same bytes on every machine. Rows go to the disk as they come, so memory does not grow with the dataset.

use super::augment::training_shuffle;
use super::csv::{self, Checked, Row};
use super::generate::{self, Puzzle};
use super::grid::{Board, MAX_CELLS, Size};
pub use super::partition::Split;
use super::source::PuzzleFile;
use crate::data::choice::Choice;
use crate::data::destination::expect_same_kind;
use crate::data::error::{Error, Place, Result};
pub use crate::data::progress::Progress;
use crate::data::progress::{listen, tell};
use crate::data::puzzle_csv::whole;
use crate::data::writer::{DatasetWriter, Format};
use hrm_core::rng::{Rng, Stream};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// Puzzles that are made or proved at once, on all threads.
const CHUNK: usize = 1024;

/// What to build from a file of puzzles.
#[derive(Clone, Debug)]
pub struct CsvOptions {
    /// The file, in any form that [`super::source`] reads.
    pub csv: PathBuf,
    /// The directory of the dataset; the arrays go into a directory in it, named after the split.
    pub out: PathBuf,
    /// The split to write.
    pub split: Split,
    /// Use a uniform choice of so many of the rows.
    pub subsample: Option<u32>,
    /// Shuffled copies of each puzzle, beside the original; only for training.
    pub augment: u32,
    /// Use only rows of at least this rating.
    pub min_rating: Option<f64>,
    /// The seed of the choice and of the shuffles.
    pub seed: u64,
}

/// What to generate.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// The number of puzzles.
    pub count: u32,
    /// Their size.
    pub size: Size,
    /// Givens of each, at least and at most; `None` for minimal puzzles.
    pub clues: Option<RangeInclusive<usize>>,
    /// The directory of the dataset; the arrays go into a directory in it, named after the split.
    pub out: PathBuf,
    /// The split to write. No puzzle is in both splits, whatever the seeds.
    pub split: Split,
    /// Shuffled copies of each puzzle, beside the original; only for training.
    pub augment: u32,
    /// The seed of the puzzles and of the shuffles.
    pub seed: u64,
}

/// What was built.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The directory of the split.
    pub path: PathBuf,
    /// The size of the boards.
    pub size: Size,
    /// Original puzzles, which are the groups.
    pub puzzles: u64,
    /// Rows written: the originals and their copies.
    pub examples: u64,
    /// Rows of the file that were not used, for their rating, by the choice, or for their number of solutions; or generated puzzles that were
    /// dropped because they had come before.
    pub passed_over: u64,
    /// Mean number of givens.
    pub mean_clues: f64,
    /// Mean rating of those that are rated, if the file has ratings.
    pub mean_rating: Option<f64>,
    /// Puzzles that are not rated, of a file that has ratings.
    pub unrated: u64,
    /// Whether ratings were rounded to whole numbers.
    pub rounded: bool,
    /// Puzzles without an answer in the file, which was found: each has exactly one solution.
    pub answers_found: u64,
    /// Puzzles without an answer in the file that were left out, as they have several solutions.
    pub several_solutions: u64,
    /// Puzzles without an answer in the file that were left out, as they have no solution.
    pub no_solution: u64,
}

/// Builds a split from a CSV file.
///
/// # Errors
/// [`Error::Format`] naming the line and the field of a bad row; [`Error::Argument`] at options that contradict each
/// other or the file; [`Error::Io`] if the disk refuses. Nothing is written over unless all went well.
pub fn from_csv(options: &CsvOptions, mut progress: Option<Progress<'_>>) -> Result<Summary> {
    check_augment(options.split, options.augment)?;
    let path = options.csv.as_path();
    let (rows, first) = survey(path, options.min_rating)?;
    if let Some(wanted) = options.subsample
        && (wanted == 0 || u64::from(wanted) > rows.eligible)
    {
        let expected = format!("1 to {}, the rows of {} to choose from", rows.eligible, path.display());
        return Err(Error::argument("--subsample", wanted, expected));
    }
    let size = csv::size(path, &first)?;
    let wanted = options.subsample.map_or(rows.eligible, u64::from);

    let mut file = PuzzleFile::open(path)?;
    let mut output = Output::create(&options.out, options.split, size, rows.rated > 0)?;
    output.summary.rounded = rows.fractional;
    let mut choice = Choice::new(options.seed, rows.eligible, wanted);
    let mut chunk = Vec::with_capacity(CHUNK);
    let mut done = 0;
    loop {
        let row = file.next_row()?;
        let ended = row.is_none();
        if let Some(row) = row
            && is_eligible(&row, options.min_rating)
            && choice.takes()
        {
            chunk.push(row);
        }
        if chunk.len() == CHUNK || ended {
            let checked: Vec<Result<Checked>> = listen(&mut progress, done, wanted, |shared| {
                let check = |row: &Row| {
                    if shared.stopped() {
                        return Err(Error::Interrupted);
                    }
                    csv::check(path, row, Some(size))
                };
                chunk.par_iter().map(check).collect()
            })?;
            for (checked, row) in checked.into_iter().zip(&chunk) {
                output.checked(&checked?, row.rating, options, &mut |copies| {
                    // A group of many copies takes long itself.
                    let due = copies > 0 || done % 64 == 0;
                    if due { tell(&mut progress, done, wanted) } else { Ok(()) }
                })?;
                done += 1;
            }
            chunk.clear();
            tell(&mut progress, done, wanted)?;
        }
        if ended {
            break;
        }
    }
    if output.summary.puzzles == 0 {
        let found = format!("none, of {} without an answer in the file", output.left_out());
        let expected = "at least one puzzle with exactly one solution";
        return Err(Error::format(path, Place::File, "puzzles", found, expected));
    }
    output.summary.passed_over = rows.all.saturating_sub(output.summary.puzzles);
    output.finish()
}

/// Builds a split of generated puzzles, all different.
///
/// # Errors
/// [`Error::Argument`] if there are no such puzzles, or not so many; [`Error::Io`] if the disk refuses. Nothing is
/// written over unless all went well.
pub fn generate(options: &GenerateOptions, mut progress: Option<Progress<'_>>) -> Result<Summary> {
    let &GenerateOptions { count, size, split, augment, seed, .. } = options;
    let clues = options.clues.as_ref();
    check_augment(split, augment)?;
    generate::check_clues(size, clues)?;
    if count == 0 {
        return Err(Error::argument("--generate", 0, "at least 1"));
    }
    let mut output = Output::create(&options.out, split, size, false)?;
    // 9x9 puzzles do not repeat; 4x4 ones do, and are few enough to remember.
    let mut seen = HashSet::new();
    let mut repeats = 0;
    let mut index = 0u32;
    while output.summary.puzzles < u64::from(count) {
        let missing = u64::from(count) - output.summary.puzzles;
        let end = index.saturating_add(missing.min(CHUNK as u64) as u32);
        let before = output.summary.puzzles;
        let puzzles: Vec<Result<Puzzle>> = listen(&mut progress, before, u64::from(count), |shared| {
            let make = |index| {
                let made = generate::puzzle_unless(seed, index, size, clues, split, || shared.stopped());
                // Where one cannot be made, the others are not wanted.
                if made.is_ok() {
                    shared.count()
                } else {
                    shared.stop()
                }
                made
            };
            (index..end).into_par_iter().map(make).collect()
        })?;
        // That one says why; the others were only stopped for it.
        if puzzles.iter().any(std::result::Result::is_err) {
            let mut errors = puzzles.into_iter().filter_map(std::result::Result::err);
            let why = errors.find(|error| !matches!(error, Error::Interrupted));
            return Err(why.unwrap_or(Error::Interrupted));
        }
        for puzzle in puzzles {
            let puzzle = puzzle?;
            if size == Size::Four && !seen.insert(puzzle.question) {
                repeats += 1;
                output.summary.passed_over += 1;
                continue;
            }
            repeats = 0;
            output.group(&puzzle, None, augment, seed, &mut |_| Ok(()))?;
        }
        if repeats > MAX_REPEATS || end == index {
            let found = output.summary.puzzles;
            let expected = format!("about {found} at most: no more different {size} puzzles were found");
            return Err(Error::argument("--generate", count, expected));
        }
        index = end;
        tell(&mut progress, output.summary.puzzles, u64::from(count))?;
    }
    output.finish()
}

/// Puzzles in a row that had all come before, after which the generator is taken to be exhausted.
const MAX_REPEATS: u32 = 2000;

fn check_augment(split: Split, augment: u32) -> Result<()> {
    if split == Split::Test && augment > 0 {
        return Err(Error::argument("--augment", augment, "0 for the test split, which is not augmented"));
    }
    Ok(())
}

fn is_eligible(row: &Row, min_rating: Option<f64>) -> bool {
    min_rating.is_none_or(|least| row.rating.is_some_and(|rating| rating >= least))
}

/// What a first pass over the file finds.
#[derive(Default)]
struct Survey {
    all: u64,
    eligible: u64,
    /// Rows with a rating.
    rated: u64,
    /// Whether a rating is no whole number.
    fractional: bool,
}

/// Counts the rows, so that the choice among them needs no memory. Gives the first eligible row too.
fn survey(path: &Path, min_rating: Option<f64>) -> Result<(Survey, Row)> {
    let mut file = PuzzleFile::open(path)?;
    let mut rows = Survey::default();
    let mut first = None;
    while let Some(row) = file.next_row()? {
        rows.all += 1;
        rows.rated += u64::from(row.rating.is_some());
        rows.fractional |= row.rating.is_some_and(|rating| rating.fract() != 0.0);
        if is_eligible(&row, min_rating) {
            rows.eligible += 1;
            first.get_or_insert(row);
        }
    }
    if let (Some(least), true) = (min_rating, rows.rated == 0) {
        let expected = format!("no minimum, as {} has no column rating", path.display());
        return Err(Error::argument("--min-rating", least, expected));
    }
    match first {
        Some(first) => Ok((rows, first)),
        None if rows.all == 0 => Err(Error::format(path, Place::File, "rows", 0, "at least one puzzle")),
        None => {
            let expected = format!("at most the highest rating in {}", path.display());
            Err(Error::argument("--min-rating", min_rating.unwrap_or(0.0), expected))
        }
    }
}

/// Copies of a puzzle that are shuffled at once, on all threads.
const COPIES: usize = 1024;

/// The dataset being written, and what to say of it.
struct Output {
    writer: DatasetWriter,
    summary: Summary,
    ratings: Option<f64>,
}

impl Output {
    fn create(out: &Path, split: Split, size: Size, ratings: bool) -> Result<Self> {
        let format = Format {
            seq_len: size.cells(),
            vocab_size: size.vocab_size(),
            pad_id: 0,
            ignore_label_id: Some(0),
            identifiers: &["<blank>"],
        };
        expect_same_kind(out, split, &format)?;
        Ok(Self {
            writer: DatasetWriter::create(out, split.name(), &format, ratings)?,
            summary: Summary {
                path: out.join(split.name()),
                size,
                puzzles: 0,
                examples: 0,
                passed_over: 0,
                mean_clues: 0.0,
                mean_rating: None,
                unrated: 0,
                rounded: false,
                answers_found: 0,
                several_solutions: 0,
                no_solution: 0,
            },
            ratings: ratings.then_some(0.0),
        })
    }

    /// Writes the puzzle that has come of a row, or counts why there is none.
    fn checked(
        &mut self,
        checked: &Checked,
        rating: Option<f64>,
        options: &CsvOptions,
        tell: &mut dyn FnMut(u32) -> Result<()>,
    ) -> Result<()> {
        let summary = &mut self.summary;
        match checked {
            Checked::Given(_) => {}
            Checked::Found(_) => summary.answers_found += 1,
            Checked::Several => summary.several_solutions += 1,
            Checked::Unsolvable => summary.no_solution += 1,
        }
        let Some(puzzle) = checked.puzzle() else { return Ok(()) };
        self.group(puzzle, rating, options.augment, options.seed, tell)
    }

    /// Puzzles that were left out.
    const fn left_out(&self) -> u64 {
        self.summary.several_solutions + self.summary.no_solution
    }

    /// Writes a puzzle and `copies` shuffles of it. Copy `i` of group `g` depends on the seed, `g` and `i` only. `tell`
    /// hears how many are written, and may stop it.
    fn group(
        &mut self,
        puzzle: &Puzzle,
        rating: Option<f64>,
        copies: u32,
        seed: u64,
        tell: &mut dyn FnMut(u32) -> Result<()>,
    ) -> Result<()> {
        let rng = Rng::new(seed, Stream::Augment, self.summary.puzzles as u32);
        self.row(&puzzle.question, &puzzle.answer)?;
        let shuffled = |copy: u32| {
            // Far apart enough for any number of draws.
            let mut rng = rng.at(u64::from(copy) << 24);
            let shuffle = training_shuffle(&puzzle.question, &mut rng);
            [&puzzle.question, &puzzle.answer].map(|board| shuffle.map_or(*board, |it| it.apply(board)))
        };
        tell(0)?;
        for start in (0..copies).step_by(COPIES) {
            let end = start.saturating_add(COPIES as u32).min(copies);
            let boards: Vec<[Board; 2]> =
                (start..end).into_par_iter().with_min_len(16).map(shuffled).collect();
            boards.iter().try_for_each(|[question, answer]| self.row(question, answer))?;
            tell(end)?;
        }
        self.summary.puzzles += 1;
        self.summary.mean_clues += puzzle.question.clues() as f64;
        if let Some(sum) = &mut self.ratings {
            *sum += rating.unwrap_or(0.0);
            self.summary.unrated += u64::from(rating.is_none());
        }
        self.writer.end_group(whole(rating))
    }

    fn row(&mut self, question: &Board, answer: &Board) -> Result<()> {
        let cells = question.size().cells();
        let (mut inputs, mut labels) = ([0; MAX_CELLS], [0; MAX_CELLS]);
        question.write_tokens(&mut inputs);
        answer.write_tokens(&mut labels);
        self.summary.examples += 1;
        self.writer.example(&inputs[..cells], &labels[..cells])?;
        self.writer.end_puzzle(0)
    }

    fn finish(self) -> Result<Summary> {
        let Self { writer, mut summary, ratings } = self;
        writer.finish()?;
        let puzzles = summary.puzzles.max(1) as f64;
        summary.mean_clues /= puzzles;
        let rated = summary.puzzles.saturating_sub(summary.unrated);
        summary.mean_rating = ratings.filter(|_| rated > 0).map(|sum| sum / rated as f64);
        Ok(summary)
    }
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
