//! Loading a model and solving puzzles with it.
//!
//! ```no_run
//! use hrm_host::backend::Cpu;
//! use hrm_host::solve::{Halt, Model};
//!
//! # fn main() -> hrm_host::error::Result<()> {
//! let mut model = Model::<Cpu>::load("runs/quickstart/run".as_ref(), 1)?;
//! let tokens = vec![1; model.config().seq_len];
//! let found = model.solve(&tokens, 0, Halt::Q)?;
//! println!("halted after {} ACT steps", found.steps());
//! # Ok(())
//! # }
//! ```

use std::path::Path;

use hrm_core::config::Config;
use hrm_core::loss::LossKind;
use hrm_core::plan::{Mode, Plan};
use serde::Serialize;

use crate::backend::{Dtype, HostBackend};
use crate::error::{Context, Error, Result};
use crate::memory;
use crate::model_io::source::Source;
use crate::runner::{self, Place, RowStep};
pub use crate::strategy::{Answer, Halt, Strategy};
use crate::task::Task;
use crate::views::views;
use crate::vote::{Ballot, Rule};

/// One ACT step of a puzzle.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TraceStep {
    /// The step, from 1.
    pub step: usize,
    /// Most likely token of each cell.
    pub tokens: Vec<i32>,
    /// Logit of halting.
    pub q_halt: f32,
    /// Logit of going on.
    pub q_continue: f32,
}

/// Every ACT step of a puzzle, or of a view of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Trace {
    /// The steps.
    pub steps: Vec<TraceStep>,
}

/// How a puzzle was answered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Solution {
    /// Every step of each view, in the puzzle's own terms. The first view is the puzzle as it is.
    pub views: Vec<Trace>,
    /// The view that the answer comes from: of those that voted for it, the one whose Q-halt was highest.
    pub view: usize,
    /// The index of the answer among the steps of that view.
    pub step: usize,
    /// Views that voted for the answer.
    pub votes: u64,
}

impl Solution {
    /// The answer that `strategy` makes of what the views did; `None` without views or steps.
    #[must_use]
    pub fn of(views: Vec<Trace>, strategy: &Strategy) -> Option<Self> {
        let chosen: Vec<usize> = views
            .iter()
            .map(|view| strategy.answer.pick(view.steps.iter().map(|step| step.q_halt)))
            .collect();
        let answers = || views.iter().zip(&chosen).map(|(view, &step)| view.steps.get(step));
        let mut ballot = Ballot::default();
        answers().flatten().for_each(|step| ballot.cast(step.tokens.as_slice(), step.q_halt));
        let ranked = ballot.ranked(Rule::Trust);
        let (winner, support) = ranked.first()?;
        let view = answers()
            .position(|step| step.is_some_and(|it| it.tokens == *winner && it.q_halt >= support.strongest))
            .or_else(|| answers().position(|step| step.is_some_and(|it| it.tokens == *winner)))?;
        let votes = support.votes;
        Some(Self { step: chosen[view], view, votes, views })
    }

    /// The step whose board is the answer.
    #[must_use]
    pub fn chosen(&self) -> &TraceStep {
        &self.views[self.view].steps[self.step]
    }

    /// The tokens of the answer.
    #[must_use]
    pub fn answer(&self) -> &[i32] {
        &self.chosen().tokens
    }

    /// ACT steps, those of all views together.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.views.iter().map(|view| view.steps.len()).sum()
    }
}

/// A model in memory, ready to solve `batch` puzzles at a time.
pub struct Model<K> {
    backend: K,
    plan: Plan,
    loss: LossKind,
}

/// A backend for `plan`, the model in `path`, if the machine has the memory for it.
fn create<K: HostBackend>(plan: &Plan, path: &Path) -> Result<K> {
    if K::IN_HOST_MEMORY {
        memory::expect_room(K::planned_bytes(plan) as u64)
            .during(|| format!("making room for the model {}", path.display()))?;
    }
    K::create(plan).map_err(Error::backend)
}

