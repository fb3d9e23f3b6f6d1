//! Where the time goes: a backend that passes every kernel on to another one and keeps its time.

use std::time::{Duration, Instant};

use hrm_core::arena::{Act, Ids, Param, Stat};
use hrm_core::kernels::{
    AddRmsNorm, Advance, Argmax, Attention, AttentionVjp, Embed, EmbedVjp, Kernels, Linear, LinearAddRmsNorm,
    LinearSwiGlu, LmLoss, Memory, QHead, QLoss, Region, StepScalars, SwiGlu, TrainKernels,
};
use hrm_core::optim::{AdamAtan2, SignSgd};
use serde::{Serialize, Serializer};

use super::flops::Flops;

/// What one kernel did so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct KernelTime {
    /// The kernel, by the name of its method.
    pub kernel: &'static str,
    /// How often it ran.
    pub calls: u64,
    /// How long it ran, all calls together.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub time: Duration,
    /// Its floating-point operations, as far as they are counted (see [`Flops`]).
    pub flops: Flops,
}

fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

/// A backend that times the kernels of `K`. Two clock readings a call: well under a microsecond.
#[derive(Debug)]
pub struct Timed<K> {
    backend: K,
    times: Vec<KernelTime>,
}

impl<K> Timed<K> {
    /// Wraps `backend`.
    pub const fn new(backend: K) -> Self {
        Self { backend, times: Vec::new() }
    }

    /// What each kernel did since the last call, longest time first.
    pub fn take(&mut self) -> Vec<KernelTime> {
        let mut times = std::mem::take(&mut self.times);
        times.sort_by_key(|t| std::cmp::Reverse(t.time));
        times
    }

    fn time<R>(&mut self, kernel: &'static str, flops: Flops, run: impl FnOnce(&mut K) -> R) -> R {
        let start = Instant::now();
        let result = run(&mut self.backend);
        let time = start.elapsed();
        match self.times.iter_mut().find(|t| t.kernel == kernel) {
            Some(entry) => {
                entry.calls += 1;
                entry.time += time;
                entry.flops = entry.flops + flops;
            }
            None => self.times.push(KernelTime { kernel, calls: 1, time, flops }),
        }
        result
    }
}

impl<K: Memory> Memory for Timed<K> {
    type Error = K::Error;

    fn read(&mut self, region: Region, offset: usize, out: &mut [f32]) -> Result<(), K::Error> {
        self.backend.read(region, offset, out)
    }

    fn write(&mut self, region: Region, offset: usize, values: &[f32]) -> Result<(), K::Error> {
        self.backend.write(region, offset, values)
    }

    fn read_ids(&mut self, offset: usize, out: &mut [i32]) -> Result<(), K::Error> {
        self.backend.read_ids(offset, out)
    }

    fn write_ids(&mut self, offset: usize, values: &[i32]) -> Result<(), K::Error> {
        self.backend.write_ids(offset, values)
    }
}

impl<K: Kernels> Kernels for Timed<K> {
    fn embed(&mut self, op: &Embed) -> Result<(), K::Error> {
        self.time("embed", Flops::default(), |k| k.embed(op))
    }

    fn add(&mut self, y: Act, a: Act, b: Act) -> Result<(), K::Error> {
        self.time("add", Flops::default(), |k| k.add(y, a, b))
    }

    fn linear(&mut self, op: &Linear) -> Result<(), K::Error> {
        self.time("linear", Flops::linear(op.x.rows, op.x.cols, op.y.cols), |k| k.linear(op))
    }

    fn rope_attention(&mut self, op: &Attention) -> Result<(), K::Error> {
        self.time("rope_attention", Flops::attention(2, op.o.rows, op.positions(), op.o.cols), |k| {
            k.rope_attention(op)
        })
    }

    fn swiglu(&mut self, op: &SwiGlu) -> Result<(), K::Error> {
        self.time("swiglu", Flops::default(), |k| k.swiglu(op))
    }

    fn add_rms_norm(&mut self, op: &AddRmsNorm) -> Result<(), K::Error> {
        self.time("add_rms_norm", Flops::default(), |k| k.add_rms_norm(op))
    }

    fn linear_swiglu(&mut self, op: &LinearSwiGlu) -> Result<(), K::Error> {
        self.time("linear_swiglu", Flops::linear(op.x.rows, op.x.cols, op.gate_up.cols), |k| {
            k.linear_swiglu(op)
        })
    }

