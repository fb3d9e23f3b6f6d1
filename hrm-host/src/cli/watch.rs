//! What the person at the terminal sees of a training run.

use std::path::Path;
use std::time::{Duration, Instant};

use super::words::counted;
use crate::evaluate::EvalReport;
use crate::interrupt::{Interrupt, Listener};
use crate::progress::{Mode, Progress, Snapshot, clock};
use crate::row_metrics::MetricSums;
use crate::train::run::{Observer, StepNews};

/// Shows progress on standard error and stops on Ctrl-C.
pub struct Watch {
    progress: Progress,
    interrupt: Interrupt,
    total_steps: u64,
    /// Metrics of the last steps, decaying, so that the numbers can be read.
    recent: MetricSums,
    rows: f64,
    /// When the first step began and which it was, until it is said how long the run will take.
    first: Option<(Instant, u64)>,
    _listener: Listener,
}

/// What is said to a stop that is asked for in the midst of a step.
const STOPPING: &str = "stopping after this step, with a checkpoint; ask again to stop at once, without";

/// Weight that the past keeps with each step.
const KEEP: f64 = 0.95;

impl Watch {
    /// A run that begins at `step`.
    pub fn new(mode: Mode, step: u64, total_steps: u64, batch: usize, interrupt: Interrupt) -> Self {
        let progress = Progress::start(mode, step, total_steps, batch as u64);
        let speak = progress.speaker();
        let listener = Listener::start(&interrupt, move || speak(STOPPING));
        Self {
            progress,
            interrupt,
            total_steps,
            recent: MetricSums::default(),
            rows: 0.0,
            first: Some((Instant::now(), step)),
            _listener: listener,
        }
    }

    /// Says something above the bar.
    pub fn say(&self, text: &str) {
        self.progress.say(text);
    }

    /// Leaves the last state on the screen.
    pub fn finish(&self) {
        self.progress.finish();
    }
}

/// How long the `left` steps will take, once the first ones tell: after three, or one that took its time.
fn estimate(elapsed: Duration, steps: u64, left: u64) -> Option<String> {
    let seconds = elapsed.as_secs_f64();
    if left == 0 || seconds < 1.0 || (steps < 3 && seconds < 5.0) {
        return None;
    }
    let step = seconds / steps.max(1) as f64;
    let pace = if step < 1.0 { format!("{:.1} steps/s", 1.0 / step) } else { format!("{step:.1} s a step") };
    Some(format!(
        "about {} for the {} to come, at {pace}, beside evaluations",
        clock(step * left as f64),
        counted(left as usize, "step")
    ))
}

impl Observer for Watch {
    fn stepped(&mut self, news: &StepNews) {
        self.recent = self.recent.scaled(KEEP);
        self.recent.merge(&news.sums);
        self.rows = self.rows * KEEP + news.batch as f64;
        let means = self.recent.reduced_by_count();
        let any = self.recent.count > 0.0;
        let snapshot = Snapshot {
            loss: Some(self.recent.loss() / self.rows),
            exact_accuracy: any.then_some(means.exact_accuracy),
            act_steps: any.then_some(means.steps),
        };
        self.progress.update(news.step, &snapshot);
        if let Some((began, first)) = self.first
            && let Some(text) = estimate(began.elapsed(), news.step - first, news.total_steps - news.step)
        {
            self.first = None;
            self.progress.say(&text);
        }
    }

    fn evaluating(&mut self, _done: usize, _of: usize) {
        self.progress.pause();
    }

    fn evaluated(&mut self, step: u64, report: &EvalReport, best: bool) {
        self.progress.pause();
        self.progress.say(&format!(
            "step {step} of {}: {:.1}% of {} held-out puzzles solved{}, {:.1}% of cells right, loss {:.4}{}",
            self.total_steps,
            100.0 * report.all.exact_accuracy,
            report.all.puzzles,
            report.on_q.as_ref().map_or(String::new(), |on_q| format!(
                " ({:.1}% where Q halts)",
                100.0 * on_q.means.exact_accuracy
            )),
            100.0 * report.all.accuracy,
            report.all.lm_loss,
            if best { ", the best so far" } else { "" }
        ));
    }

    fn saved(&mut self, _path: &Path) {
        self.progress.pause();
    }

    fn noted(&mut self, text: &str) {
        self.progress.say(text);
    }

    fn interrupted(&self) -> bool {
        self.interrupt.requested()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_steps_tell_how_long_a_run_takes() {
        let after = |seconds: f64, steps, left| estimate(Duration::from_secs_f64(seconds), steps, left);
        assert_eq!(after(0.5, 100, 1000), None);
        assert_eq!(after(4.0, 1, 1000), None);
        assert_eq!(after(4.0, 9, 0), None);
        let text = after(2.0, 4, 7200).unwrap();
        assert_eq!(text, "about 1h 00m for the 7200 steps to come, at 2.0 steps/s, beside evaluations");
        let text = after(60.0, 1, 100).unwrap();
        assert_eq!(text, "about 1h 40m for the 100 steps to come, at 60.0 s a step, beside evaluations");
    }
}
