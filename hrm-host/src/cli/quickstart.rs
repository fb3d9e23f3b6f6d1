//! `hrm quickstart`: from nothing to a solved puzzle.

/// Make puzzles, train on them, evaluate on held-out ones and solve one step by step
///
/// Needs no files and no GPU.
#[derive(Debug, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  hrm quickstart
  hrm quickstart --json | tail -n 1")]
pub struct Args {
    /// End with one line of JSON: {"exact_accuracy":..,"seconds":..}
    #[arg(long)]
    pub json: bool,
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
