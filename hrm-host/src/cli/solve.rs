//! `hrm solve`: one puzzle, and how the model gets there.

use std::path::PathBuf;

use super::values::Halt;
use crate::error::{Error, Result};

/// Solve one puzzle
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hrm solve --model runs/a/best --trace 53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79
  hrm solve --model runs/a/best - < puzzle.txt")]
pub struct Args {
    /// The model: a directory with config.json and model.safetensors
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
