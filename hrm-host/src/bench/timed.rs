//! Where the time goes: the time of each kernel of a backend.

use hrm_core::arena::{Act, Param, Span};
use hrm_core::kernels::op::{Observed, Observer, Op};
use hrm_core::kernels::{
    Attention, AttentionVjp, Keep, Linear, LinearSwiGluVjp, LinearVjpInput, LinearVjpWeight, Plus, TokenMix,
    Write,
};
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

    /// Of both products over the positions of each column, `times` over.
    fn tokens(self, op: &TokenMix, times: u64) -> Self {
        let both = Flops::tokens(op.rstd.len(), op.gate_up.cols, op.down.cols);
        self.weights(op.gate_up).weights(op.down).again(both * times)
    }

    fn again(self, flops: Flops) -> Self {
        Self { flops: self.flops + flops, ..self }
    }

    fn linear(op: &Linear) -> Self {
        acts(&[op.x, op.y]).weights(op.w).product(op.x.rows, op.x.cols, op.y.cols)
    }

    fn attention(op: &Attention) -> Self {
        let flops = Flops::attention(2, op.o.rows, op.positions(), op.o.cols);
        acts(&[op.qkv, op.o]).words(op.lse.len()).flops(flops)
    }

    /// Of one call.
    fn of(op: &Op) -> Self {
        match *op {
            Op::Embed(op) => acts(&[op.y]),
            Op::Add { y, a, b } => acts(&[y, a, b]),
            Op::Linear(op) => Self::linear(&op),
            Op::RopeAttention(op) | Op::Attention(op) => Self::attention(&op),
            Op::LinearQkv(op) => Self::linear(&op.linear()),
            Op::SwiGlu(op) => acts(&[op.a, op.gate_up]),
            Op::AddRmsNorm(op) => acts(&[op.y, op.x, op.t]).words(op.rstd.len()),
            Op::LinearSwiGlu(op) => {
                let work = match op.keep {
                    Keep::All => acts(&[op.x, op.gate_up, op.a]),
                    Keep::Nothing => acts(&[op.x, op.a]),
                };
                work.weights(op.w).product(op.x.rows, op.x.cols, op.gate_up.cols)
            }
            Op::LinearAddRmsNorm(op) => {
                let work = match op.plus {
                    Some(Plus { sum, b, keep: Keep::All }) => acts(&[op.inner, op.x, op.y, sum, b]),
                    Some(Plus { sum, b, keep: Keep::Nothing }) => acts(&[op.inner, op.x, sum, b]),
                    None => acts(&[op.inner, op.x, op.y]),
                };
                work.weights(op.w).words(op.rstd.len()).product(op.y.rows, op.inner.cols, op.y.cols)
            }
            Op::TakeColumns(op) | Op::PutColumns(op) => acts(&[op.rows, op.rows]),
            Op::TokenMix(op) => acts(&[op.x, op.y]).words(op.rstd.len()).tokens(&op, 1),
            // Gate and up once more, and each product by its input and by its weight.
            Op::TokenMixVjp(op) => acts(&[op.forward.x, op.forward.y, op.dy, op.dx])
                .words(op.forward.rstd.len())
                .tokens(&op.forward, 2)
                .again(Flops::linear(
                    op.forward.rstd.len(),
                    op.forward.gate_up.cols,
                    op.forward.gate_up.rows,
                )),
            Op::Average { len, .. } => Self::default().words(3 * len),
            Op::SwapAverages { len } => Self::default().words(4 * len),
            Op::Argmax(op) => acts(&[op.logits]).words(op.predictions.len()),
            Op::TakeFirst { y, .. } => acts(&[y, y]),
            Op::EmbedVjp(op) => acts(&[op.dy]),
            Op::LinearVjpInput(LinearVjpInput { dx, dy, w, write }) => {
                let work = match write {
                    Write::Replace => acts(&[dx, dy]),
                    Write::Accumulate => acts(&[dx, dx, dy]),
                };
                work.weights(w).product(dy.rows, dx.cols, dy.cols)
            }
            Op::LinearVjpWeight(LinearVjpWeight { w, dy, x, write }) => {
                let words = match write {
                    Write::Replace => w.len(),
                    Write::Accumulate => 2 * w.len(),
                };
                acts(&[dy, x]).words(words).product(dy.rows, x.cols, dy.cols)
            }
            Op::RopeAttentionVjp(AttentionVjp { forward, d_o, dqkv }) => {
                let flops = Flops::attention(5, d_o.rows, forward.positions(), d_o.cols);
                acts(&[forward.qkv, forward.o, d_o, dqkv]).words(forward.lse.len()).flops(flops)
            }
            Op::SwiGluVjp(op) => acts(&[op.a, op.a, op.gate_up, op.gate_up]),
            Op::LinearSwiGluVjp(LinearSwiGluVjp { a, gate_up, dy, w }) => {
                acts(&[dy, gate_up, gate_up, a]).weights(w).product(dy.rows, a.cols, dy.cols)
            }
            Op::AddRmsNormVjp { ds, dy, y, rstd } => acts(&[ds, dy, y]).words(rstd.len()),
            Op::LmLoss(op) => acts(&[op.logits, op.dlogits]),
            Op::AdamAtan2 { len, .. } => Self::default().words(7 * len),
            Op::QHead(_)
            | Op::ResetRows { .. }
            | Op::ReplaceRows { .. }
            | Op::BeginStep(_)
            | Op::QHeadVjp { .. }
            | Op::QLoss(_)
            | Op::Advance(_)
            | Op::SignSgd { .. } => Self::default(),
        }
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

/// A backend each of whose kernels is timed.
pub type Timed<K> = Observed<K, Clock<K>>;

/// The times of the kernels of `K`.
#[derive(Debug)]
pub struct Clock<K: Gauge> {
    sizes: ElementSizes,
    calls: Vec<Call<K::Mark>>,
}

impl<K: Gauge> Clock<K> {
    /// Times `backend`, whose elements are of these sizes.
    pub const fn of(backend: K, sizes: ElementSizes) -> Timed<K> {
        Observed { backend, observer: Self { sizes, calls: Vec::new() } }
    }

    /// What each kernel did since the last call, longest time first.
    ///
    /// # Errors
    /// The device fails.
    pub fn take(timed: &mut Timed<K>) -> Result<Vec<KernelTime>, K::Error> {
        let Observed { backend, observer } = timed;
        let mut times: Vec<KernelTime> = Vec::new();
        for Call { kernel, work, from, to } in std::mem::take(&mut observer.calls) {
            let seconds = backend.seconds(&from, &to)?;
            let bytes = (work.acts * observer.sizes.act + work.words * 4) as u64;
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
}

impl<K: Gauge> Observer<K> for Clock<K> {
    fn around(
        &mut self,
        k: &mut K,
        op: Op,
        run: impl FnOnce(&mut K) -> Result<(), K::Error>,
    ) -> Result<(), K::Error> {
        let from = k.mark()?;
        run(k)?;
        let to = k.mark()?;
        self.calls.push(Call { kernel: op.name(), work: Work::of(&op), from, to });
        Ok(())
    }
}
