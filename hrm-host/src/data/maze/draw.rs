//! Draws mazes in text: `#` walls, `S`, `G`, and `o` for the path.

use super::grid::CHARACTERS;
use crate::style::{BAD, CHANGED, FAINT, GOOD};
use std::fmt::Write;

/// The lines of a maze of `side` columns, styled; a token that is no character is drawn as `?`.
#[must_use]
pub fn lines(side: usize, tokens: &[i32]) -> Vec<String> {
    let cell = |&token: &i32| {
        let place = usize::try_from(token).unwrap_or(0).wrapping_sub(1);
        CHARACTERS.get(place).map_or('?', |&character| char::from(character))
    };
    let line = |row: &[i32]| {
        let mut line = String::new();
        for character in row.iter().map(cell) {
            let style = match character {
                'S' | 'G' => GOOD,
                'o' => CHANGED,
                '?' => BAD,
                _ => FAINT,
            };
            // Writing to a string cannot fail.
            let _ = write!(line, "{style}{character}{style:#}");
        }
        line
    };
    tokens.chunks(side.max(1)).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_row() {
        let text = lines(3, &[3, 5, 1, 2, 4, 0, 6, -100, 1]).join("\n");
        assert_eq!(anstream::adapter::strip_str(&text).to_string(), "So#\n G?\n??#");
    }
}
