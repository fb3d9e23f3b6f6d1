//! Symmetric views of a puzzle: the same puzzle, looking different. A model that answers all of them answers one
//! puzzle several times.

use hrm_core::rng::{Rng, Stream};

use crate::data::dihedral::Dihedral;
use crate::data::sudoku::Shuffle;
use crate::error::{Error, Result};
use crate::task::Task;

/// One way to look at a puzzle: cells change places and tokens change names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The cell of the puzzle that each cell of the view shows.
    cells: Vec<u32>,
    /// What each token becomes.
    tokens: Vec<i32>,
    /// The inverse of `tokens`.
    names: Vec<i32>,
}

impl View {
    fn new(cells: Vec<u32>, tokens: Vec<i32>) -> Self {
        let mut names = tokens.clone();
        for (token, &name) in (0..).zip(&tokens) {
            if let Some(entry) = usize::try_from(name).ok().and_then(|name| names.get_mut(name)) {
                *entry = token;
            }
        }
        Self { cells, tokens, names }
    }

    /// The puzzle as it is, for `seq_len` cells.
    fn identity(seq_len: usize) -> Self {
        Self::new((0..).take(seq_len).collect(), Vec::new())
    }

    fn of_sudoku(shuffle: &Shuffle, cells: usize, side: usize) -> Self {
        let tokens = (0..=side as u8 + 1).map(|token| match token {
            0 | 1 => i32::from(token),
            _ => i32::from(shuffle.digit(token - 1)) + 1,
        });
        Self::new((0..cells).map(|cell| shuffle.source(cell) as u32).collect(), tokens.collect())
    }

    fn of_square(symmetry: Dihedral, side: usize) -> Self {
        Self::new(symmetry.sources(side, side).map(|cell| cell as u32).collect(), Vec::new())
    }

    /// What the view shows of `tokens`, the puzzle's, in `shown`. A token outside the vocabulary, such as the label of a
    /// cell that does not count, stays as it is.
    pub fn show(&self, tokens: &[i32], shown: &mut [i32]) {
        for (shown, &cell) in shown.iter_mut().zip(&self.cells) {
            *shown = renamed(&self.tokens, tokens.get(cell as usize).copied().unwrap_or_default());
        }
    }

    /// What `shown`, the view's, says of the puzzle, in `tokens`: the inverse of [`show`](Self::show).
    pub fn unshow(&self, shown: &[i32], tokens: &mut [i32]) {
        for (&shown, &cell) in shown.iter().zip(&self.cells) {
            if let Some(token) = tokens.get_mut(cell as usize) {
                *token = renamed(&self.names, shown);
            }
        }
    }
}

fn renamed(names: &[i32], token: i32) -> i32 {
    usize::try_from(token).ok().and_then(|token| names.get(token)).copied().unwrap_or(token)
}

/// Views at most, whatever symmetries a task has.
const MOST_VIEWS: usize = 4096;

/// `count` views of the puzzles of `task` with `seq_len` cells; the first is the puzzle as it is. They depend on the
/// seed alone, and fewer views are the first of more, so that a puzzle's answer is the same whatever comes beside it.
///
/// # Errors
/// The task has not so many symmetries, or nobody needs so many views.
pub fn views(task: Task, seq_len: usize, count: usize, seed: u64) -> Result<Vec<View>> {
    if count > MOST_VIEWS {
        return Err(Error::input(format!("given {count} views to vote, expected at most {MOST_VIEWS}")));
    }
    let mut views = vec![View::identity(seq_len)];
    match task {
        _ if count <= 1 => {}
        Task::Sudoku(size) => {
            views.extend((1..count).map(|index| {
                let mut rng = Rng::new(seed, Stream::Augment, index as u32);
                View::of_sudoku(&Shuffle::random(size, &mut rng), size.cells(), size.side())
            }));
        }
        Task::Maze { side } => {
            let mut others = Dihedral::ALL;
            Rng::new(seed, Stream::Augment, 0).shuffle(&mut others[1..]);
            views.extend(others.into_iter().take(count).skip(1).map(|other| View::of_square(other, side)));
        }
        Task::Arc { .. } | Task::Other => {}
    }
    if views.len() < count {
        let most = views.len();
        return Err(Error::input(format!(
            "given {count} views to vote, expected at most {most}: {task} has no more symmetries"
        )));
    }
    Ok(views)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::sudoku::{Board, Size};
    use hrm_core::rng::{Rng, Stream};
    use proptest::prelude::*;
    use std::collections::HashSet;

    const TASKS: [(Task, usize, i32); 3] = [
        (Task::Sudoku(Size::Nine), 81, 11),
        (Task::Sudoku(Size::Four), 16, 6),
        (Task::Maze { side: 30 }, 900, 6),
    ];

    #[test]
    fn the_first_view_is_the_puzzle_and_fewer_are_the_first_of_more() {
        for (task, seq_len, _) in TASKS {
            let eight = views(task, seq_len, 8, 5).unwrap();
            assert_eq!(eight[0], View::identity(seq_len));
            assert_eq!(views(task, seq_len, 3, 5).unwrap(), eight[..3]);
            assert_ne!(views(task, seq_len, 8, 6).unwrap(), eight);
            assert_eq!(eight.iter().map(|view| (&view.cells, &view.tokens)).collect::<HashSet<_>>().len(), 8);
        }
    }

    #[test]
    fn what_has_no_more_symmetries_is_refused() {
        let error = views(Task::Maze { side: 30 }, 900, 9, 0).unwrap_err().to_string();
        assert_eq!(
            error,
            "given 9 views to vote, expected at most 8: a maze of 30x30 cells has no more symmetries"
        );
        assert!(views(Task::Other, 16, 2, 0).is_err() && views(Task::Other, 16, 1, 0).is_ok());
    }

    #[test]
    fn a_solved_sudoku_is_solved_in_every_view() {
        let solved = "1234341221434321".chars().map(|c| c as i32 - '0' as i32 + 1).collect::<Vec<i32>>();
        for view in views(Task::Sudoku(Size::Four), 16, 40, 1).unwrap() {
            let mut shown = vec![0; 16];
            view.show(&solved, &mut shown);
            assert!(Board::from_tokens(Size::Four, &shown).unwrap().is_solved(), "{view:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_undone(seed: u64, which in 0usize..3, fill: u64) {
            let (task, seq_len, vocab) = TASKS[which];
            let mut rng = Rng::new(fill, Stream::Puzzle, 0);
            let mut tokens = vec![0; seq_len];
            tokens.fill_with(|| rng.below(vocab as u32 + 2) as i32 - 1);
            let (mut shown, mut back) = (vec![0; seq_len], vec![0; seq_len]);
            for view in views(task, seq_len, 8, seed).unwrap() {
                view.show(&tokens, &mut shown);
                view.unshow(&shown, &mut back);
                prop_assert_eq!(&back, &tokens);
            }
        }
    }
}
