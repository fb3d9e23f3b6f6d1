//! Curves in a terminal: one line of blocks, or a small picture in braille.

use std::convert::Infallible;

use plotters::prelude::{DrawingBackend, IntoDrawingArea};
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{BackendColor, BackendCoord, BackendTextStyle, DrawingErrorKind};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::draw::{Pen, draw};
use super::layout::{Layout, Medium};
use super::{Chart, Series};

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The values as one line of at most `width` blocks, lowest to highest; neighbours are averaged where there are more
/// values than blocks, and a value that is not finite is a space.
#[must_use]
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

/// Dots of a character.
const CELL: (i32, i32) = (2, 4);
/// Below this many columns there is no room for a plot beside its labels.
const LEAST: usize = 24;

/// The chart in lines of at most `columns` characters (at least 24). Each series is a picture of its own under its name:
/// dots of several could not be told apart.
pub(super) fn render(chart: &Chart, columns: usize) -> String {
    let columns = columns.clamp(LEAST, 200);
    let medium = Medium {
        width: CELL.0 * columns as i32,
        plot: 8 * CELL.1,
        line: CELL.1,
        gap: 0,
        ticks: [1, 2],
        text: |text| CELL.0 * text.width() as i32,
    };
    let pen = Pen { font: 1.0, stroke: 1, grid: false };
    let mut out = String::new();
    let empty = [Series::default()];
    let all = if chart.series.is_empty() { &empty[..] } else { &chart.series };
    for (index, series) in all.iter().enumerate() {
        let name = [chart.title.as_str(), series.label.as_str()].map(str::trim);
        let title = match name {
            [title, label] if title.is_empty() || label.is_empty() || index > 0 => {
                if label.is_empty() { title } else { label }.to_owned()
            }
            [title, label] => format!("{title}: {label}"),
        };
        let alone = Chart {
            title,
            series: vec![Series::new("", series.points.clone())],
            below: Vec::new(),
            ..chart.clone()
        };
        let layout = Layout::of(&alone, &medium);
        let mut dots = Dots::new(columns, layout.height);
        {
            let area = (&mut dots).into_drawing_area();
            // Setting dots cannot fail.
            let _ = draw(&area, &alone, &layout, &medium, pen);
        }
        out.push_str(&dots.text());
    }
    for below in &chart.below {
        out.push_str(&render(below, columns));
    }
    out
}

/// A backend of plotters whose pixels are the dots of braille characters.
struct Dots {
    columns: usize,
    cells: Vec<char>,
}

const BLANK: u32 = 0x2800;

impl Dots {
    fn new(columns: usize, height: i32) -> Self {
        let rows = height.unsigned_abs().div_ceil(CELL.1.unsigned_abs()) as usize;
        Self { columns, cells: vec![' '; columns * rows] }
    }

    fn cell(&mut self, column: i32, row: i32) -> Option<&mut char> {
        let (column, row) = (usize::try_from(column).ok()?, usize::try_from(row).ok()?);
        (column < self.columns).then(|| self.cells.get_mut(row * self.columns + column)).flatten()
    }

    /// Its lines, without the spaces at their ends. A character of two columns stands before a NUL.
    fn text(&self) -> String {
        let lines = self.cells.chunks(self.columns).map(|line| {
            let line: String = line.iter().filter(|c| **c != '\0').collect();
            format!("{}\n", line.trim_end())
        });
        lines.collect()
    }
}

