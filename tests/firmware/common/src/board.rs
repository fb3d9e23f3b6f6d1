//! Puzzles as text: one character for each token, by the names in the bundle.

use core::fmt;

use hrm_core::bundle::Bundle;

/// The token that `bundle` names `character`. 0 is another name of a blank.
#[must_use]
pub fn token(bundle: &Bundle<'_>, character: char) -> Option<u8> {
    let character = if character == '0' { '.' } else { character };
    let is = |word: &str| word.chars().eq([character]);
    bundle.vocabulary().position(is).and_then(|token| token.try_into().ok())
}

/// The character of a token: a question mark where it has none.
#[must_use]
pub fn character(bundle: &Bundle<'_>, token: i32) -> char {
    let word = usize::try_from(token).ok().and_then(|token| bundle.vocabulary().nth(token));
    let mut characters = word.unwrap_or_default().chars();
    match (characters.next(), characters.next()) {
        (Some(character), None) => character,
        _ => '?',
    }
}

/// Displays tokens as a square with its boxes, or as a line if they are no square.
#[derive(Debug)]
pub struct Board<'a> {
    /// The names of the tokens.
    pub bundle: &'a Bundle<'a>,
    /// The tokens, row by row.
    pub tokens: &'a [i32],
}

impl fmt::Display for Board<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = self.tokens.len().isqrt();
        let square = side > 0 && side * side == self.tokens.len();
        let (side, edge) = if square { (side, side.isqrt()) } else { (self.tokens.len().max(1), 0) };
        let boxes = edge > 1 && edge * edge == side;
        for (y, row) in self.tokens.chunks(side).enumerate() {
            if boxes && y > 0 && y.is_multiple_of(edge) {
                writeln!(f)?;
            }
            f.write_str("  ")?;
            for (x, token) in row.iter().enumerate() {
                let gap = if boxes && x > 0 && x.is_multiple_of(edge) { "  " } else { " " };
                write!(f, "{gap}{}", character(self.bundle, *token))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
