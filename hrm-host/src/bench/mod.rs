//! How fast a backend trains and solves on this machine, measured on random puzzles.
//!
//! Weights are those of a fresh model; tokens and labels are random and valid, with a fixed seed. Every training step is
//! whole: refill of halted rows, two forward passes, backward pass, both optimizers.

pub mod flops;
pub mod timed;

use std::time::Instant;

use hrm_core::backend::cpu::gemm;
use hrm_core::config::Config;
use hrm_core::init;
use hrm_core::kernels::{Kernels, Memory, StepScalars};
use hrm_core::model;
use hrm_core::plan::{Mode, Plan};
use hrm_core::rng::{Rng, Stream};
use hrm_core::train_step::{TrainConfig, train_step};
use serde::Serialize;

use crate::backend::HostBackend;
use crate::error::{Error, Result};
use crate::memory;
use flops::Flops;
use timed::{KernelTime, Timed};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// The model.
    pub config: Config,
    /// The constants of training; its `global_batch_size` is the batch of the training step.
    pub train: TrainConfig,
    /// Steps of each kind that are timed, at least 1.
    pub steps: usize,
    /// Steps of each kind before the clock starts.
    pub warmup: usize,
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
    /// Time of each kernel in all timed steps, the longest first.
    pub kernels: Vec<KernelTime>,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The backend.
    pub backend: &'static str,
    /// Threads that it works on.
    pub threads: usize,
    /// Trained parameters of the model.
    pub parameters: usize,
    /// GFLOP/s of one [`GEMM`] product of the CPU backend, median of several: what this machine gives at present.
    pub gemm_gflops: f64,
    /// One training step.
    pub training: Measured,
    /// One ACT step of inference on one puzzle.
    pub inference: Measured,
    /// The most memory that the process has used up to the end of the training steps, if the system tells.
    pub peak_rss_bytes: Option<u64>,
}

/// Rows, inputs and outputs of the product that a machine is measured by: 32 Sudokus through the widest layer of the
/// published model.
pub const GEMM: [usize; 3] = [2624, 512, 3072];

/// Products before and after the steps, so that a machine that is busy for a while shows in both.
const GEMM_REPEATS: usize = 7;

/// Seed of weights, puzzles and exploration.
const SEED: u64 = 1;

/// Measures backend `K`.
///
/// # Errors
/// The model does not fit the memory that is free, a size is out of range, or the backend fails.
pub fn run<K: HostBackend>(options: &Options) -> Result<Report> {
    let make = |batch, mode| {
        Plan::new(&options.config, batch, mode).map_err(|error| Error::input(error.to_string()))
    };
    let batch = options.train.global_batch_size;
    let plan = make(batch, Mode::Training)?;
    fits::<K>(&plan)?;
    let mut gemm = gemm_times(GEMM_REPEATS);
    let (training, training_kernels) = training::<K>(&plan, options)?;
    let peak_rss_bytes = memory::peak_rss();
    let one = make(1, Mode::Inference)?;
    let (inference, inference_kernels) = inference::<K>(&one, options)?;
    gemm.extend(gemm_times(GEMM_REPEATS));
    let [rows, inputs, outputs] = GEMM;
    let gemm_gflops = Flops::linear(rows, inputs, outputs).total() as f64 / median(&mut gemm) / 1e9;
    let measured = |mut times: Vec<f64>, plan: &Plan, flops: Flops, kernels| {
        let seconds = median(&mut times);
        let gflops = flops.total() as f64 / seconds / 1e9;
        Measured {
            batch: plan.batch,
            seconds,
            fastest: times.first().copied().unwrap_or(seconds),
            slowest: times.last().copied().unwrap_or(seconds),
            steps: times.len(),
            flops,
            gflops,
            gemm_share: gflops / gemm_gflops,
            planned_bytes: K::planned_bytes(plan) as u64,
            kernels,
        }
    };
    Ok(Report {
        backend: K::NAME,
        threads: rayon::current_num_threads(),
        parameters: plan.trained_parameters(),
        gemm_gflops,
        training: measured(training, &plan, Flops::training_step(&options.config, batch), training_kernels),
        inference: measured(inference, &one, Flops::act_step(&options.config, 1), inference_kernels),
        peak_rss_bytes,
    })
}

/// Refuses a plan that does not fit the memory that is free, before anything is allocated.
fn fits<K: HostBackend>(plan: &Plan) -> Result<()> {
    let needed = K::planned_bytes(plan) as u64;
    match K::available_bytes().map_err(Error::backend)? {
        Some(available) if needed > available => Err(Error::input(format!(
            "a training step of {} puzzles needs {}, {} has {} free",
            plan.batch,
            memory::human(needed),
            K::PLACE,
            memory::human(available)
        ))
        .hint("give a smaller --batch")),
        _ => Ok(()),
    }
}

/// Sorts `times` and returns the middle one, the later of two; 0 of none.
fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(0.0)
}

/// Seconds of `repeats` products of [`GEMM`]'s sizes, after one to warm up.
fn gemm_times(repeats: usize) -> Vec<f64> {
    let [rows, inputs, outputs] = GEMM;
    let noise = |len: usize| (0..len).map(|i| (i * 7919 % 1013) as f32 / 1013.0 - 0.5).collect::<Vec<_>>();
    let (x, w, mut y) = (noise(rows * inputs), noise(outputs * inputs), noise(rows * outputs));
    let mut product = || {
        let start = Instant::now();
        gemm::linear(&mut y, &x, &w, inputs, outputs, gemm::Write::Replace);
        start.elapsed().as_secs_f64()
    };
    product();
    (0..repeats).map(|_| product()).collect()
}

