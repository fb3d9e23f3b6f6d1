//! A run from start to end: steps, metrics, evaluations, checkpoints, and an orderly stop.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::files::{self, BEST, METRICS, RunDir, TIMING};
use super::{Diverged, Trainer, TrainerState};
use crate::backend::TrainBackend;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::evaluate::EvalReport;
use crate::metrics::{jsonl, tensorboard};
use crate::model_dir::checkpoints;
use crate::row_metrics::MetricSums;

/// Checkpoints kept: one to fall back to.
const KEEP: usize = 2;

/// What an observer hears after each step.
#[derive(Clone, Copy, Debug)]
pub struct StepNews {
    /// Steps done.
    pub step: u64,
    /// Steps of the whole run.
    pub total_steps: u64,
    /// Rows of a batch.
    pub batch: usize,
    /// Metrics of this step.
    pub sums: MetricSums,
}

/// Watches a run, and may stop it.
pub trait Observer {
    /// After every step.
    fn stepped(&mut self, news: &StepNews);
    /// During an evaluation, with the finished puzzles and all of them.
    fn evaluating(&mut self, done: usize, of: usize);
    /// After an evaluation.
    fn evaluated(&mut self, step: u64, report: &EvalReport, best: bool);
    /// After a checkpoint.
    fn saved(&mut self, path: &Path);
    /// Something that is worth a line, and does not keep the run from going on.
    fn noted(&mut self, text: &str);
    /// Whether to stop: asked often, answered at the next opportunity by a checkpoint and an orderly end.
    fn interrupted(&self) -> bool;
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// All steps are done.
    Finished,
    /// No better evaluation for as long as the settings allow.
    OutOfPatience,
    /// The time that was given is over.
    OutOfTime,
    /// The observer asked for it.
    Interrupted,
}

/// What a run came to.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Why it ended.
    pub end: End,
    /// Steps done, over all sessions.
    pub step: u64,
    /// The last evaluation of this session.
    pub last: Option<EvalReport>,
    /// The last checkpoint.
    pub checkpoint: PathBuf,
    /// Wall time of this session.
    pub seconds: f64,
}

/// Time spent in training steps, evaluations and checkpoints left out.
#[derive(Clone, Copy, Debug, Default)]
struct Busy {
    steps: u64,
    time: Duration,
}

/// Files that a run writes as it goes.
struct Logs {
    metrics: jsonl::Writer,
    timing: jsonl::Writer,
    events: tensorboard::Writer,
}

impl Logs {
    /// Opens all files where a checkpoint of `state` left them, or anew, with what is to be said about them.
    fn open(dir: &Path, state: &TrainerState) -> Result<(Self, Vec<String>)> {
        let (metrics, lines) = jsonl::Writer::resume(&dir.join(METRICS), Some(state.metrics_bytes))?;
        let (timing, _) = jsonl::Writer::resume(&dir.join(TIMING), None)?;
        let (events, records) =
            tensorboard::Writer::resume(&dir.join(tensorboard::EVENTS), state.events_bytes)?;
        Ok((Self { metrics, timing, events }, lines.into_iter().chain(records).collect()))
    }

    /// One line of metrics, to every file that takes them.
    fn write(&mut self, step: u64, values: &[(String, f64)]) -> Result<()> {
        let mut line = Map::new();
        line.insert("step".into(), step.into());
        for (name, value) in values {
            line.insert(name.clone(), json!(value));
        }
        let scalars: Vec<(&str, f32)> =
            values.iter().map(|(name, value)| (name.as_str(), *value as f32)).collect();
        self.events.append(step, &scalars)?;
        self.metrics.append(&Value::Object(line))
    }
}

