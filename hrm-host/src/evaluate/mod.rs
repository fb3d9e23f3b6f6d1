//! Evaluation of a model on a dataset.

mod answers;
pub mod interval;
pub mod laws;
mod near_ties;
mod paired;
pub mod sample;
pub mod sweep;
mod tally;
pub mod walk;

use std::collections::HashMap;
use std::time::Instant;

use hrm_core::halting::{ActStep, solved};
use hrm_core::kernels::Kernels;
use hrm_core::loss::LossKind;
use hrm_core::plan::Plan;
use rayon::prelude::*;
use serde::Serialize;

pub use answers::{Answered, PuzzleId};
pub use near_ties::NearTie;
pub(crate) use near_ties::lead;
pub use paired::Paired;
pub use sample::{Bucket, Coverage, Sample};
pub use tally::{Intervals, Means};

use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::row_metrics::RowOutcome;
use crate::runner::RowStep;
use crate::strategy::{Answer, Halt, Strategy};
use crate::task::Task;
use crate::views::{View, views};
use crate::vote::{Ballot, Rule};
use sample::Example;
use tally::Tally;
use walk::{Row, Walk, stopped, unless_stopped};

/// What to evaluate, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EvalOptions {
    /// Which examples.
    pub sample: Sample,
    /// How each is answered.
    pub strategy: Strategy,
    /// Seed of the views, if there are several.
    pub seed: u64,
    /// The loss that is reported.
    pub loss: LossKind,
    /// Lists rows with a margin below this, if any.
    pub near_ties: Option<f32>,
}

/// What came out after one ACT step, over all rows that took it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StepOutcome {
    /// Rows that did this step: puzzles, or their views.
    pub rows: u64,
    /// Those that halted on it.
    pub halted: u64,
    /// How good they were after it.
    #[serde(flatten)]
    pub means: Means,
}

/// How a part of the puzzles came out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part<N> {
    /// Which part.
    #[serde(flatten)]
    pub name: N,
    /// How it came out.
    #[serde(flatten)]
    pub means: Means,
}

/// The name of a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SetName {
    /// The name.
    pub set: String,
}

/// The result of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EvalReport {
    /// Over all puzzles.
    #[serde(flatten)]
    pub all: Means,
    /// By set, if there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by_set: Vec<Part<SetName>>,
    /// By rating, if the dataset has ratings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by_rating: Vec<Part<Bucket>>,
    /// By ACT step, from the first.
    pub by_step: Vec<StepOutcome>,
    /// How they stand to all examples of the dataset.
    pub sample: Coverage,
    /// Examples of the dataset.
    pub examples: usize,
    /// How they were answered.
    pub strategy: Strategy,
    /// What the same walk comes to where each row halts when Q says so, if these halted at the maximum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_q: Option<OnQ>,
    /// ACT steps that a row takes at most.
    pub most_steps: usize,
    /// Wall time.
    pub seconds: f64,
    /// Puzzles per second.
    pub puzzles_per_second: f64,
    /// Rows with a small margin, if they were asked for.
    #[serde(skip)]
    pub near_ties: Vec<NearTie>,
    /// How each puzzle was answered, in the order of the dataset.
    #[serde(skip)]
    pub answers: Vec<Answered>,
}

/// An evaluation as if each row had halted on Q.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OnQ {
    /// How the puzzles would have been answered.
    pub strategy: Strategy,
    /// What that comes to.
    #[serde(flatten)]
    pub means: Means,
}

/// A board that may become a puzzle's answer.
#[derive(Clone)]
struct Kept {
    /// The board, in the puzzle's own terms.
    board: Vec<i32>,
    outcome: RowOutcome,
}

/// A puzzle of which some views have not halted.
struct Flight {
    /// As it is asked.
    asked: Track,
    /// As if it halted on Q.
    on_q: Track,
}

/// The way of a puzzle's views under one rule of halting.
#[derive(Clone)]
struct Track {
    /// For each view, the board that is its answer so far.
    kept: Vec<Option<Kept>>,
    /// For each view, whether it has halted.
    halted: Vec<bool>,
    steps: usize,
}

/// What is known of a row after a step.
struct Seen {
    board: Vec<i32>,
    outcome: RowOutcome,
    near_tie: Option<NearTie>,
}

