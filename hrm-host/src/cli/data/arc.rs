//! `hrm data arc`.

use std::path::PathBuf;

use super::{report, watched};
use crate::data::arc::{Options, Summary, build};
use crate::data::destination::expect_free;
use crate::data::split::Split;
use crate::error::Result;

/// Build an ARC dataset from folders of tasks
///
/// A directory holds folders of JSON files. The test pairs of a folder `evaluation` become the split `test`; everything
/// else is trained on. The same tasks and arguments give the same bytes on every machine.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hrm data arc --tasks ARC-AGI/data ConceptARC/corpus --out data/arc-1
  hrm data arc --tasks ARC-AGI-2/data --out data/arc-2 --augment 100 --seed 7")]
pub struct Args {
    /// Directories of folders of tasks: training/ and evaluation/, or one for each concept
    #[arg(long, value_name = "DIR", num_args = 1.., required = true)]
    pub tasks: Vec<PathBuf>,
    /// Directory of the dataset
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Add this many different puzzles to each task: turned or reflected, colours but black permuted
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(..=100_000))]
    pub augment: u32,
    /// Seed of every random choice
    #[arg(long, value_name = "S", default_value_t = 42)]
    pub seed: u64,
    /// Replace the splits if there are any already
    #[arg(long)]
    pub force: bool,
    /// Print what was built as JSON, for scripts
    #[arg(long)]
    pub json: bool,
}

/// Builds a dataset.
///
/// # Errors
/// Wrong usage or input, or a disk that refuses; nothing is written then.
pub fn run(args: Args) -> Result<()> {
    let Args { tasks, out, augment, seed, force, json } = args;
    if !force {
        expect_free(&out, &Split::ALL)?;
    }
    let options = Options { tasks, out, augment, seed };
    let summary = watched(json, "task", |progress| build(&options, Some(progress)))?;
    report(json, &summary, &text(&summary, augment))
}

fn text(summary: &Summary, augment: u32) -> String {
    let splits = summary.splits.iter().map(|split| {
        format!(
            "{}: {} tasks, {} puzzles, {} examples\n",
            split.path.display(),
            split.groups,
            split.puzzles,
            split.examples
        )
    });
    let short = match summary.short_tasks {
        0 => String::new(),
        1 => format!("; 1 task has fewer than {augment} different augmentations"),
        tasks => format!("; {tasks} tasks have fewer than {augment} different augmentations"),
    };
    format!("{}{} puzzle identifiers{short}", splits.collect::<String>(), summary.identifiers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::parse;

    #[test]
    fn several_directories_parse() {
        let args: Args = parse(&["--tasks", "a", "b", "--out", "d"]).unwrap();
        assert_eq!((args.tasks.len(), args.augment, args.seed), (2, 1000, 42));
        assert!(parse::<Args>(&["--out", "d"]).is_err());
        assert!(parse::<Args>(&["--tasks", "--out", "d"]).is_err());
        assert!(parse::<Args>(&["--tasks", "a", "--out", "d", "--augment", "-1"]).is_err());
        assert!(parse::<Args>(&["--tasks", "a", "--out", "d", "--augment", "100001"]).is_err());
    }
}
