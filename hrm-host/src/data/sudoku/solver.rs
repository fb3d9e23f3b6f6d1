//! An exact solver: candidates as bit masks, the most constrained cell first, and the only place of a digit in a unit.

use super::grid::{Board, MAX_CELLS, Size};
use hrm_core::rng::Rng;

/// How many solutions a board has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Solutions {
    /// None.
    None,
    /// Exactly one.
    One(Board),
    /// Two of at least two.
    Many(Board, Board),
}

/// Counts the solutions of `board`, up to two.
#[must_use]
pub fn solve(board: &Board) -> Solutions {
    let mut search = Search::new(board.size(), 2, None);
    if board.is_valid() {
        search.run(board);
    }
    match search.found {
        [None, _] => Solutions::None,
        [Some(only), None] => Solutions::One(only),
        [Some(first), Some(second)] => Solutions::Many(first, second),
    }
}

/// One solution of `board`, with guesses in the order of `rng`.
pub(super) fn solve_at_random(board: &Board, rng: &mut Rng) -> Option<Board> {
    let mut search = Search::new(board.size(), 1, Some(rng));
    if board.is_valid() {
        search.run(board);
    }
    search.found[0]
}

/// The units of a size: rows, columns and boxes, and each cell's row, column and box among them.
struct Units {
    members: [[u8; 9]; 27],
    of_cell: [[u8; 3]; MAX_CELLS],
}

impl Units {
    const fn new(size: Size) -> Self {
        let side = size.side();
        let mut units = Self { members: [[0; 9]; 27], of_cell: [[0; 3]; MAX_CELLS] };
        let mut cell = 0;
        while cell < size.cells() {
            let (row, column, block) = (cell / side, cell % side, size.box_of(cell));
            let in_block = row % size.box_side() * size.box_side() + column % size.box_side();
            units.members[row][column] = cell as u8;
            units.members[side + column][row] = cell as u8;
            units.members[2 * side + block][in_block] = cell as u8;
            units.of_cell[cell] = [row as u8, (side + column) as u8, (2 * side + block) as u8];
            cell += 1;
        }
        units
    }
}

static FOUR: Units = Units::new(Size::Four);
static NINE: Units = Units::new(Size::Nine);

struct Search<'r> {
    size: Size,
    units: &'static Units,
    limit: usize,
    rng: Option<&'r mut Rng>,
    found: [Option<Board>; 2],
    count: usize,
}

/// A board on the way to a solution. Small enough that a guess copies it rather than undoing it.
#[derive(Clone, Copy)]
struct State {
    board: Board,
    /// The blank cells, one bit each.
    blanks: u128,
    /// Digits used in each unit, bit `d - 1` for digit `d`.
    used: [u16; 27],
}

/// What is left when nothing follows without a guess.
enum Outcome {
    Contradiction,
    Solved,
    /// One of the digits in the mask goes into the cell.
    Guess(usize, u16),
}

impl<'r> Search<'r> {
    fn new(size: Size, limit: usize, rng: Option<&'r mut Rng>) -> Self {
        let units = match size {
            Size::Four => &FOUR,
            Size::Nine => &NINE,
        };
        Self { size, units, limit, rng, found: [None; 2], count: 0 }
    }

    fn run(&mut self, board: &Board) {
        let blanks = (1 << self.size.cells()) - 1;
        let mut state = State { board: Board::empty(self.size), blanks, used: [0; 27] };
        for (cell, &digit) in board.cells().iter().enumerate() {
            if digit != 0 {
                self.put(&mut state, cell, 1 << (digit - 1));
            }
        }
        self.descend(state);
    }

    fn put(&self, state: &mut State, cell: usize, bit: u16) {
        state.board.set(cell, bit.trailing_zeros() as u8 + 1);
        state.blanks &= !(1 << cell);
        for unit in self.units.of_cell[cell] {
            state.used[usize::from(unit)] |= bit;
        }
    }

    fn candidates(&self, state: &State, cell: usize) -> u16 {
        let [row, column, block] = self.units.of_cell[cell].map(|unit| state.used[usize::from(unit)]);
        self.all() & !(row | column | block)
    }

    const fn all(&self) -> u16 {
        (1 << self.size.side()) - 1
    }

    fn descend(&mut self, mut state: State) {
        match self.propagate(&mut state) {
            Outcome::Contradiction => {}
            Outcome::Solved => {
                self.found[self.count] = Some(state.board);
                self.count += 1;
            }
            Outcome::Guess(cell, mut mask) => {
                while mask != 0 && self.count < self.limit {
                    let bit = self.pick(mask);
                    mask ^= bit;
                    let mut next = state;
                    self.put(&mut next, cell, bit);
                    self.descend(next);
                }
            }
        }
    }

