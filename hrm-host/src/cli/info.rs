//! `hrm info`: what a directory holds.

use std::path::PathBuf;

/// Describe a model, a run or a dataset
#[derive(Debug, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  hrm info runs/a
  hrm info data/sudoku")]
pub struct Args {
    /// A model, a run or a dataset
    #[arg(value_name = "MODEL|RUN|DIR")]
    pub path: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::parse;

    #[test]
    fn takes_one_path() {
        assert_eq!(parse(&["runs/a"]), Ok(Args { path: "runs/a".into() }));
        assert!(parse::<Args>(&[]).is_err() && parse::<Args>(&["a", "b"]).is_err());
    }
}
