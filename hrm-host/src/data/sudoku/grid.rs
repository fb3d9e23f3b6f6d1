//! A Sudoku board: its cells, printing and the rules. [`super::text`] reads boards from text of any form.

use std::error;
use std::fmt;

/// The most cells of a board.
pub const MAX_CELLS: usize = 81;

/// How large a board is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Size {
    /// 4x4 cells in 2x2 boxes.
    Four,
    /// 9x9 cells in 3x3 boxes.
    Nine,
}

impl Size {
    /// All sizes, the usual one first.
    pub const ALL: [Self; 2] = [Self::Nine, Self::Four];

    /// The size whose rows have `side` cells.
    #[must_use]
    pub const fn from_side(side: usize) -> Option<Self> {
        match side {
            4 => Some(Self::Four),
            9 => Some(Self::Nine),
            _ => None,
        }
    }

    /// The size of a board of `cells` cells.
    #[must_use]
    pub const fn from_cells(cells: usize) -> Option<Self> {
        match cells {
            16 => Some(Self::Four),
            81 => Some(Self::Nine),
            _ => None,
        }
    }

    /// Cells of a row; also the largest digit.
    #[must_use]
    pub const fn side(self) -> usize {
        match self {
            Self::Four => 4,
            Self::Nine => 9,
        }
    }

    /// Cells of a row of a box.
    #[must_use]
    pub const fn box_side(self) -> usize {
        match self {
            Self::Four => 2,
            Self::Nine => 3,
        }
    }

    /// Cells of the board: `seq_len` of its datasets.
    #[must_use]
    pub const fn cells(self) -> usize {
        self.side() * self.side()
    }

    /// Tokens of its datasets: padding 0, blank 1, digit `d` as `d + 1`.
    #[must_use]
    pub const fn vocab_size(self) -> u32 {
        self.side() as u32 + 2
    }

    /// The box, counted row by row, that `cell` lies in.
    #[must_use]
    pub const fn box_of(self, cell: usize) -> usize {
        let (row, column) = (cell / self.side(), cell % self.side());
        row / self.box_side() * self.box_side() + column / self.box_side()
    }
}

impl serde::Serialize for Size {
    /// As it is printed: `9x9`.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{0}x{0}", self.side())
    }
}

/// Why a text is no board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// The number of cells is not that of a board.
    Length(usize),
    /// A character that stands for no cell.
    Character {
        /// Its place in the text, in characters from 1.
        position: usize,
        /// The character.
        character: char,
        /// The largest digit that would be right.
        largest: usize,
    },
}

impl ParseError {
    /// What is there, and what should be.
    #[must_use]
    pub fn found_and_expected(&self) -> (String, String) {
        match self {
            Self::Length(cells) => (format!("{cells} cells"), "81 cells, or 16".to_owned()),
            Self::Character { position, character, largest } => (
                format!("{character:?} at character {position}"),
                format!("1 to {largest}, or . or 0 for a blank"),
            ),
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (found, expected) = self.found_and_expected();
        write!(f, "puzzle: found {found}, expected {expected}")
    }
}

impl error::Error for ParseError {}

/// What is put before and after a cell when a board is drawn, such as terminal colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Put before the cell.
    pub before: &'static str,
    /// Put after the cell.
    pub after: &'static str,
}

impl Style {
    /// As it is.
    pub const PLAIN: Self = Self { before: "", after: "" };
    /// Bold, for a given of the puzzle.
    pub const GIVEN: Self = Self { before: "\x1b[1m", after: "\x1b[0m" };
    /// Green, for a cell that has changed.
    pub const CHANGED: Self = Self { before: "\x1b[32m", after: "\x1b[0m" };
    /// Red, for a cell that is wrong.
    pub const WRONG: Self = Self { before: "\x1b[31m", after: "\x1b[0m" };
}

/// A board. Cells are counted row by row; 0 is a blank.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Board {
    size: Size,
    cells: [u8; MAX_CELLS],
}

impl Board {
    /// A blank board.
    #[must_use]
    pub const fn empty(size: Size) -> Self {
        Self { size, cells: [0; MAX_CELLS] }
    }