/// Evaluates the weights in `backend` on `dataset`. `progress` hears after every ACT step the number of finished puzzles
/// and of all, and stops the evaluation by returning `false`; then there is no report.
///
/// The arenas of the plan are used: a training run saves its carry first.
///
/// # Errors
/// The backend or the dataset fails, or the task has no symmetries for the views that are asked for.
pub fn evaluate<K>(
    backend: &mut K,
    plan: &Plan,
    dataset: &Dataset,
    options: &EvalOptions,
    mut progress: impl FnMut(usize, usize) -> bool,
) -> Result<Option<EvalReport>>
where
    K: Kernels<Error: Send + Sync + 'static>,
{
    let started = Instant::now();
    let chosen = chosen(dataset, options.sample)?;
    let config = &plan.config;
    let strategy = options.strategy;
    let task = Task::of(config.seq_len, config.vocab_size);
    let views = views(task, config.seq_len, strategy.views.max(1), options.seed)?;
    let policy = strategy.policy(config);
    // One walk to the maximum tells of both: a row that halts on Q is one that is looked at earlier.
    let on_q = (strategy.halt == Halt::Max).then_some(Strategy { halt: Halt::Q, ..strategy });
    let q_policy = on_q.map(|strategy| strategy.policy(config));
    let mut count = Count::new(dataset, task, options.sample.coverage(dataset.examples()));
    let mut flights: HashMap<usize, Flight> = HashMap::new();
    let mut done = 0;
    let walk = Walk { dataset, chosen: &chosen, views: &views, with_logits: true };
    let ran = walk.run(backend, plan, &*policy, |rows| {
        let seen: Vec<Seen> =
            rows.par_iter().map(|row| look(row, &views[row.view], chosen[row.puzzle], options)).collect();
        for (row, seen) in rows.iter().zip(seen) {
            count.step(row, &seen.outcome);
            count.near_ties.extend(seen.near_tie.clone());
            let flight = flights.entry(row.puzzle).or_insert_with(|| Flight::new(views.len()));
            let RowStep { step, q_halt, q_continue, halted, .. } = row.now;
            if let Some(policy) = &q_policy {
                let halts = policy.halts(&ActStep { row: row.view, step, q_halt, q_continue });
                flight.on_q.note(row.view, &seen, strategy.answer, step, halts);
            }
            flight.asked.note(row.view, &seen, strategy.answer, step, halted);
            if flight.asked.has_landed()
                && let Some(flight) = flights.remove(&row.puzzle)
            {
                count.answer(dataset, chosen[row.puzzle], flight)?;
                done += 1;
            }
        }
        if progress(done, chosen.len()) { Ok(()) } else { Err(stopped()) }
    });
    if unless_stopped(ran)?.is_none() {
        return Ok(None);
    }
    let seconds = started.elapsed().as_secs_f64();
    let mut report = count.report(dataset, strategy, strategy.most_steps(config), chosen.len(), seconds);
    report.on_q = on_q.zip(report.on_q).map(|(strategy, on_q)| OnQ { strategy, ..on_q });
    Ok(Some(report))
}

/// The examples of `sample`, at least one.
fn chosen(dataset: &Dataset, sample: Sample) -> Result<Vec<Example>> {
    let chosen = sample::choose(dataset, sample);
    if chosen.is_empty() {
        return Err(Error::input(format!("{}: no examples to evaluate", dataset.path().display())));
    }
    Ok(chosen)
}

fn look(row: &Row<'_>, view: &View, example: Example, options: &EvalOptions) -> Seen {
    let now = &row.now;
    let mut board = vec![0; now.predictions.len()];
    view.unshow(now.predictions, &mut board);
    let steps = i32::try_from(now.step).unwrap_or(i32::MAX);
    Seen {
        board,
        outcome: RowOutcome::evaluated(now.logits, row.labels, options.loss, now.q_halt, steps, now.halted),
        near_tie: options.near_ties.and_then(|threshold| NearTie::find(row, example, threshold)),
    }
}

impl Flight {
    fn new(views: usize) -> Self {
        let track = Track { kept: vec![None; views], halted: vec![false; views], steps: 0 };
        Self { asked: track.clone(), on_q: track }
    }
}

impl Track {
    /// Notes what was seen of `view` after `step`, on which it `halts`; nothing once it has halted.
    fn note(&mut self, view: usize, seen: &Seen, answer: Answer, step: usize, halts: bool) {
        if self.halted[view] {
            return;
        }
        let kept = &mut self.kept[view];
        let replaces = |kept: &Kept| answer.replaces(seen.outcome.q_halt as f32, kept.outcome.q_halt as f32);
        if kept.as_ref().is_none_or(replaces) {
            *kept = Some(Kept { board: seen.board.clone(), outcome: seen.outcome });
        }
        if halts {
            self.halted[view] = true;
            self.steps += step;
        }
    }

    /// Whether every view has halted.
    fn has_landed(&self) -> bool {
        self.halted.iter().all(|halted| *halted)
    }

