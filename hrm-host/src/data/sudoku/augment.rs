//! The published shuffle of a Sudoku: it alters a puzzle's looks and neither its validity nor its solutions.
//!
//! Transposition, then a permutation of the bands and of the rows within each, the same for stacks and columns, then
//! a permutation of the digits. Blanks stay blank.

use super::grid::{Board, MAX_CELLS, Size};
use super::partition::Split;
use crate::data::sampler::Augment;
use hrm_core::rng::Rng;

/// One shuffle, to be applied to question and answer alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shuffle {
    size: Size,
    /// Which cell of the original each cell takes its digit from.
    from: [u8; MAX_CELLS],
    /// What each digit becomes; 0 stays 0.
    digits: [u8; 10],
}

impl Shuffle {
    /// A uniform shuffle for boards of `size`.
    #[must_use]
    pub fn random(size: Size, rng: &mut Rng) -> Self {
        let side = size.side();
        let mut digits = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
        rng.shuffle(&mut digits[1..=side]);
        let transpose = rng.below(2) == 1;
        let rows = lines(size, rng);
        let columns = lines(size, rng);
        let mut from = [0; MAX_CELLS];
        for (cell, from) in from[..size.cells()].iter_mut().enumerate() {
            let (row, column) = (rows[cell / side], columns[cell % side]);
            let (row, column) = if transpose { (column, row) } else { (row, column) };
            *from = row * side as u8 + column;
        }
        Self { size, from, digits }
    }

    /// The cell of the original that `cell` takes its digit from; `cell` itself beyond the board.
    #[must_use]
    pub fn source(&self, cell: usize) -> usize {
        self.from[..self.size.cells()].get(cell).map_or(cell, |&from| usize::from(from))
    }

    /// What the digit `digit` becomes; a value that is no digit stays.
    #[must_use]
    pub fn digit(&self, digit: u8) -> u8 {
        self.digits.get(usize::from(digit)).copied().unwrap_or(digit)
    }

    /// The shuffled `board`; a board of another size comes back as it is.
    #[must_use]
    pub fn apply(&self, board: &Board) -> Board {
        if board.size() != self.size {
            return *board;
        }
        let mut shuffled = Board::empty(self.size);
        for (cell, &from) in self.from[..self.size.cells()].iter().enumerate() {
            shuffled.set(cell, self.digits[usize::from(board.get(usize::from(from)))]);
        }
        shuffled
    }

    /// Shuffles tokens in place: the digits' are permuted, all others keep their value. Nothing happens at a length
    /// other than `size.cells()`.
    pub fn apply_tokens(&self, tokens: &mut [i32]) {
        let cells = self.size.cells();
        if tokens.len() != cells {
            return;
        }
        let mut old = [0; MAX_CELLS];
        old[..cells].copy_from_slice(tokens);
        let digits = 1..=self.size.side() as i32;
        for (token, &from) in tokens.iter_mut().zip(&self.from) {
            let value = old[usize::from(from)];
            *token = match value.saturating_sub(1) {
                digit if digits.contains(&digit) => i32::from(self.digits[digit as usize]) + 1,
                _ => value,
            };
        }
    }
}

/// Which line of the original each line is: bands permuted, and the lines within each.
fn lines(size: Size, rng: &mut Rng) -> [u8; 9] {
    let box_side = size.box_side();
    let mut bands = [0, 1, 2];
    rng.shuffle(&mut bands[..box_side]);
    let mut lines = [0; 9];
    for (band, chunk) in bands.iter().zip(lines[..size.side()].chunks_mut(box_side)) {
        for (i, line) in chunk.iter_mut().enumerate() {
            *line = (band * box_side + i) as u8;
        }
        rng.shuffle(chunk);
    }
    lines
}

/// How often a shuffle that gives a held-out puzzle is drawn again.
const ATTEMPTS: usize = 64;

/// A random shuffle that turns `question` into no held-out puzzle, for the size at which that would happen often
/// (see [`super::partition`]). `None` if all attempts gave one.
pub(super) fn training_shuffle(question: &Board, rng: &mut Rng) -> Option<Shuffle> {
    (0..ATTEMPTS)
        .map(|_| Shuffle::random(question.size(), rng))
        .find(|shuffle| question.size() == Size::Nine || Split::of(&shuffle.apply(question)) == Split::Train)
}

