//! How a model is asked, on the command line: the flags that `eval` and `solve` share.

use std::io::Write;
use std::num::NonZeroU64;

use hrm_core::config::Config;

use super::values::{Halt, act_steps, count};
use super::words::counted;
use crate::error::{Error, Result};
use crate::strategy::{self, Answer, Strategy};
use crate::style;

/// When to halt, which board is the answer, and how many views vote.
///
/// The defaults are those of the published evaluation; `solve` has its own.
#[derive(Clone, Debug, PartialEq, clap::Args)]
pub struct AskArgs {
    /// When to halt: after the maximum, when Q decides, or after a number of ACT steps
    #[arg(long, value_name = "max|q|STEPS", default_value = "max")]
    pub halt: Halt,
    /// Which board is the answer: the last, or the one with the highest Q-halt
    #[arg(long, value_enum, default_value = "last")]
    pub answer: Answer,
    /// Solve K symmetric views of the puzzle and let them vote, weighted by sigmoid(Q-halt) [default: 1]
    #[arg(long, value_name = "K", value_parser = count)]
    pub vote: Option<NonZeroU64>,
    /// Maximum number of ACT steps [default: as in training]
    #[arg(long, value_name = "N", value_parser = act_steps)]
    pub max_steps: Option<NonZeroU64>,
}

impl AskArgs {
    /// What was asked for.
    ///
    /// # Errors
    /// `--max-steps` beside a number of steps.
    pub fn strategy(&self) -> Result<Strategy> {
        if let (Halt::Steps(steps), Some(most)) = (self.halt, self.max_steps) {
            return Err(Error::usage(format!(
                "given --halt {steps} and --max-steps {most}, expected only one of them"
            ))
            .hint("--halt STEPS halts after just so many steps, whatever the maximum"));
        }
        let size = |n: NonZeroU64| usize::try_from(n.get()).unwrap_or(usize::MAX);
        Ok(Strategy {
            halt: self.halt.into(),
            answer: self.answer,
            views: self.vote.map_or(1, size),
            max_steps: self.max_steps.map(size),
        })
    }
}

/// Says so on standard error where rows halt after more steps than a model of `config` was trained with.
///
/// # Errors
/// Standard error is closed.
pub fn note_if_beyond(strategy: &Strategy, config: &Config) -> Result<()> {
    match strategy.halt {
        strategy::Halt::Steps(steps) if steps > config.halt_max_steps => writeln!(
            style::stderr(),
            "given --halt {steps}, the model was trained with at most {}",
            counted(config.halt_max_steps, "ACT step")
        )
        .map_err(Error::output),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::parse;

    #[test]
    fn what_is_given_replaces_the_default() {
        let strategy = |line: &[&str]| parse::<AskArgs>(line).unwrap().strategy();
        assert_eq!(strategy(&[]).unwrap(), Strategy::PUBLISHED);
        let line = ["--halt", "q", "--answer", "best-q", "--vote", "8", "--max-steps", "32"];
        let expected =
            Strategy { halt: strategy::Halt::Q, answer: Answer::BestQ, views: 8, max_steps: Some(32) };
        assert_eq!(strategy(&line).unwrap(), expected);
        let error = strategy(&["--halt", "3", "--max-steps", "32"]).unwrap_err();
        assert_eq!(error.to_string(), "given --halt 3 and --max-steps 32, expected only one of them");
        for bad in
            [&["--vote", "0"][..], &["--answer", "first"], &["--max-steps", "0"], &["--max-steps", "65537"]]
        {
            assert!(parse::<AskArgs>(bad).is_err(), "{bad:?}");
        }
    }
}
