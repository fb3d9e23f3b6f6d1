//! `hrm eval`: how good a model is.

mod report;
mod sweep;

use std::io::Write;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use hrm_core::plan::Plan;
use serde::Serialize;

use super::ask::{AskArgs, note_if_beyond};
use super::counter::Counter;
use super::values::{Split, count};
use crate::backend::{BackendArgs, HostBackend, WithBackend};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::evaluate::sweep::SweepOptions;
use crate::evaluate::{self, Answered, EvalOptions, EvalReport, Paired, Sample};
use crate::files;
use crate::memory;
use crate::metrics::plot::Chart;
use crate::solve::Model;
use crate::strategy::Strategy;
use crate::style;

/// Evaluate a model on a dataset
#[derive(Debug, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  hrm eval --model runs/a/best --data data/sudoku
  hrm eval --model runs/a/best --data data/sudoku --limit 1000 --halt q --answer best-q --vote 8
  hrm eval --model runs/a/best --data data/sudoku --sweep --vote 8 --svg sweep.svg
  hrm eval --model runs/a/best --data data/sudoku --answers f32.jsonl
  hrm eval --model runs/a/best --data data/sudoku --against f32.jsonl --backend int8")]
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
    /// Evaluate on a random sample of N puzzles, stratified by rating [default: all]
    #[arg(long, value_name = "N", value_parser = count)]
    pub limit: Option<NonZeroU64>,
    /// Evaluate on the first N puzzles
    #[arg(long, value_name = "N", value_parser = count, conflicts_with = "limit")]
    pub first: Option<NonZeroU64>,
    /// Seed of the sample and of the views
    #[arg(long, value_name = "S", default_value_t)]
    pub seed: u64,
    /// How each puzzle is answered.
    #[command(flatten)]
    pub ask: AskArgs,
    /// Compare all settings of --halt and --answer, and votes of 1, 2, 4, ... up to --vote K views, in one pass
    #[arg(long, conflicts_with_all = ["halt", "answer", "near_ties"])]
    pub sweep: bool,
    /// Rows per batch
    #[arg(long, value_name = "N", value_parser = count, default_value = "32")]
    pub batch: NonZeroU64,
    #[command(flatten)]
    #[expect(missing_docs, reason = "its fields are documented")]
    pub backend: BackendArgs,
    /// Draw a chart of solved puzzles by ACT step; with --sweep, by steps used
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Write the rows that a difference of 0.001 in a logit would change, as JSON lines
    #[arg(long, value_name = "FILE")]
    pub near_ties: Option<PathBuf>,
    /// Write the answer of each puzzle, as JSON lines
    #[arg(long, value_name = "FILE", conflicts_with = "sweep")]
    pub answers: Option<PathBuf>,
    /// Compare puzzle by puzzle with the --answers file of another evaluation
    #[arg(long, value_name = "FILE", conflicts_with = "sweep")]
    pub against: Option<PathBuf>,
    /// Print the result as one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Margin below which a row is listed: well above what f32 arithmetic in another order changes.
const NEAR: f32 = 1e-3;

/// Evaluates.
///
/// # Errors
/// Wrong input, or the backend fails.
pub fn run(args: &Args) -> Result<()> {
    args.backend.dispatch(Evaluate(args))
}

struct Evaluate<'a>(&'a Args);

impl WithBackend for Evaluate<'_> {
    type Output = ();

    fn call<K: HostBackend>(self) -> Result<()> {
        run_on::<K>(self.0)
    }
}

fn run_on<K: HostBackend>(args: &Args) -> Result<()> {
    let strategy = args.ask.strategy()?;
    let files = [&args.svg, &args.near_ties, &args.answers];
    files.into_iter().flatten().try_for_each(|path| files::expect_place(path))?;
    let against = args.against.as_deref().map(Answered::read).transpose()?;
    let dataset = Dataset::open(&args.data, args.split.name())?;
    let sample = args.sample();
    if sample.size(dataset.examples()) == 0 {
        let path = args.data.join(args.split.name());
        return Err(Error::failed(format!(
            "there is nothing to evaluate: {} has no puzzles",
            path.display()
        )));
    }
    if let (Some(path), Some(there)) = (&args.against, &against) {
        same_count(path, there.len(), sample.size(dataset.examples()))?;
        Answered::expect_same(there, path, &dataset, sample)?;
    }
    let rows = sample.size(dataset.examples()).saturating_mul(strategy.views).max(1);
    let mut model = Model::<K>::load_in(&args.model, size(args.batch).min(rows), args.backend.dtype)?;
    fits(&dataset, model.config())?;
    if !args.json {
        writeln!(style::stderr(), "{}", describe::<K>(model.parts().1)).map_err(Error::output)?;
        args.note_if_fewer(dataset.examples())?;
        note_if_beyond(&strategy, model.config())?;
    }
    let mut counter = Counter::start(args.json, "puzzle")?;
    let progress = |done: usize, of: usize| counter.goes_on(done as u64, of as u64);
    let loss = model.loss();
    let (backend, plan) = model.parts();
    let mut out = style::stdout();
    if args.sweep {
        let Strategy { views, max_steps, .. } = strategy;
        let options = SweepOptions { sample, views, seed: args.seed, max_steps };
        let found = evaluate::sweep::sweep(backend, plan, &dataset, &options, progress)?;
        counter.finish();
        let found = found.ok_or_else(interrupted)?;
        let printed = if args.json {
            json(&mut out, &found)
        } else {
            sweep::print(&mut out, &found).map_err(Error::output)
        };
        return draw(args.svg.as_deref(), || found.chart()).and(printed);
    }
    let near_ties = args.near_ties.as_ref().map(|_| NEAR);
    let options = EvalOptions { sample, strategy, seed: args.seed, loss, near_ties };
    let found = evaluate::evaluate(backend, plan, &dataset, &options, progress)?;
    counter.finish();
    let found = found.ok_or_else(interrupted)?;
    let compared = against.map(|there| Paired::of(&found.answers, &there)).transpose();
    let (paired, compared) = compared.map_or_else(|error| (None, Err(error)), |paired| (paired, Ok(())));
    // Whatever a file comes to, the report is told, and whether or not anyone listens, the files are written.
    let printed = if args.json {
        json(&mut out, &Compared { found: &found, paired })
    } else {
        report::print(&mut out, &dataset, &found)
            .and_then(|()| paired.map_or(Ok(()), |paired| report::print_paired(&mut out, &paired)))
            .map_err(Error::output)
    };
    let drawn = draw(args.svg.as_deref(), || report::chart(&found));
    let listed = args.near_ties.as_ref().map_or(Ok(()), |path| write_lines(path, &found.near_ties));
    let answered = args.answers.as_ref().map_or(Ok(()), |path| write_lines(path, &found.answers));
    compared.and(drawn).and(listed).and(answered).and(printed)
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Compared<'a> {
    #[serde(flatten)]
    found: &'a EvalReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    paired: Option<Paired>,
}

