//! Grids of colours, and how they lie in the tokens of an example.
//!
//! An example is a canvas of 30 by 30 tokens: 0 is padding, 1 marks the end, 2 to 11 are the colours 0 to 9. The
//! row below a grid and the column to the right of it hold end marks, as far as the grid reaches, and none where it
//! reaches the canvas's own end.

use super::super::dihedral::Dihedral;
use std::fmt;

/// Rows and columns of the canvas, the most that a grid can have.
pub const SIDE: usize = 30;
/// Tokens of an example.
pub const CANVAS: usize = SIDE * SIDE;
/// The number of colours.
pub const COLOURS: u8 = 10;
/// Distinct tokens: padding, the end mark, the colours.
pub const VOCAB_SIZE: u32 = COLOURS as u32 + 2;
/// The token of padding.
pub const PAD: u8 = 0;
/// The token that marks the end of a row or a column.
pub const END: u8 = 1;
/// The token of colour 0.
const FIRST_COLOUR: u8 = 2;

/// A grid of 1 to 30 rows and columns of colours 0 to 9.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Grid {
    rows: u8,
    columns: u8,
    cells: Box<[u8]>,
}

impl Grid {
    /// The grid of these cells in row-major order; `None` if there is none: no rows or columns, more than 30, another
    /// number of cells, or a colour above 9.
    #[must_use]
    pub fn new(rows: usize, columns: usize, cells: Vec<u8>) -> Option<Self> {
        let fits =
            (1..=SIDE).contains(&rows) && (1..=SIDE).contains(&columns) && cells.len() == rows * columns;
        (fits && cells.iter().all(|&colour| colour < COLOURS)).then(|| Self {
            rows: rows as u8,
            columns: columns as u8,
            cells: cells.into(),
        })
    }

    /// The number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        usize::from(self.rows)
    }

    /// The number of columns.
    #[must_use]
    pub fn columns(&self) -> usize {
        usize::from(self.columns)
    }

    /// The colours in row-major order.
    #[must_use]
    pub fn cells(&self) -> &[u8] {
        &self.cells
    }

    /// The colours, a row at a time.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.cells.chunks_exact(self.columns())
    }

    /// The grid with every colour replaced by `colours[colour]`, then turned or reflected. `colours` are below 10.
    pub(super) fn transform(&self, dihedral: Dihedral, colours: &[u8; COLOURS as usize]) -> Self {
        let (rows, columns) = dihedral.shape(self.rows(), self.columns());
        let mut cells = Vec::with_capacity(self.cells.len());
        for source in dihedral.sources(self.rows(), self.columns()) {
            cells.push(colours[usize::from(self.cells[source])]);
        }
        Self { rows: rows as u8, columns: columns as u8, cells: cells.into() }
    }

    /// Paints the grid and its end marks on a canvas of padding, the first cell at (`top`, `left`). What would lie
    /// beyond the canvas is left out.
    pub fn paint(&self, top: usize, left: usize, canvas: &mut [u8; CANVAS]) {
        canvas.fill(PAD);
        let mut rows = canvas.chunks_exact_mut(SIDE).skip(top);
        for (line, row) in self.lines().zip(&mut rows) {
            for (token, colour) in row.iter_mut().skip(left).zip(line) {
                *token = colour + FIRST_COLOUR;
            }
            if let Some(token) = row.get_mut(left.saturating_add(self.columns())) {
                *token = END;
            }
        }
        if let Some(row) = rows.next() {
            row.iter_mut().skip(left).take(self.columns()).for_each(|token| *token = END);
        }
    }
}

impl fmt::Display for Grid {
    /// A line of digits for each row.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.lines() {
            for colour in line {
                write!(f, "{colour}")?;
            }
            f.write_str("\n")?;
        }
        Ok(())
    }
}

/// The grid that a model's answer holds: the largest rectangle of colours at the canvas's first cell, the flattest
/// of those with most cells. `None` if the first token is no colour, or `tokens` are not a whole canvas.
#[must_use]
pub fn crop(tokens: &[i32]) -> Option<Grid> {
    if tokens.len() != CANVAS {
        return None;
    }
    let colour = |token: &i32| token.checked_sub(i32::from(FIRST_COLOUR)).filter(|c| (0..10).contains(c));
    let (mut width, mut best) = (SIDE, (0, 0));
    for (above, row) in tokens.chunks_exact(SIDE).enumerate() {
        // Of the rows so far, none is coloured further than this.
        width = row.iter().take(width).take_while(|token| colour(token).is_some()).count();
        if (above + 1) * width > best.0 * best.1 {
            best = (above + 1, width);
        }
    }
    let (rows, columns) = best;
    let lines = tokens.chunks_exact(SIDE).take(rows);
    let cells = lines.flat_map(|row| row.iter().take(columns)).filter_map(colour);
    Grid::new(rows, columns, cells.map(|colour| colour as u8).collect())
}

#[cfg(test)]
#[path = "grid_tests.rs"]
pub(super) mod tests;
