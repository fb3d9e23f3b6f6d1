//! Tests of [`super`].

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

/// Grids of every size.
pub fn grids() -> impl Strategy<Value = Grid> {
    (1..=SIDE, 1..=SIDE).prop_flat_map(|(rows, columns)| {
        vec(0..COLOURS, rows * columns).prop_map(move |cells| Grid::new(rows, columns, cells).unwrap())
    })
}

fn painted(grid: &Grid, top: usize, left: usize) -> Vec<i32> {
    let mut canvas = [99; CANVAS];
    grid.paint(top, left, &mut canvas);
    canvas.iter().map(|&token| i32::from(token)).collect()
}

#[test]
fn end_marks_lie_below_and_to_the_right() {
    let grid = Grid::new(2, 3, vec![0, 1, 2, 7, 8, 9]).unwrap();
    let tokens = painted(&grid, 4, 5);
    let mut expected = vec![0; CANVAS];
    for (row, line) in [(4, [2, 3, 4, 1]), (5, [9, 10, 11, 1]), (6, [1, 1, 1, 0])] {
        expected[row * SIDE + 5..][..4].copy_from_slice(&line);
    }
    assert_eq!(tokens, expected);
}

#[test]
fn a_grid_that_reaches_the_end_has_no_mark_there() {
    let grid = Grid::new(30, 29, vec![3; 30 * 29]).unwrap();
    let tokens = painted(&grid, 0, 0);
    assert!(tokens.chunks(SIDE).all(|row| row[..29] == [5; 29] && row[29] == 1));
    let tokens = painted(&Grid::new(29, 30, vec![3; 30 * 29]).unwrap(), 0, 0);
    assert!(tokens[..29 * SIDE].iter().all(|&token| token == 5) && tokens[29 * SIDE..] == [1; 30]);
    assert_eq!(painted(&Grid::new(30, 30, vec![0; 900]).unwrap(), 0, 0), [2; CANVAS]);
    // Beyond the canvas nothing is painted, and nothing else goes wrong.
    assert_eq!(painted(&grid, 29, 29).iter().filter(|&&token| token != 0).count(), 1);
    assert_eq!(painted(&grid, 30, usize::MAX / 2), [0; CANVAS]);
}

#[test]
fn what_is_no_grid_is_refused() {
    for (rows, columns, cells) in [
        (0, 0, vec![]),
        (0, 1, vec![]),
        (31, 1, vec![0; 31]),
        (1, 31, vec![0; 31]),
        (1, 2, vec![0]),
        (1, 1, vec![10]),
    ] {
        assert_eq!(Grid::new(rows, columns, cells), None);
    }
}

/// Every rectangle at the first cell, by trial.
fn crop_by_trial(tokens: &[i32]) -> Option<Grid> {
    let mut best: Option<Grid> = None;
    for rows in 1..=SIDE {
        for columns in 1..=SIDE {
            let cells = tokens.chunks(SIDE).take(rows).flat_map(|row| &row[..columns]);
            let colours: Option<Vec<u8>> =
                cells.map(|&token| (2..12).contains(&token).then(|| token as u8 - 2)).collect();
            let grid = colours.and_then(|colours| Grid::new(rows, columns, colours));
            if let Some(grid) = grid
                && best.as_ref().is_none_or(|best| grid.cells().len() > best.cells().len())
            {
                best = Some(grid);
            }
        }
    }
    best
}

/// Canvases as a half-trained model leaves them: a grid with some tokens overwritten.
fn damaged() -> impl Strategy<Value = Vec<i32>> {
    (grids(), vec((0..CANVAS, -100..13i32), 0..12)).prop_map(|(grid, spots)| {
        let mut tokens = painted(&grid, 0, 0);
        spots.into_iter().for_each(|(place, token)| tokens[place] = token);
        tokens
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn crop_undoes_paint(grid in grids()) {
        prop_assert_eq!(crop(&painted(&grid, 0, 0)), Some(grid));
    }

    #[test]
    fn crop_is_the_largest_rectangle(tokens in damaged()) {
        prop_assert_eq!(crop(&tokens), crop_by_trial(&tokens));
    }

    #[test]
    fn crop_takes_anything(tokens in vec(any::<i32>(), 0..1000)) {
        let _ = crop(&tokens);
    }
}

#[test]
fn an_answer_without_a_grid_gives_none() {
    assert_eq!(crop(&[1; CANVAS]), None);
    assert_eq!(crop(&[i32::MIN; CANVAS]), None);
    assert_eq!(crop(&[2; CANVAS - 1]), None);
    let mut tokens = [5; CANVAS];
    tokens[0] = 12;
    assert_eq!(crop(&tokens), None);
}

#[test]
fn digits_are_printed_row_by_row() {
    assert_eq!(Grid::new(2, 2, vec![0, 1, 9, 2]).unwrap().to_string(), "01\n92\n");
}