/// Random puzzles for the incoming rows: tokens `0..vocab`, labels `1..vocab`.
struct Puzzles {
    inputs: Vec<i32>,
    labels: Vec<i32>,
}

impl Puzzles {
    fn new(plan: &Plan) -> Self {
        let vocab = plan.config.vocab_size as u32;
        let mut rng = Rng::new(SEED, Stream::Puzzle, 0);
        let mut draw =
            |low: u32, len: usize| (0..len).map(|_| (low + rng.below(vocab - low)) as i32).collect();
        let len = plan.current.inputs.len();
        Self { inputs: draw(0, len), labels: draw(u32::from(vocab > 1), plan.current.labels.len()) }
    }

    fn feed<M: Memory>(&self, memory: &mut M, plan: &Plan) -> Result<(), M::Error> {
        memory.write_ids(plan.incoming.inputs.offset, &self.inputs)?;
        memory.write_ids(plan.incoming.labels.offset, &self.labels)?;
        memory.write_ids(plan.incoming.puzzle_ids.offset, &vec![0; plan.batch])
    }
}

/// A fresh model whose rows all await a puzzle.
fn create<K: HostBackend>(plan: &Plan) -> Result<K> {
    let mut backend = K::create(plan).map_err(Error::backend)?;
    init::initialise(&mut backend, plan, SEED).map_err(Error::backend)?;
    init::reset_carry(&mut backend, plan).map_err(Error::backend)?;
    Ok(backend)
}

/// Seconds of each timed step, and time of each kernel.
type Steps = (Vec<f64>, Vec<KernelTime>);

fn training<K: HostBackend>(plan: &Plan, options: &Options) -> Result<Steps> {
    let Some(backward) = plan.backward else {
        return Err(Error::failed("the plan is not for training"));
    };
    let puzzles = Puzzles::new(plan);
    let mut step = 0;
    time::<K>(plan, options, |backend| {
        step += 1;
        puzzles.feed(backend, plan)?;
        let scalars = StepScalars { step, lr: 1e-4, puzzle_emb_lr: 1e-4, seed: SEED };
        train_step(backend, plan, &backward, &options.train, &scalars)
    })
}

fn inference<K: HostBackend>(plan: &Plan, options: &Options) -> Result<Steps> {
    let puzzles = Puzzles::new(plan);
    time::<K>(plan, options, |backend| {
        puzzles.feed(backend, plan)?;
        act_step(backend, plan)
    })
}

/// An ACT step of which nobody halts, so that the next one goes on from its states.
fn act_step<K: Kernels>(backend: &mut K, plan: &Plan) -> Result<(), K::Error> {
    model::act_step(backend, plan)?;
    backend.write_ids(plan.halted.offset, &vec![0; plan.batch])
}

/// Warms up, then times steps and kernels. The kernels' clock costs well under 0.1% of any step worth measuring.
fn time<K: HostBackend>(
    plan: &Plan,
    options: &Options,
    mut step: impl FnMut(&mut Timed<K>) -> Result<(), K::Error>,
) -> Result<Steps> {
    let mut backend = Timed::new(create::<K>(plan)?);
    for _ in 0..options.warmup {
        step(&mut backend).map_err(Error::backend)?;
    }
    backend.take();
    let mut times = Vec::new();
    for _ in 0..options.steps.max(1) {
        let start = Instant::now();
        step(&mut backend).map_err(Error::backend)?;
        times.push(start.elapsed().as_secs_f64());
    }
    Ok((times, backend.take()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Cpu;
    use hrm_core::loss::LossKind;
    use hrm_core::optim::{AdamAtan2, SignSgd};

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
            global_batch_size: 3,
        };
        Options { config, train, steps: 2, warmup: 1 }
    }

    /// The closed form against what the kernels are really asked for.
    fn operations_agree(options: &Options) {
        let report = run::<Cpu>(options).unwrap();
        for measured in [&report.training, &report.inference] {
            assert_eq!((measured.steps, measured.fastest <= measured.seconds), (2, true));
            let counted = measured.kernels.iter().fold(Flops::default(), |sum, kernel| sum + kernel.flops);
            assert_eq!(counted, measured.flops * 2);
            let of_kernels: f64 = measured.kernels.iter().map(|kernel| kernel.time.as_secs_f64()).sum();
            assert!(of_kernels > 0.0 && of_kernels <= 2.0 * measured.slowest);
            assert!(measured.gflops > 0.0 && measured.gemm_share < 1.5, "{measured:?}");
        }
        let steps: Vec<u64> =
            report.training.kernels.iter().filter(|k| k.kernel == "adam_atan2").map(|k| k.calls).collect();
        assert_eq!(steps, [2]);
    }

    #[test]
    fn a_tiny_model_is_measured_and_its_operations_are_those_of_its_kernels() {
        operations_agree(&tiny());
        let mut one_step = tiny();
        one_step.config.halt_max_steps = 1;
        operations_agree(&one_step);
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
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut []), 0.0);
    }
}
