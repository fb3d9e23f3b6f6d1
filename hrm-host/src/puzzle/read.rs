//! Finds the puzzles in a text, by the task that they are of.

use std::path::Path;

use super::{Asked, Puzzle, arc_grid};
use crate::data::arc::grid::SIDE;
use crate::data::maze::text::CHARACTERS;
use crate::data::maze::{self, Maze};
use crate::data::plain::plain;
use crate::data::puzzle_csv::{Kind, PuzzleReader, Row};
use crate::data::sudoku::{self, Board, Size};
use crate::error::{Error, Result};
use crate::task::Task;

/// All puzzles of `task` in `text`.
pub(super) fn all(task: Task, text: &str) -> Result<Vec<Asked>> {
    match task {
        Task::Sudoku(size) => sudokus(size, text),
        Task::Maze { side } => mazes(side, text),
        Task::Arc { side: SIDE } => arc_grid::grids(text).map_err(|problem| {
            Error::input(format!("puzzle{problem}"))
                .hint("write a row of the grid to a line, with or without spaces, or a list of rows as JSON")
        }),
        Task::Arc { .. } | Task::Other => {
            Err(Error::input("the model is for no task whose puzzles can be read from text")
                .hint("evaluate it on a dataset: hrm eval"))
        }
    }
}

/// The rows of a text that is a table with a header.
fn table(kind: Kind, text: &str) -> Option<Result<Vec<Row>>> {
    let mut reader = PuzzleReader::new(Path::new("puzzle"), kind, text.as_bytes()).ok()?;
    if !reader.has_header() {
        return None;
    }
    let rows: crate::data::Result<Vec<Row>> = std::iter::from_fn(|| reader.next_row().transpose()).collect();
    Some(rows.map_err(Error::from))
}

fn sudokus(size: Size, text: &str) -> Result<Vec<Asked>> {
    let bad = |problem: String| {
        Error::input(problem)
            .hint("write a character for each cell, . or 0 where it is empty, in one line or in rows")
    };
    let boards: Vec<(Board, usize, Option<String>)> = match table(sudoku::csv::KIND, text) {
        Some(rows) => rows?
            .into_iter()
            .map(|row| {
                let board = sudoku::text::field(&row.question).map_err(|error| {
                    bad(sudoku::text::TextError { line: Some(row.line as usize), ..error }.to_string())
                })?;
                Ok((board, row.line as usize, None))
            })
            .collect::<Result<_>>()?,
        None => sudoku::text::boards(text, size)
            .map_err(|error| bad(error.to_string()))?
            .into_iter()
            .map(|found| (found.question, found.line, found.name))
            .collect(),
    };
    let several = boards.len() > 1;
    let one = |(board, line, name): (Board, usize, Option<String>)| {
        let at = if several { format!(", line {line}") } else { String::new() };
        if board.size() != size {
            return Err(Error::input(format!(
                "puzzle{at}: found a {} Sudoku of {} cells, the model works on {} cells",
                board.size(),
                board.size().cells(),
                size.cells()
            )));
        }
        // Of several, each has a result of its own, this one too.
        if !board.is_valid() && !several {
            return Err(Error::input("puzzle: two of its givens contradict each other")
                .hint("a digit stands twice in a row, column or box"));
        }
        Ok(Asked { puzzle: Puzzle::Sudoku(board), line, name })
    };
    let found = boards.into_iter().map(one).collect::<Result<Vec<Asked>>>()?;
    if found.is_empty() { Err(bad("puzzle: found none in the table".to_owned())) } else { Ok(found) }
}

fn mazes(side: usize, text: &str) -> Result<Vec<Asked>> {
    let bad = |line: usize, problem: String| {
        Error::input(format!("maze, line {line}: {problem}"))
            .hint(format!("write {CHARACTERS}, row after row"))
    };
    let words = |error: maze::ParseError| {
        let (found, expected) = error.found_and_expected();
        format!("found {found}, expected {expected}")
    };
    let text = plain(text);
    let read: Vec<(usize, Maze)> = match table(maze::csv::KIND, &text) {
        Some(rows) => rows?
            .into_iter()
            .map(|row| {
                let line = row.line as usize;
                let cells = maze::text::cells(&row.question).map_err(|error| bad(line, words(error)))?;
                let read = Maze::from_cells(cells).map_err(|error| bad(line, words(error)))?;
                Ok((line, read))
            })
            .collect::<Result<_>>()?,
        None => maze::text::mazes(&text, side).map_err(|(line, error)| bad(line, words(error)))?,
    };
    let one = |(line, read): (usize, Maze)| {
        if read.side() != side {
            let found = read.side();
            let problem = format!("the maze has {found} x {found} cells, the model works on {side} x {side}");
            return Err(bad(line, problem));
        }
        Ok(Asked { puzzle: Puzzle::Maze(read.tokens()), line, name: None })
    };
    let found = read.into_iter().map(one).collect::<Result<Vec<Asked>>>()?;
    if found.is_empty() { Err(bad(1, "found none in the table".to_owned())) } else { Ok(found) }
}
