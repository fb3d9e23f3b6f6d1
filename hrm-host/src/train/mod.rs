//! Training: the loop around [`train_step`](hrm_core::model::train_step), with its data, metrics, evaluations and
//! checkpoints.

mod card;
pub mod checkpoint;
pub mod curve;
pub mod files;
pub mod guard;
pub mod presets;
pub mod run;
pub mod settings;
pub mod steps;

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hrm_core::config::{Config, ConfigError};
use hrm_core::init;
use hrm_core::kernels::TrainKernels;
use hrm_core::optim::StepScalars;
use hrm_core::plan::{BackwardPlan, Mode, Plan, PlanError};

use checkpoint::NO_TEST;
pub use checkpoint::{Best, TrainerState};
pub use settings::{Arch, Augmentation, Settings};
use steps::{StepEnd, TrainSteps};

use crate::backend::TrainBackend;
use crate::carry::{self, RowSnapshot};
use crate::data::prefetch::{Prefetch, Prefetched};
use crate::data::sudoku::{ShuffleExamples, Size};
use crate::data::{Cursor, Dataset, Sampler, SamplerOptions};
use crate::error::{Error, Result};
use crate::evaluate::{EvalOptions, EvalReport, Sample, evaluate};
use crate::files::{Existing, write_dir};
use crate::memory;
use crate::row_metrics::MetricSums;
use crate::runner::NotFinite;
use crate::strategy::Strategy;

/// Epochs that the sampler joins end to end.
const EPOCHS_PER_ITERATION: u64 = 1000;

/// The plan of a run, made before anything is allocated.
///
/// # Errors
/// A field of the settings is out of range, or the model does not fit the address space.
pub fn plan(settings: &Settings, dataset: &Dataset) -> Result<Plan> {
    settings.validate().map_err(|(field, given, expected)| {
        Error::input(format!("{field} is {given}, expected {expected}"))
    })?;
    let config = settings.config(dataset.metadata());
    let batch = settings.global_batch_size;
    let plan = if settings.recompute {
        Plan::recomputing(&config, batch)
    } else {
        Plan::new(&config, batch, Mode::Training)
    };
    let plan = plan.map_err(|error| match error {
        PlanError::Config(error) => Error::input(bad_arch(&error, &config)),
        other => Error::input(other.to_string()),
    })?;
    Ok(if settings.ema { plan.with_averages() } else { plan })
}

/// A bad field by its key among the settings, and the width where it is measured by that.
fn bad_arch(error: &ConfigError, config: &Config) -> String {
    let of_data = ["seq_len", "vocab_size", "num_puzzle_identifiers"].contains(&error.field);
    let table = if of_data { "" } else { "arch." };
    let by_width = error.field != "hidden_size" && error.expected.contains("hidden_size");
    let width = if by_width { format!("; hidden_size is {}", config.hidden_size) } else { String::new() };
    format!("{table}{error}{width}")
}

/// Bytes that training takes on backend `K` for `plan`: what the backend plans, the batches made ahead of time, and the
/// copy of the carry's integers that is kept during an evaluation.
#[must_use]
pub fn planned_bytes<K: TrainBackend>(plan: &Plan) -> usize {
    K::planned_bytes(plan) + Prefetch::bytes(plan.batch, plan.config.seq_len) + RowSnapshot::bytes(plan)
}

/// A backend for `plan`, if the system has the memory for it.
fn create<K: TrainBackend>(plan: &Plan) -> Result<K> {
    if K::IN_HOST_MEMORY {
        memory::expect_room(planned_bytes::<K>(plan) as u64)?;
    }
    K::create(plan).map_err(Error::backend)
}

/// Why a step, or an evaluation after it, cannot be: numbers have grown beyond all bounds. The parameters after the step
/// before are the first that may be at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Diverged {
    /// The step that failed.
    pub step: u64,
}

impl fmt::Display for Diverged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the run has diverged by step {}", self.step)
    }
}

impl std::error::Error for Diverged {}

