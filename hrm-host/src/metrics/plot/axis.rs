//! The axes of a chart: they end at the data, and their ends are labelled.

use std::ops::Range;

use plotters::coord::ranged1d::{BoldPoints, KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;

/// One axis: its ends and ticks in the coordinate that is drawn, and how values come to it.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub low: f64,
    pub high: f64,
    /// Coordinate and label, none closer than a label is long.
    pub ticks: Vec<(f64, String)>,
    scale: Scale,
}

/// From a value to the coordinate.
#[derive(Clone, Copy, Debug)]
enum Scale {
    /// `value / unit`, at most about ten: the tick search holds for any finite values so.
    Linear { unit: f64 },
    /// `log10(value)`, for values above zero.
    Log,
}

/// Below this part of their size, values count as equal.
const EQUAL: f64 = 1e-6;

impl Axis {
    /// Spans all values that can be drawn. Equal values get room on both sides, and zeros above.
    pub(super) fn spanning(values: impl Iterator<Item = f64> + Clone, log: bool) -> Self {
        let drawn = values.filter(|value| value.is_finite() && (!log || *value > 0.0));
        let size = drawn.clone().fold(0.0f64, |size, value| size.max(value.abs()));
        let scale = if log {
            Scale::Log
        } else {
            // Not below 1e-300, where powers of ten have no exact neighbours any more.
            Scale::Linear { unit: 10f64.powf(size.max(1e-300).log10().floor()) }
        };
        let (low, high) = drawn
            .filter_map(|value| scale.at(value))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), at| (low.min(at), high.max(at)));
        let (low, high) = match scale {
            _ if low > high => (0.0, 1.0),
            Scale::Linear { .. } if high - low > EQUAL * high.abs().max(low.abs()) => (low, high),
            Scale::Linear { .. } if size == 0.0 => return Self::zeros(),
            Scale::Linear { .. } => (low - low.abs() / 2.0, high + high.abs() / 2.0),
            Scale::Log if high - low > EQUAL => (low, high),
            Scale::Log => (low - 2f64.log10(), high + 2f64.log10()),
        };
        Self { low, high, ticks: Vec::new(), scale }
    }

    fn zeros() -> Self {
        Self { low: 0.0, high: 1.0, ticks: Vec::new(), scale: Scale::Linear { unit: 1.0 } }
    }

    /// The coordinate of a value; `None` where it cannot be drawn.
    pub(super) fn at(&self, value: f64) -> Option<f64> {
        self.scale.at(value)
    }

    /// Labels both ends and as many round values between them as fit in `length`, where a label takes `extent`.
    pub(super) fn label(&mut self, length: i32, extent: impl Fn(&str) -> i32) {
        let name = |at: f64| number(self.rounded(at));
        let ends = [self.low, self.high].map(|at| (at, name(at)));
        let widest = ends.iter().map(|(_, text)| extent(text)).max().unwrap_or(1).max(1);
        let most = usize::try_from(length / (2 * widest)).unwrap_or(0).clamp(1, 8);
        let pixel = f64::from(length) / (self.high - self.low);
        let mut kept: Vec<(f64, String)> = Vec::new();
        for (at, text) in ends.into_iter().chain(self.between(most).into_iter().map(|at| (at, name(at)))) {
            let clear = |other: &(f64, String)| {
                (at - other.0).abs() * pixel >= f64::from(extent(&text) + extent(&other.1)) / 2.0
                    && other.1 != text
            };
            if kept.iter().all(clear) {
                kept.push((at, text));
            }
        }
        kept.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.ticks = kept;
    }

    /// Round values inside the axis, at most about `most`.
    fn between(&self, most: usize) -> Vec<f64> {
        let round = |most| self.linear().key_points(BoldPoints(most));
        match self.scale {
            Scale::Linear { .. } => round(most),
            Scale::Log if self.high - self.low > 2.0 => {
                round(most).into_iter().filter(|at| at.fract() == 0.0).collect()
            }
            Scale::Log => (self.low.floor() as i32..=self.high.ceil() as i32)
                .flat_map(|decade| [1.0f64, 2.0, 5.0].map(|digit| f64::from(decade) + digit.log10()))
                .filter(|at| (self.low..=self.high).contains(at))
                .collect(),
        }
    }

    fn linear(&self) -> RangedCoordf64 {
        RangedCoordf64::from(self.low..self.high)
    }

    /// The value at a coordinate, to a thousandth of what the axis spans.
    fn rounded(&self, at: f64) -> f64 {
        let digits = |value: f64, span: f64| {
            let place = span.abs().log10().floor() as i32 - 3;
            let unit = 10f64.powi(place.abs());
            if place < 0 { (value * unit).round() / unit } else { (value / unit).round() * unit }
        };
        match self.scale {
            Scale::Linear { unit } => scaled(digits(at, self.high - self.low), unit),
            Scale::Log => {
                let power = 10f64.powf(at.floor());
                // Below the normal numbers there are no three digits to round to.
                if power < f64::MIN_POSITIVE {
                    return 10f64.powf(at);
                }
                scaled(digits(10f64.powf(at - at.floor()), 1.0), power)
            }
        }
    }
}

