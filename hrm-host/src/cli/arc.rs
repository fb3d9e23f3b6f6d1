//! `hrm arc`: answers to ARC, and what they score.

use std::io::Write;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::ask::{AskArgs, note_if_beyond};
use super::counter::Counter;
use super::eval::{describe, fits, interrupted, size};
use super::values::{Split, count};
use crate::arc::predict::{PredictOptions, Prediction, predict};
use crate::arc::score::{Score, read_answers, score};
use crate::arc::submission::{MOST_ATTEMPTS, Reading, Submission};
use crate::backend::{BackendArgs, HostBackend, WithBackend};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::files;
use crate::solve::Model;
use crate::style::{self, FAINT, STRONG, WARNING};

/// Predict answers to ARC tests, or score them
#[derive(Debug, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  hrm arc predict --model runs/arc/best --data data/arc-1 --out submission.json
  hrm arc score submission.json --tasks ARC-AGI/data/evaluation")]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub what: What,
}

/// What to do with ARC.
#[derive(Debug, PartialEq, clap::Subcommand)]
#[expect(missing_docs, reason = "each command is documented by its arguments")]
pub enum What {
    Predict(PredictArgs),
    Score(ScoreArgs),
}

/// Answer every test by a vote of the task's augmentations, and write a submission
#[derive(Debug, PartialEq, clap::Args)]
#[command(
    // It is known, to be refused with a word on --votes.
    mut_arg("vote", |arg| arg.hide(true)),
    after_help = "Examples:
  hrm arc predict --model runs/arc/best --data data/arc-1 --out submission.json
  hrm arc predict --model runs/arc/best --data data/arc-1 --out submission.json --votes 100 --halt q"
)]
pub struct PredictArgs {
    /// The model: a directory with config.json and model.safetensors, a run, or a bundle
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    /// The dataset, written by hrm data arc
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Which split of the dataset
    #[arg(long, value_enum, default_value = "test")]
    pub split: Split,
    /// The submission to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Use only the first K augmentations of each task [default: all]
    #[arg(long, value_name = "K", value_parser = count)]
    pub votes: Option<NonZeroU64>,
    /// Attempts per test in the submission; the ARC Prize allows two
    #[arg(long, value_name = "N", value_parser = count, default_value = "2")]
    pub attempts: NonZeroU64,
    /// How each augmentation is answered.
    #[command(flatten)]
    pub ask: AskArgs,
    /// Rows per batch
    #[arg(long, value_name = "N", value_parser = count, default_value = "32")]
    pub batch: NonZeroU64,
    #[command(flatten)]
    #[expect(missing_docs, reason = "its fields are documented")]
    pub backend: BackendArgs,
    /// Print the result as one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Score a submission against the tasks' own answers
#[derive(Debug, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  hrm arc score submission.json --tasks ARC-AGI/data/evaluation
  hrm arc score submission.json --tasks arc-agi_evaluation_solutions.json
  hrm arc score submission.json --tasks ConceptARC/corpus --json")]
pub struct ScoreArgs {
    /// The submission, in the format of the ARC Prize: a file, or a directory with a file for each task
    #[arg(value_name = "SUBMISSION")]
    pub submission: PathBuf,
    /// The tasks it is for: JSON files of tasks or of solutions, or directories of them
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    pub tasks: Vec<PathBuf>,
    /// Print the result as one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Answers or scores.
///
/// # Errors
/// Wrong input, or the backend or the disk fails.
pub fn run(args: &Args) -> Result<()> {
    match &args.what {
        What::Predict(args) => args.backend.dispatch(Predict(args)),
        What::Score(args) => run_score(args),
    }
}

struct Predict<'a>(&'a PredictArgs);

impl WithBackend for Predict<'_> {
    type Output = ();

    fn call<K: HostBackend>(self) -> Result<()> {
        run_predict::<K>(self.0)
    }
}

