//! `hrm quickstart`: from nothing to a solved puzzle.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use super::puzzle::Puzzle;
use super::trace;
use super::watch::Watch;
use super::words::{program, shell_word};
use crate::backend::Cpu;
use crate::data::Dataset;
use crate::data::sudoku::build;
use crate::data::sudoku::partition::Split;
use crate::data::sudoku::{Board, GenerateOptions, Size};
use crate::error::{Error, Result};
use crate::evaluate::{EvalOptions, Sample, evaluate};
use crate::files::{self, Asked, DirLock, LOCK};
use crate::interrupt::Interrupt;
use crate::memory;
use crate::model_dir::checkpoints;
use crate::progress::Mode;
use crate::settings::Settings;
use crate::solve::{Halt, Model};
use crate::style::{self, STRONG};
use crate::train::files::{RunDir, SETTINGS};
use crate::train::run::End;
use crate::train::{self, Trainer, presets};

/// What the quickstart trains.
const PRESET: &str = "sudoku-4x4";

/// Generate puzzles, train a model, evaluate it on held-out puzzles and solve one step by step
///
/// It needs no files and no GPU.
#[derive(Debug, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  hrm quickstart
  hrm quickstart --json | tail -n 1")]
pub struct Args {
    /// End with one line of JSON: {"exact_accuracy":..,"seconds":..}
    #[arg(long)]
    pub json: bool,
}

/// Where the quickstart works: below the current directory, so that its model can be tried afterwards.
const DIR: &str = "runs/quickstart";
/// Puzzles made for training, and held out.
const PUZZLES: [u32; 2] = [20_000, 500];

/// Givens of each puzzle.
const CLUES: usize = 7;

/// Name of the file that marks a quickstart which has not come to its end.
const UNFINISHED: &str = "unfinished";

/// The first of `runs/quickstart`, `runs/quickstart-2`, ... that was interrupted and that nobody else is at, or that is not
/// there yet: what is finished is never replaced. With its lock.
fn place() -> Result<(PathBuf, DirLock)> {
    let mut dir = PathBuf::from(DIR);
    for number in 2.. {
        let mark = dir.join(UNFINISHED);
        let of_its_start = |name: &str| name == LOCK || name.starts_with(UNFINISHED) && name != UNFINISHED;
        let is_new = std::fs::read_dir(&dir).map_or(true, |entries| {
            entries.flatten().all(|entry| entry.file_name().to_str().is_some_and(of_its_start))
        });
        if is_new {
            files::create_dir_all(&dir)?;
        }
        if (is_new || mark.is_file())
            && let Asked::Taken(lock) = DirLock::ask(&dir).map_err(|error| files::write_error(&dir, error))?
            && (is_new || mark.is_file())
        {
            if is_new {
                files::write_bytes(&mark, b"`hrm quickstart` goes on with what is here.\n")?;
            }
            return Ok((dir, lock));
        }
        dir = PathBuf::from(format!("{DIR}-{number}"));
    }
    Err(Error::failed("no place for a quickstart"))
}

