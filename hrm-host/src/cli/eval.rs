//! `hrm eval`: how good a model is.

use std::num::NonZeroU64;
use std::path::PathBuf;

use std::io::Write;

use hrm_core::loss::LossKind;

use super::values::{Halt, Split, count};
use crate::backend::Cpu;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::evaluate::{EvalOptions, EvalReport, evaluate};
use crate::interrupt::Interrupt;
use crate::metrics::plot::sparkline;
use crate::progress::{Mode, Progress, Snapshot};
use crate::solve::{self, Model};
use crate::style::{self, FAINT, STRONG};

/// Evaluate a model on a dataset
#[derive(Debug, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  hrm eval --model runs/a/best --data data/sudoku
  hrm eval --model runs/a/best --data data/sudoku --limit 1000 --halt q --json")]
pub struct Args {
    /// The model: a directory with config.json and model.safetensors, a run, or a bundle
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    /// The dataset
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Which split of the dataset
    #[arg(long, value_enum, default_value = "test")]
    pub split: Split,
    /// Evaluate on N puzzles, a seeded subsample [default: all]
    #[arg(long, value_name = "N", value_parser = count)]
    pub limit: Option<NonZeroU64>,
    /// When to halt: after the model's maximum, when Q says so, or after a number of ACT steps
    #[arg(long, value_name = "max|q|STEPS", default_value = "max")]
    pub halt: Halt,
    /// Print the result as one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Puzzles that are worked on together.
const BATCH: usize = 32;
/// Seed of the subsample: the same puzzles every time.
const SEED: u64 = 0;

/// Evaluates.
///
/// # Errors
/// Wrong input, or the backend fails.
pub fn run(args: &Args) -> Result<()> {
    let dataset = Dataset::open(&args.data, args.split.name())?;
    let mut model = Model::<Cpu>::load(&args.model, BATCH.min(dataset.examples().max(1)))?;
    fits(&dataset, model.config())?;
    let halt: solve::Halt = args.halt.into();
    let policy = halt.policy(model.config());
    let limit = args.limit.map_or(0, |n| usize::try_from(n.get()).unwrap_or(usize::MAX));
    let options = EvalOptions { limit, seed: SEED, loss: LossKind::Stablemax };
    let interrupt =
        Interrupt::install().map_err(|e| Error::failed(format!("cannot listen for Ctrl-C: {e}")))?;
    let mut bar: Option<Progress> = None;
    let (backend, plan) = model.parts();
    let report = evaluate(backend, plan, &dataset, &*policy, &options, |done, of| {
        let bar = bar.get_or_insert_with(|| Progress::count(Mode::choose(args.json), of as u64, "puzzle"));
        bar.update(done as u64, &Snapshot::default());
        !interrupt.requested()
    })?;
    if let Some(bar) = bar {
        bar.finish();
    }
    let Some(report) = report else { return Err(Error::interrupted("interrupted")) };
    let mut out = style::stdout();
    if args.json {
        let line = serde_json::to_string(&report).map_err(|e| Error::failed(e.to_string()))?;
        return writeln!(out, "{line}").map_err(Error::output);
    }
    print(&mut out, &report).map_err(Error::output)
}

/// Whether a model works on puzzles like those of a dataset.
///
/// # Errors
/// It does not: the field, and both values.
pub fn fits(dataset: &Dataset, config: &hrm_core::config::Config) -> Result<()> {
    let metadata = dataset.metadata();
    let fields = [
        ("seq_len", metadata.seq_len, config.seq_len),
        ("vocab_size", metadata.vocab_size as usize, config.vocab_size),
    ];
    for (field, data, model) in fields {
        if data != model {
            return Err(Error::input(format!(
                "{}: {field} is {data}, the model's is {model}",
                dataset.path().display()
            )));
        }
    }
    let (data, model) = (metadata.num_puzzle_identifiers as usize, config.num_puzzle_identifiers);
    if data > model {
        return Err(Error::input(format!(
            "{}: num_puzzle_identifiers is {data}, the model's table has {model} rows",
            dataset.path().display()
        )));
    }
    Ok(())
}

fn print(out: &mut impl Write, report: &EvalReport) -> std::io::Result<()> {
    writeln!(
        out,
        "{STRONG}{:.2}% solved{STRONG:#}  {} of {} puzzles in {:.1} s",
        100.0 * report.exact_accuracy,
        (report.exact_accuracy * report.puzzles as f64).round(),
        report.puzzles,
        report.seconds
    )?;
    let rows = [
        ("cells right", format!("{:.2}%", 100.0 * report.accuracy)),
        ("Q-halt right", format!("{:.2}%", 100.0 * report.q_halt_accuracy)),
        ("ACT steps, mean", format!("{:.2}", report.steps)),
        ("token loss", format!("{:.4}", report.lm_loss)),
        ("Q-halt loss", format!("{:.4}", report.q_halt_loss)),
        ("puzzles per second", format!("{:.1}", report.puzzles as f64 / report.seconds.max(1e-9))),
    ];
    for (name, value) in rows {
        writeln!(out, "  {name:<20}{value:>10}")?;
    }
    let solved: Vec<f64> = report.by_step.iter().map(|step| step.solved as f64).collect();
    writeln!(out, "\n  solved after each ACT step  {}", sparkline(&solved, solved.len()))?;
    for (index, step) in report.by_step.iter().enumerate() {
        writeln!(
            out,
            "  {FAINT}step {:>2}{FAINT:#}  {:>7} of {:>7} working  {:>7} halt",
            index + 1,
            step.solved,
            step.rows,
            step.halted
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::parse;

    #[test]
    fn defaults_and_flags() {
        let args: Args = parse(&["--model", "m", "--data", "d"]).unwrap();
        let (model, data) = ("m".into(), "d".into());
        assert_eq!(args, Args { model, data, split: Split::Test, limit: None, halt: Halt::Max, json: false });
        let line = "--model m --data d --split train --limit 5 --halt q --json";
        let args: Args = parse(&line.split(' ').collect::<Vec<_>>()).unwrap();
        assert_eq!(
            (args.split, args.limit, args.halt, args.json),
            (Split::Train, NonZeroU64::new(5), Halt::Q, true)
        );
        assert!(parse::<Args>(&["--model", "m"]).is_err());
        let error = parse::<Args>(&["--model", "m", "--data", "d", "--halt", "0"]).unwrap_err();
        assert!(error.contains("expected `max`, `q` or a number of ACT steps from 1"), "{error}");
    }
}