    /// The lowest digit of `mask`, or a random one.
    fn pick(&mut self, mask: u16) -> u16 {
        let mut rest = mask;
        if let Some(rng) = self.rng.as_deref_mut() {
            for _ in 0..rng.below(mask.count_ones()) {
                rest &= rest - 1;
            }
        }
        rest & rest.wrapping_neg()
    }

    /// Fills the cells with one candidate and the digits with one place, until there are none.
    fn propagate(&self, state: &mut State) -> Outcome {
        loop {
            let mut progress = false;
            let mut candidates = [0u16; MAX_CELLS];
            let mut best: Option<(u32, usize)> = None;
            let mut blanks = state.blanks;
            while blanks != 0 {
                let cell = blanks.trailing_zeros() as usize;
                blanks &= blanks - 1;
                let mask = self.candidates(state, cell);
                match mask.count_ones() {
                    0 => return Outcome::Contradiction,
                    1 => {
                        self.put(state, cell, mask);
                        progress = true;
                    }
                    count => {
                        candidates[cell] = mask;
                        if best.is_none_or(|(least, _)| count < least) {
                            best = Some((count, cell));
                        }
                    }
                }
            }
            let Some((_, cell)) = best else { return Outcome::Solved };
            if progress {
                continue;
            }
            let side = self.size.side();
            for (unit, members) in self.units.members[..3 * side].iter().enumerate() {
                let (mut once, mut twice) = (0, 0);
                for &member in &members[..side] {
                    let mask = candidates[usize::from(member)];
                    twice |= once & mask;
                    once |= mask;
                }
                if once | state.used[unit] != self.all() {
                    return Outcome::Contradiction;
                }
                let mut singles = once & !twice & !state.used[unit];
                while singles != 0 {
                    let bit = singles & singles.wrapping_neg();
                    singles ^= bit;
                    let place = members[..side].iter().find(|&&m| candidates[usize::from(m)] & bit != 0);
                    let Some(&place) = place else { return Outcome::Contradiction };
                    // `candidates` is as it was before this pass; what was put since may have taken the place.
                    let place = usize::from(place);
                    if state.blanks >> place & 1 == 0 || self.candidates(state, place) & bit == 0 {
                        return Outcome::Contradiction;
                    }
                    self.put(state, place, bit);
                    progress = true;
                }
            }
            if !progress {
                return Outcome::Guess(cell, candidates[cell]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(text: &str) -> Board {
        Board::from_line(text).unwrap()
    }

    #[test]
    fn one_solution() {
        let question =
            board("53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79");
        let answer =
            board("534678912672195348198342567859761423426853791713924856961537284287419635345286179");
        assert_eq!(solve(&question), Solutions::One(answer));
        assert_eq!(solve(&answer), Solutions::One(answer));
        assert!(matches!(solve(&board("31.........1.2..")), Solutions::One(_)));
    }

    #[test]
    fn no_solution() {
        // Twice in a row; and nothing left for the last cell of the first row.
        assert_eq!(solve(&board("11..............")), Solutions::None);
        assert_eq!(solve(&board("123........4....")), Solutions::None);
    }

    #[test]
    fn several_solutions() {
        let Solutions::Many(a, b) = solve(&Board::empty(Size::Nine)) else {
            panic!("an empty board has many")
        };
        assert!(a.is_solved() && b.is_solved() && a != b);
        // Without any 1 and 2, the two can be exchanged.
        assert!(matches!(
            solve(&board("1234341221434321".replace(['1', '2'], ".").as_str())),
            Solutions::Many(..)
        ));
    }

    /// Every 4x4 board has its solutions counted right, against plain enumeration of all 288.
    #[test]
    fn agrees_with_enumeration_on_4x4() {
        fn enumerate(board: Board, cell: usize, all: &mut Vec<Board>) {
            if cell == 16 {
                return all.push(board);
            }
            for digit in 1..=4 {
                let mut next = board;
                next.set(cell, digit);
                if next.is_valid() {
                    enumerate(next, cell + 1, all);
                }
            }
        }
        let mut all = Vec::new();
        enumerate(Board::empty(Size::Four), 0, &mut all);
        assert_eq!(all.len(), 288);
        let mut rng = Rng::new(1, hrm_core::rng::Stream::Puzzle, 0);
        let mut seen = [0; 3];
        for _ in 0..3000 {
            let mut question = Board::empty(Size::Four);
            for _ in 0..rng.below(8) {
                question.set(rng.below(16) as usize, rng.below(4) as u8 + 1);
            }
            let count = all.iter().filter(|answer| answer.first_difference(&question).is_none()).count();
            let counted = match solve(&question) {
                Solutions::None => 0,
                Solutions::One(_) => 1,
                Solutions::Many(..) => 2,
            };
            assert_eq!(counted, count.min(2), "{question}");
            seen[counted] += 1;
        }
        assert!(seen.iter().all(|&n| n > 50), "{seen:?}");
    }
}
