//! Mazes as people write them, read into the published characters.
//!
//! | cell | characters |
//! |---|---|
//! | wall | `#`, also `% 1 @ W w X █ ■ ▓ ▒` |
//! | free | space, also `. 0 _ ·` |
//! | start | `S`, also `s` and `A` |
//! | goal | `G`, also `g`, `E e` (end, exit), `F f` (finish), `T t` (target) and `B` |
//! | path, in answers | `o`, also `O * •` |

use super::grid::{Maze, ParseError};
use crate::data::plain::plain;

/// The characters, for messages.
pub const CHARACTERS: &str =
    "# (or % 1 W X █) for a wall, a space (or . 0 _) where it is free, S (or A), and G (or E F B)";

/// The published character that `c` stands for.
#[must_use]
pub const fn character(c: char) -> Option<u8> {
    Some(match c {
        '#' | '%' | '1' | '@' | 'W' | 'w' | 'X' | '█' | '■' | '▓' | '▒' => b'#',
        ' ' | '.' | '0' | '_' | '·' => b' ',
        'S' | 's' | 'A' => b'S',
        'G' | 'g' | 'E' | 'e' | 'F' | 'f' | 'T' | 't' | 'B' => b'G',
        'o' | 'O' | '*' | '•' => b'o',
        _ => return None,
    })
}

/// The cells of a field, in one line or in several, in the published characters. Rows that an editor has cut at their
/// end get their spaces back.
///
/// # Errors
/// [`ParseError::Character`] at a character that stands for nothing.
pub fn cells(text: &str) -> Result<Vec<u8>, ParseError> {
    let text = plain(text);
    let lines: Vec<&str> = text.split('\n').collect();
    let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    let several = lines.iter().filter(|line| !line.is_empty()).count() > 1;
    let lines = if several { square(&lines, width) } else { &lines[..] };
    let mut cells = Vec::new();
    for line in lines {
        let start = cells.len();
        for character in line.chars() {
            let position = cells.len();
            cells.push(self::character(character).ok_or(ParseError::Character { character, position })?);
        }
        if several {
            cells.resize(start + width, b' ');
        }
    }
    Ok(cells)
}

/// The lines without the empty ones at their end that are too many for a square.
fn square<'a, 'b>(lines: &'a [&'b str], width: usize) -> &'a [&'b str] {
    let mut lines = lines;
    while let [rest @ .., last] = lines
        && lines.len() > width
        && last.is_empty()
    {
        lines = rest;
    }
    while let [first, rest @ ..] = lines
        && lines.len() > width
        && first.is_empty()
    {
        lines = rest;
    }
    lines
}

/// The mazes of `side` rows in `text`: each in one line, or as rows, with anything empty between them.
///
/// # Errors
/// [`ParseError`] and the line, from 1, at which the maze begins that is none.
pub fn mazes(text: &str, side: usize) -> Result<Vec<(usize, Maze)>, (usize, ParseError)> {
    let text = plain(text);
    let lines: Vec<(usize, &str)> = (1..).zip(text.trim_end_matches('\n').split('\n')).collect();
    let one = |line: usize, text: &str| {
        let maze = cells(text).and_then(Maze::from_cells).map_err(|error| (line, error))?;
        Ok((line, maze))
    };
    let written = || lines.iter().filter(|(_, line)| !line.is_empty());
    if written().all(|(_, line)| line.chars().count() == side * side) && written().next().is_some() {
        return written().map(|&(number, line)| one(number, line)).collect();
    }
    let rows = |rows: &[(usize, &str)]| {
        let text: Vec<&str> = rows.iter().map(|(_, line)| *line).collect();
        one(rows.first().map_or(1, |(number, _)| *number), &text.join("\n"))
    };
    // An empty line may be a row of spaces that were lost: with it there are as many rows as there should be.
    if lines.len() <= side || !lines.iter().any(|(_, line)| line.is_empty()) {
        if lines.len().is_multiple_of(side) && lines.len() > side {
            return lines.chunks(side).map(rows).collect();
        }
        return rows(&lines).map(|maze| vec![maze]);
    }
    lines.split(|(_, line)| line.is_empty()).filter(|block| !block.is_empty()).map(rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: [&str; 3] = ["S #", "   ", "# G"];

    #[test]
    fn characters_of_other_programs_are_read() {
        let published = ROWS.concat();
        for (wall, free, start, goal) in [
            ('#', '.', 'S', 'E'),
            ('1', '0', 's', 'g'),
            ('█', ' ', 'S', 'G'),
            ('#', ' ', 'A', 'B'),
            ('W', '.', 'S', 'F'),
            ('X', '_', 's', 't'),
        ] {
            let written = |c: char| match c {
                '#' => wall,
                ' ' => free,
                'S' => start,
                _ => goal,
            };
            let text: String = published.chars().map(written).collect();
            assert_eq!(cells(&text).unwrap(), published.as_bytes(), "{text}");
        }
        for path in ['o', 'O', '*', '•'] {
            assert_eq!(cells(&format!("S{path}{path}G")).unwrap(), b"SooG");
        }
        assert_eq!(cells("S#?"), Err(ParseError::Character { character: '?', position: 2 }));
    }

    #[test]
    fn lost_spaces_come_back_where_rows_say_how_many() {
        for text in ["S #\n   \n# G", "S #\n\n# G\n", "S #\r\n\r\n# G\r\n\r\n"] {
            assert_eq!(cells(text).unwrap(), ROWS.concat().as_bytes(), "{text:?}");
        }
        assert_eq!(cells("S#G").unwrap().len(), 3);
    }

    #[test]
    fn several_mazes_are_told_apart() {
        let rows = ROWS.join("\n");
        let line = ROWS.concat();
        for (text, lines) in [
            (rows.clone(), &[1][..]),
            (format!("{rows}\n{rows}\n"), &[1, 4]),
            (format!("{rows}\n\n{rows}\n"), &[1, 5]),
            (format!("{line}\n{line}\n{line}\n"), &[1, 2, 3]),
            ("S #\n\n# G\n".to_owned(), &[1]),
        ] {
            let found = mazes(&text, 3).unwrap();
            assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), lines, "{text}");
            assert!(found.iter().all(|(_, maze)| maze.cells() == line.as_bytes()), "{text}");
        }
        assert_eq!(mazes("S #\n\nSG#G", 3).unwrap_err().0, 1);
        assert!(mazes("", 3).is_err() && mazes("S G", 3).is_err());
    }
}