/// Runs `trainer` to its end in the directory `run`, evaluating on `test`; or until `limit` is over, if there is one.
///
/// Training does not wait for metrics: they are written when they arrive, in the order of the steps. Before an
/// evaluation, a checkpoint or the end all steps under way are waited for, so that what is written does not depend on
/// who is faster.
///
/// # Errors
/// Data, backend or disk fail, or a value is not finite. The last checkpoint is then intact.
pub fn run<K: TrainBackend>(
    trainer: &mut Trainer<K>,
    run: &RunDir,
    test: Option<&Dataset>,
    limit: Option<Duration>,
    observer: &mut dyn Observer,
) -> Result<Outcome> {
    let dir = run.path();
    trainer.expect_test(test)?;
    if !run.keeps_others_out() {
        let dir = dir.display();
        observer.noted(&format!(
            "{dir}: no locks on this file system, so see to it that nobody else trains this run"
        ));
    }
    let (logs, notes) = Logs::open(dir, trainer.state())?;
    notes.iter().for_each(|note| observer.noted(note));
    // A kill between a checkpoint's rename and the removal of the oldest leaves one too many.
    files::trim(dir, KEEP)?;
    let mut session = Session {
        logs,
        started: Instant::now(),
        busy: Busy::default(),
        last: None,
        redraw: super::curve::Redraw::default(),
        bad_lines: 0,
        // A resumed run stands on the checkpoint that it came from.
        saved_at: (trainer.state().step > 0).then_some(trainer.state().step),
        trainer,
        dir,
        observer,
    };
    session.draw()?;
    let end = session.train(test, limit)?;
    session.settle()?;
    session.save()?;
    session.draw()?;
    Ok(Outcome {
        end,
        step: session.trainer.state().step,
        checkpoint: files::newest(dir)?,
        seconds: session.started.elapsed().as_secs_f64(),
        last: session.last,
    })
}

/// A run from where it is taken up to where it ends or is left.
struct Session<'a, K: TrainBackend> {
    trainer: &'a mut Trainer<K>,
    dir: &'a Path,
    observer: &'a mut dyn Observer,
    logs: Logs,
    started: Instant,
    busy: Busy,
    last: Option<EvalReport>,
    redraw: super::curve::Redraw,
    saved_at: Option<u64>,
    /// Lines of the metrics that could not be read when the curve was last drawn.
    bad_lines: usize,
}

impl<K: TrainBackend> Session<'_, K> {
    fn train(&mut self, test: Option<&Dataset>, limit: Option<Duration>) -> Result<End> {
        let settings = self.trainer.state().settings.clone();
        let total_steps = self.trainer.state().total_steps;
        loop {
            let step = self.trainer.started();
            let finished = step >= total_steps;
            let every = |interval: u64| interval > 0 && step > 0 && step.is_multiple_of(interval);
            if let Some(test) = test
                && (every(settings.eval_interval) || finished)
                && self.trainer.state().evaluated_at < step
            {
                self.settle()?;
                if !self.evaluate(test)? {
                    return Ok(End::Interrupted);
                }
            }
            let stop = self.trainer.out_of_patience();
            if every(settings.checkpoint_interval) || finished || stop {
                self.settle()?;
                self.save()?;
            }
            if finished {
                return Ok(End::Finished);
            }
            if stop {
                return Ok(End::OutOfPatience);
            }
            if self.observer.interrupted() {
                return Ok(End::Interrupted);
            }
            if limit.is_some_and(|limit| self.started.elapsed() >= limit) {
                return Ok(End::OutOfTime);
            }
            let began = Instant::now();
            self.trainer.start().map_err(|e| explained(e, self.dir))?;
            self.busy.time += began.elapsed();
            while self.hear(false)? {}
        }
    }

    /// Waits for all steps under way.
    fn settle(&mut self) -> Result<()> {
        while self.hear(true)? {}
        Ok(())
    }

    /// Takes the metrics of the oldest step under way, and writes those of its interval if it is the last of one. Whether
    /// there were any to take.
    fn hear(&mut self, wait: bool) -> Result<bool> {
        let began = Instant::now();
        let sums = self.trainer.finish(wait).map_err(|e| explained(e, self.dir))?;
        self.busy.time += began.elapsed();
        let Some(sums) = sums else { return Ok(false) };
        self.busy.steps += 1;
        let (step, total_steps) = (self.trainer.state().step, self.trainer.state().total_steps);
        let batch = self.trainer.plan().batch;
        self.observer.stepped(&StepNews { step, total_steps, batch, sums });
        let interval = self.trainer.state().settings.log_interval;
        if step.is_multiple_of(interval) || step == total_steps {
            self.log_training(step)?;
            log_timing(&mut self.logs, step, batch, self.started, std::mem::take(&mut self.busy))?;
            if self.redraw.due() {
                self.draw()?;
                self.redraw.drawn();
            }
        }
        Ok(true)
    }

    /// Evaluates, unless the observer stops it: then the answer is no.
    fn evaluate(&mut self, test: &Dataset) -> Result<bool> {
        let observer = &mut *self.observer;
        let report = self.trainer.evaluate(test, |done, of| {
            observer.evaluating(done, of);
            !observer.interrupted()
        });
        let report = report.map_err(|e| explained(e, self.dir))?;
        let Some(report) = report else { return Ok(false) };
        let step = self.trainer.state().step;
        self.logs.write(step, &eval_values(&report))?;
        let best = self.trainer.note(report.all.exact_accuracy, report.all.accuracy);
        if best {
            let saved = self.trainer.save_model(&self.dir.join(BEST));
            saved.map_err(|e| explained(e, self.dir))?;
        }
        self.draw()?;
        self.observer.evaluated(step, &report, best);
        self.last = Some(report);
        Ok(true)
    }

    /// Draws the curve, without the lines of the metrics that cannot be read: it is for people, and the run is not.
    fn draw(&mut self) -> Result<()> {
        let state = self.trainer.state();
        let bad = super::curve::write(self.dir, &format!("{} steps of {}", state.step, state.total_steps))?;
        if bad > self.bad_lines {
            let metrics = self.dir.join(METRICS);
            let what = if bad == 1 { "1 line is" } else { &format!("{bad} lines are") };
            self.observer.noted(&format!("{}: {what} damaged, the chart goes without", metrics.display()));
        }
        self.bad_lines = bad;
        Ok(())
    }

    /// Writes a checkpoint, unless there is one of this step.
    fn save(&mut self) -> Result<()> {
        let step = self.trainer.state().step;
        if self.saved_at == Some(step) {
            return Ok(());
        }
        self.trainer.state_mut().metrics_bytes = self.logs.metrics.sync()?;
        self.trainer.state_mut().events_bytes = self.logs.events.sync()?;
        let path = self.trainer.save(self.dir).map_err(|e| explained(e, self.dir))?;
        files::trim(self.dir, KEEP)?;
        self.observer.saved(&path);
        self.saved_at = Some(step);
        Ok(())
    }

    /// Training metrics of the interval under their published names, and the learning rate.
    fn log_training(&mut self, step: u64) -> Result<()> {
        let (sums, steps) = self.trainer.take_sums();
        let reduced = sums.reduced(self.trainer.plan().batch * steps as usize);
        let named = reduced.named().into_iter();
        let mut named: Vec<(String, f64)> =
            named.map(|(name, value)| (format!("train/{name}"), value)).collect();
        named.push(("train/lr".into(), self.trainer.lr(step)));
        self.logs.write(step, &named)
    }
}

