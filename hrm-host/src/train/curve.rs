//! The curve of a run: its metrics as charts, for documents and for the terminal.

use std::path::Path;

use serde_json::{Map, Value};

use super::files::{CURVE, METRICS};
use crate::error::Result;
use crate::metrics::jsonl;
use crate::metrics::plot::{Chart, Series, braille};

/// What the charts show: a metric's name, what the legend calls it.
const SHARES: [(&str, &str); 4] = [
    ("train/accuracy", "cells right, training"),
    ("train/exact_accuracy", "solved, training"),
    ("all/accuracy", "cells right, held out"),
    ("all/exact_accuracy", "solved, held out"),
];

/// The points of a metric, as (step, value).
#[must_use]
pub fn points(records: &[Map<String, Value>], metric: &str) -> Vec<(f64, f64)> {
    // Training accuracies are over the rows that halted: where none did, there is nothing to show.
    let halted = |record: &Map<String, Value>| {
        !metric.starts_with("train/") || record.get("train/count").and_then(Value::as_f64) != Some(0.0)
    };
    records
        .iter()
        .filter(|record| halted(record))
        .filter_map(|record| Some((record.get("step")?.as_f64()?, record.get(metric)?.as_f64()?)))
        .collect()
}

/// Writes `RUN/curve.svg` from the run's metrics, and gives the number of lines that could not be read: the chart goes
/// without them.
///
/// # Errors
/// The metrics cannot be read at all, or the disk refuses.
pub fn write(run: &Path, title: &str) -> Result<usize> {
    let jsonl::Records { records, bad } = jsonl::read(&run.join(METRICS))?;
    let series = SHARES
        .iter()
        .map(|(metric, label)| Series::new(*label, smooth(&points(&records, metric), 60)))
        .filter(|series| !series.points.is_empty())
        .collect();
    let chart = Chart {
        title: title.into(),
        x_label: "step".into(),
        y_label: "share".into(),
        y_range: Some((0.0, 1.0)),
        series,
        ..Chart::default()
    };
    chart.write_svg(&run.join(CURVE)).map(|_| bad.len())
}

/// The held-out curve for a terminal, or nothing before the second evaluation.
///
/// # Errors
/// The metrics cannot be read.
pub fn terminal(run: &Path) -> Result<Option<String>> {
    let solved = points(&jsonl::read(&run.join(METRICS))?.records, "all/exact_accuracy");
    Ok((solved.len() > 1).then(|| braille(&solved, 60, 8)))
}

/// At most `bins` points, each the mean of its neighbours.
fn smooth(points: &[(f64, f64)], bins: usize) -> Vec<(f64, f64)> {
    let size = points.len().div_ceil(bins).max(1);
    let mean = |values: &mut dyn Iterator<Item = f64>, n: usize| values.sum::<f64>() / n as f64;
    points
        .chunks(size)
        .map(|chunk| {
            let n = chunk.len();
            (mean(&mut chunk.iter().map(|p| p.0), n), mean(&mut chunk.iter().map(|p| p.1), n))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_without_halted_rows_are_left_out() {
        let record = |text: &str| serde_json::from_str(text).unwrap();
        let records: Vec<Map<String, Value>> = vec![
            record(r#"{"step": 1, "train/count": 0.0, "train/accuracy": 0.0}"#),
            record(r#"{"step": 2, "train/count": 1.0, "train/accuracy": 0.5}"#),
            record(r#"{"step": 2, "all/accuracy": 0.25}"#),
        ];
        assert_eq!(points(&records, "train/accuracy"), [(2.0, 0.5)]);
        assert_eq!(points(&records, "all/accuracy"), [(2.0, 0.25)]);
    }

    #[test]
    fn smoothing_keeps_short_series_and_bounds_long_ones() {
        let line: Vec<(f64, f64)> = (0..1000).map(|i| (f64::from(i), 1.0)).collect();
        assert_eq!(smooth(&line[..60], 60), line[..60]);
        let short = smooth(&line, 60);
        assert!(short.len() <= 60 && short.iter().all(|p| p.1 == 1.0));
    }
}
