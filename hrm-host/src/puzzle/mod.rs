//! A puzzle of any task: read from text as people write it, turned into a model's tokens, drawn, and its answer judged.

mod arc_grid;
mod read;

use crate::data::arc::grid::CANVAS;
use crate::data::arc::{Grid, crop};
use crate::data::maze::grid::CHARACTERS;
use crate::data::maze::{Maze, is_shortest_path};
use crate::data::sudoku::{Board, Size, Solutions, Style, solve};
use crate::data::{arc, maze};
use crate::error::{Error, Result};
use crate::task::Task;

/// A puzzle to be solved.
#[derive(Clone, Debug, PartialEq)]
pub enum Puzzle {
    /// A Sudoku.
    Sudoku(Board),
    /// A maze, as tokens.
    Maze(Vec<i32>),
    /// The input of an ARC test.
    Arc(Grid),
}

/// A puzzle that was found in a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// The puzzle.
    pub puzzle: Puzzle,
    /// The line that it begins in, from 1.
    pub line: usize,
    /// Its title, if it has one.
    pub name: Option<String>,
}

impl Puzzle {
    /// The one puzzle of `task` that `text` is.
    ///
    /// # Errors
    /// It is none or several, or the task's puzzles cannot be read from text.
    pub fn parse(task: Task, text: &str) -> Result<Self> {
        let mut found = Self::parse_all(task, text)?;
        match found.pop() {
            Some(only) if found.is_empty() => Ok(only.puzzle),
            _ => Err(Error::input(format!("puzzle: found {}, expected one", found.len() + 1))),
        }
    }

    /// All puzzles of `task` in `text`, at least one.
    ///
    /// # Errors
    /// Something in it is no puzzle: the line, what was found and what was expected. Or the task's puzzles cannot be
    /// read from text.
    pub fn parse_all(task: Task, text: &str) -> Result<Vec<Asked>> {
        read::all(task, text)
    }

    /// Why it has no answer, if it has none. A solver of our own tells; of ARC there is none.
    #[must_use]
    pub fn unsolvable(&self) -> Option<&'static str> {
        match self {
            Self::Sudoku(board) => (solve(board) == Solutions::None).then_some("the puzzle has no solution"),
            Self::Maze(tokens) => Maze::from_tokens(tokens)
                .is_some_and(|maze| maze.distance().is_none())
                .then_some("the puzzle has no solution: there is no way from S to G"),
            Self::Arc(_) => None,
        }
    }

    /// Whether there are several answers, as far as is known.
    #[must_use]
    pub fn has_several_answers(&self) -> bool {
        matches!(self, Self::Sudoku(board) if matches!(solve(board), Solutions::Many(..)))
    }

    /// Its tokens.
    #[must_use]
    pub fn tokens(&self) -> Vec<i32> {
        match self {
            Self::Sudoku(board) => board.cells().iter().map(|digit| i32::from(*digit) + 1).collect(),
            Self::Maze(tokens) => tokens.clone(),
            Self::Arc(grid) => {
                let mut canvas = [0; CANVAS];
                grid.paint(0, 0, &mut canvas);
                canvas.iter().map(|&token| i32::from(token)).collect()
            }
        }
    }

    /// Draws the answer `now`: of a Sudoku givens bold, those that were overwritten red, and what differs from `before`
    /// green. A line for each row.
    #[must_use]
    pub fn draw(&self, before: &[i32], now: &[i32]) -> String {
        match self {
            Self::Sudoku(question) => {
                let [before, now] = [before, now].map(|tokens| board(question.size(), tokens));
                now.render(|cell| style(question, &before, &now, cell))
            }
            Self::Maze(tokens) => joined(&maze::draw::lines(tokens.len().isqrt(), now)),
            Self::Arc(_) => joined(&arc::draw::lines(now)),
        }
    }

    /// Why the answer `now` does not solve it, if it does not. Of ARC it can only be told that there is no grid.
    #[must_use]
    pub fn fault(&self, now: &[i32]) -> Option<String> {
        match self {
            Self::Sudoku(question) => sudoku_fault(question, &board(question.size(), now)),
            Self::Maze(question) => (!is_shortest_path(question, now))
                .then(|| "it is no shortest path, or something else is changed".into()),
            Self::Arc(_) => crop(now).is_none().then(|| "there is no grid at its first cell".into()),
        }
    }

    /// Whether [`fault`](Self::fault) knows if an answer is right.
    #[must_use]
    pub const fn can_be_judged(&self) -> bool {
        !matches!(self, Self::Arc(_))
    }

    /// The answer `now` as text: digits, 0 where blank; the maze's characters; the rows of a grid.
    #[must_use]
    pub fn text(&self, now: &[i32]) -> String {
        match self {
            Self::Sudoku(question) => {
                board(question.size(), now).cells().iter().map(|digit| char::from(b'0' + digit)).collect()
            }
            Self::Maze(_) => now
                .iter()
                .map(|&token| {
                    let place = usize::try_from(token).ok().and_then(|token| token.checked_sub(1));
                    place.and_then(|place| CHARACTERS.get(place)).map_or('?', |&c| char::from(c))
                })
                .collect(),
            Self::Arc(_) => crop(now).map_or(String::new(), |grid| grid.to_string()),
        }
    }
}

