//! `hrm solve`: one puzzle, and how the model gets there.

use std::path::PathBuf;

use std::io::{Read, Write};

use serde_json::json;

use super::ask::{AskArgs, note_if_beyond};
use super::puzzle::Puzzle;
use super::trace;
use crate::backend::{BackendArgs, HostBackend, WithBackend};
use crate::error::{Error, Result};
use crate::solve::{Model, Solution, TraceStep};
use crate::strategy::Strategy;
use crate::style;
use crate::task::Task;

/// Solve one puzzle
#[derive(Debug, clap::Args)]
#[command(
    // Strategy::DEFAULT
    mut_arg("halt", |arg| arg.default_value("q")),
    mut_arg("answer", |arg| arg.default_value("best-q")),
    after_help = "Examples:
  hrm solve --model runs/a/best --trace 53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79
  hrm solve --model runs/a/best - < puzzle.txt"
)]
pub struct Args {
    /// The model: a directory with config.json and model.safetensors, a run, or a bundle
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    /// The puzzle, in one line or as a grid; - reads standard input. Sudoku: a digit per cell, 0 or . for blanks. Maze: #
    /// for walls, spaces, S and G. ARC: the input grid, one row of digits per line
    #[arg(value_name = "PUZZLE|-", allow_hyphen_values = true)]
    pub puzzle: String,
    /// Row of the puzzle embedding, for a model with an embedding per puzzle
    #[arg(long, value_name = "ROW", default_value_t, value_parser = clap::value_parser!(i32).range(0..))]
    pub puzzle_id: i32,
    /// How it is answered.
    #[command(flatten)]
    pub ask: AskArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "its fields are documented")]
    pub backend: BackendArgs,
    /// Print the backend and its memory on standard error
    #[arg(long, short)]
    pub verbose: bool,
    /// Show the board after every ACT step, with changes and Q values
    #[arg(long)]
    pub trace: bool,
    /// Print the result as one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// A puzzle to solve.
#[derive(Debug, PartialEq)]
pub struct Options {
    /// The model's directory.
    pub model: PathBuf,
    /// Where the puzzle's text is.
    pub puzzle: Source,
    /// Row of the puzzle embedding.
    pub puzzle_id: i32,
    /// How it is answered.
    pub strategy: Strategy,
    /// What computes.
    pub backend: BackendArgs,
    /// Whether the plan is told.
    pub verbose: bool,
    /// Whether each ACT step is shown.
    pub trace: bool,
    /// Whether the result is JSON.
    pub json: bool,
}

/// Where a puzzle's text is.
#[derive(Debug, PartialEq)]
pub enum Source {
    /// On the command line.
    Text(String),
    /// On standard input.
    Stdin,
}

impl Args {
    /// Tells a puzzle from `-` and from a misspelt flag.
    pub fn validate(self) -> Result<Options> {
        let puzzle = match self.puzzle.as_str() {
            "-" => Source::Stdin,
            text if text.chars().any(|c| c.is_ascii_digit() || ".#SG".contains(c))
                && !text.starts_with("--") =>
            {
                Source::Text(self.puzzle)
            }
            text => {
                return Err(Error::usage(format!(
                    "given {text:?}, expected a puzzle of digits and dots (of a maze #, space, S and G), or -"
                )));
            }
        };
        Ok(Options {
            model: self.model,
            puzzle,
            puzzle_id: self.puzzle_id,
            strategy: self.ask.strategy()?,
            backend: self.backend,
            verbose: self.verbose,
            trace: self.trace,
            json: self.json,
        })
    }
}

/// Views that are worked on together, at most.
const BATCH: usize = 32;
/// Longest text that can hold a puzzle, drawn generously.
const LONGEST: u64 = 64 << 10;

/// Solves one puzzle.
///
/// # Errors
/// Wrong input, or the backend fails; and where the answer is no solution, an error that says why, after the
/// output.
pub fn run(args: Args) -> Result<()> {
    let options = args.validate()?;
    options.backend.dispatch(Solve(&options))
}

struct Solve<'a>(&'a Options);

