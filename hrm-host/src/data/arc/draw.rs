//! Draws ARC canvases in text: a digit for each colour on a ground of that colour, `+` for end marks, `.` for padding.

use super::grid::SIDE;
use crate::style::{BAD, FAINT};
use anstyle::{AnsiColor, RgbColor, Style};
use std::fmt::Write;

/// The colours as ARC's own pages show them.
const PALETTE: [RgbColor; 10] = [
    RgbColor(0, 0, 0),
    RgbColor(0, 116, 217),
    RgbColor(255, 65, 54),
    RgbColor(46, 204, 64),
    RgbColor(255, 220, 0),
    RgbColor(170, 170, 170),
    RgbColor(240, 18, 190),
    RgbColor(255, 133, 27),
    RgbColor(127, 219, 255),
    RgbColor(135, 12, 37),
];

/// The lines of a canvas, styled, without the padding around what is on it; ignored labels count as padding.
#[must_use]
pub fn lines(tokens: &[i32]) -> Vec<String> {
    let is_padding = |token: &i32| matches!(*token, 0 | crate::data::IGNORE_LABEL);
    let used: Vec<usize> = (0..tokens.len()).filter(|&cell| !is_padding(&tokens[cell])).collect();
    let columns = used.iter().map(|cell| cell % SIDE);
    let (Some(left), Some(right)) = (columns.clone().min(), columns.max()) else { return Vec::new() };
    let (top, bottom) = (used[0] / SIDE, used[used.len() - 1] / SIDE);
    let rows = tokens.chunks(SIDE).take(bottom + 1).skip(top);
    rows.map(|row| line(row.iter().take(right + 1).skip(left))).collect()
}

fn line<'a>(tokens: impl Iterator<Item = &'a i32>) -> String {
    let mut line = String::new();
    for &token in tokens {
        let colour = usize::try_from(token).unwrap_or(0).wrapping_sub(2);
        let (text, style) = match (token, PALETTE.get(colour)) {
            (1, _) => ("+".to_owned(), FAINT),
            (0 | crate::data::IGNORE_LABEL, _) => (".".to_owned(), FAINT),
            (_, Some(&ground)) => (colour.to_string(), on(ground)),
            (_, None) => ("?".to_owned(), BAD),
        };
        // Writing to a string cannot fail.
        let _ = write!(line, "{style}{text} {style:#}");
    }
    line
}

/// Text that can just be read on `ground`.
fn on(ground: RgbColor) -> Style {
    let bright = u32::from(ground.r()) + u32::from(ground.g()) + u32::from(ground.b()) > 330;
    let text = if bright { AnsiColor::Black } else { AnsiColor::BrightBlack };
    Style::new().fg_color(Some(text.into())).bg_color(Some(ground.into()))
}

#[cfg(test)]
mod tests {
    use super::super::grid::{CANVAS, Grid};
    use super::*;

    #[test]
    fn only_what_is_on_the_canvas_is_drawn() {
        let grid = Grid::new(2, 2, vec![0, 9, 3, 1]).unwrap();
        let mut canvas = [0; CANVAS];
        grid.paint(5, 7, &mut canvas);
        let mut tokens = canvas.map(i32::from);
        tokens[7 * SIDE + 9] = 12;
        let drawn = lines(&tokens).join("\n");
        assert_eq!(anstream::adapter::strip_str(&drawn).to_string(), "0 9 + \n3 1 + \n+ + ? ");
        assert!(drawn.contains("48;2;135;12;37"), "{drawn:?}");
        assert_eq!(lines(&[0; CANVAS]), [""; 0]);
        assert_eq!(lines(&[-100; 3]), [""; 0]);
        assert_eq!(lines(&[]), [""; 0]);
    }
}
