//! What a backend can tell of the machine that it runs on: times of kernels, what the machine gives at best, memory.

use std::time::Instant;

use hrm_core::backend::cpu::gemm;
use hrm_core::kernels::{Memory, Write};
use hrm_core::plan::Plan;

use super::{Cpu, Int8, Plain};
use crate::memory;

/// What a machine gives at best: one large matrix product and, on a device, one large copy, each repeated.
#[derive(Clone, Debug, PartialEq)]
pub struct Ceiling {
    /// Rows, inputs and outputs of the product.
    pub gemm: [usize; 3],
    /// Seconds of each product.
    pub gemm_seconds: Vec<f64>,
    /// Bytes that a copy reads and writes.
    pub copied_bytes: usize,
    /// Seconds of each copy.
    pub copy_seconds: Vec<f64>,
}

/// A backend that can be measured. The methods' own are those of a backend in the host's memory.
pub trait Gauge: Memory {
    /// Steps that are timed, unless it is said how many.
    const STEPS: usize = 7;
    /// Steps before the clock starts.
    const WARMUP: usize = 2;
    /// Whether it is best measured on the training's batch at inference too, rather than on one puzzle.
    const INFERS_BATCHES: bool = false;

    /// A moment between two kernels.
    type Mark;

    /// Notes this moment.
    ///
    /// # Errors
    /// The device fails.
    fn mark(&mut self) -> Result<Self::Mark, Self::Error>;

    /// Seconds from one moment to a later one; waits for both.
    ///
    /// # Errors
    /// The device fails.
    fn seconds(&mut self, from: &Self::Mark, to: &Self::Mark) -> Result<f64, Self::Error>;

    /// Measures what the machine gives at best, in the precision of `plan`.
    ///
    /// # Errors
    /// There is no device, or it fails.
    fn ceiling(plan: &Plan) -> Result<Ceiling, Self::Error>;

    /// Bytes in use where it computes, or the most that have been, if the system tells.
    ///
    /// # Errors
    /// The device fails.
    fn bytes_in_use(&mut self) -> Result<Option<u64>, Self::Error> {
        Ok(memory::peak_rss())
    }
}

/// Rows, inputs and outputs of the product that a host is measured by: 32 Sudokus through the widest layer of the
/// published model.
const GEMM: [usize; 3] = [2624, 512, 3072];

/// Products of a host.
const REPEATS: usize = 7;

/// A backend in the host's memory: its kernels are done when they return.
macro_rules! gauge_of_host {
    ($backend:ty) => {
        impl Gauge for $backend {
            type Mark = Instant;

            fn mark(&mut self) -> Result<Instant, Self::Error> {
                Ok(Instant::now())
            }

            fn seconds(&mut self, from: &Instant, to: &Instant) -> Result<f64, Self::Error> {
                Ok(to.duration_since(*from).as_secs_f64())
            }

            fn ceiling(_: &Plan) -> Result<Ceiling, Self::Error> {
                Ok(of_host())
            }
        }
    };
}

gauge_of_host!(Cpu);
gauge_of_host!(Plain);
gauge_of_host!(Int8);

/// The ceiling of a host, by the CPU backend's own product.
fn of_host() -> Ceiling {
    let [rows, inputs, outputs] = GEMM;
    let noise = |len: usize| (0..len).map(|i| (i * 7919 % 1013) as f32 / 1013.0 - 0.5).collect::<Vec<_>>();
    let (x, w, mut y) = (noise(rows * inputs), noise(outputs * inputs), noise(rows * outputs));
    Ceiling {
        gemm: GEMM,
        gemm_seconds: repeat(|| gemm::linear(&mut y, &x, &w, inputs, outputs, Write::Replace)),
        copied_bytes: 0,
        copy_seconds: Vec::new(),
    }
}

/// Seconds of each of [`REPEATS`] calls, after one to warm up.
fn repeat(mut call: impl FnMut()) -> Vec<f64> {
    call();
    let mut timed = || {
        let start = Instant::now();
        call();
        start.elapsed().as_secs_f64()
    };
    (0..REPEATS).map(|_| timed()).collect()
}