    /// Exactly 81 or 16 characters: digits, with `.` or `0` for blanks.
    ///
    /// # Errors
    /// [`ParseError`] at any other length or character.
    pub fn from_line(text: &str) -> Result<Self, ParseError> {
        let count = text.chars().count();
        let size = Size::from_cells(count).ok_or(ParseError::Length(count))?;
        let mut board = Self::empty(size);
        for ((position, character), cell) in text.chars().enumerate().zip(&mut board.cells) {
            *cell = match character {
                '.' => 0,
                _ => character.to_digit(10).filter(|&d| d as usize <= size.side()).ok_or(
                    ParseError::Character { position: position + 1, character, largest: size.side() },
                )? as u8,
            };
        }
        Ok(board)
    }

    /// From the digits of all cells, 0 for a blank. `None` at another number of cells, or a digit that is too large.
    #[must_use]
    pub fn from_digits(size: Size, digits: &[u8]) -> Option<Self> {
        let fits =
            digits.len() == size.cells() && digits.iter().all(|&digit| usize::from(digit) <= size.side());
        let mut board = Self::empty(size);
        board.cells.iter_mut().zip(digits).for_each(|(cell, &digit)| *cell = digit);
        fits.then_some(board)
    }

    /// From `size.cells()` tokens; a token that is no digit becomes a blank. `None` at another length.
    #[must_use]
    pub fn from_tokens(size: Size, tokens: &[i32]) -> Option<Self> {
        if tokens.len() != size.cells() {
            return None;
        }
        let mut board = Self::empty(size);
        for (cell, &token) in board.cells.iter_mut().zip(tokens) {
            *cell = u8::try_from(token.saturating_sub(1))
                .ok()
                .filter(|&d| usize::from(d) <= size.side())
                .unwrap_or(0);
        }
        Some(board)
    }

    /// Writes the tokens of the cells, digit plus one, to the start of `tokens`.
    pub fn write_tokens(&self, tokens: &mut [u8]) {
        for (token, &cell) in tokens.iter_mut().zip(self.cells()) {
            *token = cell + 1;
        }
    }

    /// The size.
    #[must_use]
    pub const fn size(&self) -> Size {
        self.size
    }

    /// The digits, row by row, 0 for a blank.
    #[must_use]
    pub fn cells(&self) -> &[u8] {
        &self.cells[..self.size.cells()]
    }

    /// The digit of `cell`, 0 for a blank and beyond the board.
    #[must_use]
    pub fn get(&self, cell: usize) -> u8 {
        self.cells().get(cell).copied().unwrap_or(0)
    }

    /// Puts `digit` into `cell`, or blanks it with 0. Nothing happens outside the board or its digits.
    pub fn set(&mut self, cell: usize, digit: u8) {
        if cell < self.size.cells() && usize::from(digit) <= self.size.side() {
            self.cells[cell] = digit;
        }
    }

    /// The number of cells that are not blank.
    #[must_use]
    pub fn clues(&self) -> usize {
        self.cells().iter().filter(|&&digit| digit != 0).count()
    }

    /// Whether no cell is blank.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.first_blank().is_none()
    }

    /// The first blank cell.
    #[must_use]
    pub fn first_blank(&self) -> Option<usize> {
        self.cells().iter().position(|&digit| digit == 0)
    }

    /// Whether no row, column or box holds a digit twice.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let mut seen = [[0u16; 9]; 3];
        self.cells().iter().enumerate().filter(|&(_, &digit)| digit != 0).all(|(cell, &digit)| {
            let side = self.size.side();
            let units = [cell / side, cell % side, self.size.box_of(cell)];
            units.into_iter().zip(&mut seen).all(|(unit, seen)| {
                let fresh = seen[unit] & 1 << digit == 0;
                seen[unit] |= 1 << digit;
                fresh
            })
        })
    }

    /// Whether it is complete and valid.
    #[must_use]
    pub fn is_solved(&self) -> bool {
        self.is_complete() && self.is_valid()
    }

    /// The first cell that is given in `question` and differs here.
    #[must_use]
    pub fn first_difference(&self, question: &Self) -> Option<usize> {
        self.cells().iter().zip(question.cells()).position(|(a, q)| *q != 0 && a != q)
    }

    /// Draws the board with frames, one line for each row and a line end after each; `style` sees each cell.
    ///
    /// ```
    /// # use hrm_host::data::sudoku::{Board, Style};
    /// let board = Board::parse("1.34 3.12 2143 4321")?;
    /// let drawn = board.render(|_| Style::PLAIN);
    /// assert!(drawn.starts_with("┌─────┬─────┐\n│ 1 . │ 3 4 │\n"));
    /// # Ok::<(), hrm_host::data::sudoku::text::TextError>(())
    /// ```
    #[must_use]
    pub fn render(&self, mut style: impl FnMut(usize) -> Style) -> String {
        let (side, box_side) = (self.size.side(), self.size.box_side());
        let rule = |left: &str, middle: &str, right: &str| {
            let bars = vec!["─".repeat(2 * box_side + 1); box_side];
            format!("{left}{}{right}\n", bars.join(middle))
        };
        let mut text = rule("┌", "┬", "┐");
        for row in 0..side {
            if row > 0 && row % box_side == 0 {
                text += &rule("├", "┼", "┤");
            }
            for column in 0..side {
                let cell = row * side + column;
                text += if column % box_side == 0 { "│ " } else { "" };
                let Style { before, after } = style(cell);
                text += before;
                text.push(character(self.get(cell)));
                text += after;
                text.push(' ');
            }
            text += "│\n";
        }
        text + &rule("└", "┴", "┘")
    }
}