impl Args {
    fn sample(&self) -> Sample {
        match (self.limit, self.first) {
            (Some(count), _) => Sample::Random { count: size(count), seed: self.seed },
            (None, Some(count)) => Sample::First(size(count)),
            (None, None) => Sample::All,
        }
    }

    /// Says so where fewer puzzles than were asked for are all that there are.
    fn note_if_fewer(&self, examples: usize) -> Result<()> {
        let asked = [("--limit", self.limit), ("--first", self.first)];
        for (flag, n) in asked.into_iter().filter_map(|(flag, n)| Some((flag, n?))) {
            if size(n) > examples {
                writeln!(
                    style::stderr(),
                    "given {flag} {n}, there are only {examples} puzzles: all are evaluated"
                )
                .map_err(Error::output)?;
            }
        }
        Ok(())
    }
}

/// A count as a size.
pub(super) fn size(n: NonZeroU64) -> usize {
    usize::try_from(n.get()).unwrap_or(usize::MAX)
}

/// Ctrl-C.
pub(super) fn interrupted() -> Error {
    Error::interrupted("interrupted")
}

fn json(out: &mut impl Write, value: &impl Serialize) -> Result<()> {
    let line = serde_json::to_string(value).map_err(|e| Error::failed(e.to_string()))?;
    writeln!(out, "{line}").map_err(Error::output)
}

fn draw(path: Option<&Path>, chart: impl FnOnce() -> Chart) -> Result<()> {
    path.map_or(Ok(()), |path| chart().write_svg(path).map(drop))
}

fn write_lines(path: &Path, values: &[impl Serialize]) -> Result<()> {
    let mut text = String::new();
    for value in values {
        text += &serde_json::to_string(value).map_err(|e| Error::failed(e.to_string()))?;
        text.push('\n');
    }
    files::write_bytes(path, text.as_bytes()).map(drop)
}

/// Refuses answers that cannot be of the puzzles that will be asked, before any is.
fn same_count(path: &Path, there: usize, here: usize) -> Result<()> {
    if there == here {
        return Ok(());
    }
    Err(Error::input(format!(
        "{}: {there} answers, expected {here}, as many as puzzles here",
        path.display()
    ))
    .hint("give the --first, --limit and --seed with which they were written"))
}

/// What will compute, and what memory it takes.
pub fn describe<K: HostBackend>(plan: &Plan) -> String {
    let rows = if plan.batch == 1 { "one row".into() } else { format!("{} rows", plan.batch) };
    format!(
        "{} parameters on {}, {rows} at a time, memory {}",
        plan.params.trained_parameters(),
        K::NAME,
        memory::human(K::planned_bytes(plan) as u64)
    )
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend;
    use crate::cli::testing::parse;

    #[test]
    fn defaults_and_flags() {
        let args: Args = parse(&["--model", "m", "--data", "d"]).unwrap();
        assert_eq!((args.split, args.sample(), args.seed, args.json), (Split::Test, Sample::All, 0, false));
        assert_eq!(args.ask.strategy().unwrap(), Strategy::PUBLISHED);
        let line = "--model m --data d --split train --limit 5 --seed 3 --batch 8 --backend reference --json";
        let args: Args = parse(&line.split(' ').collect::<Vec<_>>()).unwrap();
        assert_eq!((args.split, args.sample()), (Split::Train, Sample::Random { count: 5, seed: 3 }));
        assert_eq!((args.batch.get(), args.backend.backend, args.json), (8, Backend::Reference, true));
        let args: Args = parse(&["--model", "m", "--data", "d", "--first", "7"]).unwrap();
        assert_eq!(args.sample(), Sample::First(7));
        assert!(parse::<Args>(&["--model", "m"]).is_err());
        for bad in
            ["--halt 0", "--first 2 --limit 3", "--sweep --halt q", "--sweep --near-ties f", "--batch 0"]
        {
            let line = format!("--model m --data d {bad}");
            assert!(parse::<Args>(&line.split(' ').collect::<Vec<_>>()).is_err(), "{bad}");
        }
    }
}
