//! How fast a backend trains and solves on this machine, measured on random puzzles.
//!
//! Weights are those of a fresh model; tokens and labels are random and valid, with a fixed seed. Every training step is
//! whole: refill of halted rows, two forward passes, backward pass, the look for what is not finite, both optimizers,
//! metrics. Steps follow each other as they do in training: the time of a step is that from the end of the one before it
//! to its own. An ACT step ends when its predictions and Q values are in the host's memory.

pub mod flops;
pub mod timed;

use std::time::Instant;

use hrm_core::config::Config;
use hrm_core::init;
use hrm_core::kernels::{Kernels, Region};
use hrm_core::model;
use hrm_core::model::train_step::{TrainConfig, train_step};
use hrm_core::optim::StepScalars;
use hrm_core::plan::{BackwardPlan, Mode, Plan};
use hrm_core::rng::{Rng, Stream};
use serde::Serialize;

use crate::backend::gauge::Ceiling;
use crate::backend::{HostBackend, TrainBackend};
use crate::error::{Error, Result};
use crate::memory;
use crate::train::steps::{Incoming, StepEnd, TrainSteps, feed};
use flops::Flops;
use timed::{Clock, KernelTime, Timed};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// The model.
    pub config: Config,
    /// The constants of training; its `global_batch_size` is the batch of the training step.
    pub train: TrainConfig,
    /// Whether the backward pass computes activations again.
    pub recompute: bool,
    /// Puzzles of an ACT step; none for what suits the backend: one, or as many as in training.
    pub inference_batch: Option<usize>,
    /// Steps of each kind that are timed; none for as many as suit the backend.
    pub steps: Option<usize>,
    /// Whether the kernels are timed as well, in steps of their own.
    pub kernels: bool,
}

/// Times of one kind of step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// Puzzles worked on together.
    pub batch: usize,
    /// Seconds of a step, median of all.
    pub seconds: f64,
    /// Seconds of the fastest step.
    pub fastest: f64,
    /// Seconds of the slowest step.
    pub slowest: f64,
    /// Steps that were timed.
    pub steps: usize,
    /// Floating-point operations of a step.
    pub flops: Flops,
    /// Billions of them per second, in the median step.
    pub gflops: f64,
    /// That as a share of [`Report::gemm_gflops`].
    pub gemm_share: f64,
    /// Bytes that the backend plans for it.
    pub planned_bytes: u64,
    /// Bytes in use where it computes: at most by the process so far, or now by all on the device. If the system tells.
    pub used_bytes: Option<u64>,
    /// Steps in which kernels were timed.
    pub kernel_steps: usize,
    /// Time of each kernel in all of those, the longest first.
    pub kernels: Vec<KernelTime>,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The backend.
    pub backend: &'static str,
    /// Precision of the model's activations.
    pub dtype: &'static str,
    /// Threads of the host that it works on.
    pub threads: usize,
    /// Trained parameters of the model.
    pub parameters: usize,
    /// Rows, inputs and outputs of the matrix product that says what the machine gives at present.
    pub gemm: [usize; 3],
    /// GFLOP/s of that product, median of several before and after the steps.
    pub gemm_gflops: f64,
    /// Billions of bytes per second that a large copy on the device reads and writes, likewise.
    pub copy_gbytes: Option<f64>,
    /// One training step, if the backend trains.
    pub training: Option<Measured>,
    /// One ACT step of inference.
    pub inference: Measured,
}

/// Seed of weights, puzzles and exploration.
const SEED: u64 = 1;

/// Steps in which kernels are timed at most: events are kept for each call.
const KERNEL_STEPS: usize = 10;

/// Measures training and inference of backend `K`.
///
/// # Errors
/// The model does not fit the memory that is free, a size is out of range, or the backend fails.
pub fn run<K: TrainBackend>(options: &Options) -> Result<Report> {
    let plan = plan(options, options.train.global_batch_size, Mode::Training)?;
    fits::<K>(&plan)?;
    let default = if K::INFERS_BATCHES { plan.batch } else { 1 };
    let times = |options: &Options| training::<K>(&plan, options).map(|times| Some((plan, times)));
    measure::<K>(options, default, times)
}

/// Measures inference of backend `K`, by default on one puzzle.
///
/// # Errors
/// As there.
pub fn run_inference<K: HostBackend>(options: &Options) -> Result<Report> {
    measure::<K>(options, 1, |_| Ok(None))
}

