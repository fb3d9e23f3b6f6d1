//! Line charts: a self-contained SVG for documents, a few lines of braille for the terminal.
//!
//! Points that are not finite, and on a logarithmic axis those at zero or below, are left out and break the line there.

mod svg;
mod terminal;

pub use terminal::{braille, sparkline};

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
///     y_label: "share of puzzles".into(),
///     series: vec![Series::new("validation", vec![(0.0, 0.0), (100.0, 0.6), (200.0, 0.97)])],
///     ..Chart::default()
/// };
/// assert!(chart.to_svg().starts_with("<svg"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Chart {
    /// Above the chart.
    pub title: String,
    /// Below the horizontal axis, with its unit.
    pub x_label: String,
    /// Beside the vertical axis, with its unit.
    pub y_label: String,
    /// Whether x is on a logarithmic scale.
    pub log_x: bool,
    /// Bounds of the vertical axis; from the points where `None`.
    pub y_range: Option<(f64, f64)>,
    /// The lines, drawn in this order.
    pub series: Vec<Series>,
}

impl Chart {
    /// The chart as an SVG document of 720 by 420 units that needs no other file and reads on light and dark ground.
    pub fn to_svg(&self) -> String {
        svg::render(self)
    }

    /// Writes [`to_svg`](Self::to_svg) to a file, whole or not at all.
    pub fn write_svg(&self, path: &Path) -> Result<Written> {
        files::write_bytes(path, self.to_svg().as_bytes())
    }
}

/// One axis: its bounds in data units, its ticks, and its scale.
#[derive(Debug)]
struct Axis {
    low: f64,
    high: f64,
    ticks: Vec<f64>,
    log: bool,
}

impl Axis {
    /// Spans all the values, widened to whole ticks on a linear scale.
    fn spanning(values: impl Iterator<Item = f64>, log: bool) -> Self {
        let usable = values.filter(|v| v.is_finite() && (!log || *v > 0.0));
        let (low, high) =
            usable.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        if low > high {
            return if log { Self::decades(1.0, 10.0) } else { Self::linear(0.0, 1.0) };
        }
        if log { Self::decades(low, high) } else { Self::linear(low, high) }
    }

    fn linear(low: f64, high: f64) -> Self {
        let (low, high) = room(low, high);
        let step = nice_step((high / 2.0 - low / 2.0) / 2.5);
        let (first, last) = ((low / step).floor(), (high / step).ceil());
        // At most about ten by the choice of step; the bound holds where rounding makes the quotients huge.
        let count = ((last - first) as usize).min(16);
        // Multiplying by the step's inverse where it is whole keeps 3 * 0.1 from printing as 0.30000000000000004.
        let inverse = (1.0 / step).round();
        let at = |n: f64| if step < 1.0 && inverse.is_finite() { n / inverse } else { n * step };
        let ticks: Vec<f64> = (0..=count).map(|n| at(first + n as f64)).collect();
        Self { low: at(first), high: at(last), ticks, log: false }
    }

    /// Whole decades, or 1, 2 and 5 within them where there are few.
    fn decades(low: f64, high: f64) -> Self {
        let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        let factors: &[f64] = if last - first <= 2 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let stride = usize::try_from((last - first) / 8 + 1).unwrap_or(1);
        let (low, high) = if high > low { (low, high) } else { (low / 2.0, high * 2.0) };
        let ticks = (first..=last)
            .step_by(stride)
            .flat_map(|e| factors.iter().map(move |f| f * 10f64.powi(e)))
            .filter(|t| (low..=high).contains(t))
            .collect();
        Self { low, high, ticks, log: true }
    }

    /// Where a value lies between the bounds, 0 to 1; `None` where it cannot be drawn.
    fn position(&self, value: f64) -> Option<f64> {
        if !value.is_finite() || (self.log && value <= 0.0) {
            return None;
        }
        // Halved first, so that the widest ranges do not overflow.
        let part = |v: f64| if self.log { v.ln() } else { v / 2.0 };
        Some((part(value) - part(self.low)) / (part(self.high) - part(self.low)))
    }
}

/// The bounds of an axis for values from `low` to `high`. A flat line gets room above and below; one at zero, which most
/// often is a count or a share, above.
fn room(low: f64, high: f64) -> (f64, f64) {
    if high > low {
        (low, high)
    } else if low == 0.0 {
        (0.0, 1.0)
    } else {
        (low - low.abs().max(1.0) / 2.0, low + low.abs().max(1.0) / 2.0)
    }
}

/// The smallest of 1, 2, 5 times a power of ten that is at least `rough`.
fn nice_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.max(f64::MIN_POSITIVE).log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|f| f * power).find(|step| *step >= rough * 0.999).unwrap_or(10.0 * power)
}

/// A tick's label: `0.25`, `1.5k`, `20M`, `1e-5`.
fn label(value: f64) -> String {
    let size = value.abs();
    for (unit, suffix) in [(1e9, "G"), (1e6, "M"), (1e3, "k")] {
        if (unit..1e12).contains(&size) {
            return format!("{}{suffix}", trimmed(value / unit));
        }
    }
    if size != 0.0 && !(1e-3..1e12).contains(&size) { format!("{value:e}") } else { trimmed(value) }
}

/// Up to six decimals, without the zeros at the end.
fn trimmed(value: f64) -> String {
    let text = format!("{value:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_that_cover_the_data() {
        for (low, high, expected) in [
            (0.0, 1.0, vec![0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
            (0.03, 0.29, vec![0.0, 0.1, 0.2, 0.3]),
            (-7.0, 12.0, vec![-10.0, -5.0, 0.0, 5.0, 10.0, 15.0]),
            (0.0, 20_000.0, vec![0.0, 5_000.0, 10_000.0, 15_000.0, 20_000.0]),
        ] {
            assert_eq!(Axis::linear(low, high).ticks, expected, "{low} {high}");
        }
        assert_eq!(Axis::decades(1.0, 1e4).ticks, [1.0, 10.0, 100.0, 1e3, 1e4]);
        assert_eq!(Axis::decades(3.0, 60.0).ticks, [5.0, 10.0, 20.0, 50.0]);
    }

    #[test]
    fn any_range_gives_a_few_finite_ticks_inside_it() {
        for (low, high) in [
            (0.0, 0.0),
            (5.0, 5.0),
            (-1e-300, 1e-300),
            (1.0, 1.0 + f64::EPSILON),
            (f64::MIN, f64::MAX),
            (1e15, 1e15 + 1.0),
            (-3.0, -2.0),
        ] {
            let axis = Axis::spanning([low, high].into_iter(), false);
            assert!((2..=17).contains(&axis.ticks.len()), "{low} {high} {axis:?}");
            let position = axis.position(low).unwrap();
            assert!(position.is_nan() || (-0.1..=1.1).contains(&position), "{low} {high} {position}");
        }
    }

    #[test]
    fn labels_are_short() {
        for (value, expected) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (1500.0, "1.5k"),
            (2e7, "20M"),
            (1e-5, "1e-5"),
            (-0.0, "0"),
            (3e12, "3e12"),
        ] {
            assert_eq!(label(value), expected);
        }
    }
}