impl TrainerState {
    /// Refuses to go on with another backend or other training data than the run began with.
    ///
    /// # Errors
    /// They are other ones: a run's bits are those of its backend and data.
    pub fn expect(&self, backend: &str, dataset: &Dataset) -> Result<()> {
        if self.backend != backend {
            let error = format!("the run is of the backend {}, cannot go on with {backend}", self.backend);
            return Err(Error::input(error).hint(format!("add --backend {}", self.backend)));
        }
        other_data(dataset.path(), "training", &fingerprint(dataset)?, &self.data_fingerprint)
    }

    /// Refuses other held-out data than the run began with.
    ///
    /// # Errors
    /// They are other ones, or they cannot be read.
    pub fn expect_test(&self, test: Option<&Dataset>) -> Result<()> {
        let Some(expected) = &self.test_fingerprint else { return Ok(()) };
        let path = test.map_or(Path::new("test"), Dataset::path);
        other_data(path, "held-out", &test_fingerprint(test)?, expected)
    }
}

fn other_data(path: &Path, what: &str, found: &str, expected: &str) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    let path = path.display();
    Err(Error::input(format!(
        "{path}: other {what} data than the run began with: found {found}, expected {expected}"
    ))
    .hint("give the --data that the run began with, or begin a new run on this one"))
}

/// A training run in memory.
pub struct Trainer<K: TrainBackend> {
    backend: K,
    plan: Plan,
    backward: BackwardPlan,
    steps: K::Steps,
    /// Of each step under way, the oldest first, the cursor of the batch that comes after its own.
    under_way: VecDeque<Cursor>,
    state: TrainerState,
    batches: Prefetch,
}

impl<K: TrainBackend> Trainer<K> {
    /// A fresh run on `dataset`.
    ///
    /// # Errors
    /// The settings do not fit the dataset, or the backend fails.
    pub fn new(settings: &Settings, dataset: Arc<Dataset>) -> Result<Self> {
        let plan = plan(settings, &dataset)?;
        if settings.total_steps(dataset.metadata()) == 0 {
            return Err(Error::input(format!(
                "epochs is {}, which is less than one step of {} rows on {} examples",
                settings.epochs,
                settings.global_batch_size,
                dataset.examples()
            ))
            .hint("raise epochs, lower global_batch_size, or set steps"));
        }
        let mut backend: K = create(&plan)?;
        init::initialise(&mut backend, &plan, settings.seed).map_err(Error::backend)?;
        init::begin_averages(&mut backend, &plan).map_err(Error::backend)?;
        init::reset_carry(&mut backend, &plan).map_err(Error::backend)?;
        let state = TrainerState {
            settings: settings.clone(),
            backend: K::NAME.into(),
            step: 0,
            total_steps: settings.total_steps(dataset.metadata()),
            cursor: Cursor::default(),
            data_fingerprint: fingerprint(&dataset)?,
            test_fingerprint: None,
            sums: MetricSums::default(),
            summed_steps: 0,
            metrics_bytes: 0,
            events_bytes: 0,
            best: None,
            evaluated_at: 0,
            stale: 0,
        };
        Self::assemble(backend, plan, state, dataset)
    }

    /// The run that the checkpoint in `dir` holds. It must be on the same data and backend.
    ///
    /// # Errors
    /// The checkpoint is damaged, or does not fit data or backend.
    pub fn resume(dir: &Path, dataset: Arc<Dataset>) -> Result<Self> {
        let state = checkpoint::read_state(dir).map_err(|error| checkpoint::or_fall_back(error, dir))?;
        state.expect(K::NAME, &dataset)?;
        let plan = plan(&state.settings, &dataset)?;
        let mut backend: K = create(&plan)?;
        let state = checkpoint::load(&mut backend, &plan, dir)
            .map_err(|error| checkpoint::or_fall_back(error, dir))?;
        Self::assemble(backend, plan, state, dataset)
    }

