//! Every way of asking a model, from one pass: each view of each puzzle takes the maximum of steps once, and what each
//! [`Strategy`] would have answered, and at what cost, follows from what it did.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use hrm_core::kernels::Kernels;
use hrm_core::plan::Plan;
use serde::Serialize;

use super::chosen;
use super::interval::Interval;
use super::sample::{Coverage, Example, Sample};
use super::walk::{Row, Walk, stopped, unless_stopped};
use crate::data::Dataset;
use crate::error::Result;
use crate::metrics::plot::{Chart, Series};
use crate::strategy::{Answer, Halt, Strategy};
use crate::task::Task;
use crate::views::{View, views};
use crate::vote::{Ballot, Rule};
use hrm_core::halting::{ActStep, FixedSteps};

/// What to sweep over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SweepOptions {
    /// Which examples.
    pub sample: Sample,
    /// Views of each, at most. Votes of 1, 2, 4, ... views are looked at, and of all.
    pub views: usize,
    /// Seed of the views.
    pub seed: u64,
    /// ACT steps of each view; `None` for the model's `halt_max_steps`.
    pub max_steps: Option<usize>,
}

/// What a strategy comes to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// The strategy.
    #[serde(flatten)]
    pub strategy: Strategy,
    /// Puzzles that it solves.
    pub solved: u64,
    /// Their share.
    pub exact_accuracy: f64,
    /// Its 95% confidence interval (Wilson), if the puzzles are a random sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval95: Option<Interval>,
    /// Mean ACT steps of a puzzle, all its views together.
    pub steps: f64,
}

/// What all strategies come to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sweep {
    /// Puzzles.
    pub puzzles: u64,
    /// How they stand to all examples of the dataset.
    pub sample: Coverage,
    /// Examples of the dataset.
    pub examples: usize,
    /// ACT steps after which the published evaluation halts.
    pub halt_max_steps: usize,
    /// The settings, by views, answer and halt.
    pub settings: Vec<Setting>,
    /// Wall time.
    pub seconds: f64,
}

/// One view's way, as far as its choices need it.
#[derive(Clone, Debug, Default)]
struct Path {
    /// Q-halt, Q-continue and board after each step; a board by its place among the puzzle's, in their order.
    steps: Vec<(f32, f32, usize)>,
}

impl Path {
    /// The steps until it halts under `strategy`, and Q-halt and board of its answer.
    fn answer(&self, strategy: &Strategy, config: &hrm_core::config::Config) -> Option<(usize, f32, usize)> {
        let policy = strategy.policy(config);
        let halts = |(index, &(q_halt, q_continue, _)): (usize, &(f32, f32, usize))| {
            policy.halts(&ActStep { row: 0, step: index + 1, q_halt, q_continue })
        };
        let taken = self.steps.iter().enumerate().position(halts).map_or(self.steps.len(), |i| i + 1);
        let chosen = strategy.answer.pick(self.steps[..taken].iter().map(|step| step.0));
        self.steps.get(chosen).map(|&(q_halt, _, board)| (taken, q_halt, board))
    }
}

/// A puzzle being worked on.
#[derive(Default)]
struct Flight {
    /// Q-halt, Q-continue and board of each step of each view.
    views: Vec<Vec<(f32, f32, Vec<i32>)>>,
    halted: usize,
    /// The board that is right in every labelled cell is told by one that was.
    right: Vec<Vec<i32>>,
}

/// The strategies that a pass over `views` views of `max_steps` steps can tell of: halting after each number of steps, or
/// on Q and at the latest after each.
fn strategies(views: usize, max_steps: usize) -> Vec<Strategy> {
    let doubling = std::iter::successors(Some(1), |&n: &usize| n.checked_mul(2));
    let mut counts: Vec<usize> = doubling.take_while(|&n| n < views).collect();
    counts.push(views);
    let fixed = (1..=max_steps).map(|steps| (Halt::Steps(steps), None));
    let halts: Vec<(Halt, Option<usize>)> =
        fixed.chain((1..=max_steps).map(|steps| (Halt::Q, Some(steps)))).collect();
    let mut all = Vec::new();
    for views in counts {
        for answer in [Answer::Last, Answer::BestQ] {
            all.extend(halts.iter().map(|&(halt, max_steps)| Strategy { halt, answer, views, max_steps }));
        }
    }
    all
}

