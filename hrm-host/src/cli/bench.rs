//! `hrm bench`: how fast this machine trains and solves.

use std::num::NonZeroU64;

use super::values::{Backend, count};

/// Measure step time, GFLOP/s, the share of this machine's own GEMM rate, and memory planned and used
#[derive(Debug, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  hrm bench
  hrm bench --preset sudoku-extreme --batch 8 --json")]
pub struct Args {
    /// The model's settings by name
    #[arg(long, value_name = "NAME", default_value = "sudoku-mini")]
    pub preset: String,
    /// What computes
    #[arg(long, value_enum, default_value_t)]
    pub backend: Backend,
    /// Puzzles per training step [default: what the preset says]
    #[arg(long, value_name = "N", value_parser = count)]
    pub batch: Option<NonZeroU64>,
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
        let plain =
            Args { preset: "sudoku-mini".to_owned(), backend: Backend::Cpu, batch: None, json: false };
        assert_eq!(parse(&[]), Ok(plain));
        let args: Args = parse(&["--preset", "arc-1", "--batch", "8", "--json"]).unwrap();
        assert_eq!((args.preset.as_str(), args.batch, args.json), ("arc-1", NonZeroU64::new(8), true));
        assert!(parse::<Args>(&["--batch", "0"]).is_err());
    }
}
