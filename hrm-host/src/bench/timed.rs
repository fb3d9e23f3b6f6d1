//! Where the time goes: a backend that passes every kernel on to another one and keeps its time.

use hrm_core::arena::{Act, Ids, Param, Span, Stat};
use hrm_core::kernels::{
    AddRmsNorm, Advance, Argmax, Attention, AttentionVjp, Embed, EmbedVjp, Kernels, Linear, LinearAddRmsNorm,
    LinearQkv, LinearSwiGlu, LinearSwiGluVjp, LmLoss, Memory, Plus, QHead, QLoss, Region, StepScalars,
    SwiGlu, TrainKernels,
};
use hrm_core::optim::{AdamAtan2, SignSgd};
use hrm_core::plan::ElementSizes;
use serde::Serialize;

use super::flops::Flops;
use crate::backend::gauge::Gauge;

/// What one kernel did so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct KernelTime {
    /// The kernel, by the name of its method.
    pub kernel: &'static str,
    /// Of a product, columns of its input and of its output: each pair is counted by itself.
    pub widths: Option<[usize; 2]>,
    /// How often it ran.
    pub calls: u64,
    /// How long it ran, all calls together.
    pub seconds: f64,
    /// Its floating-point operations, as far as they are counted (see [`Flops`]).
    pub flops: Flops,
    /// Bytes of its operands, read or written, each counted once for either. Tables of which it reads a few rows, and
    /// what is a few numbers for each puzzle, are not counted.
    pub bytes: u64,
}

/// What a call has to do at least.
#[derive(Clone, Copy, Debug, Default)]
struct Work {
    flops: Flops,
    /// Of a product: columns of its input and of its output.
    widths: Option<[usize; 2]>,
    /// Elements of activations and of the copies of weights beside them.
    acts: usize,
    /// Elements of f32 and integers.
    words: usize,
}

fn acts(spans: &[Act]) -> Work {
    Work { acts: spans.iter().map(Span::len).sum(), ..Work::default() }
}

impl Work {
    const fn weights(self, w: Param) -> Self {
        Self { acts: self.acts + w.len(), ..self }
    }

    const fn words(self, words: usize) -> Self {
        Self { words: self.words + words, ..self }
    }

    const fn flops(self, flops: Flops) -> Self {
        Self { flops, ..self }
    }

    /// Of a product of `[rows, inner]` and a weight `[outer, inner]`, in any of its three roles.
    fn product(self, rows: usize, inner: usize, outer: usize) -> Self {
        Self { widths: Some([inner, outer]), flops: Flops::linear(rows, inner, outer), ..self }
    }

    fn linear(op: &Linear) -> Self {
        acts(&[op.x, op.y]).weights(op.w).product(op.x.rows, op.x.cols, op.y.cols)
    }

    fn attention(op: &Attention) -> Self {
        let flops = Flops::attention(2, op.o.rows, op.positions(), op.o.cols);
        acts(&[op.qkv, op.o]).words(op.lse.len()).flops(flops)
    }
}

/// A kernel that ran between two marks.
#[derive(Debug)]
struct Call<M> {
    kernel: &'static str,
    work: Work,
    from: M,
    to: M,
}

/// A backend that times the kernels of `K`.
#[derive(Debug)]
pub struct Timed<K: Gauge> {
    backend: K,
    sizes: ElementSizes,
    calls: Vec<Call<K::Mark>>,
}

impl<K: Gauge> Timed<K> {
    /// Wraps `backend`, whose elements are of these sizes.
    pub const fn new(backend: K, sizes: ElementSizes) -> Self {
        Self { backend, sizes, calls: Vec::new() }
    }

    /// What each kernel did since the last call, longest time first.
    ///
    /// # Errors
    /// The device fails.
    pub fn take(&mut self) -> Result<Vec<KernelTime>, K::Error> {
        let mut times: Vec<KernelTime> = Vec::new();
        for Call { kernel, work, from, to } in std::mem::take(&mut self.calls) {
            let seconds = self.backend.seconds(&from, &to)?;
            let bytes = (work.acts * self.sizes.act + work.words * 4) as u64;
            match times.iter_mut().find(|t| t.kernel == kernel && t.widths == work.widths) {
                Some(entry) => {
                    entry.calls += 1;
                    entry.seconds += seconds;
                    entry.flops = entry.flops + work.flops;
                    entry.bytes += bytes;
                }
                None => {
                    let Work { flops, widths, .. } = work;
                    times.push(KernelTime { kernel, widths, calls: 1, seconds, flops, bytes });
                }
            }
        }
        times.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        Ok(times)
    }

