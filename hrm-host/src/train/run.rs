//! A run from start to end: steps, metrics, evaluations, checkpoints, and an orderly stop.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Trainer, TrainerState};
use crate::backend::HostBackend;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::evaluate::EvalReport;
use crate::metrics::{jsonl, tensorboard};
use crate::row_metrics::MetricSums;

/// Metrics of a run: the same bytes whether it was interrupted or not.
pub const METRICS: &str = "metrics.jsonl";
/// Wall-clock times of a run.
pub const TIMING: &str = "timing.jsonl";
/// Settings of a run, as they were merged.
pub const SETTINGS: &str = "settings.toml";
/// The best model of a run.
pub const BEST: &str = "best";
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

impl Busy {
    fn add(&mut self, time: Duration) {
        self.steps += 1;
        self.time += time;
    }
}

/// Files that a run writes as it goes.
struct Logs {
    metrics: jsonl::Writer,
    timing: jsonl::Writer,
    events: tensorboard::Writer,
}

impl Logs {
    /// Opens all files where a checkpoint of `state` left them, or anew.
    fn open(dir: &Path, state: &TrainerState) -> Result<Self> {
        let events = dir.join(tensorboard::EVENTS);
        Ok(Self {
            metrics: open_log(&dir.join(METRICS), Some(state.metrics_bytes))?,
            timing: open_log(&dir.join(TIMING), None)?,
            // A run can go on without the file that somebody cleared away.
            events: match state.events_bytes {
                offset if offset > 0 && events.exists() => tensorboard::Writer::open_at(&events, offset)?,
                _ => tensorboard::Writer::create(&events)?,
            },
        })
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

/// A log that goes on at `offset`, or at its end; a new one if there is none.
fn open_log(path: &Path, offset: Option<u64>) -> Result<jsonl::Writer> {
    let length = path.metadata().map(|file| file.len()).unwrap_or(0);
    match offset.unwrap_or(length) {
        0 => jsonl::Writer::create(path),
        offset => jsonl::Writer::open_at(path, offset),
    }
}

/// Runs `trainer` to its end in the directory `dir`, evaluating on `test`.
///
/// # Errors
/// Data, backend or disk fail, or a value is not finite. The last checkpoint is then intact.
pub fn run<K: HostBackend>(
    trainer: &mut Trainer<K>,
    dir: &Path,
    test: Option<&Dataset>,
    observer: &mut dyn Observer,
) -> Result<Outcome> {
    let started = Instant::now();
    let mut logs = Logs::open(dir, trainer.state())?;
    let settings = trainer.state().settings.clone();
    let (batch, total_steps) = (trainer.plan().batch, trainer.state().total_steps);
    let mut busy = Busy::default();
    let mut last = None;
    // A resumed run stands on the checkpoint that it came from.
    let mut saved_at = (trainer.state().step > 0).then_some(trainer.state().step);
    let end = loop {
        let step = trainer.state().step;
        let finished = trainer.finished();
        let every = |interval: u64| interval > 0 && step > 0 && step.is_multiple_of(interval);
        if let Some(test) = test
            && (every(settings.eval_interval) || finished)
            && trainer.state().evaluated_at < step
        {
            let Some(report) = evaluate(trainer, test, observer)? else { break End::Interrupted };
            logs.write(step, &eval_values(&report))?;
            let best = trainer.note(report.exact_accuracy, report.accuracy);
            if best {
                trainer.save_model(&dir.join(BEST)).map_err(|e| with_last_checkpoint(e, dir))?;
            }
            super::curve::write(dir, &format!("{step} steps of {total_steps}"))?;
            observer.evaluated(step, &report, best);
            last = Some(report);
        }
        let stop = trainer.out_of_patience();
        if (every(settings.checkpoint_interval) || finished || stop) && saved_at != Some(step) {
            save(trainer, &mut logs, dir, observer)?;
            saved_at = Some(step);
        }
        if finished {
            break End::Finished;
        }
        if stop {
            break End::OutOfPatience;
        }
        if observer.interrupted() {
            break End::Interrupted;
        }
        let began = Instant::now();
        let sums = trainer.step().map_err(|e| with_last_checkpoint(e, dir))?;
        busy.add(began.elapsed());
        let step = step + 1;
        observer.stepped(&StepNews { step, total_steps, batch, sums });
        if step.is_multiple_of(settings.log_interval) || step == total_steps {
            log_training(trainer, &mut logs, step)?;
            log_timing(&mut logs, step, batch, started, std::mem::take(&mut busy))?;
        }
    };
    if saved_at != Some(trainer.state().step) {
        save(trainer, &mut logs, dir, observer)?;
    }
    let checkpoint = super::checkpoint::newest(dir)?;
    Ok(Outcome {
        end,
        step: trainer.state().step,
        last,
        checkpoint,
        seconds: started.elapsed().as_secs_f64(),
    })
}

fn evaluate<K: HostBackend>(
    trainer: &mut Trainer<K>,
    test: &Dataset,
    observer: &mut dyn Observer,
) -> Result<Option<EvalReport>> {
    trainer.evaluate(test, |done, of| {
        observer.evaluating(done, of);
        !observer.interrupted()
    })
}

fn save<K: HostBackend>(
    trainer: &mut Trainer<K>,
    logs: &mut Logs,
    dir: &Path,
    observer: &mut dyn Observer,
) -> Result<()> {
    trainer.state_mut().metrics_bytes = logs.metrics.sync()?;
    trainer.state_mut().events_bytes = logs.events.sync()?;
    let path = trainer.save(dir, KEEP).map_err(|e| with_last_checkpoint(e, dir))?;
    observer.saved(&path);
    Ok(())
}

/// Training metrics of the interval under their published names, and the learning rate.
fn log_training<K: HostBackend>(trainer: &mut Trainer<K>, logs: &mut Logs, step: u64) -> Result<()> {
    let (sums, steps) = trainer.take_sums();
    let reduced = sums.reduced(trainer.plan().batch * steps as usize);
    let mut named: Vec<(String, f64)> =
        reduced.named().into_iter().map(|(name, value)| (format!("train/{name}"), value)).collect();
    named.push(("train/lr".into(), trainer.lr(step)));
    logs.write(step, &named)
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
        ("accuracy", report.accuracy),
        ("count", report.puzzles as f64),
        ("exact_accuracy", report.exact_accuracy),
        ("lm_loss", report.lm_loss),
        ("q_halt_accuracy", report.q_halt_accuracy),
        ("q_halt_loss", report.q_halt_loss),
        ("steps", report.steps),
    ]
    .map(|(name, value)| (format!("all/{name}"), value))
    .into()
}

fn with_last_checkpoint(error: Error, dir: &Path) -> Error {
    // A full disk has its own hint.
    if error.hint_text().is_some() {
        return error;
    }
    match super::checkpoint::newest(dir) {
        Ok(path) => error.hint(format!("the last good checkpoint is {}", path.display())),
        Err(_) => error.hint("no checkpoint was written yet; a lower learning rate may help"),
    }
}