impl<K: HostBackend> Model<K> {
    /// Loads the model in `path`: a model directory, a run (its best checkpoint, else its newest), or a bundle.
    ///
    /// # Errors
    /// There is no model, one of its files is bad, or the backend fails.
    pub fn load(path: &Path, batch: usize) -> Result<Self> {
        Self::load_in(path, batch, None)
    }

    /// As [`load`](Self::load), to compute in `dtype` rather than in the precision that the model was trained in.
    ///
    /// # Errors
    /// As there.
    pub fn load_in(path: &Path, batch: usize, dtype: Option<Dtype>) -> Result<Self> {
        Self::of(Source::open(path)?, batch, dtype)
    }

    /// As [`load_in`](Self::load_in), of a model that is opened already.
    ///
    /// # Errors
    /// As there.
    pub fn of(mut source: Source, batch: usize, dtype: Option<Dtype>) -> Result<Self> {
        let config = *source.config();
        let forward_dtype = dtype.map_or(config.forward_dtype, Into::into);
        let plan = Plan::new(&Config { forward_dtype, ..config }, batch, Mode::Inference)
            .map_err(|e| Error::input(e.to_string()))?;
        let mut backend: K = create(&plan, source.path())?;
        source.load(&mut backend, &plan)?;
        if let Some(bundle) = source.weights().bundle() {
            backend.take_integers(&plan, bundle).map_err(Error::backend)?;
        }
        Ok(Self { backend, plan, loss: source.loss() })
    }

    /// Its configuration.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.plan.config
    }

    /// The loss that it was trained with, as far as its directory says.
    #[must_use]
    pub const fn loss(&self) -> LossKind {
        self.loss
    }

    /// Backend and plan.
    pub const fn parts(&mut self) -> (&mut K, &Plan) {
        (&mut self.backend, &self.plan)
    }

    /// Answers one puzzle of `seq_len` tokens as `strategy` says (a [`Halt`] is one, too), with row `puzzle_id` of the
    /// puzzle embedding (0 if the model tells its puzzles not apart). Views are drawn with `seed` 0.
    ///
    /// # Errors
    /// A token or the identifier is outside its table, the puzzle has not so many symmetric views, or the backend fails.
    pub fn solve(
        &mut self,
        tokens: &[i32],
        puzzle_id: i32,
        strategy: impl Into<Strategy>,
    ) -> Result<Solution> {
        let (config, strategy) = (self.plan.config, strategy.into());
        let seq_len = config.seq_len;
        if tokens.len() != seq_len {
            return Err(Error::input(format!(
                "the puzzle has {} cells, the model works on {seq_len}",
                tokens.len(),
            )));
        }
        let rows = config.num_puzzle_identifiers;
        if !usize::try_from(puzzle_id).is_ok_and(|id| id < rows) {
            return Err(Error::input(format!(
                "the puzzle identifier is {puzzle_id}, expected 0 to {}: the model's table has {rows} rows",
                rows - 1
            )));
        }
        let task = Task::of(seq_len, config.vocab_size);
        let views = views(task, seq_len, strategy.views.max(1), 0)?;
        let mut traces = vec![Trace::default(); views.len()];
        let mut next = 0;
        let feed = |place: Place<'_>| -> Result<Option<usize>> {
            let Some(view) = views.get(next) else { return Ok(None) };
            view.show(tokens, place.inputs);
            *place.puzzle_id = puzzle_id;
            next += 1;
            Ok(Some(next - 1))
        };
        let report = |rows: &[RowStep<'_>]| -> Result<()> {
            for row in rows {
                let mut board = vec![0; seq_len];
                views[row.puzzle].unshow(row.predictions, &mut board);
                traces[row.puzzle].steps.push(TraceStep {
                    step: row.step,
                    tokens: board,
                    q_halt: row.q_halt,
                    q_continue: row.q_continue,
                });
            }
            Ok(())
        };
        let policy = strategy.policy(&config);
        runner::run(&mut self.backend, &self.plan, &*policy, false, feed, report)?;
        Solution::of(traces, &strategy).ok_or_else(|| Error::failed("the model took no step"))
    }
}
