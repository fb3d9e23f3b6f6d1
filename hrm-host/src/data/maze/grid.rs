//! Mazes: a square of walls and free cells, a start, a goal, and a path between them.

use std::fmt;

/// The characters of a maze: wall, free, start, goal, path. The token of each is its place here plus 1.
pub const CHARACTERS: &[u8; 5] = b"# SGo";
/// Distinct tokens: padding and the characters.
pub const VOCAB_SIZE: u32 = CHARACTERS.len() as u32 + 1;
/// The most rows and columns.
pub const MAX_SIDE: usize = 255;

const WALL: u8 = b'#';
const FREE: u8 = b' ';
const START: u8 = b'S';
const GOAL: u8 = b'G';
const PATH: u8 = b'o';

/// A maze to be solved: it has one start, one goal and no path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Maze {
    side: usize,
    cells: Vec<u8>,
    start: usize,
    goal: usize,
}

/// What is wrong with a line of characters that should be a maze.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// This many cells are no square, or one that is too small or too large.
    Length(usize),
    /// A character that has no place in a maze, and where it is, from 0.
    Character {
        /// The character.
        character: char,
        /// Where.
        position: usize,
    },
    /// So many cells hold the start or the goal, which should be one.
    Ends {
        /// `S` or `G`.
        character: char,
        /// How many.
        count: usize,
    },
}

impl Maze {
    /// The maze of a line of `#`, space, `S` and `G`, row by row.
    ///
    /// # Errors
    /// [`ParseError`] if it is none.
    pub fn from_line(line: &str) -> Result<Self, ParseError> {
        let strange = |&(_, c): &(usize, char)| !matches!(c, '#' | ' ' | 'S' | 'G');
        if let Some((position, character)) = line.chars().enumerate().find(strange) {
            return Err(ParseError::Character { character, position });
        }
        Self::new(line.as_bytes().to_vec())
    }

    /// The maze of an example's input tokens; `None` if they are none.
    #[must_use]
    pub fn from_tokens(tokens: &[i32]) -> Option<Self> {
        let cells: Option<Vec<u8>> = tokens.iter().map(|&token| character(token)).collect();
        Self::new(cells.filter(|cells| !cells.contains(&PATH))?).ok()
    }

    /// The maze of these published characters.
    ///
    /// # Errors
    /// [`ParseError`] if it is none.
    pub fn from_cells(cells: Vec<u8>) -> Result<Self, ParseError> {
        let strange = |(_, c): &(usize, &u8)| !matches!(c, b'#' | b' ' | b'S' | b'G');
        if let Some((position, &c)) = cells.iter().enumerate().find(strange) {
            return Err(ParseError::Character { character: char::from(c), position });
        }
        Self::new(cells)
    }

    /// The tokens of its cells.
    #[must_use]
    pub fn tokens(&self) -> Vec<i32> {
        self.cells.iter().map(|&character| i32::from(token(character))).collect()
    }

    /// The maze of these characters, of which none is strange.
    pub(super) fn new(cells: Vec<u8>) -> Result<Self, ParseError> {
        let side = cells.len().isqrt();
        if side * side != cells.len() || !(2..=MAX_SIDE).contains(&side) {
            return Err(ParseError::Length(cells.len()));
        }
        let only = |wanted: u8| {
            let mut places = (0..cells.len()).filter(|&cell| cells[cell] == wanted);
            match (places.next(), places.count()) {
                (Some(place), 0) => Ok(place),
                (first, more) => Err(ParseError::Ends {
                    character: char::from(wanted),
                    count: more + usize::from(first.is_some()),
                }),
            }
        };
        let (start, goal) = (only(START)?, only(GOAL)?);
        Ok(Self { side, cells, start, goal })
    }

    /// Rows and columns.
    #[must_use]
    pub const fn side(&self) -> usize {
        self.side
    }

    /// The characters, row by row.
    #[must_use]
    pub fn cells(&self) -> &[u8] {
        &self.cells
    }

    /// The moves from each cell to the goal, through cells that `passes` lets through.
    fn distances(&self, passes: impl Fn(usize) -> bool) -> Distances {
        let mut distances = Distances::new(self.side, passes);
        distances.spread(self.goal, self.start);
        distances
    }

    /// The moves of a shortest path; `None` if the goal cannot be reached.
    #[must_use]
    pub fn distance(&self) -> Option<u32> {
        self.distances(|cell| self.cells[cell] != WALL).of(self.start)
    }

    /// The answer by the published set's rule: of all shortest paths from the start, the one that is smallest under
    /// Down < Left < Right < Up. Its cells become `o`; start and goal stay. `None` if the goal cannot be reached.
    #[must_use]
    pub fn solve(&self) -> Option<Vec<u8>> {
        let distances = self.distances(|cell| self.cells[cell] != WALL);
        let mut left = distances.of(self.start)?;
        let mut answer = self.cells.clone();
        let mut place = distances.place(self.start);
        while left > 1 {
            left -= 1;
            place = distances.beside(place).into_iter().find(|&next| distances.moves[next] == left)?;
            answer[distances.cell(place)] = PATH;
        }
        Some(answer)
    }