fn run_predict<K: HostBackend>(args: &PredictArgs) -> Result<()> {
    let strategy = args.ask.strategy()?;
    if args.ask.vote.is_some() {
        return Err(Error::usage(
            "given --vote, expected --votes: what votes here are a task's augmentations",
        ));
    }
    if size(args.attempts) > MOST_ATTEMPTS {
        return Err(Error::usage(format!(
            "given --attempts {}, expected 1 to {MOST_ATTEMPTS}",
            args.attempts
        )));
    }
    files::expect_place(&args.out)?;
    let dataset = Dataset::open(&args.data, args.split.name())?;
    let mut model = Model::<K>::load_in(
        &args.model,
        size(args.batch).min(dataset.examples().max(1)),
        args.backend.dtype,
    )?;
    fits(&dataset, model.config())?;
    if !args.json {
        writeln!(style::stderr(), "{}", describe::<K>(model.parts().1)).map_err(Error::output)?;
        note_if_beyond(&strategy, model.config())?;
    }
    let mut counter = Counter::start(args.json, "example")?;
    let (backend, plan) = model.parts();
    let options = PredictOptions { votes: args.votes.map(size), strategy };
    let progress = |done: usize, of: usize| counter.goes_on(done as u64, of as u64);
    let found = predict(backend, plan, &dataset, &options, progress)?;
    counter.finish();
    let Prediction { submission, score, unanswered, votes, without_grid, steps } =
        found.ok_or_else(interrupted)?;
    let mut out = style::stdout();
    let mut print = || -> std::io::Result<()> {
        if args.json {
            let line = json!({
                "score": score,
                "unanswered": unanswered,
                "votes": votes,
                "without_grid": without_grid,
                "steps": steps,
            });
            return writeln!(out, "{line}");
        }
        writeln!(
            out,
            "{}: {votes} answers in {steps:.2} ACT steps on average, {without_grid} of them without a grid",
            args.out.display()
        )?;
        score.as_ref().map_or(Ok(()), |score| table(&mut out, score))?;
        if unanswered > 0 {
            let of = if score.is_none() { "no score: " } else { "" };
            writeln!(out, "{of}the dataset does not have the answers to {}", tests(unanswered))?;
        }
        Ok(())
    };
    let printed = print().map_err(Error::output);
    submission.with_attempts(size(args.attempts)).write(&args.out).and(printed)
}

fn run_score(args: &ScoreArgs) -> Result<()> {
    let Reading { submission, faults, no_grids } = Submission::read(&args.submission)?;
    let mut found = score(&submission, &read_answers(&args.tasks)?)?;
    let bad = match no_grids {
        0 => None,
        1 => Some("1 attempt is no grid and counts as wrong".to_owned()),
        _ => Some(format!("{no_grids} attempts are no grids and count as wrong")),
    };
    found.warnings.splice(0..0, bad.into_iter().chain(faults));
    let mut out = style::stdout();
    if args.json {
        let line = serde_json::to_string(&found).map_err(|e| Error::failed(e.to_string()))?;
        return writeln!(out, "{line}").map_err(Error::output);
    }
    warn(&mut style::stderr(), &args.submission, &found.warnings).map_err(Error::output)?;
    table(&mut out, &found).map_err(Error::output)
}

/// Warnings that have a line of their own.
const WARNINGS: usize = 5;

fn warn(out: &mut impl Write, path: &Path, warnings: &[String]) -> std::io::Result<()> {
    for warning in warnings.iter().take(WARNINGS) {
        writeln!(out, "{WARNING}warning:{WARNING:#} {}: {warning}", path.display())?;
    }
    match warnings.len().saturating_sub(WARNINGS) {
        0 => Ok(()),
        more => writeln!(out, "{WARNING}warning:{WARNING:#} and {more} more; --json lists them all"),
    }
}

/// `1 test`, `2 tests`.
fn tests(count: usize) -> String {
    format!("{count} test{}", if count == 1 { "" } else { "s" })
}

/// Numbers of attempts that have a line of their own.
const SHOWN: [usize; 7] = [1, 2, 5, 10, 50, 100, MOST_ATTEMPTS];

fn table(out: &mut impl Write, score: &Score) -> std::io::Result<()> {
    writeln!(
        out,
        "{STRONG}{} tasks{STRONG:#} of {} tests; attempts at {} of them",
        score.tasks, score.tests, score.attempted
    )?;
    let last = score.pass_at.len();
    let ks = SHOWN.into_iter().take_while(|&k| k < last).chain([last]);
    for k in ks {
        writeln!(
            out,
            "  {:<12}{:>7.2}%  {FAINT}{} of {} tests{FAINT:#}",
            format!("pass@{k}"),
            100.0 * score.pass_at[k - 1],
            score.tests_solved_at[k - 1],
            score.tests
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::parse;

    #[test]
    fn predict_and_score_parse() {
        let args: Args = parse(&["score", "s.json", "--tasks", "t", "--json"]).unwrap();
        let expected = ScoreArgs { submission: "s.json".into(), tasks: vec!["t".into()], json: true };
        assert_eq!(args.what, What::Score(expected));
        let args: Args =
            parse(&["predict", "--model", "m", "--data", "d", "--out", "o", "--votes", "9"]).unwrap();
        let What::Predict(args) = args.what else { panic!("{args:?}") };
        assert_eq!((args.votes, args.attempts.get(), args.split), (NonZeroU64::new(9), 2, Split::Test));
        for bad in [&["score", "s.json"][..], &["predict", "--model", "m"], &["vote"], &[]] {
            assert!(parse::<Args>(bad).is_err(), "{bad:?}");
        }
    }
}