    fn linear_add_rms_norm(&mut self, op: &LinearAddRmsNorm) -> Result<(), K::Error> {
        self.time("linear_add_rms_norm", Flops::linear(op.y.rows, op.inner.cols, op.y.cols), |k| {
            k.linear_add_rms_norm(op)
        })
    }

    fn q_head(&mut self, op: &QHead) -> Result<(), K::Error> {
        self.time("q_head", Flops::default(), |k| k.q_head(op))
    }

    fn reset_rows(&mut self, z: Act, init: Param, halted: Ids) -> Result<(), K::Error> {
        self.time("reset_rows", Flops::default(), |k| k.reset_rows(z, init, halted))
    }

    fn replace_rows(&mut self, current: Ids, incoming: Ids, halted: Ids) -> Result<(), K::Error> {
        self.time("replace_rows", Flops::default(), |k| k.replace_rows(current, incoming, halted))
    }

    fn argmax(&mut self, op: &Argmax) -> Result<(), K::Error> {
        self.time("argmax", Flops::default(), |k| k.argmax(op))
    }
}

impl<K: TrainKernels> TrainKernels for Timed<K> {
    fn begin_step(&mut self, scalars: &StepScalars) -> Result<(), K::Error> {
        self.time("begin_step", Flops::default(), |k| k.begin_step(scalars))
    }

    fn embed_vjp(&mut self, op: &EmbedVjp) -> Result<(), K::Error> {
        self.time("embed_vjp", Flops::default(), |k| k.embed_vjp(op))
    }

    fn linear_vjp_input(&mut self, dx: Act, dy: Act, w: Param, accumulate: bool) -> Result<(), K::Error> {
        self.time("linear_vjp_input", Flops::linear(dy.rows, dx.cols, dy.cols), |k| {
            k.linear_vjp_input(dx, dy, w, accumulate)
        })
    }

    fn linear_vjp_weight(&mut self, w: Param, dy: Act, x: Act) -> Result<(), K::Error> {
        self.time("linear_vjp_weight", Flops::linear(dy.rows, x.cols, dy.cols), |k| {
            k.linear_vjp_weight(w, dy, x)
        })
    }

    fn rope_attention_vjp(&mut self, op: &AttentionVjp) -> Result<(), K::Error> {
        self.time(
            "rope_attention_vjp",
            Flops::attention(5, op.d_o.rows, op.forward.positions(), op.d_o.cols),
            |k| k.rope_attention_vjp(op),
        )
    }

    fn swiglu_vjp(&mut self, op: &SwiGlu) -> Result<(), K::Error> {
        self.time("swiglu_vjp", Flops::default(), |k| k.swiglu_vjp(op))
    }

    fn add_rms_norm_vjp(&mut self, ds: Act, dy: Act, y: Act, rstd: Stat) -> Result<(), K::Error> {
        self.time("add_rms_norm_vjp", Flops::default(), |k| k.add_rms_norm_vjp(ds, dy, y, rstd))
    }

    fn q_head_vjp(&mut self, op: &QHead, dz: Act) -> Result<(), K::Error> {
        self.time("q_head_vjp", Flops::default(), |k| k.q_head_vjp(op, dz))
    }

    fn lm_loss(&mut self, op: &LmLoss) -> Result<(), K::Error> {
        self.time("lm_loss", Flops::default(), |k| k.lm_loss(op))
    }

    fn q_loss(&mut self, op: &QLoss) -> Result<(), K::Error> {
        self.time("q_loss", Flops::default(), |k| k.q_loss(op))
    }

    fn advance(&mut self, op: &Advance) -> Result<(), K::Error> {
        self.time("advance", Flops::default(), |k| k.advance(op))
    }

    fn adam_atan2(&mut self, len: usize, optimizer: &AdamAtan2) -> Result<(), K::Error> {
        self.time("adam_atan2", Flops::default(), |k| k.adam_atan2(len, optimizer))
    }

    fn sign_sgd(
        &mut self,
        table: Param,
        ids: Ids,
        gradients: Act,
        optimizer: &SignSgd,
    ) -> Result<(), K::Error> {
        self.time("sign_sgd", Flops::default(), |k| k.sign_sgd(table, ids, gradients, optimizer))
    }
}