/// What plotters draws: a straight axis with these ticks.
impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, at: &f64, pixels: (i32, i32)) -> i32 {
        self.linear().map(at, pixels)
    }

    fn key_points<H: KeyPointHint>(&self, hint: H) -> Vec<f64> {
        let bold = !hint.weight().allow_light_points();
        self.ticks.iter().filter(|_| bold).map(|tick| tick.0).collect()
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, at: &f64) -> String {
        self.ticks.iter().find(|tick| tick.0 == *at).map_or_else(String::new, |tick| tick.1.clone())
    }
}

impl Scale {
    fn at(self, value: f64) -> Option<f64> {
        match self {
            _ if !value.is_finite() => None,
            Self::Linear { unit } => Some(value / unit),
            Self::Log => (value > 0.0).then(|| value.log10()),
        }
    }
}

/// `value * unit`, dividing where the unit is a negative power of ten: 3 / 10 prints as 0.3, 3 * 0.1 does not.
fn scaled(value: f64, unit: f64) -> f64 {
    let inverse = (1.0 / unit).round();
    let product = if unit < 1.0 && inverse.is_finite() { value / inverse } else { value * unit };
    product.clamp(f64::MIN, f64::MAX)
}

/// A tick's label: `0.25`, `1450`, `14.5k`, `20M`, `1e-5`.
fn number(value: f64) -> String {
    let size = value.abs();
    for (unit, suffix) in [(1e9f64, "G"), (1e6, "M"), (1e3, "k")] {
        if (unit.max(1e4)..1e12).contains(&size) {
            return format!("{}{suffix}", trimmed(&format!("{:.6}", value / unit)));
        }
    }
    if size != 0.0 && !(1e-3..1e12).contains(&size) {
        let text = format!("{value:.6e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        format!("{}e{exponent}", trimmed(digits))
    } else {
        trimmed(&format!("{value:.9}"))
    }
}

/// Without the zeros at the end.
fn trimmed(text: &str) -> String {
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(values: &[f64], log: bool) -> Vec<String> {
        let mut axis = Axis::spanning(values.iter().copied(), log);
        axis.label(600, |text| 9 * text.len() as i32 + 10);
        axis.ticks.into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn an_axis_ends_at_the_data_and_its_ends_are_labelled() {
        for (values, log, expected) in [
            (vec![0.0, 1.0], false, vec!["0", "0.2", "0.4", "0.6", "0.8", "1"]),
            (vec![10.0, 14_500.0], false, vec!["10", "5000", "10k", "14.5k"]),
            (vec![-7.0, 12.0], false, vec!["-7", "-5", "0", "5", "10", "12"]),
            (vec![1.0, 128.0], true, vec!["1", "10", "128"]),
            (vec![3.0, 60.0], true, vec!["3", "5", "10", "20", "50", "60"]),
            (vec![3.25, 3.5], true, vec!["3.25", "3.5"]),
        ] {
            let found = labels(&values, log);
            let (first, last) = (number(values[0]), number(values[1]));
            assert_eq!((found.first(), found.last()), (Some(&first), Some(&last)), "{found:?}");
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn any_values_give_a_few_different_labels_between_finite_ends() {
        let hard = [
            vec![],
            vec![0.0, 0.0],
            vec![5.0, 5.0],
            vec![-1e-300, 1e-300],
            vec![5e-324, 1e-323],
            vec![1.0, 1.0 + f64::EPSILON],
            vec![1e-9, 2e-9],
            vec![f64::MIN, f64::MAX],
            vec![f64::MIN_POSITIVE, f64::MAX],
            vec![1e15, 1e15 + 1.0],
            vec![0.9999, 1.0],
            vec![-3.0, -2.0, f64::NAN, f64::INFINITY],
        ];
        for (values, log) in hard.iter().flat_map(|values| [(values, false), (values, true)]) {
            let axis = Axis::spanning(values.iter().copied(), log);
            assert!(axis.low < axis.high && (axis.high - axis.low).is_finite(), "{values:?} {axis:?}");
            for at in values.iter().filter_map(|value| axis.at(*value)) {
                assert!((axis.low..=axis.high).contains(&at), "{values:?} {at} {axis:?}");
            }
            let labels = labels(values, log);
            assert!((2..=10).contains(&labels.len()), "{values:?} {labels:?}");
            assert!(labels.iter().all(|text| text.len() < 14), "{labels:?}");
        }
    }

    #[test]
    fn numbers_are_short() {
        for (value, expected) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (1500.0, "1500"),
            (15_000.0, "15k"),
            (2e7, "20M"),
            (1e-5, "1e-5"),
            (-0.0, "0"),
            (3e12, "3e12"),
        ] {
            assert_eq!(number(value), expected);
        }
    }
}