    /// The puzzle's answer: the board with the most trust among those of its views, with the outcome of the view that
    /// trusts it most, and the steps of all views.
    fn land(self) -> Option<Kept> {
        let steps = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let kept: Vec<Kept> = self.kept.into_iter().flatten().collect();
        let mut ballot = Ballot::default();
        kept.iter().for_each(|kept| ballot.cast(kept.board.as_slice(), kept.outcome.q_halt as f32));
        let winner = ballot.ranked(Rule::Trust).first()?.0.to_vec();
        let voters = kept.into_iter().filter(|kept| kept.board == winner);
        let mut answer = voters
            .reduce(|best, next| if next.outcome.q_halt > best.outcome.q_halt { next } else { best })?;
        answer.outcome.steps = steps;
        Some(answer)
    }
}

/// All the sums of an evaluation.
struct Count {
    task: Task,
    sample: Coverage,
    buckets: Vec<Bucket>,
    all: Tally,
    on_q: Tally,
    by_set: Vec<Tally>,
    by_rating: Vec<Tally>,
    by_step: Vec<(Tally, u64, u64)>,
    near_ties: Vec<NearTie>,
    answers: Vec<Answered>,
}

impl Count {
    fn new(dataset: &Dataset, task: Task, sample: Coverage) -> Self {
        let buckets = sample::buckets_of(dataset);
        Self {
            task,
            sample,
            all: Tally::default(),
            on_q: Tally::default(),
            by_set: vec![Tally::default(); dataset.sets().len()],
            by_rating: vec![Tally::default(); buckets.len()],
            by_step: Vec::new(),
            buckets,
            near_ties: Vec::new(),
            answers: Vec::new(),
        }
    }

    fn step(&mut self, row: &Row<'_>, outcome: &RowOutcome) {
        if self.by_step.len() < row.now.step {
            self.by_step.resize(row.now.step, (Tally::default(), 0, 0));
        }
        let (tally, rows, halted) = &mut self.by_step[row.now.step - 1];
        tally.add(outcome, None);
        *rows += 1;
        *halted += u64::from(row.now.halted);
    }

    fn answer(&mut self, dataset: &Dataset, example: Example, flight: Flight) -> Result<()> {
        let seq_len = dataset.metadata().seq_len;
        let (mut question, mut labels) = (vec![0; seq_len], vec![0; seq_len]);
        dataset.read(example.set, example.example, &mut question, &mut labels)?;
        let task = self.task;
        let judge = |answer: &Kept| laws::lawful(task, &question, &answer.board);
        if let Some(on_q) = flight.on_q.land() {
            self.on_q.add(&on_q.outcome, judge(&on_q));
        }
        let Some(answer) = flight.asked.land() else { return Ok(()) };
        let lawful = judge(&answer);
        let bucket = sample::rating(dataset, example)
            .and_then(|rating| sample::bucket_of(&self.buckets, rating))
            .and_then(|bucket| self.by_rating.get_mut(bucket));
        bucket.into_iter().for_each(|tally| tally.add(&answer.outcome, lawful));
        self.by_set[example.set].add(&answer.outcome, lawful);
        self.all.add(&answer.outcome, lawful);
        let RowOutcome { correct, valid, steps, .. } = answer.outcome;
        let Example { set, example } = example;
        let puzzle = PuzzleId::of(&question, &labels);
        self.answers.push(Answered { set, example, puzzle, solved: solved(correct, valid), correct, steps });
        Ok(())
    }

    fn report(
        mut self,
        dataset: &Dataset,
        strategy: Strategy,
        most_steps: usize,
        puzzles: usize,
        seconds: f64,
    ) -> EvalReport {
        self.answers.sort_unstable_by_key(|answer| (answer.set, answer.example));
        let sampled = self.sample == Coverage::Random;
        let sets = dataset.sets().iter().zip(&self.by_set).filter(|_| self.by_set.len() > 1);
        EvalReport {
            all: self.all.means(sampled),
            by_set: sets
                .map(|(set, tally)| Part {
                    name: SetName { set: set.name().to_owned() },
                    means: tally.means(sampled),
                })
                .collect(),
            by_rating: (self.buckets.iter().zip(&self.by_rating))
                .map(|(bucket, tally)| Part { name: *bucket, means: tally.means(sampled) })
                .filter(|part| part.means.puzzles > 0)
                .collect(),
            by_step: (self.by_step.iter())
                .map(|(tally, rows, halted)| StepOutcome {
                    rows: *rows,
                    halted: *halted,
                    means: tally.means(sampled),
                })
                .collect(),
            sample: self.sample,
            examples: dataset.examples(),
            strategy,
            on_q: Some(OnQ { strategy, means: self.on_q.means(sampled) }),
            most_steps,
            seconds,
            puzzles_per_second: puzzles as f64 / seconds.max(1e-9),
            near_ties: self.near_ties,
            answers: self.answers,
        }
    }
}
