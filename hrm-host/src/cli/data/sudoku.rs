//! `hrm data sudoku`.

use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::{expect_room, narrow, report, watched};
use crate::cli::values::{GridSize, Split, clue_range, count};
use crate::cli::words::counted;
use crate::data::sudoku::build::{self, Summary};
use crate::data::sudoku::{CsvOptions, GenerateOptions, Size};
use crate::error::{Error, Result};

/// Build a Sudoku dataset from a file of puzzles or from generated puzzles
///
/// The same arguments give the same bytes on every machine.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hrm data sudoku --csv train.csv --out data/sudoku --split train --subsample 1000 --augment 1000
  hrm data sudoku --generate 5000 --size 4 --out data/sudoku-4x4 --split train --seed 1")]
#[command(group(clap::ArgGroup::new("source").required(true)))]
pub struct Args {
    /// Read puzzles from this file: CSV with a question and perhaps an answer and a rating in each row, a list with a
    /// puzzle in each line, or grids. Answers that it lacks are found, and the puzzles that have several or none left out
    #[arg(long, group = "source", value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Generate this many puzzles, each with one solution
    #[arg(long, group = "source", value_name = "N", value_parser = count)]
    pub generate: Option<NonZeroU64>,
    /// Width of the generated grids: 4 or 9 [default: 9]
    #[arg(long, value_name = "4|9", conflicts_with = "csv")]
    pub size: Option<GridSize>,
    /// Clues in each generated puzzle, a number or a range such as 30-45 [default: minimal, no clue can be removed]
    #[arg(long, value_name = "N|MIN-MAX", conflicts_with = "csv", value_parser = clue_range)]
    pub clues: Option<RangeInclusive<u8>>,
    /// Directory of the dataset; both splits can share it
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Which split of the dataset to write
    #[arg(long, value_enum)]
    pub split: Split,
    /// Use a random sample of N puzzles of the file [default: all]
    #[arg(long, value_name = "N", value_parser = count, conflicts_with = "generate")]
    pub subsample: Option<NonZeroU64>,
    /// Add N equivalent puzzles to each: with permuted digits, bands, rows and columns, or transposed
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "generate")]
    pub augment: u32,
    /// Take only the file's puzzles with at least this rating
    #[arg(long, value_name = "R", value_parser = rating, conflicts_with = "generate")]
    pub min_rating: Option<f64>,
    /// Seed of every random choice
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// Replace the split if there is one already
    #[arg(long)]
    pub force: bool,
    /// Print the result as one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// A Sudoku dataset to build.
#[derive(Debug, PartialEq)]
pub struct Options {
    /// Where the puzzles come from.
    pub source: Source,
    /// Directory of the dataset.
    pub out: PathBuf,
    /// Which split to write.
    pub split: Split,
    /// Seed of every random choice.
    pub seed: u64,
}

/// Where puzzles come from.
#[derive(Debug, PartialEq)]
pub enum Source {
    /// A CSV file.
    Csv {
        /// The file.
        path: PathBuf,
        /// How many of its puzzles; all where `None`.
        subsample: Option<NonZeroU64>,
        /// Equivalent puzzles added to each.
        augment: u32,
        /// The least rating taken.
        min_rating: Option<f64>,
    },
    /// The generator.
    Generate {
        /// How many.
        count: NonZeroU64,
        /// Width of the grids.
        size: GridSize,
        /// Clues in each, at least and at most; minimal where `None`.
        clues: Option<RangeInclusive<u8>>,
    },
}

/// A rating, which is a number.
fn rating(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| "expected a number".to_owned())
}

impl Args {
    /// Checks what the parser cannot: the number of clues against the size.
    pub fn validate(self) -> Result<Options> {
        let source = match (self.csv, self.generate, self.size) {
            (Some(path), None, _) => {
                let (subsample, augment) = (self.subsample, self.augment);
                Source::Csv { path, subsample, augment, min_rating: self.min_rating }
            }
            (None, Some(count), size) => {
                let size = size.unwrap_or(GridSize::Nine);
                if let Some(clues) = &self.clues {
                    let (fewest, cells) = (size.fewest_clues(), size.width().pow(2));
                    if let Some(wrong) =
                        [clues.start(), clues.end()].into_iter().find(|n| !(fewest..=cells).contains(n))
                    {
                        return Err(Error::usage(format!(
                            "given --clues {wrong}, expected {fewest} to {cells} for --size {}",
                            size.width()
                        )));
                    }
                }
                Source::Generate { count, size, clues: self.clues }
            }
            _ => return Err(Error::usage("expected either --csv FILE, or --generate N")),
        };
        Ok(Options { source, out: self.out, split: self.split, seed: self.seed })
    }
}