fn plan(options: &Options, batch: usize, mode: Mode) -> Result<Plan> {
    let plan = match mode {
        Mode::Training if options.recompute => Plan::recomputing(&options.config, batch),
        _ => Plan::new(&options.config, batch, mode),
    };
    let plan = plan.map_err(|error| Error::input(error.to_string()))?;
    let averages = mode == Mode::Training && options.train.average.is_some();
    Ok(if averages { plan.with_averages() } else { plan })
}

/// Measures what `training` does, if anything, and inference on `default` puzzles unless the options say how many.
fn measure<K: HostBackend>(
    options: &Options,
    default: usize,
    training: impl FnOnce(&Options) -> Result<Option<(Plan, Times)>>,
) -> Result<Report> {
    let plan = plan(options, options.inference_batch.unwrap_or(default), Mode::Inference)?;
    fits::<K>(&plan)?;

    let mut ceiling = K::ceiling(&plan).map_err(Error::backend)?;
    let training = training(options)?;
    let inference = inference::<K>(&plan, options)?;
    let after = K::ceiling(&plan).map_err(Error::backend)?;
    ceiling.gemm_seconds.extend(after.gemm_seconds);
    ceiling.copy_seconds.extend(after.copy_seconds);

    let Ceiling { gemm, gemm_seconds, copied_bytes, copy_seconds } = ceiling;
    let [rows, inputs, outputs] = gemm;
    let gemm_gflops = Flops::linear(rows, inputs, outputs).total() as f64 / median(gemm_seconds) / 1e9;
    let copies = !copy_seconds.is_empty();
    let training = training.map(|(plan, times)| {
        times.measured::<K>(&plan, Flops::training_step(&options.config, plan.batch), gemm_gflops)
    });
    let flops = Flops::act_step(&options.config, plan.batch);
    Ok(Report {
        backend: K::NAME,
        dtype: if K::element_sizes(&plan).act == 2 { "bf16" } else { "f32" },
        threads: rayon::current_num_threads(),
        parameters: plan.params.trained_parameters(),
        gemm,
        gemm_gflops,
        copy_gbytes: copies.then(|| copied_bytes as f64 / median(copy_seconds) / 1e9),
        training,
        inference: inference.measured::<K>(&plan, flops, gemm_gflops),
    })
}

/// Refuses a plan that does not fit the memory that is free, before anything is allocated.
fn fits<K: HostBackend>(plan: &Plan) -> Result<()> {
    let needed = K::planned_bytes(plan) as u64;
    match K::room().map_err(Error::backend)? {
        Some(room) if needed > room.bytes => Err(Error::input(format!(
            "{} of {} puzzles needs {}, {room}",
            if plan.backward.is_some() { "a training step" } else { "an ACT step" },
            plan.batch,
            memory::human(needed)
        ))
        .hint("give a smaller --batch")),
        _ => Ok(()),
    }
}

/// The middle one of `times`, the later of two; 0 of none.
fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(0.0)
}

/// What the clock said of one kind of step.
#[derive(Debug, Default)]
struct Times {
    /// Seconds of each timed step.
    steps: Vec<f64>,
    used_bytes: Option<u64>,
    kernel_steps: usize,
    kernels: Vec<KernelTime>,
}

impl Times {
    fn measured<K: HostBackend>(self, plan: &Plan, flops: Flops, gemm_gflops: f64) -> Measured {
        let seconds = median(self.steps.clone());
        let gflops = flops.total() as f64 / seconds / 1e9;
        Measured {
            batch: plan.batch,
            seconds,
            fastest: self.steps.iter().copied().fold(f64::INFINITY, f64::min),
            slowest: self.steps.iter().copied().fold(0.0, f64::max),
            steps: self.steps.len(),
            flops,
            gflops,
            gemm_share: gflops / gemm_gflops,
            planned_bytes: K::planned_bytes(plan) as u64,
            used_bytes: self.used_bytes,
            kernel_steps: self.kernel_steps,
            kernels: self.kernels,
        }
    }
}

fn scalars(step: u64) -> StepScalars {
    StepScalars { step, lr: 1e-4, puzzle_emb_lr: 1e-4, seed: SEED }
}

