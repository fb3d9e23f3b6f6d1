//! Puts the lines of a text together.

use super::super::grid::{Board, Size};
use super::line::{Line, Row, Whole};
use super::{Found, SIZES, TextError};

/// Lines that may be rows of boards, between titles.
#[derive(Default)]
struct Block {
    lines: Vec<(usize, Line)>,
    name: Option<String>,
}

/// All boards of `size` in `text`.
pub(super) fn boards(text: &str, size: Size) -> Result<Vec<Found>, TextError> {
    let several = text.trim().contains('\n');
    let (mut found, mut block) = (Vec::new(), Block::default());
    // Of a file in sections one holds the puzzle, the others what someone has made of it.
    let mut passed_over = false;
    for (number, text) in (1..).zip(text.split('\n')) {
        let line = Line::of(text, size);
        if let Line::Section(name) = line {
            block.flush(size, &mut found)?;
            passed_over = !(name.contains("puzzle") || name.contains("question") || name.contains("givens"));
            continue;
        }
        match line {
            _ if passed_over => {}
            Line::Odd(error) => {
                return Err(TextError { line: several.then_some(number), ..error });
            }
            Line::Title(name) => {
                block.flush(size, &mut found)?;
                block.name = Some(name);
            }
            Line::Boards(whole) => {
                block.flush(size, &mut found)?;
                let one = of_line(whole, number);
                found.push(one.map_err(|error| TextError { line: several.then_some(number), ..error })?);
            }
            Line::Comment => {}
            line => block.lines.push((number, line)),
        }
    }
    block.flush(size, &mut found)?;
    if found.is_empty() {
        return Err(TextError {
            line: None,
            found: if text.trim().is_empty() { "nothing".to_owned() } else { "no cells".to_owned() },
            expected: SIZES.to_owned(),
        });
    }
    Ok(found)
}

/// What the boards in one line are: a puzzle, or a puzzle and its answer, in either order.
pub(super) fn of_line(whole: Whole, line: usize) -> Result<Found, TextError> {
    let bad = |found: &str| TextError {
        line: None,
        found: found.to_owned(),
        expected: "a puzzle in a line, alone or with its answer".to_owned(),
    };
    let (question, answer) = match whole.boards[..] {
        [only] => (only, None),
        [first, second] if second.is_complete() && second.first_difference(&first).is_none() => {
            (first, Some(second))
        }
        [first, second] if first.is_complete() && first.first_difference(&second).is_none() => {
            (second, Some(first))
        }
        [first, second] if first.is_complete() || second.is_complete() => {
            return Err(bad("a complete board that does not answer the puzzle beside it"));
        }
        _ => return Err(bad(&format!("{} puzzles in a line", whole.boards.len()))),
    };
    Ok(Found { line, name: None, question, answer, rating: whole.rating })
}

impl Block {
    /// Makes boards of the lines so far.
    fn flush(&mut self, size: Size, found: &mut Vec<Found>) -> Result<(), TextError> {
        let Self { lines, name } = std::mem::take(self);
        let side = size.side();
        let is_gap = |line: &Line| matches!(line, Line::Gaps { .. });
        let rows = if lines.iter().any(|(_, line)| is_gap(line)) {
            with_gaps(&lines, size)?
        } else {
            let certain = lines.iter().filter(|(_, line)| matches!(line, Line::Row(_))).count();
            // Lines of dashes are rules where the other rows are enough.
            let either = certain % side != 0 || certain == 0;
            let row = |(number, line): &(usize, Line)| match line {
                Line::Row(row) => Some((*number, *row)),
                Line::Either if either => Some((*number, Row::default())),
                _ => None,
            };
            lines.iter().filter_map(row).collect::<Vec<(usize, Row)>>()
        };
        if rows.len() % side != 0 {
            let (first, last) = (rows[0].0, rows[rows.len() - 1].0);
            return Err(TextError {
                line: Some(first),
                found: format!("{} rows to line {last}", rows.len()),
                expected: format!("{side} rows of {side} cells for each puzzle"),
            });
        }
        let several = rows.len() > side;
        for rows in rows.chunks(side) {
            let cells: Vec<u8> = rows.iter().flat_map(|(_, row)| row[..side].iter().copied()).collect();
            if let (Some(question), Some((line, _))) = (Board::from_digits(size, &cells), rows.first()) {
                let name = name.clone().filter(|_| !several);
                found.push(Found { line: *line, name, question, answer: None, rating: None });
            }
        }
        Ok(())
    }
}

/// Rows of which some have spaces for blanks. An empty line among them may be a row, too.
fn with_gaps(lines: &[(usize, Line)], size: Size) -> Result<Vec<(usize, Row)>, TextError> {
    let side = size.side();
    let drawn = |line: &Line| !matches!(line, Line::Rule | Line::Either);
    let mut kept: Vec<&(usize, Line)> = lines.iter().filter(|(_, line)| drawn(line)).collect();
    let empty = |line: &&(usize, Line)| line.1 == Line::Empty;
    let written = kept.iter().filter(|line| !empty(line)).count();
    if written % side == 0 {
        kept.retain(|line| !empty(line));
    } else {
        while kept.len() > side && kept.last().is_some_and(empty) {
            kept.pop();
        }
        while kept.len() > side && kept.first().is_some_and(empty) {
            kept.remove(0);
        }
    }
    let sure = kept.iter().any(|(_, line)| matches!(line, Line::Gaps { sure: true, .. }));
    let mixed = kept.iter().find_map(|(number, line)| match line {
        Line::Row(row) if row[..side].contains(&0) => Some(*number),
        _ => None,
    });
    let short = kept.iter().find_map(|(number, line)| match line {
        Line::Gaps { row, .. } => Some((*number, row.iter().filter(|&&digit| digit != 0).count())),
        _ => None,
    });
    if let (Some((number, count)), true) =
        (short, !sure || mixed.is_some() || !kept.len().is_multiple_of(side))
    {
        return Err(TextError {
            line: (lines.len() > 1).then_some(number),
            found: format!("{count} cells"),
            expected: format!("{side} cells in a row, or {} in the line", size.cells()),
        });
    }
    let row = |(number, line): &&(usize, Line)| match line {
        Line::Row(row) | Line::Gaps { row, .. } => (*number, *row),
        _ => (*number, Row::default()),
    };
    Ok(kept.iter().map(row).collect())
}