/// Builds a dataset.
///
/// # Errors
/// Wrong usage or input, or a disk that refuses; nothing is written then.
pub fn run(args: Args) -> Result<()> {
    let (json, force) = (args.json, args.force);
    let options = args.validate()?;
    let (out, split, seed) = (options.out, options.split.into(), options.seed);
    if !force {
        let generated = match options.source {
            Source::Generate { count, size, .. } => {
                Some((narrow(count, "--generate")?, usize::from(size.width()).pow(2)))
            }
            Source::Csv { .. } => None,
        };
        expect_room(&out, split, generated, json)?;
    }
    let summary = match options.source {
        Source::Csv { path, subsample, augment, min_rating } => {
            let options = CsvOptions {
                csv: path,
                out,
                split,
                subsample: subsample.map(|n| narrow(n, "--subsample")).transpose()?,
                augment,
                min_rating,
                seed,
            };
            watched(json, "puzzle", |progress| build::from_csv(&options, Some(progress)))?
        }
        Source::Generate { count, size, clues } => {
            let options = GenerateOptions {
                count: narrow(count, "--generate")?,
                size: match size {
                    GridSize::Four => Size::Four,
                    GridSize::Nine => Size::Nine,
                },
                clues: clues.map(|clues| usize::from(*clues.start())..=usize::from(*clues.end())),
                out,
                split,
                augment: 0,
                seed,
            };
            watched(json, "puzzle", |progress| build::generate(&options, Some(progress)))?
        }
    };
    report(json, &summary, &text(&summary))
}

fn text(summary: &Summary) -> String {
    let puzzles = |count: u64| counted(usize::try_from(count).unwrap_or(usize::MAX), "puzzle");
    let rating = summary.mean_rating.map_or(String::new(), |rating| format!(", mean rating {rating:.1}"));
    let mut text = format!(
        "{}: {} puzzles of {}, {} examples, {:.1} clues on average{rating}",
        summary.path.display(),
        summary.puzzles,
        summary.size,
        summary.examples,
        summary.mean_clues,
    );
    let Summary { answers_found: found, several_solutions: several, no_solution: none, .. } = *summary;
    if found + several + none > 0 {
        text += &format!(
            "\nno answer in the file for {}: {found} with exactly one solution, which was found",
            puzzles(found + several + none)
        );
        if several + none > 0 {
            text += &format!("; left out: {several} with several solutions, {none} with none");
        }
    }
    if summary.rounded {
        text += "\nratings are kept as whole numbers, rounded";
    }
    if summary.unrated > 0 {
        text += &format!("\nno rating for {}", puzzles(summary.unrated));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::parse;

    const OUT: [&str; 3] = ["--out", "d", "--split=train"];

    fn options(line: &[&str]) -> Result<Options, String> {
        let args: Args = parse(&[line, &OUT].concat())?;
        args.validate().map_err(|error| error.to_string())
    }

    #[test]
    fn both_sources_parse() {
        let csv =
            ["--csv", "a.csv", "--subsample", "1000", "--augment", "9", "--min-rating", "3", "--seed", "7"];
        let source = Source::Csv {
            path: "a.csv".into(),
            subsample: NonZeroU64::new(1000),
            augment: 9,
            min_rating: Some(3.0),
        };
        assert_eq!(options(&csv), Ok(Options { source, out: "d".into(), split: Split::Train, seed: 7 }));
        let made = options(&["--generate", "10", "--size", "9", "--clues", "30"]).unwrap();
        let count = NonZeroU64::new(10).unwrap();
        assert_eq!(made.source, Source::Generate { count, size: GridSize::Nine, clues: Some(30..=30) });
        assert_eq!(options(&["--generate", "10", "--clues", "30"]).unwrap().source, made.source);
        let made = options(&["--generate", "10", "--size", "9", "--clues", "30-45"]).unwrap();
        assert_eq!(made.source, Source::Generate { count, size: GridSize::Nine, clues: Some(30..=45) });
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for bad in [
            &[][..],
            &["--csv", "a", "--generate", "3", "--size", "4"],
            &["--generate", "0", "--size", "4"],
            &["--generate", "3", "--size", "16"],
            &["--generate", "3", "--size", "4", "--augment", "2"],
            &["--generate", "3", "--size", "9", "--clues", "45-30"],
            &["--generate", "3", "--size", "9", "--clues", "30-"],
            &["--csv", "a", "--size", "4"],
            &["--csv", "a", "--subsample", "0"],
            &["--csv", "a", "--seed", "-1"],
            &["--csv", "a", "--split", "valid"],
        ] {
            assert!(options(bad).is_err(), "{bad:?}");
        }
        let error = options(&["--generate", "3", "--size", "9", "--clues", "16"]).unwrap_err();
        assert_eq!(error, "given --clues 16, expected 17 to 81 for --size 9");
    }
}
