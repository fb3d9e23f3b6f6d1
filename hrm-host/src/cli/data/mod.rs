//! `hrm data`: datasets in the published on-disk format, one file for each kind of puzzle.

pub mod arc;
pub mod inspect;
pub mod maze;
pub mod sudoku;

use std::io::Write;
use std::num::NonZeroU64;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::counter::Counter;
use crate::data::{self, destination};
use crate::error::{Error, Result};
use crate::style;

/// Build or inspect a dataset
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hrm data sudoku --csv train.csv --out data/sudoku --split train --subsample 1000 --augment 1000
  hrm data maze --generate 1000 --out data/maze --split train --seed 1
  hrm data arc --tasks ARC-AGI/data ConceptARC/corpus --out data/arc-1
  hrm data inspect data/arc-1 --split test --index 4321")]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub what: What,
}

/// The puzzles that a dataset can be made of, and the view of what was made.
#[derive(Debug, clap::Subcommand)]
#[expect(missing_docs, reason = "each command is documented by its arguments")]
pub enum What {
    Sudoku(sudoku::Args),
    Maze(maze::Args),
    Arc(arc::Args),
    Inspect(inspect::Args),
}

/// Builds a dataset or looks into one.
///
/// # Errors
/// Wrong usage or input, a disk that refuses, or an interruption; nothing is written then.
pub fn run(args: Args) -> Result<()> {
    match args.what {
        What::Sudoku(args) => sudoku::run(args),
        What::Maze(args) => maze::run(args),
        What::Arc(args) => arc::run(args),
        What::Inspect(args) => inspect::run(&args),
    }
}

/// Runs a builder under a progress bar that counts `what`; Ctrl-C stops it in good order. Of long work it says soon how
/// long it will take.
fn watched<T>(
    json: bool,
    what: &'static str,
    build: impl FnOnce(data::progress::Progress<'_>) -> data::Result<T>,
) -> Result<T> {
    let mut counter = Counter::start(json, what)?;
    let mut estimate = Estimate::default();
    let started = Instant::now();
    let built = build(&mut |done, of| {
        if let (Some(text), false) = (estimate.after(started.elapsed(), done, of, what), json) {
            // Where standard error is closed there is nobody to tell.
            let _ = writeln!(style::stderr(), "{text}");
        }
        if counter.goes_on(done, of) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    counter.finish();
    Ok(built?)
}

/// How long some work will take, said once, as soon as that is known.
#[derive(Debug, Default)]
struct Estimate {
    told: bool,
    warned: bool,
}

impl Estimate {
    /// When the estimate is made.
    const AFTER: Duration = Duration::from_secs(2);
    /// The shortest work that is worth one.
    const LONG: f64 = 10.0;

    /// What to say once `done` `of` so many are done.
    fn after(&mut self, passed: Duration, done: u64, of: u64, what: &str) -> Option<String> {
        if self.told || passed < Self::AFTER {
            return None;
        }
        if done == 0 {
            let first = !std::mem::replace(&mut self.warned, true);
            return first.then(|| {
                format!("no {what} yet of {of}: each takes many tries, and after too many of them it ends with an error")
            });
        }
        self.told = true;
        let all = passed.as_secs_f64() * of as f64 / done as f64;
        let left = all - passed.as_secs_f64();
        (left > Self::LONG).then(|| format!("{done} of {of} {what}s so far: about {} more", in_words(left)))
    }
}

/// A time, as one says it.
fn in_words(seconds: f64) -> String {
    match seconds {
        ..100.0 => format!("{seconds:.0} seconds"),
        ..6000.0 => format!("{:.0} minutes", seconds / 60.0),
        ..172_800.0 => format!("{:.0} hours", seconds / 3600.0),
        _ => format!("{:.0} days", seconds / 86_400.0),
    }
}

/// Refuses to write `split` of `out` where that would lose something. `generated` is how many puzzles are made, and of how
/// many cells: they may take the place of as many others that were made, and then that is said.
fn expect_room(
    out: &Path,
    split: data::split::Split,
    generated: Option<(u32, usize)>,
    json: bool,
) -> Result<()> {
    let Some((puzzles, cells)) = generated else { return Ok(destination::expect_free(out, &[split])?) };
    if destination::expect_free_or_as_many(out, split, puzzles, cells)? && !json {
        let path = out.join(split.name());
        // Where standard error is closed there is nobody to tell.
        let _ = writeln!(
            style::stderr(),
            "{}: as many puzzles are there already, and are replaced",
            path.display()
        );
    }
    Ok(())
}

/// Prints what was built.
fn report(json: bool, summary: &impl Serialize, text: &str) -> Result<()> {
    let mut out = style::stdout();
    if json {
        let json = serde_json::to_string(summary).map_err(|error| Error::failed(error.to_string()))?;
        return writeln!(out, "{json}").map_err(Error::output);
    }
    writeln!(out, "{text}").map_err(Error::output)
}

/// A count that a builder can hold.
fn narrow(n: NonZeroU64, flag: &str) -> Result<u32> {
    u32::try_from(n.get())
        .map_err(|_| Error::usage(format!("given {flag} {n}, expected at most {}", u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_work_says_once_how_long_it_takes() {
        let mut estimate = Estimate::default();
        let mut after = |seconds, done| estimate.after(Duration::from_secs(seconds), done, 1000, "puzzle");
        assert_eq!(after(1, 10), None);
        assert!(after(2, 0).unwrap().starts_with("no puzzle yet of 1000"));
        assert_eq!(after(3, 0), None);
        assert_eq!(after(4, 10).unwrap(), "10 of 1000 puzzles so far: about 7 minutes more");
        assert_eq!(after(5, 20), None);
        let short = Estimate::default().after(Duration::from_secs(2), 900, 1000, "puzzle");
        assert_eq!(short, None);
        assert_eq!([20.0, 9000.0, 1e6].map(in_words), ["20 seconds", "2 hours", "12 days"]);
    }
}