    fn time(
        &mut self,
        kernel: &'static str,
        work: Work,
        run: impl FnOnce(&mut K) -> Result<(), K::Error>,
    ) -> Result<(), K::Error> {
        let from = self.backend.mark()?;
        run(&mut self.backend)?;
        let to = self.backend.mark()?;
        self.calls.push(Call { kernel, work, from, to });
        Ok(())
    }
}

impl<K: Gauge> Memory for Timed<K> {
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

impl<K: Kernels + Gauge> Kernels for Timed<K> {
    fn embed(&mut self, op: &Embed) -> Result<(), K::Error> {
        self.time("embed", acts(&[op.y]), |k| k.embed(op))
    }

    fn add(&mut self, y: Act, a: Act, b: Act) -> Result<(), K::Error> {
        self.time("add", acts(&[y, a, b]), |k| k.add(y, a, b))
    }

    fn linear(&mut self, op: &Linear) -> Result<(), K::Error> {
        self.time("linear", Work::linear(op), |k| k.linear(op))
    }

    fn rope_attention(&mut self, op: &Attention) -> Result<(), K::Error> {
        self.time("rope_attention", Work::attention(op), |k| k.rope_attention(op))
    }

    fn linear_qkv(&mut self, op: &LinearQkv) -> Result<(), K::Error> {
        self.time("linear_qkv", Work::linear(&op.linear()), |k| k.linear_qkv(op))
    }

    fn attention(&mut self, op: &Attention) -> Result<(), K::Error> {
        self.time("attention", Work::attention(op), |k| k.attention(op))
    }

    fn swiglu(&mut self, op: &SwiGlu) -> Result<(), K::Error> {
        self.time("swiglu", acts(&[op.a, op.gate_up]), |k| k.swiglu(op))
    }

    fn add_rms_norm(&mut self, op: &AddRmsNorm) -> Result<(), K::Error> {
        self.time("add_rms_norm", acts(&[op.y, op.x, op.t]).words(op.rstd.len()), |k| k.add_rms_norm(op))
    }

    fn linear_swiglu(&mut self, op: &LinearSwiGlu) -> Result<(), K::Error> {
        let work = if op.keep { acts(&[op.x, op.gate_up, op.a]) } else { acts(&[op.x, op.a]) };
        let work = work.weights(op.w).product(op.x.rows, op.x.cols, op.gate_up.cols);
        self.time("linear_swiglu", work, |k| k.linear_swiglu(op))
    }

    fn linear_add_rms_norm(&mut self, op: &LinearAddRmsNorm) -> Result<(), K::Error> {
        let work = match op.plus {
            Some(Plus { sum, b, keep: true }) => acts(&[op.inner, op.x, op.y, sum, b]),
            Some(Plus { sum, b, keep: false }) => acts(&[op.inner, op.x, sum, b]),
            None => acts(&[op.inner, op.x, op.y]),
        };
        let work = work.weights(op.w).words(op.rstd.len());
        let work = work.product(op.y.rows, op.inner.cols, op.y.cols);
        self.time("linear_add_rms_norm", work, |k| k.linear_add_rms_norm(op))
    }

    fn q_head(&mut self, op: &QHead) -> Result<(), K::Error> {
        self.time("q_head", Work::default(), |k| k.q_head(op))
    }

    fn reset_rows(&mut self, z: Act, init: Param, halted: Ids) -> Result<(), K::Error> {
        self.time("reset_rows", Work::default(), |k| k.reset_rows(z, init, halted))
    }

    fn replace_rows(&mut self, current: Ids, incoming: Ids, halted: Ids) -> Result<(), K::Error> {
        self.time("replace_rows", Work::default(), |k| k.replace_rows(current, incoming, halted))
    }

