//! Two evaluations of the same puzzles, puzzle by puzzle: what changed between two models or backends.

use std::collections::{HashMap, VecDeque};

use serde::Serialize;

use super::answers::{Answered, PuzzleId};
use super::interval::Interval;
use crate::error::{Error, Result};

/// How two evaluations of the same puzzles differ.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Paired {
    /// Puzzles that both looked at.
    pub puzzles: u64,
    /// Solved by both.
    pub both: u64,
    /// Solved here alone.
    pub only_here: u64,
    /// Solved there alone.
    pub only_there: u64,
    /// The share solved here less the share solved there.
    pub difference: f64,
    /// Its 95% interval.
    pub interval95: Interval,
}

impl Paired {
    /// Compares `here` with `there`.
    ///
    /// # Errors
    /// They are not of the same puzzles.
    pub fn of(here: &[Answered], there: &[Answered]) -> Result<Self> {
        if there.len() != here.len() {
            return Err(Error::input(format!("{} puzzles there, {} here", there.len(), here.len())));
        }
        // A puzzle may come several times: its answers are taken in their order.
        let mut by_puzzle: HashMap<PuzzleId, VecDeque<bool>> = HashMap::new();
        for answer in there {
            by_puzzle.entry(answer.puzzle).or_default().push_back(answer.solved);
        }
        let (mut both, mut only_here, mut only_there) = (0, 0, 0);
        for Answered { set, example, puzzle, solved, .. } in here {
            let Some(there) = &by_puzzle.get_mut(puzzle).and_then(VecDeque::pop_front) else {
                return Err(Error::input(format!(
                    "the answers are to other puzzles: none there to example {example} of set {set}"
                )));
            };
            both += u64::from(*solved && *there);
            only_here += u64::from(*solved && !there);
            only_there += u64::from(!solved && *there);
        }
        let counts = [both, only_here, only_there].map(|count| count as f64);
        let puzzles = here.len() as u64;
        Ok(Self {
            puzzles,
            both,
            only_here,
            only_there,
            difference: (counts[1] - counts[2]) / (puzzles as f64).max(1.0),
            interval95: Interval::paired(counts[0], counts[1], counts[2], puzzles as f64),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(solved: &[bool]) -> Vec<Answered> {
        let answer = |(example, &solved)| {
            let puzzle = PuzzleId::of(&[example as i32], &[]);
            Answered { set: 0, example, puzzle, solved, correct: 3, steps: 1 }
        };
        solved.iter().enumerate().map(answer).collect()
    }

    #[test]
    fn pairs_are_counted_in_any_order() {
        let here = answers(&[true, true, false, false, true]);
        let mut there = answers(&[true, false, true, false, true]);
        there.reverse();
        let found = Paired::of(&here, &there).unwrap();
        assert_eq!((found.puzzles, found.both, found.only_here, found.only_there), (5, 2, 1, 1));
        assert_eq!(found.difference, 0.0);
        assert!(found.interval95.0 < 0.0 && found.interval95.1 > 0.0);
    }

    #[test]
    fn other_puzzles_are_refused() {
        let here = answers(&[true, true]);
        assert!(Paired::of(&here, &answers(&[true])).is_err());
        let mut there = answers(&[true, true]);
        there[1].puzzle = PuzzleId::of(&[7], &[]);
        assert!(Paired::of(&here, &there).unwrap_err().to_string().contains("example 1 of set 0"));
        // Where they stand is no matter.
        there[1] = Answered { example: 9, ..here[1] };
        assert_eq!(Paired::of(&here, &there).unwrap().both, 2);
    }
}