    /// Notes the held-out data of a run that begins, and refuses other ones than it began with: what was best on one set of
    /// puzzles says nothing on another.
    ///
    /// # Errors
    /// It is other data, or it cannot be read.
    pub fn expect_test(&mut self, test: Option<&Dataset>) -> Result<()> {
        self.state.expect_test(test)?;
        if self.state.test_fingerprint.is_none() {
            self.state.test_fingerprint = Some(test_fingerprint(test)?);
        }
        Ok(())
    }

    fn assemble(mut backend: K, plan: Plan, state: TrainerState, dataset: Arc<Dataset>) -> Result<Self> {
        let Some(backward) = plan.backward else {
            return Err(Error::failed("the plan is not for training"));
        };
        let settings = &state.settings;
        let options = SamplerOptions {
            seed: settings.seed,
            batch_size: plan.batch,
            epochs_per_iteration: EPOCHS_PER_ITERATION,
        };
        let mut sampler = Sampler::new(Arc::clone(&dataset), options)?;
        if settings.augment == Augmentation::Sudoku {
            sampler = sampler.with_augment(Box::new(ShuffleExamples::new(board_size(&plan)?)));
        }
        sampler.restore(state.cursor)?;
        let batches = Prefetch::new(sampler, &dataset, plan.batch)?;
        let steps = K::Steps::new(&mut backend, &plan, &backward, &settings.train_config())
            .map_err(Error::backend)?;
        Ok(Self { backend, plan, backward, steps, under_way: VecDeque::new(), state, batches })
    }

    /// What a checkpoint would hold beside tensors.
    #[must_use]
    pub const fn state(&self) -> &TrainerState {
        &self.state
    }

    /// The same, to note where the metrics file ends.
    pub const fn state_mut(&mut self) -> &mut TrainerState {
        &mut self.state
    }

    /// Makes the run as long as `steps`, if that is not 0.
    pub const fn set_steps(&mut self, steps: u64) {
        if steps > 0 {
            // A run that is made longer has its patience back.
            if steps > self.state.total_steps {
                self.state.stale = 0;
            }
            self.state.settings.steps = steps;
            self.state.total_steps = steps;
        }
    }

    /// The memory plan.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Steps that were started, done or not.
    #[must_use]
    pub fn started(&self) -> u64 {
        self.state.step + self.under_way.len() as u64
    }

    /// The learning rate of step `step`.
    #[must_use]
    pub fn lr(&self, step: u64) -> f64 {
        self.state.settings.schedule(self.state.total_steps).at(step, self.state.settings.lr)
    }

    /// Starts a training step. Then [`finish`](Self::finish) is to be asked at least once, which also waits for the
    /// oldest step if there are as many under way as the backend takes.
    ///
    /// # Errors
    /// The data or the backend fails.
    pub fn start(&mut self) -> Result<()> {
        let step = self.started() + 1;
        let Prefetched { batch, cursor } = self.batches.take()?;
        let settings = &self.state.settings;
        let schedule = settings.schedule(self.state.total_steps);
        let scalars = StepScalars {
            step,
            lr: schedule.at(step, settings.lr),
            puzzle_emb_lr: schedule.at(step, settings.puzzle_emb_lr),
            seed: settings.seed,
        };
        self.steps.start(&mut self.backend, (&batch).into(), &scalars).map_err(Error::backend)?;
        self.batches.give_back(batch);
        self.under_way.push_back(cursor);
        Ok(())
    }