fn character(digit: u8) -> char {
    match digit {
        0 => '.',
        digit => char::from(b'0' + digit),
    }
}

/// One line, `.` for blanks.
impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cells().iter().try_for_each(|&digit| write!(f, "{}", character(digit)))
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Board({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79";

    #[test]
    fn lines_and_drawings_read_back() {
        let board = Board::from_line(LINE).unwrap();
        assert_eq!(board.to_string(), LINE);
        assert_eq!(Board::from_line(&LINE.replace('.', "0")).unwrap(), board);
        assert_eq!(Board::parse(&board.render(|_| Style::PLAIN)).unwrap(), board);
        let ascii = "1 . | 3 4\n3 . | 1 2\n----+----\n2 1 | 4 3\n4 3 | 2 1\n";
        assert_eq!(Board::parse(ascii).unwrap().to_string(), "1.343.1221434321");
        assert!(Board::from_line(ascii).is_err());
    }

    #[test]
    fn errors_say_where() {
        assert_eq!(Board::from_line(&LINE[1..]), Err(ParseError::Length(80)));
        let error = Board::from_line(&LINE.replacen('7', "x", 1)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "puzzle: found 'x' at character 5, expected 1 to 9, or . or 0 for a blank"
        );
        let error = Board::from_line("1.343.5221434321").unwrap_err();
        assert_eq!(error, ParseError::Character { position: 7, character: '5', largest: 4 });
    }

    #[test]
    fn styles_surround_their_cell_only() {
        let board = Board::from_line("1.343.1221434321").unwrap();
        let styled = board.render(|cell| if cell == 5 { Style::WRONG } else { Style::PLAIN });
        assert_eq!(styled.replace("\x1b[31m.\x1b[0m", "."), board.render(|_| Style::PLAIN));
        assert_eq!(styled.matches('\x1b').count(), 2);
    }

    #[test]
    fn rules_hold_for_rows_columns_and_boxes() {
        let mut board = Board::empty(Size::Four);
        assert!(board.is_valid() && !board.is_complete());
        board.set(0, 1);
        for (cell, valid) in [(3, false), (12, false), (5, false), (6, true), (10, true)] {
            let mut other = board;
            other.set(cell, 1);
            assert_eq!(other.is_valid(), valid, "cell {cell}");
        }
        assert!(Board::from_line("1234341221434321").unwrap().is_solved());
    }

    #[test]
    fn tokens_are_digits_plus_one() {
        let board = Board::from_line("1.343.1221434321").unwrap();
        let mut tokens = [0; 16];
        board.write_tokens(&mut tokens);
        assert_eq!(tokens[..4], [2, 1, 4, 5]);
        let tokens = tokens.map(i32::from);
        assert_eq!(Board::from_tokens(Size::Four, &tokens), Some(board));
        assert_eq!(Board::from_tokens(Size::Nine, &tokens), None);
        let strange = [i32::MIN, -100, 0, 6, i32::MAX, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1];
        assert_eq!(Board::from_tokens(Size::Four, &strange), Some(Board::empty(Size::Four)));
    }
}