fn training<K: TrainBackend>(plan: &Plan, options: &Options) -> Result<Times> {
    let Some(backward) = plan.backward else {
        return Err(Error::failed("the plan is not for training"));
    };
    let puzzles = Puzzles::new(plan);
    let mut backend = create::<K>(plan)?;
    let mut times = Times { steps: step_times(&mut backend, plan, &backward, options)?, ..Times::default() };
    times.used_bytes = backend.bytes_in_use().map_err(Error::backend)?;
    if options.kernels {
        let mut step = 0;
        time_kernels(backend, plan, options, &mut times, |timed| {
            step += 1;
            feed(timed, plan, puzzles.incoming())?;
            train_step(timed, plan, &backward, &options.train, &scalars(step))
        })?;
    }
    Ok(times)
}

/// Seconds from the end of each training step to that of the next, as many under way as the backend takes.
fn step_times<K: TrainBackend>(
    backend: &mut K,
    plan: &Plan,
    backward: &BackwardPlan,
    options: &Options,
) -> Result<Vec<f64>> {
    let puzzles = Puzzles::new(plan);
    let mut steps = K::Steps::new(backend, plan, backward, &options.train).map_err(Error::backend)?;
    let wanted = options.steps.unwrap_or(K::STEPS).max(1);
    let warmup = K::WARMUP.max(K::Steps::MOST);
    let (mut started, mut ended) = (0, 0);
    let mut times = Vec::with_capacity(wanted);
    let mut last = Instant::now();
    while ended < warmup + wanted {
        if started - ended < K::Steps::MOST && started < warmup + wanted {
            started += 1;
            steps.start(backend, puzzles.incoming(), &scalars(started as u64)).map_err(Error::backend)?;
            continue;
        }
        if steps.finish(backend, true).map_err(Error::backend)? == Some(StepEnd::NotFinite) {
            return Err(Error::failed(format!("step {}: a loss or a gradient is not finite", ended + 1)));
        }
        ended += 1;
        let now = Instant::now();
        if ended > warmup {
            times.push(now.duration_since(last).as_secs_f64());
        }
        last = now;
    }
    Ok(times)
}

fn inference<K: HostBackend>(plan: &Plan, options: &Options) -> Result<Times> {
    let puzzles = Puzzles::new(plan);
    let mut backend = create::<K>(plan)?;
    let mut q = vec![0.0; plan.q.len()];
    let mut predictions = vec![0; plan.predictions.len()];
    let mut times = Times::default();
    for i in 0..K::WARMUP + options.steps.unwrap_or(K::STEPS).max(1) {
        let start = Instant::now();
        let mut step = || {
            act_step(&mut backend, plan, &puzzles)?;
            backend.read(Region::Stats, plan.q.offset, &mut q)?;
            backend.read_ids(plan.predictions.offset, &mut predictions)
        };
        step().map_err(Error::backend)?;
        if i >= K::WARMUP {
            times.steps.push(start.elapsed().as_secs_f64());
        }
    }
    times.used_bytes = backend.bytes_in_use().map_err(Error::backend)?;
    if options.kernels {
        time_kernels(backend, plan, options, &mut times, |timed| act_step(timed, plan, &puzzles))?;
    }
    Ok(times)
}

/// An ACT step of which nobody halts, so that the next one goes on from its states.
fn act_step<K: Kernels>(backend: &mut K, plan: &Plan, puzzles: &Puzzles) -> Result<(), K::Error> {
    feed(backend, plan, puzzles.incoming())?;
    model::act_step(backend, plan)?;
    backend.write_ids(plan.halted.offset, &puzzles.none_halts)
}

/// Times the kernels of some steps, after one to warm up.
fn time_kernels<K: HostBackend>(
    backend: K,
    plan: &Plan,
    options: &Options,
    times: &mut Times,
    mut step: impl FnMut(&mut Timed<K>) -> Result<(), K::Error>,
) -> Result<()> {
    let mut timed = Clock::of(backend, K::element_sizes(plan));
    times.kernel_steps = options.steps.unwrap_or(K::STEPS).clamp(1, KERNEL_STEPS);
    let mut run = || {
        step(&mut timed)?;
        Clock::take(&mut timed)?;
        (0..times.kernel_steps).try_for_each(|_| step(&mut timed))?;
        Clock::take(&mut timed)
    };
    times.kernels = run().map_err(Error::backend)?;
    Ok(())
}

/// Random puzzles for the incoming rows: tokens `0..vocab`, labels `1..vocab`.
struct Puzzles {
    inputs: Vec<i32>,
    labels: Vec<i32>,
    puzzle_ids: Vec<i32>,
    none_halts: Vec<i32>,
}

