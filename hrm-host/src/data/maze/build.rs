//! Builds maze datasets in the published format, from a CSV file or from the generator.
//!
//! As the published builder does: the tokens of [`CHARACTERS`](super::grid::CHARACTERS), padding 0, one puzzle
//! identifier, one group for each maze, and in it one puzzle of one example for each symmetry, the maze as it is
//! first. The same options give the same bytes on every machine. Rows go to the disk as they come.

use super::csv;
use super::generate::{Recipe, fingerprint};
use super::grid::{Maze, VOCAB_SIZE, token};
use crate::data::choice::Choice;
use crate::data::destination::expect_same_kind;
use crate::data::dihedral::Dihedral;
use crate::data::error::{Error, Place, Result};
use crate::data::progress::{Progress, tell};
use crate::data::puzzle_csv::{PuzzleReader, whole};
use crate::data::split::Split;
use crate::data::writer::{DatasetWriter, Format};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Rows that are parsed, or candidates that are judged, at once, on all threads.
const CHUNK: u64 = 1024;

/// What to build from a CSV file.
#[derive(Clone, Debug)]
pub struct CsvOptions {
    /// The file.
    pub csv: PathBuf,
    /// The directory of the dataset; the arrays go into a directory in it, named after the split.
    pub out: PathBuf,
    /// The split to write.
    pub split: Split,
    /// Add the seven other symmetries of each maze; only for training.
    pub dihedral: bool,
    /// Give every example the answer of [`Maze::solve`], rather than the file's answer, turned with its maze.
    pub relabel: bool,
    /// Use a uniform choice of so many of the rows.
    pub subsample: Option<u32>,
    /// The seed of the choice.
    pub seed: u64,
}

/// What to generate.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// The number of mazes, all different.
    pub count: u32,
    /// Which mazes.
    pub recipe: Recipe,
    /// The directory of the dataset; the arrays go into a directory in it, named after the split.
    pub out: PathBuf,
}

/// What was built.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The directory of the split.
    pub path: PathBuf,
    /// Rows and columns of the mazes.
    pub side: usize,
    /// Original mazes, which are the groups.
    pub mazes: u64,
    /// Rows written: the originals and their other symmetries.
    pub examples: u64,
    /// Mean moves of a shortest path.
    pub mean_path: f64,
    /// Of the file's answers, those that are the answer by the published set's rule; `None` for generated mazes.
    pub by_the_rule: Option<u64>,
    /// Rows of the file that were not chosen, or generated mazes that were dropped because they had come before.
    pub passed_over: u64,
}

/// Builds a split from a CSV file.
///
/// # Errors
/// [`Error::Format`] naming the line and the field of a bad row; [`Error::Argument`] at options that contradict each
/// other or the file; [`Error::Interrupted`] if `progress` says so; [`Error::Io`] if the disk refuses. Nothing is
/// written over unless all went well.
pub fn from_csv(options: &CsvOptions, mut progress: Option<Progress<'_>>) -> Result<Summary> {
    if options.split == Split::Test && options.dihedral {
        let expected = "none for the test split, which is not augmented";
        return Err(Error::argument("--augment", "dihedral", expected));
    }
    let path = options.csv.as_path();
    let (rows, side) = survey(path)?;
    let wanted = match options.subsample.map(u64::from) {
        Some(wanted) if wanted == 0 || wanted > rows => {
            let expected = format!("1 to {rows}, the rows of {}", path.display());
            return Err(Error::argument("--subsample", wanted, expected));
        }
        wanted => wanted.unwrap_or(rows),
    };
    let symmetries = if options.dihedral { &Dihedral::ALL[..] } else { &Dihedral::ALL[..1] };

    let mut reader = PuzzleReader::open(path, csv::KIND)?;
    let mut output = Output::create(&options.out, options.split, side, reader.has_ratings())?;
    output.summary.by_the_rule = Some(0);
    let mut choice = Choice::new(options.seed, rows, wanted);
    let mut chunk = Vec::new();
    loop {
        let row = reader.next_row()?;
        let ended = row.is_none();
        chunk.extend(row.filter(|_| choice.takes()));
        if chunk.len() as u64 == CHUNK || ended {
            let groups: Vec<Result<Group>> = chunk
                .par_iter()
                .map(|row| {
                    let (maze, answer) = csv::check(path, row, Some(side))?;
                    Ok(Group::new(&maze, &answer, symmetries, options.relabel))
                })
                .collect();
            for (group, row) in groups.into_iter().zip(&chunk) {
                output.group(&group?, whole(row.rating))?;
            }
            chunk.clear();
            tell(&mut progress, output.summary.mazes, wanted)?;
        }
        if ended {
            break;
        }
    }
    output.summary.passed_over = rows.saturating_sub(output.summary.mazes);
    output.finish()
}

