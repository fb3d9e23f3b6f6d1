//! `hrm train`: from a dataset to a model.

use std::num::NonZeroU64;
use std::path::PathBuf;

use super::values::{Assignment, Backend, count};
use crate::error::{Error, Result};

/// Train a model, or go on with a run that stopped
///
/// Ctrl-C writes a checkpoint and stops; a second one stops at once. A resumed run equals an uninterrupted one bit for
/// bit.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hrm train --preset sudoku-mini --data data/sudoku --out runs/a
  hrm train --config my.toml --set lr=3e-4 --set model.hidden_size=256 --data data/sudoku --out runs/b
  hrm train --resume --data data/sudoku --out runs/a")]
#[command(group(clap::ArgGroup::new("settings").required(true).args(["preset", "config", "resume"]).multiple(true)))]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// The run: checkpoints, metrics and models go here
    #[arg(long, value_name = "RUN")]
    pub out: PathBuf,
    /// Settings by name, such as sudoku-mini or sudoku-extreme
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    pub preset: Option<String>,
    /// Settings from a TOML file
    #[arg(long, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
    /// Override one setting; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<Assignment>,
    /// What computes
    #[arg(long, value_enum, default_value_t)]
    pub backend: Backend,
    /// Stop after this many steps [default: what the settings say]
    #[arg(long, value_name = "N", value_parser = count)]
    pub steps: Option<NonZeroU64>,
    /// Seed of every random choice [default: what the settings say]
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// Go on from the last checkpoint in RUN, with the settings it began with
    #[arg(long)]
    pub resume: bool,
}

/// A training run to start or to go on with.
#[derive(Debug, PartialEq)]
pub struct Options {
    /// The dataset.
    pub data: PathBuf,
    /// The directory of the run.
    pub out: PathBuf,
    /// Where the settings come from.
    pub base: Base,
    /// Overrides, in order.
    pub set: Vec<Assignment>,
    /// What computes.
    pub backend: Backend,
    /// Where to stop, if not where the settings say.
    pub steps: Option<NonZeroU64>,
    /// The seed, if not the settings' own.
    pub seed: Option<u64>,
    /// Whether the run goes on from its last checkpoint.
    pub resume: bool,
}

/// Where a run's settings come from, before the overrides.
#[derive(Debug, PartialEq)]
pub enum Base {
    /// A preset.
    Preset(String),
    /// A TOML file.
    File(PathBuf),
    /// The run that is resumed.
    Run,
}

impl Args {
    /// Settles where the settings come from. With `--resume`, a preset or file that is given as well is kept as the base, so
    /// that it can be compared with the run's own.
    pub fn validate(self) -> Result<Options> {
        let base = match (self.preset, self.config) {
            (Some(name), None) => Base::Preset(name),
            (None, Some(path)) => Base::File(path),
            (None, None) if self.resume => Base::Run,
            _ => return Err(Error::usage("expected one of --preset NAME, --config FILE.toml and --resume")),
        };
        Ok(Options {
            data: self.data,
            out: self.out,
            base,
            set: self.set,
            backend: self.backend,
            steps: self.steps,
            seed: self.seed,
            resume: self.resume,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::parse;

    fn options(line: &[&str]) -> Result<Options, String> {
        let args: Args = parse(&[&["--data", "d", "--out", "r"], line].concat())?;
        args.validate().map_err(|error| error.to_string())
    }

    #[test]
    fn every_flag_parses() {
        let line =
            "--preset sudoku-mini --set lr=1e-4 --set a.b=c --backend reference --steps 10 --seed 3 --resume";
        let expected = Options {
            data: "d".into(),
            out: "r".into(),
            base: Base::Preset("sudoku-mini".to_owned()),
            set: vec![Assignment("lr=1e-4".to_owned()), Assignment("a.b=c".to_owned())],
            backend: Backend::Reference,
            steps: NonZeroU64::new(10),
            seed: Some(3),
            resume: true,
        };
        assert_eq!(options(&line.split(' ').collect::<Vec<_>>()), Ok(expected));
    }

    #[test]
    fn settings_come_from_exactly_one_place() {
        assert_eq!(options(&["--config", "a.toml"]).unwrap().base, Base::File("a.toml".into()));
        assert_eq!(options(&["--resume"]).unwrap().base, Base::Run);
        for bad in [
            &[][..],
            &["--preset", "a", "--config", "b"],
            &["--preset", "a", "--set", "lr"],
            &["--preset", "a", "--steps", "0"],
            &["--preset", "a", "--backend", "cuda"],
        ] {
            assert!(options(bad).is_err(), "{bad:?}");
        }
    }
}
