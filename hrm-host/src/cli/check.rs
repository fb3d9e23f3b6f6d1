//! `hrm check`: this machine's numbers against golden ones.

use std::path::PathBuf;

use super::values::Backend;

/// Compare a backend with golden numbers: each tensor group's error and bound
///
/// Exits with 1 when any group misses its bound.
#[derive(Debug, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  hrm check --golden fixtures/golden
  hrm check --golden fixtures/golden --backend reference --json")]
pub struct Args {
    /// The directory of golden numbers
    #[arg(long, value_name = "DIR")]
    pub golden: PathBuf,
    /// What computes
    #[arg(long, value_enum, default_value_t)]
    pub backend: Backend,
    /// Print each group as one line of JSON
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::parse;

    #[test]
    fn the_backend_is_the_cpu_unless_said_otherwise() {
        let golden: PathBuf = "g".into();
        let plain = Args { golden: golden.clone(), backend: Backend::Cpu, json: false };
        assert_eq!(parse(&["--golden", "g"]), Ok(plain));
        let judge = Args { golden, backend: Backend::Reference, json: true };
        assert_eq!(parse(&["--golden", "g", "--backend", "reference", "--json"]), Ok(judge));
        assert!(parse::<Args>(&[]).is_err());
    }
}
