//! Values that several commands take, parsed into types.

use std::num::{NonZeroU32, NonZeroU64};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;

use crate::data::split;
use crate::settings::split_assignment;
use crate::solve;

/// When inference stops: the value of `--halt`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Halt {
    /// After the model's `halt_max_steps`, as in the published evaluation.
    #[default]
    Max,
    /// As soon as Q-halt exceeds Q-continue.
    Q,
    /// After this many ACT steps.
    Steps(NonZeroU32),
}

impl From<Halt> for solve::Halt {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Max => Self::Max,
            Halt::Q => Self::Q,
            Halt::Steps(steps) => Self::Steps(steps.get() as usize),
        }
    }
}

impl FromStr for Halt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "max" => Ok(Self::Max),
            "q" => Ok(Self::Q),
            steps => steps
                .parse()
                .ok()
                .filter(|steps: &NonZeroU32| u64::from(steps.get()) <= MOST_STEPS)
                .map(Self::Steps)
                .ok_or_else(|| {
                    format!("expected `max`, `q` or a number of ACT steps from 1 to {MOST_STEPS}")
                }),
        }
    }
}

/// A half of a dataset: the value of `--split`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Split {
    /// What is trained on
    Train,
    /// What is held out
    Test,
}

impl Split {
    /// The name of its directory in a dataset.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }
}

impl From<Split> for split::Split {
    fn from(split: Split) -> Self {
        match split {
            Split::Train => Self::Train,
            Split::Test => Self::Test,
        }
    }
}

/// The width of a Sudoku: the value of `--size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GridSize {
    /// 4 by 4, digits 1 to 4.
    Four,
    /// 9 by 9, digits 1 to 9.
    Nine,
}

impl GridSize {
    /// Cells in a row.
    pub fn width(self) -> u8 {
        match self {
            Self::Four => 4,
            Self::Nine => 9,
        }
    }

    /// The fewest clues with which a puzzle can have one solution.
    pub fn fewest_clues(self) -> u8 {
        match self {
            Self::Four => 4,
            Self::Nine => 17,
        }
    }
}

impl FromStr for GridSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "4" => Ok(Self::Four),
            "9" => Ok(Self::Nine),
            _ => Err("expected 4 or 9".to_owned()),
        }
    }
}

/// A number of clues, or the fewest and the most: the value of `--clues`.
pub fn clue_range(text: &str) -> Result<RangeInclusive<u8>, String> {
    let number = |text: &str| text.parse::<u8>().map_err(|_| "expected a number, or a range such as 30-45");
    let (fewest, most) = text.split_once('-').unwrap_or((text, text));
    let range = number(fewest)?..=number(most)?;
    if range.is_empty() {
        return Err("expected the fewer clues first, as in 30-45".to_owned());
    }
    Ok(range)
}

/// One `--set KEY=VALUE`, checked for its shape only; [`Settings::set`](crate::settings::Settings::set) takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment(pub String);

impl FromStr for Assignment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match split_assignment(text) {
            Some(_) => Ok(Self(text.to_owned())),
            None => Err("expected KEY=VALUE, such as lr=3e-4".to_owned()),
        }
    }
}

/// A number from 1.
pub fn count(text: &str) -> Result<NonZeroU64, String> {
    text.parse().map_err(|_| "expected a whole number from 1".to_owned())
}

/// ACT steps at most, as in a configuration: every step of a row is kept.
const MOST_STEPS: u64 = 65_536;

/// A number of ACT steps.
pub fn act_steps(text: &str) -> Result<NonZeroU64, String> {
    count_to(text, MOST_STEPS)
}

/// A number from 1 to `most`.
pub fn count_to(text: &str, most: u64) -> Result<NonZeroU64, String> {
    let number = text.parse().ok().filter(|number: &NonZeroU64| number.get() <= most);
    number.ok_or_else(|| format!("expected a whole number from 1 to {most}"))
}

/// A time in minutes.
pub fn minutes(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().map(|minutes: f64| 60.0 * minutes).filter(|seconds| *seconds > 0.0);
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "expected a number of minutes above 0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halting_is_max_q_or_a_number() {
        assert_eq!("max".parse(), Ok(Halt::Max));
        assert_eq!("q".parse(), Ok(Halt::Q));
        assert_eq!("16".parse(), Ok(Halt::Steps(NonZeroU32::new(16).unwrap())));
        for bad in ["0", "-1", "Q", "", "1.5", "4294967296"] {
            assert!(bad.parse::<Halt>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_count_starts_at_one() {
        assert_eq!(count("1000").unwrap().get(), 1000);
        assert!(count("0").is_err() && count("1e3").is_err());
    }

    #[test]
    fn sizes_and_assignments_are_checked() {
        assert_eq!("9".parse::<GridSize>().unwrap().width(), 9);
        assert!("16".parse::<GridSize>().is_err());
        assert_eq!("a.b=1".parse(), Ok(Assignment("a.b=1".to_owned())));
        assert!("ab".parse::<Assignment>().is_err());
    }
}
