//! A puzzle on the command line: read from text, drawn, and its answer judged.

use crate::arc::submission::grid_of;
use crate::data::arc::grid::{CANVAS, SIDE};
use crate::data::arc::{Grid, crop};
use crate::data::maze::grid::{CHARACTERS, token};
use crate::data::maze::{Maze, is_shortest_path};
use crate::data::sudoku::{Board, Size, Style};
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

impl Puzzle {
    /// The puzzle of `task` that `text` is.
    ///
    /// # Errors
    /// It is none, or the task's puzzles cannot be read from text.
    pub fn parse(task: Task, text: &str) -> Result<Self> {
        match task {
            Task::Sudoku(size) => sudoku(size, text),
            Task::Maze { side } => read_maze(side, text),
            Task::Arc { side: SIDE } => read_arc(text),
            Task::Arc { .. } | Task::Other => {
                Err(Error::input("the model is for no task whose puzzles can be read from text")
                    .hint("evaluate it on a dataset: hrm eval"))
            }
        }
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

fn sudoku(size: Size, text: &str) -> Result<Puzzle> {
    let question = Board::parse(text).map_err(|e| {
        Error::input(e.to_string()).hint("write one character per cell, . or 0 where it is empty")
    })?;
    if question.size() != size {
        return Err(Error::input(format!(
            "the puzzle is a {} Sudoku of {} cells, the model works on {} cells",
            question.size(),
            question.size().cells(),
            size.cells()
        )));
    }
    if !question.is_valid() {
        return Err(Error::input("puzzle: two of its givens contradict each other")
            .hint("a digit stands twice in a row, column or box"));
    }
    Ok(Puzzle::Sudoku(question))
}

fn read_maze(side: usize, text: &str) -> Result<Puzzle> {
    let line: String = text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
    let bad = |problem: String| {
        Error::input(problem).hint("write # for a wall, a space where it is free, S and G, row after row")
    };
    let read = Maze::from_line(&line).map_err(|e| bad(e.to_string()))?;
    if read.side() != side {
        let found = read.side();
        return Err(bad(format!("the maze has {found} x {found} cells, the model works on {side} x {side}")));
    }
    Ok(Puzzle::Maze(read.cells().iter().map(|&character| i32::from(token(character))).collect()))
}

/// Rows of digits, or a grid as JSON.
fn read_arc(text: &str) -> Result<Puzzle> {
    let bad = |problem: String| {
        Error::input(format!("puzzle: {problem}"))
            .hint("write a row of digits to a line, or a list of rows as JSON")
    };
    let read = if text.trim_start().starts_with('[') {
        let value = serde_json::from_str(text).map_err(|error| bad(format!("not JSON: {error}")))?;
        grid_of(&value).map_err(bad)?
    } else {
        let rows: Vec<&str> = text.split_whitespace().collect();
        let columns = rows.first().map_or(0, |row| row.len());
        let cells: Option<Vec<u8>> = rows
            .iter()
            .flat_map(|row| row.chars())
            .map(|c| c.to_digit(10).map(|digit| digit as u8))
            .collect();
        let even = rows.iter().all(|row| row.len() == columns);
        cells.filter(|_| even).and_then(|cells| Grid::new(rows.len(), columns, cells))
    };
    read.map(Puzzle::Arc).ok_or_else(|| bad("expected 1 to 30 rows of as many digits each".into()))
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
        assert!(error(MAZE, "S G").contains("maze: found 3 cells"));
    }

    #[test]
    fn an_arc_grid_is_read_as_digits_or_json() {
        let grid = Grid::new(2, 3, vec![0, 1, 2, 3, 4, 5]).map(Puzzle::Arc).unwrap();
        for text in ["012\n345\n", "012 345", " [[0, 1, 2], [3, 4, 5]]"] {
            assert_eq!(Puzzle::parse(ARC, text).unwrap(), grid, "{text}");
        }
        assert_eq!(grid.text(&grid.tokens()), "012\n345\n");
        assert!(
            !grid.can_be_judged() && grid.fault(&grid.tokens()).is_none() && grid.fault(&[0; 900]).is_some()
        );
        for text in ["", "01 2", "0a", "[[0, 11]]", "[[", "[]", &"0 ".repeat(31)] {
            assert!(error(ARC, text).starts_with("puzzle: "), "{text}");
        }
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
