//! `hrm data inspect`: what a dataset holds, and what an example looks like.

use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;

use crate::cli::values::Split;
use crate::cli::words::counted;
use crate::data::Dataset;
use crate::data::inspect::{Report, Sample, SetReport, Spread};
use crate::error::{Error, Result};
use crate::style::{self, FAINT, STRONG};

/// Describe a dataset and draw an example
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hrm data inspect data/arc-1
  hrm data inspect data/arc-1 --split test --index 4321
  hrm data inspect data/maze --json")]
pub struct Args {
    /// A dataset
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Which split to show [default: both]
    #[arg(long, value_enum)]
    pub split: Option<Split>,
    /// Which example of the split to draw, from 0
    #[arg(long, value_name = "I", default_value_t = 0)]
    pub index: usize,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// A split and an example of it, in the JSON output.
#[derive(Serialize)]
struct View {
    split: &'static str,
    #[serde(flatten)]
    report: Report,
    /// None where the split is empty.
    example: Option<Sample>,
}

/// Shows a dataset.
///
/// # Errors
/// There is none, it is damaged, or it has no such example.
pub fn run(args: &Args) -> Result<()> {
    let splits = match args.split {
        Some(split) => vec![split],
        None => {
            [Split::Train, Split::Test].into_iter().filter(|s| args.dir.join(s.name()).is_dir()).collect()
        }
    };
    if splits.is_empty() {
        let message = format!("{}: found neither train nor test, expected a dataset", args.dir.display());
        return Err(Error::input(message).hint("make one with hrm data sudoku, maze or arc"));
    }
    let mut out = style::stdout();
    let mut views = Vec::new();
    for split in splits {
        let dataset = Dataset::open(&args.dir, split.name())?;
        let view = View {
            split: split.name(),
            report: Report::of(&dataset),
            example: match (dataset.examples(), args.index) {
                (0, 0) => None,
                (_, index) => Some(Sample::read(&dataset, index)?),
            },
        };
        if args.json {
            views.push(view);
        } else {
            describe(&mut out, &view, dataset.identifiers()).map_err(Error::output)?;
        }
    }
    if args.json {
        let json = serde_json::to_string(&views).map_err(|error| Error::failed(error.to_string()))?;
        writeln!(out, "{json}").map_err(Error::output)?;
    }
    Ok(())
}

fn describe(out: &mut impl Write, view: &View, names: Option<&[String]>) -> std::io::Result<()> {
    let View { split, report, example } = view;
    writeln!(out, "{STRONG}{split}{STRONG:#}  {}", report.path.display())?;
    let ignored = report.ignore_label_id.map_or("none".to_owned(), |token| token.to_string());
    writeln!(
        out,
        "  {} cells, {} tokens, padding {}, ignored label {ignored}",
        report.seq_len, report.vocab_size, report.pad_id
    )?;
    for set in &report.sets {
        describe_set(out, set, report.seq_len)?;
    }
    let first: Vec<&str> = names.unwrap_or_default().iter().take(4).map(String::as_str).collect();
    let more = if names.unwrap_or_default().len() > first.len() { ", ..." } else { "" };
    let identifiers = counted(report.identifiers as usize, "puzzle identifier");
    writeln!(out, "  {identifiers}  {FAINT}{}{more}{FAINT:#}", first.join(", "))?;

    let Some(example) = example else { return writeln!(out, "  no examples") };
    let name = example.name.as_deref().unwrap_or("unnamed");
    writeln!(
        out,
        "  example {}: number {} of the {} of puzzle {}, in group {}; identifier {}, {name}",
        example.index,
        example.place.0 + 1,
        example.place.1,
        example.puzzle,
        example.group,
        example.identifier,
    )?;
    for line in example.draw(report.vocab_size) {
        writeln!(out, "  {line}")?;
    }
    Ok(())
}

fn describe_set(out: &mut impl Write, set: &SetReport, seq_len: usize) -> std::io::Result<()> {
    let SetReport { name, groups, puzzles, examples, puzzles_of_group, examples_of_puzzle } = set;
    writeln!(out, "  set {name}: inputs and labels [{examples}, {seq_len}]")?;
    for (count, of, inner, spread) in
        [(groups, "group", "puzzle", puzzles_of_group), (puzzles, "puzzle", "example", examples_of_puzzle)]
    {
        writeln!(out, "    {} of {}", counted(*count, of), extent(spread, inner))?;
    }
    Ok(())
}

/// How many of `what`, from the least to the most.
fn extent(spread: &Spread, what: &str) -> String {
    let most = counted(spread.most, what);
    if spread.least == spread.most {
        return most;
    }
    format!("{} to {most}, {:.2} on average", spread.least, spread.mean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::parse;

    #[test]
    fn an_extent_of_one_length_is_one_number() {
        let text = |least, mean, most| extent(&Spread { least, mean, most }, "puzzle");
        assert_eq!(text(1, 1.0, 1), "1 puzzle");
        assert_eq!(text(3, 3.0, 3), "3 puzzles");
        assert_eq!(text(1, 1.5, 2), "1 to 2 puzzles, 1.50 on average");
    }

    #[test]
    fn takes_a_directory_and_an_index() {
        let args: Args = parse(&["d", "--split", "test", "--index", "7"]).unwrap();
        assert_eq!((args.split, args.index, args.json), (Some(Split::Test), 7, false));
        assert!(parse::<Args>(&[]).is_err() && parse::<Args>(&["d", "--index", "-1"]).is_err());
    }
}