    fn argmax(&mut self, op: &Argmax) -> Result<(), K::Error> {
        self.time("argmax", acts(&[op.logits]).words(op.predictions.len()), |k| k.argmax(op))
    }
}

impl<K: TrainKernels + Gauge> TrainKernels for Timed<K> {
    fn begin_step(&mut self, scalars: &StepScalars) -> Result<(), K::Error> {
        self.time("begin_step", Work::default(), |k| k.begin_step(scalars))
    }

    fn take_first(&mut self, y: Act, x: Act) -> Result<(), K::Error> {
        self.time("take_first", acts(&[y, y]), |k| k.take_first(y, x))
    }

    fn embed_vjp(&mut self, op: &EmbedVjp) -> Result<(), K::Error> {
        self.time("embed_vjp", acts(&[op.dy]), |k| k.embed_vjp(op))
    }

    fn linear_vjp_input(&mut self, dx: Act, dy: Act, w: Param, accumulate: bool) -> Result<(), K::Error> {
        let work = if accumulate { acts(&[dx, dx, dy]) } else { acts(&[dx, dy]) };
        let work = work.weights(w).product(dy.rows, dx.cols, dy.cols);
        self.time("linear_vjp_input", work, |k| k.linear_vjp_input(dx, dy, w, accumulate))
    }

    fn linear_vjp_weight(&mut self, w: Param, dy: Act, x: Act) -> Result<(), K::Error> {
        let work = acts(&[dy, x]).words(w.len()).product(dy.rows, x.cols, dy.cols);
        self.time("linear_vjp_weight", work, |k| k.linear_vjp_weight(w, dy, x))
    }

    fn rope_attention_vjp(&mut self, op: &AttentionVjp) -> Result<(), K::Error> {
        let forward = &op.forward;
        let flops = Flops::attention(5, op.d_o.rows, forward.positions(), op.d_o.cols);
        let work = acts(&[forward.qkv, forward.o, op.d_o, op.dqkv]).words(forward.lse.len()).flops(flops);
        self.time("rope_attention_vjp", work, |k| k.rope_attention_vjp(op))
    }

    fn swiglu_vjp(&mut self, op: &SwiGlu) -> Result<(), K::Error> {
        self.time("swiglu_vjp", acts(&[op.a, op.a, op.gate_up, op.gate_up]), |k| k.swiglu_vjp(op))
    }

    fn linear_swiglu_vjp(&mut self, op: &LinearSwiGluVjp) -> Result<(), K::Error> {
        let &LinearSwiGluVjp { a, gate_up, dy, w } = op;
        let work = acts(&[dy, gate_up, gate_up, a]).weights(w).product(dy.rows, a.cols, dy.cols);
        self.time("linear_swiglu_vjp", work, |k| k.linear_swiglu_vjp(op))
    }

    fn add_rms_norm_vjp(&mut self, ds: Act, dy: Act, y: Act, rstd: Stat) -> Result<(), K::Error> {
        self.time("add_rms_norm_vjp", acts(&[ds, dy, y]).words(rstd.len()), |k| {
            k.add_rms_norm_vjp(ds, dy, y, rstd)
        })
    }

    fn q_head_vjp(&mut self, op: &QHead, dz: Act) -> Result<(), K::Error> {
        self.time("q_head_vjp", Work::default(), |k| k.q_head_vjp(op, dz))
    }

    fn lm_loss(&mut self, op: &LmLoss) -> Result<(), K::Error> {
        self.time("lm_loss", acts(&[op.logits, op.dlogits]), |k| k.lm_loss(op))
    }

    fn q_loss(&mut self, op: &QLoss) -> Result<(), K::Error> {
        self.time("q_loss", Work::default(), |k| k.q_loss(op))
    }

    fn advance(&mut self, op: &Advance) -> Result<(), K::Error> {
        self.time("advance", Work::default(), |k| k.advance(op))
    }

    fn adam_atan2(&mut self, len: usize, optimizer: &AdamAtan2) -> Result<(), K::Error> {
        self.time("adam_atan2", Work::default().words(7 * len), |k| k.adam_atan2(len, optimizer))
    }

    fn sign_sgd(
        &mut self,
        table: Param,
        ids: Ids,
        gradients: Act,
        optimizer: &SignSgd,
    ) -> Result<(), K::Error> {
        self.time("sign_sgd", Work::default(), |k| k.sign_sgd(table, ids, gradients, optimizer))
    }
}
