//! Line charts, drawn by [plotters]: a self-contained SVG for documents, braille for the terminal.
//!
//! Axes end at the data. Points that are not finite, and on a logarithmic axis those at zero or below, are left out and
//! break the line there. Words that are too long for a line go on in the next one: nothing is cut off.

mod axis;
mod draw;
mod layout;
mod svg;
mod terminal;

pub use terminal::sparkline;

use std::path::Path;

use crate::error::Result;
use crate::files::{self, Written};

/// One line of a chart.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// What the legend calls it.
    pub label: String,
    /// (x, y), in the order in which they are joined.
    pub points: Vec<(f64, f64)>,
}

impl Series {
    /// A labelled line through these points.
    pub fn new(label: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { label: label.into(), points }
    }
}

/// A chart with a title, two axes and any number of lines.
///
/// ```
/// use hrm_host::metrics::plot::{Chart, Series};
/// let chart = Chart {
///     title: "Exact accuracy".into(),
///     x_label: "step".into(),
///     y_label: "puzzles, %".into(),
///     series: vec![Series::new("validation", vec![(0.0, 0.0), (100.0, 60.0), (200.0, 97.0)])],
///     ..Chart::default()
/// };
/// assert!(chart.to_svg().starts_with("<svg"));
/// assert!(chart.to_text(40).lines().all(|line| line.chars().count() <= 40));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Chart {
    /// Above the chart.
    pub title: String,
    /// Below the horizontal axis, with its unit.
    pub x_label: String,
    /// Above the vertical axis, with its unit.
    pub y_label: String,
    /// Whether x is on a logarithmic scale.
    pub log_x: bool,
    /// A value that the vertical axis shows though it may be outside the data, such as the zero of a share.
    pub y_includes: Option<f64>,
    /// The lines, drawn in this order.
    pub series: Vec<Series>,
    /// Charts that stand below this one in the same picture.
    pub below: Vec<Chart>,
}

impl Chart {
    /// The chart as an SVG document, 720 units wide and as high as its words need, that needs no other file and reads on
    /// light and dark ground.
    #[must_use]
    pub fn to_svg(&self) -> String {
        svg::render(self)
    }

    /// The chart in lines of at most `columns` characters, at least 24, with a picture for each series.
    #[must_use]
    pub fn to_text(&self, columns: usize) -> String {
        terminal::render(self, columns)
    }

    /// Writes [`to_svg`](Self::to_svg) to a file, whole or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_svg(&self, path: &Path) -> Result<Written> {
        files::write_bytes(path, self.to_svg().as_bytes())
    }
}