impl Puzzles {
    fn new(plan: &Plan) -> Self {
        let vocab = plan.config.vocab_size as u32;
        let mut rng = Rng::new(SEED, Stream::Puzzle, 0);
        let mut draw =
            |low: u32, len: usize| (0..len).map(|_| (low + rng.below(vocab - low)) as i32).collect();
        Self {
            inputs: draw(0, plan.current.inputs.len()),
            labels: draw(u32::from(vocab > 1), plan.current.labels.len()),
            puzzle_ids: vec![0; plan.batch],
            none_halts: vec![0; plan.batch],
        }
    }

    fn incoming(&self) -> Incoming<'_> {
        let Self { inputs, labels, puzzle_ids, .. } = self;
        Incoming { inputs, labels, puzzle_ids }
    }
}

/// A fresh model whose rows all await a puzzle.
fn create<K: HostBackend>(plan: &Plan) -> Result<K> {
    let mut backend = K::create(plan).map_err(Error::backend)?;
    init::initialise(&mut backend, plan, SEED).map_err(Error::backend)?;
    init::reset_carry(&mut backend, plan).map_err(Error::backend)?;
    Ok(backend)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Cpu;
    use hrm_core::config::{GradientSpan, Stacks};
    use hrm_core::loss::LossKind;
    use hrm_core::optim::{AdamAtan2, Average, SignSgd};

    fn tiny() -> Options {
        let config = Config {
            seq_len: 5,
            vocab_size: 7,
            hidden_size: 16,
            num_heads: 2,
            h_layers: 1,
            l_layers: 2,
            h_cycles: 2,
            l_cycles: 3,
            puzzle_emb_ndim: 20,
            halt_max_steps: 3,
            ..Config::SUDOKU_EXTREME
        };
        let train = TrainConfig {
            loss: LossKind::Softmax,
            adam: AdamAtan2 { beta1: 0.9, beta2: 0.95, weight_decay: 1.0 },
            puzzle_emb: SignSgd { weight_decay: 1.0 },
            average: None,
            global_batch_size: 3,
        };
        Options { config, train, recompute: false, inference_batch: None, steps: Some(2), kernels: true }
    }

    /// The closed form against what the kernels are really asked for.
    fn operations_agree(options: &Options) {
        let report = run::<Cpu>(options).unwrap();
        for measured in report.training.iter().chain([&report.inference]) {
            assert_eq!((measured.steps, measured.kernel_steps), (2, 2));
            assert!(measured.fastest <= measured.seconds && measured.seconds <= measured.slowest);
            let counted = measured.kernels.iter().fold(Flops::default(), |sum, kernel| sum + kernel.flops);
            assert_eq!(counted, measured.flops * 2);
            assert!(measured.kernels.iter().map(|kernel| kernel.seconds).sum::<f64>() > 0.0);
            let products = measured.kernels.iter().filter(|kernel| kernel.kernel == "linear");
            assert!(products.map(|kernel| kernel.bytes).sum::<u64>() > 0);
            assert!(measured.gflops > 0.0 && measured.gemm_share < 1.5, "{measured:?}");
        }
        let steps: Vec<u64> = report
            .training
            .iter()
            .flat_map(|training| &training.kernels)
            .filter(|k| k.kernel == "adam_atan2")
            .map(|k| k.calls)
            .collect();
        assert_eq!(steps, [2]);
    }

    #[test]
    fn a_tiny_model_is_measured_and_its_operations_are_those_of_its_kernels() {
        operations_agree(&tiny());
        let mut one_step = tiny();
        one_step.config.halt_max_steps = 1;
        operations_agree(&one_step);
        let mut trm = tiny();
        trm.config =
            Config { stacks: Stacks::Shared, mlp_t: true, gradient: GradientSpan::Cycle, ..trm.config };
        trm.train.average = Some(Average { rate: 0.9 });
        operations_agree(&trm);
        trm.config.no_act_continue = true;
        operations_agree(&trm);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut huge = tiny();
        huge.train.global_batch_size = 1 << 28;
        let error = run::<Cpu>(&huge).unwrap_err();
        assert_eq!((error.exit_code(), error.hint_text()), (2, Some("give a smaller --batch")));
    }

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(Vec::new()), 0.0);
    }
}
