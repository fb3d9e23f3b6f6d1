//! Generates puzzles with one solution. Puzzle `index` of a seed is the same on every machine, whichever thread makes it.

use std::ops::RangeInclusive;

use super::augment::Shuffle;
use super::grid::{Board, MAX_CELLS, Size};
use super::partition::Split;
use super::solver::{Solutions, solve, solve_at_random};
use crate::data::error::{Error, Result};
use hrm_core::rng::{Rng, Stream};

/// A question and its only answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Puzzle {
    /// The givens.
    pub question: Board,
    /// The solution.
    pub answer: Board,
}

/// Complete boards that are tried for one puzzle before giving up.
const ATTEMPTS: usize = 2000;
/// Shuffles of one puzzle that are tried to bring it into the split.
const SHUFFLES: usize = 100;

/// Puzzle `index` of `seed`, for `split`: with a number of givens from `clues`, each as likely as the others, or, with
/// `None`, minimal, which means that no given can be left out.
///
/// # Errors
/// [`Error::Argument`] if no puzzle with so few clues turned up, or there can be none with so many.
pub fn puzzle(
    seed: u64,
    index: u32,
    size: Size,
    clues: Option<&RangeInclusive<usize>>,
    split: Split,
) -> Result<Puzzle> {
    puzzle_unless(seed, index, size, clues, split, || false)
}

/// As [`puzzle`], asking before every board whether to stop.
///
/// # Errors
/// As there, and [`Error::Interrupted`] if `stopped` says so.
pub(super) fn puzzle_unless(
    seed: u64,
    index: u32,
    size: Size,
    clues: Option<&RangeInclusive<usize>>,
    split: Split,
    stopped: impl Fn() -> bool,
) -> Result<Puzzle> {
    check_clues(size, clues)?;
    // Each split has its own half of the sequence.
    let start = match split {
        Split::Train => 0,
        Split::Test => 1 << 63,
    };
    let mut rng = Rng::new(seed, Stream::Puzzle, index).at(start);
    let clues = clues.map(|range| match range.end() - range.start() {
        0 => *range.start(),
        more => range.start() + rng.below(more as u32 + 1) as usize,
    });
    for _ in 0..ATTEMPTS {
        if stopped() {
            return Err(Error::Interrupted);
        }
        let answer = complete(size, &mut rng);
        let question = dig(&answer, clues.unwrap_or(0), &mut rng);
        if clues.is_none_or(|clues| question.clues() == clues) {
            // Shuffled into the split: cheaper than another puzzle.
            let shuffled = (0..SHUFFLES)
                .map(|_| Shuffle::random(size, &mut rng))
                .find(|shuffle| Split::of(&shuffle.apply(&question)) == split);
            if let Some(shuffle) = shuffled {
                return Ok(Puzzle { question: shuffle.apply(&question), answer: shuffle.apply(&answer) });
            }
        }
    }
    let clues = clues.map_or("minimal".to_owned(), |clues| clues.to_string());
    let expected = format!("more for {size}: {ATTEMPTS} boards gave no puzzle with so few");
    Err(Error::argument("--clues", clues, expected))
}

/// Fewest givens that a puzzle with one solution can have: 4, and 17 (McGuire et al., 2012).
pub(super) fn check_clues(size: Size, clues: Option<&RangeInclusive<usize>>) -> Result<()> {
    let least = match size {
        Size::Four => 4,
        Size::Nine => 17,
    };
    match clues {
        Some(clues) if clues.is_empty() || *clues.start() < least || *clues.end() > size.cells() => {
            let given = format!("{} to {}", clues.start(), clues.end());
            Err(Error::argument("--clues", given, format!("{least} to {} for {size}", size.cells())))
        }
        _ => Ok(()),
    }
}

/// A random complete board. The search favours some boards; the final shuffle makes all of a class equally likely.
fn complete(size: Size, rng: &mut Rng) -> Board {
    let empty = Board::empty(size);
    solve_at_random(&empty, rng).unwrap_or(empty)
}

/// Blanks cells of `answer` in random order while the solution stays the only one and more than `clues` are left.
fn dig(answer: &Board, clues: usize, rng: &mut Rng) -> Board {
    let mut order: [u8; MAX_CELLS] = std::array::from_fn(|cell| cell as u8);
    let order = &mut order[..answer.size().cells()];
    rng.shuffle(order);
    let mut question = *answer;
    let mut left = answer.clues();
    for &cell in order.iter() {
        if left <= clues {
            break;
        }
        let cell = usize::from(cell);
        question.set(cell, 0);
        if matches!(solve(&question), Solutions::One(_)) {
            left -= 1;
        } else {
            question.set(cell, answer.get(cell));
        }
    }
    question
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_minimal(question: &Board) -> bool {
        (0..question.size().cells()).filter(|&cell| question.get(cell) != 0).all(|cell| {
            let mut fewer = *question;
            fewer.set(cell, 0);
            matches!(solve(&fewer), Solutions::Many(..))
        })
    }

    #[test]
    fn puzzles_are_minimal_with_one_solution() {
        for size in [Size::Four, Size::Nine] {
            for index in 0..20 {
                let Puzzle { question, answer } = puzzle(3, index, size, None, Split::Test).unwrap();
                assert_eq!(solve(&question), Solutions::One(answer));
                assert!(is_minimal(&question), "{question}");
                assert_eq!(Split::of(&question), Split::Test);
            }
        }
    }

    #[test]
    fn clues_can_be_asked_for() {
        for (size, clues) in [(Size::Four, 4), (Size::Four, 16), (Size::Nine, 24), (Size::Nine, 40)] {
            let puzzle = puzzle(1, 0, size, Some(&(clues..=clues)), Split::Train).unwrap();
            assert_eq!(puzzle.question.clues(), clues);
            assert_eq!(solve(&puzzle.question), Solutions::One(puzzle.answer));
        }
        for (size, clues) in [(Size::Four, 3), (Size::Four, 17), (Size::Nine, 16), (Size::Nine, 82)] {
            let bad = puzzle(1, 0, size, Some(&(clues..=clues)), Split::Train);
            assert!(matches!(bad, Err(Error::Argument { .. })));
        }
    }

    #[test]
    fn every_number_of_a_range_comes_up() {
        let mut counts = [0; 4];
        for index in 0..80 {
            let puzzle = puzzle(1, index, Size::Nine, Some(&(40..=43)), Split::Train).unwrap();
            assert_eq!(solve(&puzzle.question), Solutions::One(puzzle.answer));
            counts[puzzle.question.clues() - 40] += 1;
        }
        assert!(counts.iter().all(|&n| n >= 8), "{counts:?}");
    }

    /// Held to these puzzles, so that no change of the generator goes unseen.
    #[test]
    fn the_same_on_every_machine() {
        let line = |index, size| puzzle(7, index, size, None, Split::Train).unwrap().question.to_string();
        let lines = [line(0, Size::Nine), line(1, Size::Nine), line(0, Size::Four)];
        let expected = [
            ".4.21..75....7...91.3.8...63....94....5...6..268.....7.......5....46...8.........",
            ".6....9.7.1.8...5......1...8...7......5.4..9......9.311...8..6.9.6..5....5.2..3..",
            ".....21.....1..4",
        ];
        assert_eq!(lines, expected);
        assert_ne!(line(2, Size::Nine), lines[0]);
    }
}
