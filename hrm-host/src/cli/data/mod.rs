//! `hrm data`: datasets in the published on-disk format, one file for each kind of puzzle.

pub mod arc;
pub mod inspect;
pub mod maze;
pub mod sudoku;

use std::io::Write;
use std::num::NonZeroU64;
use std::ops::ControlFlow;

use serde::Serialize;

use super::counter::Counter;
use crate::data;
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

/// Runs a builder under a progress bar that counts `what`; Ctrl-C stops it in good order.
fn watched<T>(
    json: bool,
    what: &'static str,
    build: impl FnOnce(data::progress::Progress<'_>) -> data::Result<T>,
) -> Result<T> {
    let mut counter = Counter::start(json, what)?;
    let built = build(&mut |done, of| {
        if counter.goes_on(done, of) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    counter.finish();
    Ok(built?)
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