impl DrawingBackend for &mut Dots {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        let rows = self.cells.len() / self.columns;
        (self.columns as u32 * CELL.0.unsigned_abs(), rows as u32 * CELL.1.unsigned_abs())
    }

    fn ensure_prepared(&mut self) -> Result<(), DrawingErrorKind<Infallible>> {
        Ok(())
    }

    fn present(&mut self) -> Result<(), DrawingErrorKind<Infallible>> {
        Ok(())
    }

    fn draw_pixel(
        &mut self,
        (x, y): BackendCoord,
        color: BackendColor,
    ) -> Result<(), DrawingErrorKind<Infallible>> {
        // Dots 1 to 8 of a braille character: down the left column, down the right, then the bottom pair.
        const BITS: [[u32; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
        let bit = BITS[y.rem_euclid(CELL.1) as usize][x.rem_euclid(CELL.0) as usize];
        // The fainter half of an edge that is smoothed is left out.
        if color.alpha >= 0.5
            && let Some(cell) = self.cell(x.div_euclid(CELL.0), y.div_euclid(CELL.1))
        {
            let dots = if *cell == ' ' { BLANK } else { u32::from(*cell) };
            if (BLANK..BLANK + 256).contains(&dots) {
                *cell = char::from_u32(dots | bit).unwrap_or(' ');
            }
        }
        Ok(())
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        (x, y): BackendCoord,
    ) -> Result<(), DrawingErrorKind<Infallible>> {
        let long = text.width() as i32;
        let at = x.div_euclid(CELL.0);
        let start = match style.anchor().h_pos {
            HPos::Left => at,
            HPos::Center => at - long / 2,
            HPos::Right => at - long,
        };
        let row = match style.anchor().v_pos {
            VPos::Top | VPos::Center => y.div_euclid(CELL.1),
            VPos::Bottom => (y - 1).div_euclid(CELL.1),
        };
        // Labels at the ends of an axis stay inside.
        let mut column = start.min(self.columns as i32 - long).max(0);
        for c in text.chars() {
            let wide = c.width().unwrap_or(0) as i32;
            if wide > 0
                && let Some(cell) = self.cell(column, row)
            {
                *cell = c;
            }
            if wide > 1
                && let Some(cell) = self.cell(column + 1, row)
            {
                *cell = '\0';
            }
            column += wide;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> Chart {
        Chart { series: vec![Series::new("solved", points)], x_label: "step".into(), ..Chart::default() }
    }

    /// The lines of the plot without their labels.
    fn plot(points: Vec<(f64, f64)>) -> Vec<String> {
        let text = chart(points).to_text(24);
        let braille = |c: &char| (BLANK..BLANK + 256).contains(&u32::from(*c)) || *c == ' ';
        let behind = |line: &str| line.chars().skip_while(|c| !braille(c) || *c == ' ').skip(1).collect();
        text.lines().skip(1).take(8).map(behind).collect()
    }

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
    fn a_curve_stands_under_its_name_between_labelled_ends() {
        let text = chart(vec![(10.0, 0.0), (300.0, 97.5)]).to_text(40);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0], lines.len()), ("solved", 12), "{text}");
        assert!(lines[1].starts_with("97.5"), "{text}");
        assert!(lines[8].trim_start().starts_with('0'), "{text}");
        assert!(lines[10].trim_start().starts_with("10 ") && lines[10].ends_with("300"), "{text}");
        assert_eq!(lines[11].trim(), "step");
    }

    #[test]
    fn a_diagonal_goes_from_corner_to_corner() {
        let lines = plot(vec![(0.0, 0.0), (300.0, 1.0)]);
        assert_eq!((lines[7].as_str(), lines[0].trim_start()), ("⡠⠊⠁", "⣀⠔"), "{lines:?}");
        assert_eq!(lines[0].chars().count(), 18, "{lines:?}");
    }

    #[test]
    fn a_lone_point_is_seen_and_a_gap_is_not_bridged() {
        let filled = |lines: Vec<String>| lines.join("").chars().filter(|c| *c != ' ').count();
        assert!(filled(plot(vec![(5.0, 5.0)])) > 0);
        let gap = filled(plot(vec![(0.0, 0.0), (1.0, f64::NAN), (2.0, 0.0)]));
        assert!((1..6).contains(&gap), "{gap}");
    }

    #[test]
    fn no_line_is_longer_than_the_terminal() {
        let hard = [
            vec![],
            vec![(f64::NAN, 1.0)],
            vec![(1e-300, -1.234e-5)],
            vec![(f64::MIN, f64::MIN), (f64::MAX, f64::MAX)],
            vec![(0.0, 1e15), (123_456_789.0, 1e15 + 1.0)],
        ];
        for points in hard {
            for columns in [24, 40, 80, 200] {
                let chart = Chart {
                    title: "ein sehr langer Titel 日本語のラベル".repeat(9),
                    y_label: "value".into(),
                    series: vec![
                        Series::new("a", points.clone()),
                        Series::new("b".repeat(300), points.clone()),
                    ],
                    ..chart(Vec::new())
                };
                let text = chart.to_text(columns);
                assert!(text.lines().all(|line| line.width() <= columns), "{columns}\n{text}");
                assert!(!text.contains("inf") && !text.contains("NaN"), "{text}");
                assert_eq!(text.matches('b').count(), 300, "{text}");
            }
        }
    }

    #[test]
    fn nothing_to_draw_is_said() {
        assert!(chart(vec![]).to_text(40).contains("no values yet"));
        assert!(Chart::default().to_text(40).contains("no values yet"));
    }
}