fn log_timing(logs: &mut Logs, step: u64, batch: usize, started: Instant, busy: Busy) -> Result<()> {
    let rate = busy.steps as f64 / busy.time.as_secs_f64().max(1e-6);
    logs.timing.append(&json!({
        "step": step,
        "seconds": started.elapsed().as_secs_f64(),
        "steps_per_second": rate,
        "samples_per_second": rate * batch as f64,
    }))
}

/// Metrics of an evaluation under their published names.
fn eval_values(report: &EvalReport) -> Vec<(String, f64)> {
    [
        ("accuracy", report.all.accuracy),
        ("count", report.all.puzzles as f64),
        ("exact_accuracy", report.all.exact_accuracy),
        ("lm_loss", report.all.lm_loss),
        ("q_halt_accuracy", report.all.q_halt_accuracy),
        ("q_halt_loss", report.all.q_halt_loss),
        ("steps", report.all.steps),
    ]
    .map(|(name, value)| (format!("all/{name}"), value))
    .into()
}

/// `error` with what is left to go on from.
fn explained(error: Error, dir: &Path) -> Error {
    let saved = checkpoints(dir);
    if let Some(Diverged { step }) = error.cause().copied() {
        // A checkpoint is known to be good once a step from it was.
        let good = saved.iter().rev().find(|(saved, _)| saved + 1 < step);
        let what = match (good, saved.last()) {
            (Some((_, path)), _) => format!("; the last good checkpoint is {}", path.display()),
            (None, Some((_, path))) => format!("; {} leads to this again", path.display()),
            (None, None) => String::new(),
        };
        return error.hint(format!("begin again with a lower learning rate{what}"));
    }
    // A full disk and the like have their own hint.
    match saved.last() {
        Some((_, path)) if error.hint_text().is_none() => {
            error.hint(format!("{} is there to --resume from once this is mended", path.display()))
        }
        _ => error,
    }
}
