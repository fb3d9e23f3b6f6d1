//! What the person at the terminal sees of a training run.

use std::path::Path;

use crate::evaluate::EvalReport;
use crate::interrupt::Interrupt;
use crate::progress::{Mode, Progress, Snapshot};
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
}

/// Weight that the past keeps with each step.
const KEEP: f64 = 0.95;

impl Watch {
    /// A run that begins at `step`.
    pub fn new(mode: Mode, step: u64, total_steps: u64, batch: usize, interrupt: Interrupt) -> Self {
        let progress = Progress::start(mode, step, total_steps, batch as u64);
        Self { progress, interrupt, total_steps, recent: MetricSums::default(), rows: 0.0 }
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
    }

    fn evaluating(&mut self, _done: usize, _of: usize) {
        self.progress.pause();
    }

    fn evaluated(&mut self, step: u64, report: &EvalReport, best: bool) {
        self.progress.pause();
        self.progress.say(&format!(
            "step {step} of {}: {:.1}% of {} held-out puzzles solved, {:.1}% of cells right, loss {:.4}{}",
            self.total_steps,
            100.0 * report.all.exact_accuracy,
            report.all.puzzles,
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