/// Counts the rows, so that the choice among them needs no memory, and gives the side of the first maze.
fn survey(path: &Path) -> Result<(u64, usize)> {
    let mut reader = PuzzleReader::open(path, csv::KIND)?;
    let Some(first) = reader.next_row()? else {
        return Err(Error::format(path, Place::File, "rows", 0, "at least one maze"));
    };
    let mut rows = 1;
    while reader.next_row()?.is_some() {
        rows += 1;
    }
    Ok((rows, csv::check(path, &first, None)?.0.side()))
}

/// Candidates in a row without a maze, after which there are taken to be none, or no more.
const MAX_FRUITLESS: u64 = if cfg!(test) { 400_000 } else { 4_000_000 };

/// Builds a split of generated mazes, all different.
///
/// # Errors
/// [`Error::Argument`] if there are no such mazes, or not so many; [`Error::Interrupted`] if `progress` says so;
/// [`Error::Io`] if the disk refuses. Nothing is written over unless all went well.
pub fn generate(options: &GenerateOptions, mut progress: Option<Progress<'_>>) -> Result<Summary> {
    let GenerateOptions { count, recipe, .. } = *options;
    let count = u64::from(count);
    recipe.check()?;
    if count == 0 {
        return Err(Error::argument("--generate", 0, "at least 1"));
    }
    let mut output = Output::create(&options.out, recipe.split, recipe.side, false)?;
    let mut seen = HashSet::new();
    let (mut index, mut last_found) = (0, 0);
    while output.summary.mazes < count {
        let found: Vec<(u64, Group)> = (index..index + CHUNK)
            .into_par_iter()
            .filter_map(|candidate| {
                let (maze, answer) = recipe.candidate(candidate)?;
                Some((fingerprint(&maze), Group::new(&maze, &answer, &Dihedral::ALL[..1], false)))
            })
            .collect();
        index += CHUNK;
        for (fingerprint, group) in found {
            if output.summary.mazes == count {
                break;
            }
            if !seen.insert(fingerprint) {
                output.summary.passed_over += 1;
                continue;
            }
            last_found = index;
            output.group(&group, None)?;
        }
        if index - last_found > MAX_FRUITLESS {
            let found = output.summary.mazes;
            let expected = format!(
                "{found} or so for size {} and min-path {} (a smaller min-path or a larger size has more): \
                 {MAX_FRUITLESS} tries gave no more",
                recipe.side, recipe.min_path
            );
            return Err(Error::argument("--generate", count, expected));
        }
        tell(&mut progress, output.summary.mazes, count)?;
    }
    output.finish()
}

/// The examples of one maze, as tokens.
struct Group {
    examples: Vec<(Vec<u8>, Vec<u8>)>,
    path: u32,
    by_the_rule: bool,
}

impl Group {
    fn new(maze: &Maze, answer: &[u8], symmetries: &[Dihedral], relabel: bool) -> Self {
        let side = maze.side();
        let tokens = |cells: &[u8]| cells.iter().map(|&cell| token(cell)).collect::<Vec<u8>>();
        let example = |&symmetry: &Dihedral| {
            let cells = symmetry.apply(side, side, maze.cells());
            let inputs = tokens(&cells);
            let relabelled = Maze::new(cells).ok().filter(|_| relabel).and_then(|maze| maze.solve());
            let answer = relabelled.unwrap_or_else(|| symmetry.apply(side, side, answer));
            (inputs, tokens(&answer))
        };
        Self {
            examples: symmetries.iter().map(example).collect(),
            path: maze.distance().unwrap_or(0),
            by_the_rule: maze.solve().is_some_and(|solution| solution == answer),
        }
    }
}

/// The dataset being written, and what to say of it.
struct Output {
    writer: DatasetWriter,
    summary: Summary,
}

impl Output {
    fn create(out: &Path, split: Split, side: usize, ratings: bool) -> Result<Self> {
        let format = Format {
            seq_len: side * side,
            vocab_size: VOCAB_SIZE,
            pad_id: 0,
            ignore_label_id: Some(0),
            identifiers: &["<blank>"],
        };
        let summary = Summary {
            path: out.join(split.name()),
            side,
            mazes: 0,
            examples: 0,
            mean_path: 0.0,
            by_the_rule: None,
            passed_over: 0,
        };
        expect_same_kind(out, split, &format)?;
        Ok(Self { writer: DatasetWriter::create(out, split.name(), &format, ratings)?, summary })
    }

    fn group(&mut self, group: &Group, rating: Option<i64>) -> Result<()> {
        for (inputs, labels) in &group.examples {
            self.writer.example(inputs, labels)?;
            self.writer.end_puzzle(0)?;
        }
        self.summary.mazes += 1;
        self.summary.examples += group.examples.len() as u64;
        self.summary.mean_path += f64::from(group.path);
        if let Some(count) = &mut self.summary.by_the_rule {
            *count += u64::from(group.by_the_rule);
        }
        self.writer.end_group(rating)
    }

    fn finish(self) -> Result<Summary> {
        let Self { writer, mut summary } = self;
        writer.finish()?;
        summary.mean_path /= summary.mazes.max(1) as f64;
        Ok(summary)
    }
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
