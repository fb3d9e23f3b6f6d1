//! `hrm eval`: how good a model is.

use std::num::NonZeroU64;
use std::path::PathBuf;

use super::values::{Halt, Split, count};

/// Evaluate a model on a dataset
#[derive(Debug, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  hrm eval --model runs/a/best --data data/sudoku
  hrm eval --model runs/a/best --data data/sudoku --limit 1000 --halt q --json")]
pub struct Args {
    /// The model: a directory with config.json and model.safetensors
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    /// The dataset
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Which split of the dataset
    #[arg(long, value_enum, default_value = "test")]
    pub split: Split,
    /// Evaluate on the first N puzzles only [default: all]
    #[arg(long, value_name = "N", value_parser = count)]
    pub limit: Option<NonZeroU64>,
    /// When to halt: after the model's maximum, when Q says so, or after a number of ACT steps
    #[arg(long, value_name = "max|q|STEPS", default_value = "max")]
    pub halt: Halt,
    /// Print the result as one line of JSON
    #[arg(long)]
    pub json: bool,
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
