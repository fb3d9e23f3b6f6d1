//! `hrm data maze`.

use std::num::NonZeroU64;
use std::path::PathBuf;

use super::{expect_room, narrow, report, watched};
use crate::cli::values::{Split, count};
use crate::data::maze::build::{self, Summary};
use crate::data::maze::{CsvOptions, GenerateOptions, Recipe};
use crate::error::Result;

/// Build a maze dataset from a CSV file or from generated mazes
///
/// The same arguments give the same bytes on every machine.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hrm data maze --csv train.csv --out data/maze --split train --augment dihedral --relabel
  hrm data maze --generate 1000 --out data/maze-made --split train --seed 1
  hrm data maze --generate 200 --size 12 --min-path 20 --out data/maze-small --split test

The published labels follow one rule: of all shortest paths, the smallest one under Down < Left < Right < Up.
A rotated maze no longer follows the rule; --relabel finds its path again.")]
#[command(group(clap::ArgGroup::new("source").required(true)))]
pub struct Args {
    /// Read mazes from this CSV file, with a question and perhaps an answer and a rating in each row
    #[arg(long, group = "source", value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Generate this many mazes, all different
    #[arg(long, group = "source", value_name = "N", value_parser = count)]
    pub generate: Option<NonZeroU64>,
    /// Rows and columns of the generated mazes
    #[arg(long, value_name = "N", default_value_t = 30, conflicts_with = "csv")]
    pub size: usize,
    /// Minimum number of moves of a generated maze's shortest path
    #[arg(long, value_name = "N", default_value_t = 109, conflicts_with = "csv")]
    pub min_path: u32,
    /// Directory of the dataset; both splits can share it
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Which split of the dataset to write
    #[arg(long, value_enum)]
    pub split: Split,
    /// What to add to each of the file's mazes
    #[arg(long, value_enum, value_name = "WHAT", default_value = "none", conflicts_with = "generate")]
    pub augment: Augment,
    /// Compute every answer again, by the rule of the published labels
    #[arg(long, conflicts_with = "generate")]
    pub relabel: bool,
    /// Use a random sample of N mazes of the file [default: all]
    #[arg(long, value_name = "N", value_parser = count, conflicts_with = "generate")]
    pub subsample: Option<NonZeroU64>,
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

/// What is added to a maze.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Augment {
    /// Nothing
    #[default]
    None,
    /// Its seven other rotations and reflections
    Dihedral,
}

/// Builds a dataset.
///
/// # Errors
/// Wrong usage or input, or a disk that refuses; nothing is written then.
pub fn run(args: Args) -> Result<()> {
    let (json, split, seed) = (args.json, args.split.into(), args.seed);
    if !args.force {
        let made = args.generate.map(|n| narrow(n, "--generate")).transpose()?;
        let side = args.size;
        expect_room(&args.out, split, made.map(|count| (count, side * side)), json)?;
    }
    let summary = if let Some(csv) = args.csv {
        let options = CsvOptions {
            csv,
            out: args.out,
            split,
            dihedral: args.augment == Augment::Dihedral,
            relabel: args.relabel,
            subsample: args.subsample.map(|n| narrow(n, "--subsample")).transpose()?,
            seed,
        };
        watched(json, "maze", |progress| build::from_csv(&options, Some(progress)))?
    } else {
        let options = GenerateOptions {
            // The parser asks for one of the two.
            count: args.generate.map_or(Ok(0), |n| narrow(n, "--generate"))?,
            recipe: Recipe { side: args.size, min_path: args.min_path, split, seed },
            out: args.out,
        };
        watched(json, "maze", |progress| build::generate(&options, Some(progress)))?
    };
    report(json, &summary, &text(&summary))
}

fn text(summary: &Summary) -> String {
    let side = summary.side;
    let rule = summary.by_the_rule.map_or(String::new(), |n| format!(", {n} answers by the rule"));
    format!(
        "{}: {} mazes of {side}x{side}, {} examples, shortest paths of {:.1} moves on average{rule}",
        summary.path.display(),
        summary.mazes,
        summary.examples,
        summary.mean_path,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::parse;

    #[test]
    fn both_sources_parse_and_contradictions_do_not() {
        let args = |line: &[&str]| parse::<Args>(&[line, &["--out", "d", "--split=train"]].concat());
        let made = args(&["--generate", "5"]).unwrap();
        assert_eq!((made.size, made.min_path, made.augment), (30, 109, Augment::None));
        let read = args(&["--csv", "a", "--augment", "dihedral", "--relabel", "--subsample", "3"]).unwrap();
        assert_eq!((read.augment, read.relabel), (Augment::Dihedral, true));
        for bad in [
            &[][..],
            &["--csv", "a", "--generate", "3"],
            &["--csv", "a", "--size", "4"],
            &["--csv", "a", "--min-path", "4"],
            &["--csv", "a", "--augment", "8"],
            &["--generate", "3", "--relabel"],
            &["--generate", "3", "--augment", "dihedral"],
            &["--generate", "3", "--subsample", "2"],
            &["--generate", "0"],
        ] {
            assert!(args(bad).is_err(), "{bad:?}");
        }
    }
}
