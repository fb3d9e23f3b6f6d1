//! Maze rows of a table: `question` and `answer` are the cells row by row, in the characters of [`super::text`].

use super::grid::Maze;
use super::text::{self, CHARACTERS};
use crate::data::error::{Error, Place, Result};
use crate::data::puzzle_csv::{Kind, Looks, Row};
use std::path::Path;

/// How a field of a table without a header is known as a maze.
pub const KIND: Kind = Kind { looks, marks_comments: false };

fn looks(field: &str) -> Looks {
    let Ok(cells) = text::cells(field) else { return Looks::Other };
    let is_answer = cells.contains(&b'o');
    let asked = cells.iter().map(|&cell| if cell == b'o' { b' ' } else { cell }).collect();
    match Maze::new(asked) {
        Ok(_) if is_answer => Looks::Answer,
        Ok(_) => Looks::Question,
        Err(_) => Looks::Other,
    }
}

/// Parses the maze of `row`, which came from `path`, and its answer, which is found by the published set's rule where
/// the row has none. `side` is that of the file's first maze, if known.
///
/// # Errors
/// [`Error::Format`] at a wrong length or character, and at an answer that is not a shortest path through the maze.
pub fn check(path: &Path, row: &Row, side: Option<usize>) -> Result<(Maze, Vec<u8>)> {
    let bad = |field: &str, found: String, expected: String| {
        Error::format(path, Place::Line(row.line), field, found, expected)
    };
    let cells = |field: &str, text: &str| {
        text::cells(text).map_err(|error| bad(field, error.found_and_expected().0, CHARACTERS.to_owned()))
    };
    let question = cells("question", &row.question)?;
    let (count, wanted) = (question.len(), side.map_or(question.len(), |side| side * side));
    // Spaces are cells, and editors and spreadsheets take them away at the ends of a field.
    let trimmed = |text: &str| !text.starts_with(' ') && !text.ends_with(' ');
    let lost = || {
        let other = row.answer.as_ref().map(|answer| answer.chars().count()).filter(|&n| n != count);
        let beside = other.map_or(String::new(), |n| format!(", and {n} in the answer"));
        let before = side.map_or("a square number of cells".to_owned(), |side| {
            format!("{} cells, as before it", side * side)
        });
        let expected =
            format!("{before}: spaces at the ends of the field may have been lost; write . for a free cell");
        bad("question", format!("{count} cells{beside}"), expected)
    };
    let is_square = count.isqrt() * count.isqrt() == count;
    if (!is_square || count != wanted) && count > 3 && trimmed(&row.question) && row.question.contains(' ') {
        return Err(lost());
    }
    let maze = Maze::from_cells(question).map_err(|error| {
        let (found, expected) = error.found_and_expected();
        bad("question", found, expected)
    })?;
    if count != wanted {
        return Err(bad("question", format!("{count} cells"), format!("{wanted} cells, as before it")));
    }
    let Some(answer) = &row.answer else {
        let answer = maze.solve().ok_or_else(|| {
            bad("question", "no way from S to G".to_owned(), "a maze with an answer".to_owned())
        })?;
        return Ok((maze, answer));
    };
    let answer = cells("answer", answer)?;
    if answer.len() != count {
        return Err(bad(
            "answer",
            format!("{} cells", answer.len()),
            format!("{count} cells, as the question has"),
        ));
    }
    let place = |cell: usize| format!("row {}, column {}", cell / maze.side() + 1, cell % maze.side() + 1);
    let differs = |&cell: &usize| {
        let (asked, answered) = (maze.cells()[cell], answer[cell]);
        asked != answered && (asked, answered) != (b' ', b'o')
    };
    if let Some(cell) = (0..answer.len()).find(differs) {
        let found = format!("{:?} at {}", char::from(answer[cell]), place(cell));
        let asked = char::from(maze.cells()[cell]);
        let or_path = if asked == ' ' { " or o" } else { "" };
        return Err(bad("answer", found, format!("{asked:?}{or_path}, as in the question")));
    }
    if !maze.is_solved_by(&answer) {
        let marks = answer.iter().filter(|&&cell| cell == b'o').count();
        let expected = match maze.distance() {
            Some(distance) => format!("a shortest path, of {} cells between its ends", distance - 1),
            None => "a maze with a way from S to G".to_owned(),
        };
        return Err(bad("answer", format!("{marks} cells marked"), expected));
    }
    Ok((maze, answer))
}
