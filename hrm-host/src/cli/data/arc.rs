//! `hrm data arc`.

use std::path::PathBuf;

use super::{report, watched};
use crate::data::arc::{Naming, Options, Roles, Summary, build};
use crate::data::destination::expect_free;
use crate::data::split::Split;
use crate::error::Result;

/// Build an ARC dataset from the tasks of one or more collections
///
/// Tasks come as a JSON file each (ARC-AGI, ConceptARC, RE-ARC) or as the combined files of the ARC Prize
/// (*_challenges.json with *_solutions.json beside it). The tests of a folder or file called evaluation, validation,
/// public_eval, test or the like become the split `test`; those of training, concept or the like are trained on. A name
/// that does not tell is an error: --hold-out or --train-on decides. The same tasks and arguments give the same bytes on
/// every machine.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hrm data arc --tasks ARC-AGI/data ConceptARC/corpus --out data/arc-1
  hrm data arc --tasks ARC-AGI-2/data --out data/arc-2 --augment 100 --seed 7
  hrm data arc --tasks arc-agi_training_challenges.json arc-agi_test_challenges.json --out data/prize
  hrm data arc --tasks mine --hold-out part3 --train-on others --out data/mine")]
pub struct Args {
    /// Files of tasks, and directories of such files or of folders of them: training/ and evaluation/, say
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    pub tasks: Vec<PathBuf>,
    /// Folders or files whose tests are held out, by name; `others` is every name that does not tell
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub hold_out: Vec<String>,
    /// Folders or files that are trained on with the answers to their tests, by name; `others` as above
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub train_on: Vec<String>,
    /// Directory of the dataset
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Add N different puzzles to each task: rotated or reflected, with all colours except black permuted
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(..=100_000))]
    pub augment: u32,
    /// Seed of every random choice
    #[arg(long, value_name = "S", default_value_t = 42)]
    pub seed: u64,
    /// How augmented puzzles are called in identifiers.json
    #[arg(long, value_enum, value_name = "STYLE", default_value = "hrm")]
    pub identifiers: Style,
    /// Replace the splits if there are any already
    #[arg(long)]
    pub force: bool,
    /// Print what was built as JSON, for scripts
    #[arg(long)]
    pub json: bool,
}

/// The two published ways to call an augmented puzzle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Style {
    /// 007bbfb7_t3_0213456789
    Hrm,
    /// 007bbfb7|||t3|||0213456789, and test_puzzles.json beside them
    Trm,
}

/// Builds a dataset.
///
/// # Errors
/// Wrong usage or input, or a disk that refuses; nothing is written then.
pub fn run(args: Args) -> Result<()> {
    let Args { tasks, hold_out, train_on, out, augment, seed, identifiers, force, json } = args;
    if !force {
        expect_free(&out, &Split::ALL)?;
    }
    let naming = match identifiers {
        Style::Hrm => Naming::Published,
        Style::Trm => Naming::Trm,
    };
    let options = Options { tasks, roles: Roles { train_on, hold_out }, naming, out, augment, seed };
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
    let notes: String = summary.notes.iter().map(|note| format!("\n{note}")).collect();
    format!("{}{} puzzle identifiers{short}{notes}", splits.collect::<String>(), summary.identifiers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::parse;

    #[test]
    fn several_directories_parse() {
        let args: Args = parse(&["--tasks", "a", "b", "--out", "d"]).unwrap();
        assert_eq!((args.tasks.len(), args.augment, args.seed), (2, 1000, 42));
        assert_eq!((args.identifiers, args.hold_out.len(), args.train_on.len()), (Style::Hrm, 0, 0));
        let flags = [
            "--tasks",
            "a",
            "--out",
            "d",
            "--hold-out",
            "b",
            "c",
            "--train-on",
            "others",
            "--identifiers",
            "trm",
        ];
        let args: Args = parse(&flags).unwrap();
        assert_eq!((args.identifiers, args.hold_out.len(), &*args.train_on[0]), (Style::Trm, 2, "others"));
        assert!(parse::<Args>(&["--out", "d"]).is_err());
        assert!(parse::<Args>(&["--tasks", "--out", "d"]).is_err());
        assert!(parse::<Args>(&["--tasks", "a", "--out", "d", "--augment", "-1"]).is_err());
        assert!(parse::<Args>(&["--tasks", "a", "--out", "d", "--augment", "100001"]).is_err());
    }
}