/// Runs every view of every example for the maximum of steps and derives what each strategy comes to. `progress` is that
/// of [`evaluate`](super::evaluate).
///
/// # Errors
/// The backend or the dataset fails, or the task has not so many symmetries.
pub fn sweep<K>(
    backend: &mut K,
    plan: &Plan,
    dataset: &Dataset,
    options: &SweepOptions,
    mut progress: impl FnMut(usize, usize) -> bool,
) -> Result<Option<Sweep>>
where
    K: Kernels<Error: Send + Sync + 'static>,
{
    let started = Instant::now();
    let config = plan.config;
    let examples: Vec<Example> = chosen(dataset, options.sample)?;
    let task = Task::of(config.seq_len, config.vocab_size);
    let views = views(task, config.seq_len, options.views.max(1), options.seed)?;
    let max_steps = options.max_steps.unwrap_or(config.halt_max_steps);
    let strategies = strategies(views.len(), max_steps);
    let mut sums: Vec<(u64, u64)> = vec![(0, 0); strategies.len()];
    let mut flights: HashMap<usize, Flight> = HashMap::new();
    let mut done = 0;
    let walk = Walk { dataset, chosen: &examples, views: &views, with_logits: false };
    let ran = walk.run(backend, plan, &FixedSteps(max_steps), |rows| {
        for row in rows {
            let flight = flights.entry(row.puzzle).or_default();
            flight.note(row, &views);
            if flight.halted == views.len()
                && let Some(flight) = flights.remove(&row.puzzle)
            {
                flight.land(&strategies, &config, &mut sums);
                done += 1;
            }
        }
        if progress(done, examples.len()) { Ok(()) } else { Err(stopped()) }
    });
    if unless_stopped(ran)?.is_none() {
        return Ok(None);
    }
    let count = examples.len() as f64;
    let sample = options.sample.coverage(dataset.examples());
    let settings = strategies.into_iter().zip(sums).map(|(strategy, (solved, steps))| Setting {
        strategy,
        solved,
        exact_accuracy: solved as f64 / count,
        interval95: (sample == Coverage::Random).then(|| Interval::wilson(solved as f64, count)),
        steps: steps as f64 / count,
    });
    Ok(Some(Sweep {
        puzzles: examples.len() as u64,
        sample,
        examples: dataset.examples(),
        halt_max_steps: config.halt_max_steps,
        settings: settings.collect(),
        seconds: started.elapsed().as_secs_f64(),
    }))
}

impl Flight {
    fn note(&mut self, row: &Row<'_>, views: &[View]) {
        self.views.resize(views.len(), Vec::new());
        let mut board = vec![0; row.now.predictions.len()];
        views[row.view].unshow(row.now.predictions, &mut board);
        let counts = row.labels.iter().any(|label| *label >= 0);
        let right = row.labels.iter().zip(row.now.predictions).all(|(label, p)| *label < 0 || label == p);
        if counts && right && !self.right.contains(&board) {
            self.right.push(board.clone());
        }
        self.views[row.view].push((row.now.q_halt, row.now.q_continue, board));
        self.halted += usize::from(row.now.halted);
    }

    /// Adds what each strategy solves and spends to `sums`.
    fn land(self, strategies: &[Strategy], config: &hrm_core::config::Config, sums: &mut [(u64, u64)]) {
        let boards = self.views.iter().flatten().map(|(.., board)| (board.as_slice(), 0));
        let mut places: BTreeMap<&[i32], usize> = boards.collect();
        places.values_mut().enumerate().for_each(|(index, place)| *place = index);
        let right: Vec<usize> =
            self.right.iter().filter_map(|board| places.get(&board[..]).copied()).collect();
        let paths: Vec<Path> = self
            .views
            .iter()
            .map(|steps| Path {
                steps: steps.iter().map(|(h, c, board)| (*h, *c, places[&board[..]])).collect(),
            })
            .collect();
        for (strategy, (solved, steps)) in strategies.iter().zip(sums) {
            let mut ballot = Ballot::default();
            for (taken, q_halt, board) in
                paths[..strategy.views].iter().filter_map(|path| path.answer(strategy, config))
            {
                ballot.cast(board, q_halt);
                *steps += taken as u64;
            }
            let winner = ballot.ranked(Rule::Trust).first().map(|(board, _)| *board);
            *solved += u64::from(winner.is_some_and(|board| right.contains(&board)));
        }
    }
}

impl Sweep {
    /// The setting that solves most within `budget` mean ACT steps, of equals the cheapest.
    #[must_use]
    pub fn best_within(&self, budget: f64) -> Option<&Setting> {
        let affordable = self.settings.iter().filter(|setting| setting.steps <= budget);
        affordable.min_by(|a, b| b.solved.cmp(&a.solved).then(a.steps.total_cmp(&b.steps)))
    }

    /// The published evaluation: the last board after the maximum of steps, of one view.
    #[must_use]
    pub fn published(&self) -> Option<&Setting> {
        self.setting(1, Answer::Last, Halt::Steps(self.halt_max_steps))
    }

    fn setting(&self, views: usize, answer: Answer, halt: Halt) -> Option<&Setting> {
        let is =
            |s: &&Setting| (s.strategy.views, s.strategy.answer, s.strategy.halt) == (views, answer, halt);
        self.settings.iter().find(is)
    }