fn joined(lines: &[String]) -> String {
    lines.iter().flat_map(|line| [line, "\n"]).collect()
}

/// The board that tokens stand for; a token that is no digit (padding, blank) leaves its cell blank.
fn board(size: Size, tokens: &[i32]) -> Board {
    Board::from_tokens(size, tokens).unwrap_or_else(|| Board::empty(size))
}

fn sudoku_fault(question: &Board, answer: &Board) -> Option<String> {
    if let Some(cell) = answer.first_difference(question) {
        let side = question.size().side();
        return Some(format!(
            "it overwrites the given in row {}, column {}",
            cell / side + 1,
            cell % side + 1
        ));
    }
    if let Some(cell) = answer.first_blank() {
        return Some(format!("cell {} has no digit", cell + 1));
    }
    (!answer.is_valid()).then(|| "a digit stands twice in a row, column or box".into())
}

/// Givens bold, a given that was overwritten red, what has changed green.
fn style(question: &Board, before: &Board, now: &Board, cell: usize) -> Style {
    let (given, was, is) = (question.get(cell), before.get(cell), now.get(cell));
    match (given, is) {
        (0, _) if is != was => Style::CHANGED,
        (0, _) => Style::PLAIN,
        (given, is) if given == is => Style::GIVEN,
        _ => Style::WRONG,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAZE: Task = Task::Maze { side: 3 };
    const ARC: Task = Task::Arc { side: 30 };

    fn error(task: Task, text: &str) -> String {
        Puzzle::parse(task, text).unwrap_err().to_string()
    }

    #[test]
    fn a_maze_is_read_drawn_and_judged() {
        let puzzle = Puzzle::parse(MAZE, "S #\n   \n# G\n").unwrap();
        assert_eq!(puzzle.tokens(), [3, 2, 1, 2, 2, 2, 1, 2, 4]);
        let answer = [3, 5, 1, 2, 5, 5, 1, 2, 4];
        assert_eq!((puzzle.fault(&answer), puzzle.text(&answer)), (None, "So# oo# G".into()));
        assert!(puzzle.fault(&puzzle.tokens()).is_some());
        let drawn = anstream::adapter::strip_str(&puzzle.draw(&answer, &answer)).to_string();
        assert_eq!(drawn, "So#\n oo\n# G\n");
        assert!(error(MAZE, "SG##").contains("the maze has 2 x 2 cells, the model works on 3 x 3"));
        assert!(error(MAZE, "S G").contains("maze, line 1: found 3 cells"));
    }

    #[test]
    fn an_arc_grid_is_read_in_any_form() {
        let grid = Grid::new(2, 3, vec![0, 1, 2, 3, 4, 5]).map(Puzzle::Arc).unwrap();
        for text in [
            "012\n345\n",
            "012 345",
            " [[0, 1, 2], [3, 4, 5]]",
            "0 1 2\n3 4 5\n",
            "0\t1\t2\r\n3\t4\t5\r\n",
            "0,1,2\n3,4,5",
            "\u{feff}[[0 1 2]\n [3 4 5]]",
            "0 1 2\n\n3 4 5",
            "| 0 | 1 | 2 |\n| 3 | 4 | 5 |",
            "{\"input\": [[0, 1, 2], [3, 4, 5]]}",
        ] {
            assert_eq!(Puzzle::parse(ARC, text).unwrap(), grid, "{text}");
        }
        let column = Grid::new(6, 1, vec![0, 1, 2, 3, 4, 5]).map(Puzzle::Arc).unwrap();
        for text in ["0\n1\n2\n3\n4\n5", "[[0],[1],[2],[3],[4],[5]]"] {
            assert_eq!(Puzzle::parse(ARC, text).unwrap(), column, "{text}");
        }
        let row = Grid::new(1, 3, vec![0, 1, 2]).map(Puzzle::Arc).unwrap();
        for text in ["012", "0 1 2", "[[0, 1, 2]]"] {
            assert_eq!(Puzzle::parse(ARC, text).unwrap(), row, "{text}");
        }
        for text in ["012\n345\n\n0 1 2\n3 4 5\n", "[[[0,1,2],[3,4,5]],[[0,1,2],[3,4,5]]]"] {
            let found = Puzzle::parse_all(ARC, text).unwrap();
            assert!(found.len() == 2 && found.iter().all(|asked| asked.puzzle == grid), "{text}");
        }
        assert_eq!(grid.text(&grid.tokens()), "012\n345\n");
        assert!(
            !grid.can_be_judged() && grid.fault(&grid.tokens()).is_none() && grid.fault(&[0; 900]).is_some()
        );
        for (text, words) in [
            ("", "found nothing"),
            ("01 2", "groups"),
            ("0a", "line 1: found 'a'"),
            ("01 23\n45 67", "line 1: found \"01\""),
            ("012\n34", "line 2: found 2 cells, expected 3"),
            ("[[0, 11]]", "11"),
            ("[[0, 1], [2]]", "row 2"),
            ("[[", "expected"),
            ("[]", "expected"),
            ("{\"train\": []}", "hrm arc predict"),
            (&"0 ".repeat(31), "31 cells"),
        ] {
            let error = error(ARC, text);
            assert!(error.starts_with("puzzle") && error.contains(words), "{error}: {text}");
        }
    }

    #[test]
    fn several_puzzles_come_with_lines_and_names() {
        let task = Task::Sudoku(Size::Four);
        let text = "Grid 01\n1.34\n3412\n2143\n4321\nGrid 02\n1.34\n3412\n2143\n4321\n";
        let found = Puzzle::parse_all(task, text).unwrap();
        let places: Vec<_> = found.iter().map(|asked| (asked.line, asked.name.as_deref())).collect();
        assert_eq!(places, [(2, Some("Grid 01")), (7, Some("Grid 02"))]);
        let table =
            "id,question,answer\n1,1.34341221434321,1234341221434321\n2,\"1.34\n3412\n2143\n4321\",\n";
        let from_table = Puzzle::parse_all(task, table).unwrap();
        assert_eq!((from_table.len(), &from_table[1].puzzle), (2, &found[0].puzzle));
        assert!(error(task, text).contains("found 2, expected one"));
        let mazes = Puzzle::parse_all(MAZE, "S #\n   \n# G\n\nS.#\n...\n#.E\n").unwrap();
        assert!(mazes.len() == 2 && mazes[0].puzzle == mazes[1].puzzle);
        assert_eq!(Puzzle::parse_all(MAZE, "question\nS #   # G\n").unwrap()[0].puzzle, mazes[0].puzzle);
    }

    #[test]
    fn a_puzzle_without_an_answer_is_known() {
        let sudoku = |text: &str| Puzzle::parse(Task::Sudoku(Size::Four), text).unwrap();
        assert_eq!(sudoku("123........4....").unsolvable(), Some("the puzzle has no solution"));
        assert!(sudoku("1234............").has_several_answers());
        let maze = Puzzle::parse(MAZE, "S##\n###\n##G").unwrap();
        assert!(maze.unsolvable().unwrap().contains("no way from S to G"));
        let good = sudoku("1.34341221434321");
        assert!(good.unsolvable().is_none() && !good.has_several_answers());
    }

    #[test]
    fn a_sudoku_is_held_to_its_rules() {
        let task = Task::Sudoku(Size::Four);
        let puzzle = Puzzle::parse(task, "1.34 3412 2143 4321").unwrap();
        let answer = |line: &str| -> Vec<i32> { line.bytes().map(|c| i32::from(c - b'0') + 1).collect() };
        assert_eq!(puzzle.fault(&answer("1234341221434321")), None);
        for (line, fault) in [
            ("2234341221434321", "it overwrites the given in row 1, column 1"),
            ("1034341221434321", "cell 2 has no digit"),
            ("1134341221434321", "a digit stands twice in a row, column or box"),
        ] {
            assert_eq!(puzzle.fault(&answer(line)).as_deref(), Some(fault));
        }
        assert!(error(task, &".".repeat(81)).contains("9x9 Sudoku of 81 cells, the model works on 16 cells"));
        assert!(error(task, "11.. .... .... ....").contains("contradict"));
        assert!(error(Task::Other, "1").contains("no task whose puzzles"));
    }
}