/// Runs the quickstart.
///
/// # Errors
/// The disk or the backend fails, or Ctrl-C.
pub fn run(args: &Args) -> Result<()> {
    let started = Instant::now();
    let (dir, _lock) = &place()?;
    let mut out = style::stdout();
    let mut say = |text: std::fmt::Arguments<'_>| {
        if args.json { Ok(()) } else { writeln!(out, "{text}").map_err(Error::output) }
    };
    say(format_args!(
        "{STRONG}1. Puzzles{STRONG:#}: 4 x 4 Sudokus of {CLUES} givens, each with one solution"
    ))?;
    let data = dir.join("data");
    for (split, count, seed) in [(Split::Train, PUZZLES[0], 1), (Split::Test, PUZZLES[1], 2)] {
        let name = if split == Split::Train { "train" } else { "test" };
        if data.join(name).join("dataset.json").is_file() {
            say(format_args!("   {name}: made before the interruption"))?;
            continue;
        }
        let options = GenerateOptions {
            count,
            size: Size::Four,
            clues: Some(CLUES..=CLUES),
            out: data.clone(),
            split,
            augment: 0,
            seed,
        };
        let made = build::generate(&options, None)?;
        let what =
            if split == Split::Train { "to train on" } else { "held out; none of them is in the other set" };
        say(format_args!("   {} {what}", made.puzzles))?;
    }

    let mut merged = Settings::default();
    let preset = presets::find(PRESET).ok_or_else(|| Error::failed(format!("no preset {PRESET}")))?;
    merged.text(&format!("preset {PRESET}"), preset.toml)?;
    let settings: train::Settings = merged.build()?;
    let dataset = Arc::new(Dataset::open(&data, "train")?);
    let test = Dataset::open(&data, "test")?;
    let run = dir.join("run");
    let began = run.join(SETTINGS).is_file();
    let run_dir = if began { RunDir::reopen(&run)? } else { RunDir::create(&run)? };
    let mut trainer = match checkpoints(&run).last() {
        Some((_, newest)) => Trainer::<Cpu>::resume(newest, dataset)?,
        None => Trainer::<Cpu>::new(&settings, dataset)?,
    };
    run_dir.clear()?;
    say(format_args!(
        "{STRONG}2. Training{STRONG:#}: {} parameters, {} steps of {} puzzles, {} of memory",
        trainer.plan().params.trained_parameters(),
        trainer.state().total_steps,
        trainer.plan().batch,
        memory::human(train::planned_bytes::<Cpu>(trainer.plan()) as u64)
    ))?;
    if !began {
        files::write_bytes(&run.join(SETTINGS), merged.to_toml().as_bytes())?;
    }
    let (first, total) = (trainer.state().step, trainer.state().total_steps);
    if first > 0 {
        say(format_args!("   goes on after step {first}, where it was interrupted"))?;
    }
    let interrupt = Interrupt::install()?;
    let stop = interrupt.clone();
    let mut watch = Watch::new(Mode::choose(args.json), first, total, trainer.plan().batch, interrupt);
    let outcome = train::run::run(&mut trainer, &run_dir, Some(&test), None, &mut watch);
    watch.finish();
    let outcome = outcome?;
    drop(trainer);
    let interrupted =
        |what: String| Err(Error::interrupted(what).hint(format!("go on with: {} quickstart", program())));
    if outcome.end == End::Interrupted {
        return interrupted(format!("interrupted after step {} of {total}", outcome.step));
    }
    drop(run_dir);

    let mut model = Model::<Cpu>::load(&run, 64)?;
    let options = EvalOptions {
        sample: Sample::All,
        strategy: Halt::Q.into(),
        seed: 0,
        loss: settings.arch.loss,
        near_ties: None,
    };
    let (backend, plan) = model.parts();
    let report = evaluate(backend, plan, &test, &options, |_, _| !stop.requested())?;
    let Some(report) = report else { return interrupted("interrupted while evaluating".into()) };
    say(format_args!(
        "{STRONG}3. Evaluation{STRONG:#}: {:.1}% of {} held-out puzzles solved where each halts on Q, after {:.2} ACT steps on average of at most {}",
        100.0 * report.all.exact_accuracy,
        report.all.puzzles,
        report.all.steps,
        settings.arch.halt_max_steps
    ))?;

    let mut tokens = vec![0; test.metadata().seq_len];
    let mut labels = tokens.clone();
    test.read(0, 0, &mut tokens, &mut labels)?;
    let question =
        Puzzle::Sudoku(Board::from_tokens(Size::Four, &tokens).unwrap_or_else(|| Board::empty(Size::Four)));
    say(format_args!("{STRONG}4. A held-out puzzle{STRONG:#}, step by step"))?;
    let mut one = Model::<Cpu>::load(&run, 1)?;
    let found = one.solve(&tokens, 0, Halt::Q)?;
    let mark = dir.join(UNFINISHED);
    std::fs::remove_file(&mark).map_err(|error| files::write_error(&mark, error))?;
    let seconds = started.elapsed().as_secs_f64();
    let mut out = style::stdout();
    if args.json {
        let line = json!({ "exact_accuracy": report.all.exact_accuracy, "seconds": seconds });
        return writeln!(out, "{line}").map_err(Error::output);
    }
    trace::draw(&mut out, &question, &found.views[0])?;
    trace::verdict(&mut out, &question, &found)?;
    let puzzle = question.text(&tokens).replace('0', ".");
    writeln!(
        out,
        "\n{:.0} s in all. Try it yourself:\n  {} solve --model {} --trace {puzzle}",
        seconds,
        program(),
        shell_word(&run)
    )
    .map_err(Error::output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::parse;

    #[test]
    fn json_is_the_only_choice() {
        assert_eq!(parse::<Args>(&[]), Ok(Args { json: false }));
        assert_eq!(parse::<Args>(&["--json"]), Ok(Args { json: true }));
        assert!(parse::<Args>(&["now"]).is_err());
    }
}
