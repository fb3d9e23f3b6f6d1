//! The curve of a run: its metrics as charts, for documents and for the terminal.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::files::{CURVE, METRICS};
use crate::error::Result;
use crate::metrics::jsonl;
use crate::metrics::plot::{Chart, Series};

/// Shares that are shown in percent: a metric's name, what the legend calls it.
const SHARES: [(&str, &str); 4] = [
    ("train/accuracy", "cells right, training"),
    ("train/exact_accuracy", "solved, training"),
    ("all/accuracy", "cells right, held out"),
    ("all/exact_accuracy", "solved, held out"),
];

/// Losses, in nats.
const LOSSES: [(&str, &str); 2] = [("train/lm_loss", "training"), ("all/lm_loss", "held out")];

/// When the chart of a run under way is drawn again: at its first metrics, then at most every ten seconds, and for at
/// most about a hundredth of the time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Redraw {
    began: Option<Instant>,
    next: Option<Instant>,
}

impl Redraw {
    /// Whether it is time to draw; if so, drawing begins now.
    pub fn due(&mut self) -> bool {
        let now = Instant::now();
        let due = self.next.is_none_or(|next| next <= now);
        if due {
            self.began = Some(now);
        }
        due
    }

    /// Drawing is done.
    pub fn drawn(&mut self) {
        let took = self.began.map_or(Duration::ZERO, |began| began.elapsed());
        self.next = Some(Instant::now() + (100 * took).max(Duration::from_secs(10)));
    }
}

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
    chart(&records, title).write_svg(&run.join(CURVE)).map(|_| bad.len())
}

fn chart(records: &[Map<String, Value>], title: &str) -> Chart {
    let lines = |metrics: &[(&str, &str)], factor: f64| {
        let line = |(metric, label): &(&str, &str)| {
            let points = smooth(&points(records, metric), 60);
            Series::new(*label, points.into_iter().map(|(step, value)| (step, factor * value)).collect())
        };
        metrics.iter().map(line).filter(|series| !series.points.is_empty()).collect()
    };
    let losses = Chart {
        x_label: "step".into(),
        y_label: "token loss, nats".into(),
        series: lines(&LOSSES, 1.0),
        ..Chart::default()
    };
    Chart {
        title: title.into(),
        x_label: "step".into(),
        y_label: "cells and puzzles, %".into(),
        y_includes: Some(0.0),
        series: lines(&SHARES, 100.0),
        below: vec![losses],
        ..Chart::default()
    }
}

/// The run's curve for a terminal of `columns`: puzzles solved, held out where there are two evaluations, in training
/// before; or nothing where there is neither.
///
/// # Errors
/// The metrics cannot be read.
pub fn terminal(run: &Path, columns: usize) -> Result<Option<String>> {
    let records = jsonl::read(&run.join(METRICS))?.records;
    let percent = |metric: &str| -> Vec<(f64, f64)> {
        smooth(&points(&records, metric), 120).into_iter().map(|(step, y)| (step, 100.0 * y)).collect()
    };
    let held_out = percent("all/exact_accuracy");
    let (label, points) = if held_out.len() > 1 {
        ("solved, held out", held_out)
    } else {
        ("solved, training", percent("train/exact_accuracy"))
    };
    let chart = Chart {
        x_label: "step".into(),
        y_label: "puzzles, %".into(),
        y_includes: Some(0.0),
        series: vec![Series::new(label, points)],
        ..Chart::default()
    };
    Ok((!chart.series[0].points.is_empty()).then(|| chart.to_text(columns)))
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
    fn shares_are_in_percent_and_losses_stand_below() {
        let record = serde_json::from_str(r#"{"step": 2, "all/exact_accuracy": 0.25, "all/lm_loss": 1.5}"#);
        let chart = chart(&[record.unwrap()], "2 steps");
        assert_eq!((chart.series.len(), &chart.series[0].points), (1, &vec![(2.0, 25.0)]));
        assert_eq!(chart.below[0].series[0].points, [(2.0, 1.5)]);
    }

    #[test]
    fn a_run_without_metrics_has_a_chart_that_says_so() {
        let run = tempfile::tempdir().unwrap();
        let drawn = || std::fs::read_to_string(run.path().join(CURVE)).unwrap();
        std::fs::write(run.path().join(METRICS), "").unwrap();
        write(run.path(), "0 steps of 9").unwrap();
        assert!(drawn().contains("no values yet") && drawn().contains("0 steps of 9"));
        assert_eq!(terminal(run.path(), 40).unwrap(), None);
        std::fs::write(run.path().join(METRICS), "{\"step\": 1, \"train/exact_accuracy\": 0.5}\n").unwrap();
        write(run.path(), "1 step of 9").unwrap();
        assert!(drawn().contains("solved, training"));
        let text = terminal(run.path(), 40).unwrap().unwrap();
        assert!(text.starts_with("solved, training\n"), "{text}");
    }

    #[test]
    fn a_chart_is_drawn_at_once_and_then_not_with_every_step() {
        let mut redraw = Redraw::default();
        assert!(redraw.due());
        redraw.drawn();
        assert!(!redraw.due());
    }

    #[test]
    fn smoothing_keeps_short_series_and_bounds_long_ones() {
        let line: Vec<(f64, f64)> = (0..1000).map(|i| (f64::from(i), 1.0)).collect();
        assert_eq!(smooth(&line[..60], 60), line[..60]);
        let short = smooth(&line, 60);
        assert!(short.len() <= 60 && short.iter().all(|p| p.1 == 1.0));
    }
}