/// Shuffles Sudoku examples as they enter a batch.
#[derive(Clone, Copy, Debug)]
pub struct ShuffleExamples {
    size: Size,
}

impl ShuffleExamples {
    /// For datasets of boards of `size`.
    #[must_use]
    pub const fn new(size: Size) -> Self {
        Self { size }
    }
}

impl Augment for ShuffleExamples {
    fn augment(&self, mut rng: Rng, inputs: &mut [i32], labels: &mut [i32]) {
        let shuffle =
            Board::from_tokens(self.size, inputs).and_then(|question| training_shuffle(&question, &mut rng));
        if let Some(shuffle) = shuffle {
            shuffle.apply_tokens(inputs);
            shuffle.apply_tokens(labels);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::generate;
    use super::super::solver::{Solutions, solve};
    use super::*;
    use hrm_core::rng::{Rng, Stream};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn keeps_clues_solution_and_uniqueness(seed: u64, index: u32, four: bool) {
            let size = if four { Size::Four } else { Size::Nine };
            let puzzle = generate::puzzle(seed, index, size, None, Split::Train).unwrap();
            let shuffle = Shuffle::random(size, &mut Rng::new(seed, Stream::Augment, index));
            let (question, answer) = (shuffle.apply(&puzzle.question), shuffle.apply(&puzzle.answer));
            prop_assert_eq!(question.clues(), puzzle.question.clues());
            prop_assert_eq!(solve(&question), Solutions::One(answer));

            let mut tokens: Vec<i32> = puzzle.question.cells().iter().map(|&d| i32::from(d) + 1).collect();
            shuffle.apply_tokens(&mut tokens);
            prop_assert_eq!(Board::from_tokens(size, &tokens), Some(question));
        }

        #[test]
        fn four_by_four_shuffles_stay_out_of_the_test_split(seed: u64, index: u32) {
            let puzzle = generate::puzzle(seed, index, Size::Four, None, Split::Train).unwrap();
            let mut inputs: Vec<i32> = puzzle.question.cells().iter().map(|&d| i32::from(d) + 1).collect();
            let mut labels: Vec<i32> = puzzle.answer.cells().iter().map(|&d| i32::from(d) + 1).collect();
            let rng = Rng::new(seed, Stream::Augment, index);
            ShuffleExamples::new(Size::Four).augment(rng, &mut inputs, &mut labels);
            let question = Board::from_tokens(Size::Four, &inputs).unwrap();
            prop_assert_eq!(Split::of(&question), Split::Train);
            prop_assert_eq!(solve(&question), Solutions::One(Board::from_tokens(Size::Four, &labels).unwrap()));
        }
    }

    #[test]
    fn every_transformation_happens() {
        let mut rng = Rng::new(5, Stream::Augment, 0);
        let shuffles: Vec<Shuffle> = (0..2000).map(|_| Shuffle::random(Size::Nine, &mut rng)).collect();
        for cell in 0..81 {
            // Every cell of the original reaches the first place about equally often: 2000 / 81 = 24.7.
            let count = shuffles.iter().filter(|shuffle| shuffle.from[0] == cell).count();
            assert!((5..60).contains(&count), "cell {cell}: {count}");
        }
        let transposed = shuffles.iter().filter(|s| s.from[0] % 9 == s.from[1] % 9).count();
        assert!((900..1100).contains(&transposed), "{transposed}");
        assert!((1..=9).all(|d| shuffles.iter().any(|s| s.digits[1] == d)));
        assert!(shuffles.iter().all(|s| s.digits[0] == 0));
    }

    #[test]
    fn tokens_that_are_no_digits_keep_their_value() {
        let shuffle = Shuffle::random(Size::Four, &mut Rng::new(1, Stream::Augment, 0));
        let mut tokens = [-100, 0, 1, 6, i32::MIN, i32::MAX, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1];
        let mut expected = tokens;
        shuffle.apply_tokens(&mut tokens);
        tokens.sort_unstable();
        expected.sort_unstable();
        assert_eq!(tokens, expected);
    }
}
