//! Curves in a terminal: one line of blocks, or a small picture in braille.

use super::{Axis, label, room};

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The values as one line of at most `width` blocks, lowest to highest; neighbours are averaged where there are more
/// values than blocks, and a value that is not finite is a space.
pub fn sparkline(values: &[f64], width: usize) -> String {
    let columns = values.len().min(width);
    let means: Vec<f64> = (0..columns)
        .map(|c| {
            let bin = &values[c * values.len() / columns..(c + 1) * values.len() / columns];
            let finite: Vec<f64> = bin.iter().copied().filter(|v| v.is_finite()).collect();
            if finite.is_empty() { f64::NAN } else { finite.iter().map(|v| v / finite.len() as f64).sum() }
        })
        .collect();
    let (low, high) = means
        .iter()
        .filter(|v| v.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v)));
    let block = |v: &f64| {
        if !v.is_finite() {
            return ' ';
        }
        let part = if high > low { (v / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0) } else { 0.0 };
        BLOCKS[((part * 7.0).round() as usize).min(7)]
    };
    means.iter().map(block).collect()
}

/// The points as a picture of `columns` by `rows` characters, each 2 by 4 dots, with the bounds of y at the left and
/// those of x below. Empty where nothing can be drawn.
pub fn braille(points: &[(f64, f64)], columns: usize, rows: usize) -> String {
    let finite = || points.iter().filter(|p| p.0.is_finite() && p.1.is_finite());
    if finite().next().is_none() || columns == 0 || rows == 0 {
        return String::new();
    }
    let bounds = |values: &mut dyn Iterator<Item = f64>| {
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
        room(low, high)
    };
    let axis = |(low, high)| Axis { low, high, ticks: Vec::new(), log: false };
    let x = axis(bounds(&mut finite().map(|p| p.0)));
    let y = axis(bounds(&mut finite().map(|p| p.1)));
    let (width, height) = (columns * 2, rows * 4);
    let mut cells = vec![0u8; columns * rows];
    let mut dot = |px: usize, py: usize| {
        // Dots 1 to 8 of a braille cell: down the left column, down the right, then the bottom pair.
        const BITS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
        cells[py / 4 * columns + px / 2] |= BITS[py % 4][px % 2];
    };
    let place = |p: &(f64, f64)| {
        let (px, py) = x.position(p.0).zip(y.position(p.1))?;
        let scaled =
            |part: f64, size: usize| ((part * (size - 1) as f64).round().max(0.0) as usize).min(size - 1);
        Some((scaled(px, width), scaled(1.0 - py, height)))
    };
    let mut last: Option<(usize, usize)> = None;
    for point in points {
        let here = place(point);
        if let Some(to) = here {
            let from = last.unwrap_or(to);
            let steps = from.0.abs_diff(to.0).max(from.1.abs_diff(to.1)).max(1);
            let between = |a: usize, b: usize, n: usize| (a * (steps - n) + b * n + steps / 2) / steps;
            (0..=steps).for_each(|n| dot(between(from.0, to.0, n), between(from.1, to.1, n)));
        }
        last = here;
    }

    let (top, bottom) = (label(rounded(y.high)), label(rounded(y.low)));
    let margin = top.chars().count().max(bottom.chars().count());
    let mut out = String::new();
    for (row, line) in cells.chunks(columns).enumerate() {
        let name = if row == 0 {
            &top
        } else if row + 1 == rows {
            &bottom
        } else {
            ""
        };
        let dots: String =
            line.iter().map(|bits| char::from_u32(0x2800 + u32::from(*bits)).unwrap_or(' ')).collect();
        out.push_str(&format!("{name:>margin$} ┤{dots}\n"));
    }
    let (left, right) = (label(rounded(x.low)), label(rounded(x.high)));
    let gap = columns.saturating_sub(left.chars().count()).max(right.chars().count() + 1);
    out.push_str(&format!("{:margin$}  {left}{right:>gap$}\n", ""));
    out
}

/// To three significant digits, for a label.
fn rounded(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_goes_from_lowest_to_highest() {
        assert_eq!(sparkline(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 8), "▁▂▃▄▅▆▇█");
        assert_eq!(sparkline(&[0.0, 0.0, 7.0, 7.0], 2), "▁█");
        assert_eq!(sparkline(&[1.0, f64::NAN, 2.0], 9), "▁ █");
        assert_eq!(sparkline(&[3.0, 3.0], 9), "▁▁");
        assert_eq!(sparkline(&[f64::MIN, f64::MAX], 9), "▁█");
        assert_eq!(sparkline(&[], 9), "");
        assert_eq!(sparkline(&[1.0], 0), "");
    }

    #[test]
    fn a_diagonal_is_drawn_from_corner_to_corner() {
        let picture = braille(&[(0.0, 0.0), (300.0, 1.0)], 4, 2);
        assert_eq!(picture, "1 ┤⠀⠀⡠⠊\n0 ┤⡠⠊⠀⠀\n   0 300\n");
    }

    #[test]
    fn a_flat_line_lies_in_the_middle_and_at_zero_on_the_ground() {
        let picture = |y: f64| braille(&[(0.0, y), (300.0, y)], 4, 2);
        assert_eq!(picture(0.0), "1 ┤⠀⠀⠀⠀\n0 ┤⣀⣀⣀⣀\n   0 300\n");
        assert!(picture(0.5).starts_with("1 ┤"), "{}", picture(0.5));
    }

    #[test]
    fn a_gap_is_not_bridged() {
        let picture = braille(&[(0.0, 0.0), (1.0, f64::NAN), (2.0, 0.0)], 3, 1);
        assert_eq!(picture.matches('\u{2800}').count(), 1, "{picture}");
    }

    #[test]
    fn nothing_to_draw_is_nothing() {
        assert_eq!(braille(&[], 4, 2), "");
        assert_eq!(braille(&[(f64::NAN, 1.0)], 4, 2), "");
        assert_eq!(braille(&[(1.0, 1.0)], 0, 2), "");
        assert_eq!(braille(&[(f64::MIN, f64::MIN), (f64::MAX, f64::MAX)], 4, 2).lines().count(), 3);
    }
}