impl WithBackend for Solve<'_> {
    type Output = ();

    fn call<K: HostBackend>(self) -> Result<()> {
        run_on::<K>(self.0)
    }
}

fn run_on<K: HostBackend>(options: &Options) -> Result<()> {
    let text = match &options.puzzle {
        Source::Text(text) => text.clone(),
        Source::Stdin => {
            let mut text = String::new();
            std::io::stdin()
                .take(LONGEST)
                .read_to_string(&mut text)
                .map_err(|e| Error::input(format!("cannot read the puzzle from standard input: {e}")))?;
            text
        }
    };
    let strategy = options.strategy;
    let model = crate::model_io::source::Source::open(&options.model)?;
    let config = *model.config();
    let puzzle = Puzzle::parse(Task::of(config.seq_len, config.vocab_size), &text)?;
    let mut model = Model::<K>::of(model, strategy.views.clamp(1, BATCH), options.backend.dtype)?;
    if options.verbose {
        writeln!(style::stderr(), "{}", super::eval::describe::<K>(model.parts().1))
            .map_err(Error::output)?;
    }
    if !options.json {
        note_if_beyond(&strategy, model.config())?;
    }
    let found = model.solve(&puzzle.tokens(), options.puzzle_id, strategy)?;
    let mut out = style::stdout();
    if options.json {
        return print_json(&mut out, &puzzle, &found, options.trace);
    }
    if options.trace {
        trace::draw(&mut out, &puzzle, &found.views[0])?;
    } else {
        write!(out, "{}", puzzle.draw(found.answer(), found.answer())).map_err(Error::output)?;
    }
    if trace::verdict(&mut out, &puzzle, &found)? { Ok(()) } else { Err(unsolved()) }
}

/// The error of an answer that is no solution: it has been shown already.
fn unsolved() -> Error {
    Error::failed("the model's answer does not solve the puzzle")
        .hint("try --halt max, --vote 8, or a model that is trained for longer")
}

/// One line of JSON; boards are text, as [`Puzzle::text`] gives them.
fn print_json(out: &mut impl Write, puzzle: &Puzzle, found: &Solution, with_trace: bool) -> Result<()> {
    let fault = puzzle.fault(found.answer());
    let chosen = found.chosen();
    let mut line = json!({
        "answer": puzzle.text(found.answer()),
        "solved": puzzle.can_be_judged().then_some(fault.is_none()),
        "steps": found.steps(),
        "answer_step": chosen.step,
        "q_halt": chosen.q_halt,
        "q_continue": chosen.q_continue,
        "views": found.views.len(),
        "votes": found.votes,
    });
    if with_trace {
        let step = |step: &TraceStep| {
            json!({
                "step": step.step,
                "board": puzzle.text(&step.tokens),
                "q_halt": step.q_halt,
                "q_continue": step.q_continue,
            })
        };
        line["trace"] = found.views[0].steps.iter().map(step).collect();
    }
    writeln!(out, "{line}").map_err(Error::output)?;
    if fault.is_none() { Ok(()) } else { Err(unsolved()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::parse;
    use crate::strategy::Halt;

    fn options(line: &[&str]) -> Result<Options, String> {
        let args: Args = parse(&[&["--model", "m"], line].concat())?;
        args.validate().map_err(|error| error.to_string())
    }

    #[test]
    fn a_puzzle_is_text_or_standard_input() {
        let read = options(&["-", "--halt", "3", "--trace"]).unwrap();
        assert_eq!(
            (read.model, read.puzzle, read.trace, read.json),
            ("m".into(), Source::Stdin, true, false)
        );
        assert_eq!(read.strategy, Strategy { halt: Halt::Steps(3), ..Strategy::DEFAULT });
        assert_eq!(options(&["-"]).unwrap().strategy, Strategy::DEFAULT);
        let text = "1 . | 3 4\n3 4 | . 2";
        assert_eq!(options(&["--json", text]).unwrap().puzzle, Source::Text(text.to_owned()));
        for bad in [&[][..], &["abc"], &["--3"], &["-", "--halt", "soon"], &["1.", "2."]] {
            assert!(options(bad).is_err(), "{bad:?}");
        }
    }
}
