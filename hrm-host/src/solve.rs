//! Loading a model and solving puzzles with it.
//!
//! ```no_run
//! use hrm_host::backend::Cpu;
//! use hrm_host::solve::{Halt, Model};
//!
//! # fn main() -> hrm_host::error::Result<()> {
//! let mut model = Model::<Cpu>::load("runs/quickstart/run".as_ref(), 1)?;
//! let tokens = vec![1; model.config().seq_len];
//! let trace = model.solve(&tokens, 0, Halt::Q)?;
//! println!("halted after {} ACT steps", trace.steps.len());
//! # Ok(())
//! # }
//! ```

use std::path::Path;

use hrm_core::act::{AlwaysMax, FixedSteps, HaltOnQ, HaltPolicy};
use hrm_core::config::Config;
use hrm_core::plan::{Mode, Plan};
use serde::Serialize;

use crate::backend::HostBackend;
use crate::error::{Error, Result};
use crate::memory;
use crate::model_dir::{self, CONFIG, WEIGHTS};
use crate::model_io::bundle::BundleFile;
use crate::runner::{self, Place, RowStep};

/// When a puzzle halts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// At the maximum of ACT steps the model was trained with: the published evaluation.
    Max,
    /// When the model's own Q values say so, at the latest at the maximum.
    Q,
    /// After this many steps.
    Steps(usize),
}

impl Halt {
    /// The policy for a model of `config`.
    #[must_use]
    pub fn policy(self, config: &Config) -> Box<dyn HaltPolicy> {
        let max_steps = config.halt_max_steps;
        match self {
            Self::Max => Box::new(AlwaysMax { max_steps }),
            Self::Q => Box::new(HaltOnQ { max_steps }),
            Self::Steps(steps) => Box::new(FixedSteps(steps)),
        }
    }
}

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

/// Every ACT step of a puzzle; the last one holds the answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trace {
    /// The steps, at least one.
    pub steps: Vec<TraceStep>,
}

impl Trace {
    /// The tokens of the last step.
    #[must_use]
    pub fn answer(&self) -> &[i32] {
        self.steps.last().map_or(&[], |step| &step.tokens)
    }
}

/// A model in memory, ready to solve `batch` puzzles at a time.
pub struct Model<K> {
    backend: K,
    plan: Plan,
}

/// The inference plan of the model in `path` for `batch` rows, without loading it.
///
/// # Errors
/// There is no model, or its configuration is bad.
pub fn plan(path: &Path, batch: usize) -> Result<Plan> {
    if path.is_file() {
        return bundle_plan(&BundleFile::open(path)?, batch);
    }
    let dir = model_dir::resolve::<std::convert::Infallible>(path)?;
    let config = model_dir::read_config::<std::convert::Infallible>(&dir.join(CONFIG))?;
    Plan::new(&config, batch, Mode::Inference).map_err(|e| Error::input(e.to_string()))
}

fn bundle_plan(bundle: &BundleFile, batch: usize) -> Result<Plan> {
    Plan::new(bundle.config(), batch, Mode::Inference).map_err(|e| Error::input(e.to_string()))
}

/// A backend for `plan`, the model in `path`, if the machine has the memory for it.
fn create<K: HostBackend>(plan: &Plan, path: &Path) -> Result<K> {
    let needed = K::planned_bytes(plan) as u64;
    if let Some(available) = memory::available().filter(|available| needed > *available) {
        return Err(Error::input(format!(
            "{}: the model needs {}, this machine has {} free",
            path.display(),
            memory::human(needed),
            memory::human(available)
        )));
    }
    K::create(plan).map_err(Error::backend)
}

impl<K: HostBackend> Model<K> {
    /// Loads the model in `path`: a model directory, a run (its best checkpoint, else its newest), or a bundle.
    ///
    /// # Errors
    /// There is no model, one of its files is bad, or the backend fails.
    pub fn load(path: &Path, batch: usize) -> Result<Self> {
        if path.is_file() {
            let bundle = BundleFile::open(path)?;
            let plan = bundle_plan(&bundle, batch)?;
            let mut backend: K = create(&plan, path)?;
            bundle.load(&mut backend, &plan)?;
            return Ok(Self { backend, plan });
        }
        let plan = plan(path, batch)?;
        let dir = model_dir::resolve::<K::Error>(path)?;
        model_dir::expect_config::<K::Error>(&dir.join(WEIGHTS), &plan.config)?;
        let mut backend: K = create(&plan, &dir)?;
        model_dir::load_weights(&mut backend, &plan, &dir.join(WEIGHTS))?;
        Ok(Self { backend, plan })
    }

    /// Its configuration.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.plan.config
    }

    /// Backend and plan.
    pub const fn parts(&mut self) -> (&mut K, &Plan) {
        (&mut self.backend, &self.plan)
    }

    /// Solves one puzzle of `seq_len` tokens, with row `puzzle_id` of the puzzle embedding (0 if the model tells
    /// its puzzles not apart), and returns every step.
    ///
    /// # Errors
    /// A token or the identifier is outside its table, or the backend fails.
    pub fn solve(&mut self, tokens: &[i32], puzzle_id: i32, halt: Halt) -> Result<Trace> {
        let config = self.plan.config;
        if tokens.len() != config.seq_len {
            return Err(Error::input(format!(
                "the puzzle has {} cells, the model works on {}",
                tokens.len(),
                config.seq_len
            )));
        }
        let mut steps = Vec::new();
        let mut fed = false;
        let feed = |place: Place<'_>| -> Result<Option<usize>> {
            if fed {
                return Ok(None);
            }
            fed = true;
            place.inputs.copy_from_slice(tokens);
            *place.puzzle_id = puzzle_id;
            Ok(Some(0))
        };
        let report = |row: RowStep<'_>| -> Result<()> {
            steps.push(TraceStep {
                step: row.step,
                tokens: row.predictions.to_vec(),
                q_halt: row.q_halt,
                q_continue: row.q_continue,
            });
            Ok(())
        };
        let policy = halt.policy(&config);
        runner::run(&mut self.backend, &self.plan, &*policy, false, feed, report)?;
        Ok(Trace { steps })
    }
}