    /// Whether `answer` is this maze with the cells of one shortest path marked, whichever that is, and nothing else
    /// changed.
    #[must_use]
    pub fn is_solved_by(&self, answer: &[u8]) -> bool {
        let marked = |cell: usize| answer[cell] == PATH && self.cells[cell] == FREE;
        if answer.len() != self.cells.len()
            || (0..answer.len()).any(|cell| answer[cell] != self.cells[cell] && !marked(cell))
        {
            return false;
        }
        // Through the marked cells alone the way is as short as any, and it takes them all.
        let marks = answer.iter().filter(|&&character| character == PATH).count();
        let ends = |cell: usize| cell == self.start || cell == self.goal;
        let distance = self.distances(|cell| marked(cell) || ends(cell)).of(self.start);
        distance.is_some_and(|distance| distance as usize == marks + 1) && distance == self.distance()
    }
}

/// The moves from each cell to one of them. The cells lie in a frame of walls, so that no step leads out of the array.
struct Distances {
    side: usize,
    moves: Vec<u32>,
}

/// The distance of a cell that is not reached yet.
const UNREACHED: u32 = u32::MAX;
/// The distance of a wall.
const BLOCKED: u32 = u32::MAX - 1;

impl Distances {
    /// Nothing is reached yet; a cell that `passes` does not let through never is.
    fn new(side: usize, passes: impl Fn(usize) -> bool) -> Self {
        let mut distances = Self { side, moves: vec![BLOCKED; (side + 2) * (side + 1) + 1] };
        for row in 0..side {
            let start = distances.place(row * side);
            for (column, moves) in distances.moves[start..start + side].iter_mut().enumerate() {
                if passes(row * side + column) {
                    *moves = UNREACHED;
                }
            }
        }
        distances
    }

    /// Where a cell lies: a row of walls above and below, a wall between the end of a row and the start of the next.
    const fn place(&self, cell: usize) -> usize {
        (cell / self.side + 1) * (self.side + 1) + cell % self.side + 1
    }

    /// The cell that lies there.
    const fn cell(&self, place: usize) -> usize {
        (place / (self.side + 1) - 1) * self.side + place % (self.side + 1) - 1
    }

    /// The places below, to the left, to the right, above. That order decides between shortest paths.
    const fn beside(&self, place: usize) -> [usize; 4] {
        let width = self.side + 1;
        [place + width, place - 1, place + 1, place - width]
    }

    /// Fills in the moves to the cell `from`, nearest first, until the cell `until` is reached; cells further away
    /// than that stay unreached.
    fn spread(&mut self, from: usize, until: usize) {
        let (from, until) = (self.place(from), self.place(until));
        let mut reached = Vec::with_capacity(self.moves.len());
        self.moves[from] = 0;
        reached.push(from);
        let mut next = 0;
        while next < reached.len() && self.moves[until] == UNREACHED {
            let place = reached[next];
            next += 1;
            for beside in self.beside(place) {
                if self.moves[beside] == UNREACHED {
                    self.moves[beside] = self.moves[place] + 1;
                    reached.push(beside);
                }
            }
        }
    }

    /// The moves from a cell, if there is a way.
    fn of(&self, cell: usize) -> Option<u32> {
        Some(self.moves[self.place(cell)]).filter(|&moves| moves < BLOCKED)
    }
}

/// The character of a token.
fn character(token: i32) -> Option<u8> {
    usize::try_from(token).ok()?.checked_sub(1).and_then(|place| CHARACTERS.get(place).copied())
}

/// The token of a character of a maze; 0, which is padding, of any other.
#[must_use]
pub fn token(character: u8) -> u8 {
    CHARACTERS.iter().position(|&known| known == character).map_or(0, |place| place as u8 + 1)
}

/// Whether the tokens `answer` mark a shortest path, whichever that is, through the maze of the tokens `question`,
/// and change nothing else of it. False where `question` is no maze.
#[must_use]
pub fn is_shortest_path(question: &[i32], answer: &[i32]) -> bool {
    let answer: Option<Vec<u8>> = answer.iter().map(|&token| character(token)).collect();
    match (Maze::from_tokens(question), answer) {
        (Some(maze), Some(answer)) => maze.is_solved_by(&answer),
        _ => false,
    }
}

impl ParseError {
    /// What is there, and what should be.
    #[must_use]
    pub fn found_and_expected(self) -> (String, String) {
        match self {
            Self::Length(cells) => {
                (format!("{cells} cells"), format!("a square of 2 x 2 to {MAX_SIDE} x {MAX_SIDE} cells"))
            }
            Self::Character { character, position } => {
                (format!("{character:?} at character {}", position + 1), super::text::CHARACTERS.to_owned())
            }
            Self::Ends { character, count } => (format!("{count} of {character}"), "exactly one".to_owned()),
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (found, expected) = self.found_and_expected();
        write!(f, "maze: found {found}, expected {expected}")
    }
}

impl std::error::Error for ParseError {}

#[cfg(test)]
#[path = "grid_tests.rs"]
mod tests;