    /// The metrics of the oldest step that is under way, if it is done; with `wait`, or if no further step can be started
    /// before that, it is waited for. They are also added to those of the current interval.
    /// None if no step is under way.
    ///
    /// # Errors
    /// The backend fails, or a loss or a gradient is not finite: then the error names the step and the tensor, and
    /// neither this step nor a later one has changed a parameter.
    pub fn finish(&mut self, wait: bool) -> Result<Option<MetricSums>> {
        let wait = wait || self.under_way.len() >= K::Steps::MOST;
        let Some(&cursor) = self.under_way.front() else { return Ok(None) };
        let step = self.state.step + 1;
        match self.steps.finish(&mut self.backend, wait).map_err(Error::backend)? {
            None => Ok(None),
            Some(StepEnd::NotFinite) => {
                let place = guard::find_not_finite(&mut self.backend, &self.plan).map_err(Error::backend)?;
                let place = place.unwrap_or_else(|| "the losses alone".into());
                let message = format!("step {step}: not a finite number in {place}");
                Err(Error::failed(message).with_source(Diverged { step }))
            }
            Some(StepEnd::Done(rows)) => {
                let mut sums = MetricSums::default();
                sums.extend(rows);
                self.under_way.pop_front();
                self.state.step = step;
                self.state.cursor = cursor;
                self.state.sums.merge(&sums);
                self.state.summed_steps += 1;
                Ok(Some(sums))
            }
        }
    }

    /// Refuses what needs the parameters of [`state`](Self::state) while there are steps under way.
    fn settled(&self) -> Result<()> {
        match self.under_way.len() {
            0 => Ok(()),
            steps => Err(Error::failed(format!("{steps} training steps are still under way"))),
        }
    }

    /// The metrics summed since the last call, and the number of steps that they are over.
    pub fn take_sums(&mut self) -> (MetricSums, u64) {
        (std::mem::take(&mut self.state.sums), std::mem::take(&mut self.state.summed_steps))
    }

    /// Evaluates the current weights at the maximum of ACT steps, and leaves the carry as it was.
    ///
    /// # Errors
    /// A step is under way, or the data or the backend fails.
    pub fn evaluate(
        &mut self,
        dataset: &Dataset,
        progress: impl FnMut(usize, usize) -> bool,
    ) -> Result<Option<EvalReport>> {
        self.settled()?;
        let plan = carry::evaluation_plan(&self.plan, &self.backward);
        let rows = RowSnapshot::take(&mut self.backend, &plan).map_err(Error::backend)?;
        let settings = &self.state.settings;
        let sample = match settings.eval_limit {
            0 => Sample::All,
            count => Sample::Random { count, seed: settings.seed },
        };
        let options = EvalOptions {
            sample,
            strategy: Strategy::PUBLISHED,
            seed: 0,
            loss: settings.arch.loss,
            near_ties: None,
        };
        let report = averaged(&mut self.backend, &plan, |k| evaluate(k, &plan, dataset, &options, progress));
        rows.restore(&mut self.backend, &plan).map_err(Error::backend)?;
        let step = self.state.step;
        report.map_err(|error| match error.cause() {
            Some(NotFinite) => {
                error.with_source(Diverged { step: step + 1 }).context(format!("evaluating step {step}"))
            }
            None => error,
        })
    }

    /// Notes the result of an evaluation and says whether it is the best so far: more puzzles solved or, where as many
    /// are (none, in the beginning), more cells right.
    pub fn note(&mut self, exact_accuracy: f64, accuracy: f64) -> bool {
        self.state.evaluated_at = self.state.step;
        let better = self
            .state
            .best
            .is_none_or(|best| (exact_accuracy, accuracy) > (best.exact_accuracy, best.accuracy));
        if better {
            self.state.best = Some(Best { step: self.state.step, exact_accuracy, accuracy });
            self.state.stale = 0;
        } else {
            self.state.stale += 1;
        }
        better
    }

    /// Whether the last evaluations were no better than an earlier one for as long as the settings allow.
    #[must_use]
    pub const fn out_of_patience(&self) -> bool {
        self.state.settings.patience > 0 && self.state.stale >= self.state.settings.patience
    }

    /// Writes a checkpoint into `run`.
    ///
    /// # Errors
    /// A step is under way, a parameter is not finite, the backend fails, or the disk does.
    pub fn save(&mut self, run: &Path) -> Result<PathBuf> {
        self.settled()?;
        self.refuse_bad_parameters()?;
        checkpoint::save(&mut self.backend, &self.plan, run, &self.state)
    }

