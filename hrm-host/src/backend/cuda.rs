//! The GPU backend: the device that is found first.

use hrm_core::config::ForwardDtype;
use hrm_core::plan::{ElementSizes, Plan};
use hrm_cuda::backend::{Cuda, Precision};
use hrm_cuda::device::{Gpu, Mark};
use hrm_cuda::error::Error;
use hrm_cuda::launch::{Gemm, Launcher};

use super::gauge::{Ceiling, Gauge};
use super::{Dtype, HostBackend, TrainBackend};
use crate::memory::{Limit, Room};
use crate::train::steps::Recorded;

/// Which device: the first of those that `CUDA_VISIBLE_DEVICES` leaves.
const DEVICE: usize = 0;

const fn precision(plan: &Plan) -> Precision {
    match plan.config.forward_dtype {
        ForwardDtype::Float32 => Precision::F32,
        ForwardDtype::Bfloat16 => Precision::Bf16,
    }
}

impl HostBackend for Cuda<Gpu> {
    const NAME: &'static str = "cuda";
    const IN_HOST_MEMORY: bool = false;
    const DTYPES: &'static [Dtype] = &[Dtype::F32, Dtype::Bf16];

    fn create(plan: &Plan) -> Result<Self, Error> {
        Self::rehearsed(Gpu::new(DEVICE)?, plan, precision(plan))
    }

    fn planned_bytes(plan: &Plan) -> usize {
        Self::planned_bytes(plan, precision(plan))
    }

    fn element_sizes(plan: &Plan) -> ElementSizes {
        match precision(plan) {
            Precision::F32 => ElementSizes::F32,
            Precision::Bf16 => ElementSizes { act: 2, ..ElementSizes::F32 },
        }
    }

    fn room() -> Result<Option<Room>, Error> {
        // What the launcher takes for itself is planned for, and taken already.
        let (free, _) = Gpu::new(DEVICE)?.free_and_total()?;
        Ok(Some(Room { bytes: (free + Gpu::OWN_BYTES) as u64, of: Limit::Device }))
    }
}

impl TrainBackend for Cuda<Gpu> {
    type Steps = Recorded;

    fn create_bf16(plan: &Plan) -> Result<Self, Error> {
        Self::rehearsed(Gpu::new(DEVICE)?, plan, Precision::Bf16)
    }
}

/// Rows, columns and depth of the product that a device is measured by.
const GEMM: usize = 8192;

/// Bytes that a device is asked to copy.
const COPY: usize = 1 << 30;

/// Products and copies that are timed, and those before.
const REPEATS: [usize; 2] = [20, 3];

impl Gauge for Cuda<Gpu> {
    const STEPS: usize = 100;
    const WARMUP: usize = 10;
    const INFERS_BATCHES: bool = true;

    type Mark = Mark;

    fn mark(&mut self) -> Result<Mark, Error> {
        self.launcher().mark()
    }

    fn seconds(&mut self, from: &Mark, to: &Mark) -> Result<f64, Error> {
        self.launcher().seconds(from, to)
    }

    fn ceiling(plan: &Plan) -> Result<Ceiling, Error> {
        let dtype = match precision(plan) {
            Precision::F32 => hrm_cuda::launch::Dtype::F32,
            Precision::Bf16 => hrm_cuda::launch::Dtype::Bf16,
        };
        let mut gpu = Gpu::new(DEVICE)?;
        let bytes = GEMM * GEMM * dtype.bytes();
        let [a, b, c, from, to] = [bytes, bytes, bytes, COPY, COPY].map(|bytes| gpu.alloc(bytes));
        let (a, b, c, from, to) = (a?, b?, c?, from?, to?);
        // Numbers that are neither zero nor alike: a device that has less to switch runs faster.
        let noise: Vec<u32> =
            (0..bytes as u32 / 4).map(|i| i.wrapping_mul(0x9e37_79b9) & 0x3fff_3fff).collect();
        gpu.upload(a, bytemuck::cast_slice(&noise))?;
        gpu.upload(b, bytemuck::cast_slice(&noise))?;
        gpu.fill(from, 1, COPY)?;
        let product = Gemm {
            m: GEMM,
            n: GEMM,
            k: GEMM,
            a,
            b,
            c,
            transpose_a: false,
            transpose_b: true,
            write: hrm_core::kernels::Write::Replace,
            input: dtype,
            output: dtype,
        };
        Ok(Ceiling {
            gemm: [GEMM; 3],
            gemm_seconds: repeat(&mut gpu, |gpu| gpu.gemm(&product))?,
            copied_bytes: 2 * COPY,
            copy_seconds: repeat(&mut gpu, |gpu| gpu.copy(to, from, COPY))?,
        })
    }

    fn bytes_in_use(&mut self) -> Result<Option<u64>, Error> {
        let (free, total) = self.launcher().free_and_total()?;
        Ok(Some((total - free) as u64))
    }
}

/// Seconds of each call, without those that warm up.
fn repeat(gpu: &mut Gpu, mut call: impl FnMut(&mut Gpu) -> Result<(), Error>) -> Result<Vec<f64>, Error> {
    let [timed, warmup] = REPEATS;
    (0..warmup).try_for_each(|_| call(gpu))?;
    let mut marks = vec![gpu.mark()?];
    for _ in 0..timed {
        call(gpu)?;
        marks.push(gpu.mark()?);
    }
    marks.windows(2).map(|pair| gpu.seconds(&pair[0], &pair[1])).collect()
}