    /// The numbers of views that were looked at.
    #[must_use]
    pub fn views(&self) -> Vec<usize> {
        let mut views: Vec<usize> = self.settings.iter().map(|setting| setting.strategy.views).collect();
        views.dedup();
        views
    }

    /// Accuracy against ACT steps spent, a line for each answer and number of views.
    #[must_use]
    pub fn chart(&self) -> Chart {
        let mut series = Vec::new();
        for views in self.views() {
            for answer in [Answer::Last, Answer::BestQ] {
                let line = self.settings.iter().filter(|setting| {
                    let it = setting.strategy;
                    (it.views, it.answer) == (views, answer) && matches!(it.halt, Halt::Steps(_))
                });
                let label = match (answer, views) {
                    (Answer::Last, 1) => "last".to_owned(),
                    (Answer::BestQ, 1) => "best Q".to_owned(),
                    (Answer::Last, _) => continue,
                    (Answer::BestQ, views) => format!("{views} views"),
                };
                series.push(Series::new(label, line.map(Setting::point).collect()));
            }
        }
        let halting = self
            .settings
            .iter()
            .filter(|setting| setting.strategy.halt == Halt::Q && setting.strategy.answer == Answer::BestQ);
        series.push(Series::new("halt on Q", halting.map(Setting::point).collect()));
        Chart {
            title: format!("{} puzzles: solved, by ACT steps spent", self.puzzles),
            x_label: "mean ACT steps of a puzzle, all views together".into(),
            y_label: "puzzles solved, %".into(),
            log_x: true,
            series,
            ..Chart::default()
        }
    }
}

impl Setting {
    fn point(&self) -> (f64, f64) {
        (self.steps, 100.0 * self.exact_accuracy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hrm_core::config::Config;

    const CONFIG: Config = Config { halt_max_steps: 3, ..Config::SUDOKU_EXTREME };

    /// Two views of three steps; the right board is `[1]`.
    fn flight() -> Flight {
        let board = |token: i32| vec![token];
        Flight {
            views: vec![
                vec![(-1.0, 0.0, board(2)), (2.0, 1.0, board(1)), (-3.0, 0.0, board(3))],
                vec![(-2.0, 0.0, board(1)), (-1.0, 0.0, board(2)), (0.5, 1.0, board(2))],
            ],
            halted: 2,
            right: vec![board(1)],
        }
    }

    #[test]
    fn every_strategy_follows_from_the_paths() {
        let expect = |strategy: Strategy, solved: u64, steps: u64| {
            let mut sums = [(0, 0)];
            flight().land(&[strategy], &CONFIG, &mut sums);
            assert_eq!(sums, [(solved, steps)], "{strategy:?}");
        };
        let best = |halt| Strategy { answer: Answer::BestQ, ..Strategy::from(halt) };
        expect(Strategy::PUBLISHED, 0, 3);
        expect(best(Halt::Max), 1, 3);
        expect(Halt::Q.into(), 1, 2);
        expect(Halt::Steps(1).into(), 0, 1);
        // sigmoid(2) for the right one, sigmoid(0.5) for the other.
        expect(Strategy { views: 2, ..best(Halt::Max) }, 1, 6);
        expect(Strategy { views: 2, ..Halt::Q.into() }, 1, 5);
        // sigmoid(-1) for the wrong one, sigmoid(-2) for the right one.
        expect(Strategy { views: 2, ..Halt::Steps(1).into() }, 0, 2);
    }

    #[test]
    fn the_best_within_a_budget_is_the_cheapest_of_equals() {
        let setting = |steps, solved| Setting {
            strategy: Strategy::PUBLISHED,
            solved,
            exact_accuracy: solved as f64 / 10.0,
            interval95: None,
            steps,
        };
        let settings = vec![setting(3.0, 2), setting(5.0, 4), setting(4.0, 4), setting(9.0, 7)];
        let sweep = Sweep {
            puzzles: 10,
            sample: Coverage::All,
            examples: 10,
            halt_max_steps: 3,
            settings,
            seconds: 1.0,
        };
        let best = |budget| sweep.best_within(budget).map(|setting| setting.steps);
        assert_eq!((best(2.0), best(3.5), best(8.0), best(9.0)), (None, Some(3.0), Some(4.0), Some(9.0)));
    }

    #[test]
    fn strategies_cover_views_answers_and_halts() {
        let all = strategies(6, 4);
        assert_eq!(all.len(), 4 * 2 * 8);
        let views: Vec<usize> =
            all.iter().map(|it| it.views).collect::<std::collections::BTreeSet<_>>().into_iter().collect();
        assert_eq!(views, [1, 2, 4, 6]);
        assert_eq!(strategies(1, 3).len(), 2 * 6);
    }
}