    /// Writes the model alone to `dir`, replacing what is there.
    ///
    /// # Errors
    /// A parameter is not finite, the backend fails, or the disk does.
    pub fn save_model(&mut self, dir: &Path) -> Result<()> {
        self.refuse_bad_parameters()?;
        write_dir(dir, Existing::Replace, |staging| {
            averaged(&mut self.backend, &self.plan, |k| {
                checkpoint::save_model(k, &self.plan, &self.state, staging.path())
            })
        })
    }

    fn refuse_bad_parameters(&mut self) -> Result<()> {
        let bad = guard::find_bad_in_checkpoint(&mut self.backend, &self.plan).map_err(Error::backend)?;
        match bad {
            Some(tensor) => {
                let step = self.state.step;
                let message = format!("step {step}: {tensor} is not finite, so no checkpoint was written");
                Err(Error::failed(message).with_source(Diverged { step: step + 1 }))
            }
            None => Ok(()),
        }
    }

    /// Backend and plan, to look at the weights.
    pub const fn parts(&mut self) -> (&mut K, &Plan) {
        (&mut self.backend, &self.plan)
    }
}

/// Does `work` with the averages in place of the parameters, where the plan has averages, and puts the parameters back
/// whatever became of it.
fn averaged<K: TrainKernels<Error: Send + Sync + 'static>, T>(
    backend: &mut K,
    plan: &Plan,
    work: impl FnOnce(&mut K) -> Result<T>,
) -> Result<T> {
    if !plan.averages {
        return work(backend);
    }
    backend.swap_averages(plan.params.trained).map_err(Error::backend)?;
    let done = work(backend);
    backend.swap_averages(plan.params.trained).map_err(Error::backend)?;
    done
}

/// The Sudoku board that a model of `plan` works on.
fn board_size(plan: &Plan) -> Result<Size> {
    let cells = plan.config.seq_len;
    Size::from_cells(cells).ok_or_else(|| {
        Error::input(format!("augment is sudoku, but the data has {cells} cells, expected 16 or 81"))
    })
}

/// A fingerprint of held-out data: as [`fingerprint`], and of the ratings, by which an evaluation chooses its puzzles.
fn test_fingerprint(test: Option<&Dataset>) -> Result<String> {
    let Some(test) = test else { return Ok(NO_TEST.to_owned()) };
    let mut ratings = crc32fast::Hasher::new();
    for set in test.sets() {
        for group in 0..set.groups() {
            let first = set.puzzle(set.group(group).start).start;
            if let Some(rating) = set.rating_of(first) {
                ratings.update(&rating.to_le_bytes());
            }
        }
    }
    Ok(format!("{}-{:08x}", fingerprint(test)?, ratings.finalize()))
}

/// A fingerprint of everything in `dataset` that training depends on: its shape, and a checksum over its groups,
/// puzzles and examples.
///
/// # Errors
/// An example cannot be read.
pub fn fingerprint(dataset: &Dataset) -> Result<String> {
    let metadata = dataset.metadata();
    let mut checksum = crc32fast::Hasher::new();
    let mut inputs = vec![0; metadata.seq_len];
    let mut labels = vec![0; metadata.seq_len];
    for (set, data) in dataset.sets().iter().enumerate() {
        for group in 0..data.groups() {
            checksum.update(&data.group(group).end.to_le_bytes());
        }
        for puzzle in 0..data.puzzles() {
            checksum.update(&data.puzzle(puzzle).end.to_le_bytes());
            checksum.update(&data.identifier(puzzle).to_le_bytes());
        }
        for example in 0..data.examples() {
            dataset.read(set, example, &mut inputs, &mut labels)?;
            checksum.update(bytemuck::cast_slice(&inputs));
            checksum.update(bytemuck::cast_slice(&labels));
        }
    }
    Ok(format!("{}x{}-{:08x}", dataset.examples(), metadata.seq_len, checksum.finalize()))
}
