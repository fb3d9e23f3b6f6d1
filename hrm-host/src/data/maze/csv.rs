//! Maze rows of a CSV file: `question` and `answer` are the cells row by row, as `# SGo`.

use super::grid::Maze;
use crate::data::error::{Error, Place, Result};
use crate::data::puzzle_csv::Row;
use std::path::Path;

/// Parses the maze of `row`, which came from `path`, and its answer. `side` is that of the file's first maze, if known.
///
/// # Errors
/// [`Error::Format`] at a wrong length or character, and at an answer that is not a shortest path through the maze.
pub fn check(path: &Path, row: &Row, side: Option<usize>) -> Result<(Maze, Vec<u8>)> {
    let bad = |field: &str, found: String, expected: String| {
        Error::format(path, Place::Line(row.line), field, found, expected)
    };
    let maze = Maze::from_line(&row.question).map_err(|error| {
        let (found, expected) = error.found_and_expected();
        bad("question", found, expected)
    })?;
    if let Some(side) = side.filter(|&side| side != maze.side()) {
        let found = format!("{} cells", maze.cells().len());
        return Err(bad("question", found, format!("{} cells, as before it", side * side)));
    }
    let answer = row.answer.as_bytes();
    if answer.len() != maze.cells().len() {
        let found = format!("{} bytes", answer.len());
        return Err(bad("answer", found, format!("{} cells, as the question has", maze.cells().len())));
    }
    let place = |cell: usize| format!("row {}, column {}", cell / maze.side() + 1, cell % maze.side() + 1);
    let differs = |&cell: &usize| {
        let (asked, answered) = (maze.cells()[cell], answer[cell]);
        asked != answered && (asked, answered) != (b' ', b'o')
    };
    if let Some(cell) = (0..answer.len()).find(differs) {
        let found = format!("{:?} at {}", answer[cell..][..1].escape_ascii().to_string(), place(cell));
        let asked = char::from(maze.cells()[cell]);
        let or_path = if asked == ' ' { " or o" } else { "" };
        return Err(bad("answer", found, format!("{asked:?}{or_path}, as in the question")));
    }
    if !maze.is_solved_by(answer) {
        let marks = answer.iter().filter(|&&cell| cell == b'o').count();
        let expected = match maze.distance() {
            Some(distance) => format!("a shortest path, of {} cells between its ends", distance - 1),
            None => "a maze with a way from S to G".to_owned(),
        };
        return Err(bad("answer", format!("{marks} cells marked"), expected));
    }
    Ok((maze, answer.to_vec()))
}
