//! `hrm solve`: one puzzle, and how the model gets there.

use std::path::PathBuf;

use std::io::{Read, Write};

use serde_json::json;

use super::trace;
use super::values::Halt;
use crate::backend::Cpu;
use crate::data::sudoku::{Board, Size};
use crate::error::{Error, Result};
use crate::solve::{Model, Trace};
use crate::style;

/// Solve one puzzle
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hrm solve --model runs/a/best --trace 53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79
  hrm solve --model runs/a/best - < puzzle.txt")]
pub struct Args {
    /// The model: a directory with config.json and model.safetensors, a run, or a bundle
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    /// The puzzle: a digit per cell, 0 or . where empty, in one line or as a grid; - reads standard input
    #[arg(value_name = "PUZZLE|-", allow_hyphen_values = true)]
    pub puzzle: String,
    /// When to halt: after the model's maximum, when Q says so, or after a number of ACT steps
    #[arg(long, value_name = "max|q|STEPS", default_value = "max")]
    pub halt: Halt,
    /// Show the board after every ACT step, what changed, and the Q values
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
    pub puzzle: Puzzle,
    /// When to halt.
    pub halt: Halt,
    /// Whether each ACT step is shown.
    pub trace: bool,
    /// Whether the result is JSON.
    pub json: bool,
}

/// Where a puzzle's text is.
#[derive(Debug, PartialEq)]
pub enum Puzzle {
    /// On the command line.
    Text(String),
    /// On standard input.
    Stdin,
}

impl Args {
    /// Tells a puzzle from `-` and from a misspelt flag.
    pub fn validate(self) -> Result<Options> {
        let puzzle = match self.puzzle.as_str() {
            "-" => Puzzle::Stdin,
            text if text.chars().any(|c| c.is_ascii_digit() || c == '.') && !text.starts_with("--") => {
                Puzzle::Text(self.puzzle)
            }
            text => {
                return Err(Error::usage(format!(
                    "given {text:?}, expected a puzzle of digits and dots, or -"
                )));
            }
        };
        Ok(Options { model: self.model, puzzle, halt: self.halt, trace: self.trace, json: self.json })
    }
}

/// Longest text that can hold a puzzle: a 9 x 9 grid, drawn generously.
const LONGEST: u64 = 64 << 10;

/// Solves one puzzle.
///
/// # Errors
/// Wrong input, or the backend fails; and where the answer is no solution, an error that says why, after the
/// output.
pub fn run(args: Args) -> Result<()> {
    let options = args.validate()?;
    let text = match options.puzzle {
        Puzzle::Text(text) => text,
        Puzzle::Stdin => {
            let mut text = String::new();
            std::io::stdin()
                .take(LONGEST)
                .read_to_string(&mut text)
                .map_err(|e| Error::input(format!("cannot read the puzzle from standard input: {e}")))?;
            text
        }
    };
    let question = Board::parse(&text).map_err(|e| {
        Error::input(e.to_string()).hint("write one character per cell, . or 0 where it is empty")
    })?;
    if !question.is_valid() {
        return Err(Error::input("puzzle: two of its givens contradict each other")
            .hint("a digit stands twice in a row, column or box"));
    }
    let mut model = Model::<Cpu>::load(&options.model, 1)?;
    check_board(&model, question.size())?;
    let found = model.solve(&trace::tokens(&question), 0, options.halt.into())?;
    let mut out = style::stdout();
    if options.json {
        return print_json(&mut out, &question, &found, options.trace);
    }
    if options.trace {
        trace::draw(&mut out, &question, &found)?;
    } else {
        let answer = trace::board(question.size(), found.answer());
        let drawn = answer.render(|cell| trace::answer_style(&question, &answer, cell));
        write!(out, "{drawn}").map_err(Error::output)?;
    }
    if trace::verdict(&mut out, &question, &found)? { Ok(()) } else { Err(unsolved()) }
}

/// The error of an answer that is no solution: it has been shown already.
fn unsolved() -> Error {
    Error::failed("the model's answer does not solve the puzzle")
        .hint("try another --halt, or a model that is trained for longer")
}

/// Whether the model works on boards of `size`.
fn check_board(model: &Model<Cpu>, size: Size) -> Result<()> {
    let config = model.config();
    if config.seq_len == size.cells() && config.vocab_size == size.vocab_size() as usize {
        return Ok(());
    }
    Err(Error::input(format!(
        "the puzzle is a {size} Sudoku of {} cells, the model works on {} cells with {} tokens",
        size.cells(),
        config.seq_len,
        config.vocab_size
    )))
}

/// One line of JSON: boards as digits, 0 where a cell is empty.
fn print_json(out: &mut impl Write, question: &Board, found: &Trace, with_trace: bool) -> Result<()> {
    let digits = |tokens: &[i32]| -> String {
        let board = trace::board(question.size(), tokens);
        board.cells().iter().map(|digit| char::from(b'0' + digit)).collect()
    };
    let answer = trace::board(question.size(), found.answer());
    let solved = trace::fault(question, &answer).is_none();
    let mut line = json!({
        "answer": digits(found.answer()),
        "solved": solved,
        "steps": found.steps.len(),
        "q_halt": found.steps.last().map(|step| step.q_halt),
        "q_continue": found.steps.last().map(|step| step.q_continue),
    });
    if with_trace {
        line["trace"] = found
            .steps
            .iter()
            .map(|step| {
                json!({
                    "step": step.step,
                    "board": digits(&step.tokens),
                    "q_halt": step.q_halt,
                    "q_continue": step.q_continue,
                })
            })
            .collect();
    }
    writeln!(out, "{line}").map_err(Error::output)?;
    if solved { Ok(()) } else { Err(unsolved()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::parse;
    use std::num::NonZeroU32;

    fn options(line: &[&str]) -> Result<Options, String> {
        let args: Args = parse(&[&["--model", "m"], line].concat())?;
        args.validate().map_err(|error| error.to_string())
    }

    #[test]
    fn a_puzzle_is_text_or_standard_input() {
        let read = options(&["-", "--halt", "3", "--trace"]).unwrap();
        let halt = Halt::Steps(NonZeroU32::new(3).unwrap());
        assert_eq!(
            read,
            Options { model: "m".into(), puzzle: Puzzle::Stdin, halt, trace: true, json: false }
        );
        let text = "1 . | 3 4\n3 4 | . 2";
        assert_eq!(options(&["--json", text]).unwrap().puzzle, Puzzle::Text(text.to_owned()));
        for bad in [&[][..], &["abc"], &["--3"], &["-", "--halt", "soon"], &["1.", "2."]] {
            assert!(options(bad).is_err(), "{bad:?}");
        }
    }
}
