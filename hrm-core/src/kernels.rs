//! The contract between the model and a backend: one method for each fused kernel.
//!
//! A backend owns its arenas; the model hands it [`Span`](crate::arena::Span)s. N is the number of positions in
//! a batch (B puzzles of S positions each), D the hidden width, F the SwiGLU width, V the vocabulary. Matrices
//! are row-major. Spans of one call never overlap unless the kernel says so.
//!
//! Every kernel that has a gradient has a `_vjp` that turns the cotangent of its output into those of its
//! operands. None of them has a default body but one, see below: a backend that lacks one does not compile. The
//! vjp of [`Kernels::add`] is the identity, and carry resets have none, because the carry is detached (paper,
//! section 2, one-step gradient); neither has [`TrainKernels::take_first`], which serves the Q target alone.
//!
//! The exceptions are products together with what follows them, [`Kernels::linear_swiglu`] and
//! [`Kernels::linear_add_rms_norm`]: by default they are the kernels they are named after, one after the other, and a
//! backend overrides them where its machine gains by not writing the product to memory. The norm may be followed by
//! [`Kernels::add`] as well, where [`Plus`] says so. Likewise [`Kernels::linear_qkv`] and [`Kernels::attention`], which
//! are [`Kernels::linear`] and [`Kernels::rope_attention`] unless a backend rotates as it writes the product. They have
//! no vjp of their own: those of their parts find what they need. The one vjp with a default body is
//! [`TrainKernels::linear_swiglu_vjp`], of a product and of the activation before it: by default theirs, one after the
//! other.

use crate::arena::{Act, Ids, Param, Stat};
use crate::loss::LossKind;
use crate::optim::{AdamAtan2, SignSgd};
use crate::plan::RopeTables;

/// A floating-point arena of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// Parameters and constants.
    Params,
    /// Gradients of the trained parameters.
    Gradients,
    /// First moments of the optimizer.
    FirstMoments,
    /// Second moments of the optimizer.
    SecondMoments,
    /// Activations.
    Acts,
    /// Statistics.
    Stats,
}

/// Copies between a backend's arenas and the caller's memory. f32 is the wire format: bf16 widens into it
/// without loss.
pub trait Memory {
    /// What can go wrong.
    type Error: core::error::Error;

    /// Reads `out.len()` elements of `region` from element `offset` on.
    ///
    /// # Errors
    /// The range does not lie within the region, or the device fails.
    fn read(&mut self, region: Region, offset: usize, out: &mut [f32]) -> Result<(), Self::Error>;

    /// Writes `values` to `region` from element `offset` on.
    ///
    /// # Errors
    /// The range does not lie within the region, the region is read-only, or the device fails.
    fn write(&mut self, region: Region, offset: usize, values: &[f32]) -> Result<(), Self::Error>;

    /// Reads integers, as [`Memory::read`] does.
    ///
    /// # Errors
    /// As there.
    fn read_ids(&mut self, offset: usize, out: &mut [i32]) -> Result<(), Self::Error>;

    /// Writes integers, as [`Memory::write`] does.
    ///
    /// # Errors
    /// As there.
    fn write_ids(&mut self, offset: usize, values: &[i32]) -> Result<(), Self::Error>;
}

/// Operands of [`Kernels::embed`].
#[derive(Clone, Copy, Debug)]
pub struct Embed {
    /// Result `[N, D]`.
    pub y: Act,
    /// Tokens `[B, seq_len]`.
    pub inputs: Ids,
    /// Rows of the puzzle table `[B, 1]`.
    pub puzzle_ids: Ids,
    /// Token embedding `[V, D]`.
    pub tokens: Param,
    /// Puzzle embedding `[identifiers, ndim]`; without columns there is no prefix.
    pub puzzles: Param,
    /// Learned positions `[S, D]`.
    pub positions: Option<Param>,
}

/// Operands of [`Kernels::linear`].
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    /// Result `[N, out]`.
    pub y: Act,
    /// Input `[N, in]`.
    pub x: Act,
    /// Weight `[out, in]`.
    pub w: Param,
}

/// Operands of [`Kernels::rope_attention`].
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Result `[N, D]`, heads side by side.
    pub o: Act,
    /// Log-sum-exp of the scaled scores `[B * heads, S]`, natural logarithm.
    pub lse: Stat,
    /// Queries of all heads, keys of all heads, values of all heads `[N, 3D]`. A backend may rotate queries and
    /// keys in place; only its own vjp reads them afterwards.
    pub qkv: Act,
    /// Rotary tables `[S, head_dim / 2]`.
    pub rope: Option<RopeTables>,
    /// Number of heads.
    pub heads: usize,
}

impl Attention {
    /// Positions S of a sequence.
    #[must_use]
    pub const fn positions(&self) -> usize {
        self.lse.cols
    }

    /// Sequences B.
    #[must_use]
    pub const fn batch(&self) -> usize {
        self.lse.rows / self.heads
    }

    /// Width of a head.
    #[must_use]
    pub const fn head_dim(&self) -> usize {
        self.o.cols / self.heads
    }
}

/// Operands of [`Kernels::linear_qkv`].
#[derive(Clone, Copy, Debug)]
pub struct LinearQkv {
    /// What follows, of which `qkv` is the result.
    pub attention: Attention,
    /// Input `[N, D]`.
    pub x: Act,
    /// Weight `[3D, D]`.
    pub w: Param,
}

impl LinearQkv {
    /// The product alone.
    #[must_use]
    pub const fn linear(&self) -> Linear {
        let Self { attention, x, w } = *self;
        Linear { y: attention.qkv, x, w }
    }
}

/// Operands of [`Kernels::swiglu`].
#[derive(Clone, Copy, Debug)]
pub struct SwiGlu {
    /// Result `[N, F]`.
    pub a: Act,
    /// Gate, then up `[N, 2F]`.
    pub gate_up: Act,
}

/// Operands of [`Kernels::add_rms_norm`].
#[derive(Clone, Copy, Debug)]
pub struct AddRmsNorm {
    /// Result `[N, D]`.
    pub y: Act,
    /// Reciprocal root mean square `[N, 1]`.
    pub rstd: Stat,
    /// Residual stream `[N, D]`.
    pub x: Act,
    /// What a sublayer adds to it `[N, D]`.
    pub t: Act,
    /// Added to the mean square.
    pub eps: f64,
}

/// Operands of [`Kernels::linear_swiglu`].
#[derive(Clone, Copy, Debug)]
pub struct LinearSwiGlu {
    /// Result `[N, F]`.
    pub a: Act,
    /// Gate, then up `[N, 2F]`: a result if it is kept, else scratch.
    pub gate_up: Act,
    /// Whether gate and up are kept.
    pub keep: bool,
    /// Input `[N, in]`.
    pub x: Act,
    /// Weight `[2F, in]`.
    pub w: Param,
}

impl LinearSwiGlu {
    /// The kernels it consists of.
    #[must_use]
    pub const fn parts(&self) -> (Linear, SwiGlu) {
        let Self { a, gate_up, x, w, .. } = *self;
        (Linear { y: gate_up, x, w }, SwiGlu { a, gate_up })
    }
}

/// Operands of [`Kernels::linear_add_rms_norm`].
#[derive(Clone, Copy, Debug)]
pub struct LinearAddRmsNorm {
    /// Result `[N, D]`.
    pub y: Act,
    /// Reciprocal root mean square `[N, 1]`.
    pub rstd: Stat,
    /// Residual stream `[N, D]`.
    pub x: Act,
    /// Scratch `[N, D]`.
    pub t: Act,
    /// Input of the linear layer `[N, in]`.
    pub inner: Act,
    /// Weight `[D, in]`.
    pub w: Param,
    /// Added to the mean square.
    pub eps: f64,
    /// A sum of the result, if wanted.
    pub plus: Option<Plus>,
}

/// What may follow the norm in [`Kernels::linear_add_rms_norm`]: a sum of its result `y`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plus {
    /// Result `[N, D]`: `y + b`.
    pub sum: Act,
    /// What is added to it `[N, D]`.
    pub b: Act,
    /// Whether `y` is kept, too; else it is scratch.
    pub keep: bool,
}

impl Plus {
    /// The same of `count` rows, from row `first` on.
    #[must_use]
    pub const fn rows_from(&self, first: usize, count: usize) -> Self {
        let Self { sum, b, keep } = *self;
        Self { sum: sum.rows_from(first, count), b: b.rows_from(first, count), keep }
    }
}

impl LinearAddRmsNorm {
    /// The kernels it consists of, but for the sum.
    #[must_use]
    pub const fn parts(&self) -> (Linear, AddRmsNorm) {
        let Self { y, rstd, x, t, inner, w, eps, .. } = *self;
        (Linear { y: t, x: inner, w }, AddRmsNorm { y, rstd, x, t, eps })
    }

    /// The kernels it consists of and the sum, one after the other.
    ///
    /// # Errors
    /// Those of the kernels.
    pub fn apart<K: Kernels + ?Sized>(&self, k: &mut K) -> Result<(), K::Error> {
        let (linear, norm) = self.parts();
        k.linear(&linear)?;
        k.add_rms_norm(&norm)?;
        self.plus.map_or(Ok(()), |plus| k.add(plus.sum, self.y, plus.b))
    }
}

/// Operands of [`Kernels::q_head`].
#[derive(Clone, Copy, Debug)]
pub struct QHead {
    /// Q values `[B, 2]`: halt, continue.
    pub q: Stat,
    /// State of H `[N, D]`; the first position of each sequence is read.
    pub z: Act,
    /// Weight `[2, D]`.
    pub w: Param,
    /// Bias `[1, 2]`.
    pub bias: Param,
}

/// Operands of [`Kernels::argmax`].
#[derive(Clone, Copy, Debug)]
pub struct Argmax {
    /// Most likely token of each cell `[B, seq_len]`; the first of equals.
    pub predictions: Ids,
    /// Logits `[N, V]`; the prefix positions are skipped.
    pub logits: Act,
}

/// The forward kernels: all that inference needs.
pub trait Kernels: Memory {
    /// Input embedding with its puzzle prefix (paper, eq. for `x~ = f_I(x; theta_I)`):
    ///
    /// `y[b, s] = sqrt(D) * e`, or `sqrt(D) * 0.707106781 * (e + positions[s])` with learned positions, where
    /// `e` is row `s` of the zero-padded puzzle embedding for the first P positions and
    /// `tokens[inputs[b, s - P]]` after them.
    ///
    /// # Errors
    /// A token or identifier lies outside its table, or the device fails.
    fn embed(&mut self, op: &Embed) -> Result<(), Self::Error>;

    /// `y = a + b`, all `[N, D]`.
    ///
    /// # Errors
    /// The device fails.
    fn add(&mut self, y: Act, a: Act, b: Act) -> Result<(), Self::Error>;

    /// `y = x W^T`.
    ///
    /// # Errors
    /// The device fails.
    fn linear(&mut self, op: &Linear) -> Result<(), Self::Error>;

    /// Full (not causal) attention over rotated queries and keys, per head:
    /// `o = softmax(rope(q) rope(k)^T / sqrt(head_dim)) v`. Keeps `lse` for the vjp.
    ///
    /// # Errors
    /// The device fails.
    fn rope_attention(&mut self, op: &Attention) -> Result<(), Self::Error>;

    /// `qkv = x W^T` for [`Kernels::attention`]: whether queries and keys are rotated here or there is the backend's
    /// affair.
    ///
    /// # Errors
    /// The device fails.
    fn linear_qkv(&mut self, op: &LinearQkv) -> Result<(), Self::Error> {
        self.linear(&op.linear())
    }

    /// [`Kernels::rope_attention`] of what [`Kernels::linear_qkv`] has left, with the same bits.
    ///
    /// # Errors
    /// The device fails.
    fn attention(&mut self, op: &Attention) -> Result<(), Self::Error> {
        self.rope_attention(op)
    }

    /// `a = silu(gate) * up`, `silu(x) = x / (1 + exp(-x))`.
    ///
    /// # Errors
    /// The device fails.
    fn swiglu(&mut self, op: &SwiGlu) -> Result<(), Self::Error>;

    /// Post-norm residual: `s = x + t`, `rstd = 1 / sqrt(mean(s^2) + eps)`, `y = s * rstd`, by row. Keeps
    /// `rstd` for the vjp.
    ///
    /// # Errors
    /// The device fails.
    fn add_rms_norm(&mut self, op: &AddRmsNorm) -> Result<(), Self::Error>;

    /// `[gate, up] = x W^T`, `a = silu(gate) * up`. Keeps `gate_up` for the vjp if asked to.
    ///
    /// # Errors
    /// The device fails.
    fn linear_swiglu(&mut self, op: &LinearSwiGlu) -> Result<(), Self::Error> {
        let (linear, swiglu) = op.parts();
        self.linear(&linear)?;
        self.swiglu(&swiglu)
    }

    /// `s = x + inner W^T`, `rstd = 1 / sqrt(mean(s^2) + eps)`, `y = s * rstd`, by row, then `sum = y + b` if
    /// asked for. Keeps `rstd` for the vjp.
    ///
    /// # Errors
    /// The device fails.
    fn linear_add_rms_norm(&mut self, op: &LinearAddRmsNorm) -> Result<(), Self::Error> {
        op.apart(self)
    }

    /// `q[b] = W z[b, 0] + bias` (paper, eq. for `Q^ = sigma(theta_Q^T z_H)`, without the sigmoid).
    ///
    /// # Errors
    /// The device fails.
    fn q_head(&mut self, op: &QHead) -> Result<(), Self::Error>;

    /// Carry reset: every position of `z[b]` becomes `init` `[1, D]` where `halted[b]` is not 0.
    ///
    /// # Errors
    /// The device fails.
    fn reset_rows(&mut self, z: Act, init: Param, halted: Ids) -> Result<(), Self::Error>;

    /// Data replacement: `current[b] = incoming[b]` where `halted[b]` is not 0.
    ///
    /// # Errors
    /// The device fails.
    fn replace_rows(&mut self, current: Ids, incoming: Ids, halted: Ids) -> Result<(), Self::Error>;

    /// Most likely token of each cell.
    ///
    /// # Errors
    /// The device fails.
    fn argmax(&mut self, op: &Argmax) -> Result<(), Self::Error>;

    /// Called after every block: a backend that shares its thread with other duties attends to them here. Does nothing
    /// by default.
    fn poll(&mut self) {}
}

/// Operands of [`TrainKernels::embed_vjp`].
#[derive(Clone, Copy, Debug)]
pub struct EmbedVjp {
    /// Cotangent of the embedding `[N, D]`.
    pub dy: Act,
    /// Result: cotangent of each row's puzzle embedding `[B, ndim]`.
    pub dpuzzle: Act,
    /// Tokens `[B, seq_len]`.
    pub inputs: Ids,
    /// Gradient written: token embedding `[V, D]`.
    pub tokens: Param,
    /// Gradient written: learned positions `[S, D]`.
    pub positions: Option<Param>,
}

/// Operands of [`TrainKernels::rope_attention_vjp`].
#[derive(Clone, Copy, Debug)]
pub struct AttentionVjp {
    /// What the forward kernel was given.
    pub forward: Attention,
    /// Cotangent of `o` `[N, D]`.
    pub d_o: Act,
    /// Result: cotangent of the unrotated `qkv` `[N, 3D]`.
    pub dqkv: Act,
}

/// Operands of [`TrainKernels::linear_swiglu_vjp`].
#[derive(Clone, Copy, Debug)]
pub struct LinearSwiGluVjp {
    /// Result: the activation `[N, F]`.
    pub a: Act,
    /// Gate, then up `[N, 2F]`: replaced by their cotangents.
    pub gate_up: Act,
    /// Cotangent of the product `[N, out]`.
    pub dy: Act,
    /// Weight `[out, F]`.
    pub w: Param,
}

impl LinearSwiGluVjp {
    /// The vjps it consists of: of the product `y = a W^T`, then of this, `a` holding its cotangent.
    #[must_use]
    pub const fn swiglu(&self) -> SwiGlu {
        SwiGlu { a: self.a, gate_up: self.gate_up }
    }
}

/// Operands of [`TrainKernels::lm_loss`].
#[derive(Clone, Copy, Debug)]
pub struct LmLoss {
    /// Logits `[N, V]`; the prefix positions are skipped.
    pub logits: Act,
    /// Labels `[B, seq_len]`; negative where ignored.
    pub labels: Ids,
    /// Result: cotangent of the logits `[N, V]`, 0 at the prefix and at ignored cells.
    pub dlogits: Act,
    /// Result: loss by row `[B, 1]`.
    pub loss: Stat,
    /// Result: labels that are not ignored, by row `[B, 1]`.
    pub valid: Ids,
    /// Result: correct predictions among them, by row `[B, 1]`.
    pub correct: Ids,
    /// Which cross-entropy.
    pub kind: LossKind,
    /// Factor of the cotangent: `1 / global_batch_size`.
    pub scale: f64,
}

/// Operands of [`TrainKernels::q_loss`].
#[derive(Clone, Copy, Debug)]
pub struct QLoss {
    /// Q values of this step `[B, 2]`.
    pub q: Stat,
    /// Q values of the next step `[B, 2]`; without it there is no continue loss.
    pub next_q: Option<Stat>,
    /// Result: cotangent of `q` `[B, 2]`.
    pub dq: Stat,
    /// Result: halt and continue losses by row `[B, 2]`.
    pub losses: Stat,
    /// ACT steps done, this one included `[B, 1]`.
    pub steps: Ids,
    /// Labels that are not ignored, by row `[B, 1]`.
    pub valid: Ids,
    /// Correct predictions among them, by row `[B, 1]`.
    pub correct: Ids,
    /// Steps after which every row halts.
    pub max_steps: usize,
    /// Factor of the cotangent: `1 / global_batch_size`.
    pub scale: f64,
}

/// Operands of [`TrainKernels::advance`].
#[derive(Clone, Copy, Debug)]
pub struct Advance {
    /// Q values of this step `[B, 2]`.
    pub q: Stat,
    /// Replaced: `0 where halted, else steps`, plus one `[B, 1]`.
    pub steps: Ids,
    /// Replaced: whether each row halts now `[B, 1]`.
    pub halted: Ids,
    /// Steps after which every row halts.
    pub max_steps: usize,
    /// Probability of exploration.
    pub exploration: f64,
}

/// What changes from one training step to the next besides the data. It is handed over once, ahead of the step,
/// so that a captured step can be replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepScalars {
    /// Optimizer step, counted from 1.
    pub step: u64,
    /// Learning rate of AdamATan2.
    pub lr: f64,
    /// Learning rate of the puzzle embedding.
    pub puzzle_emb_lr: f64,
    /// Seed of the exploration.
    pub seed: u64,
}

/// The kernels that training needs beside the forward ones.
pub trait TrainKernels: Kernels {
    /// Sets the scalars that [`advance`](Self::advance), [`adam_atan2`](Self::adam_atan2) and
    /// [`sign_sgd`](Self::sign_sgd) read until the next call.
    ///
    /// # Errors
    /// The device fails.
    fn begin_step(&mut self, scalars: &StepScalars) -> Result<(), Self::Error>;

    /// First positions: `y[b] = x[b, 0]`, with `y` `[B, D]` and `x` `[N, D]`.
    ///
    /// # Errors
    /// The device fails.
    fn take_first(&mut self, y: Act, x: Act) -> Result<(), Self::Error>;

    /// vjp of [`Kernels::embed`]: scatters `dy` into the gradients of tokens and positions, which it overwrites,
    /// and into each row's puzzle embedding.
    ///
    /// # Errors
    /// The device fails.
    fn embed_vjp(&mut self, op: &EmbedVjp) -> Result<(), Self::Error>;

    /// vjp of [`Kernels::linear`] by its input: `dx = dy W`, or `dx += dy W` with `accumulate`.
    ///
    /// # Errors
    /// The device fails.
    fn linear_vjp_input(&mut self, dx: Act, dy: Act, w: Param, accumulate: bool) -> Result<(), Self::Error>;

    /// vjp of [`Kernels::linear`] by its weight: the gradient of `w` becomes `dy^T x`.
    ///
    /// # Errors
    /// The device fails.
    fn linear_vjp_weight(&mut self, w: Param, dy: Act, x: Act) -> Result<(), Self::Error>;

    /// vjp of [`Kernels::rope_attention`]. With `p = exp(s - lse)` and `delta = rowsum(do * o)`:
    /// `dv = p^T do`, `ds = p * (do v^T - delta) / sqrt(head_dim)`, `dq = rope^-1(ds k)`,
    /// `dk = rope^-1(ds^T q)`.
    ///
    /// # Errors
    /// The device fails.
    fn rope_attention_vjp(&mut self, op: &AttentionVjp) -> Result<(), Self::Error>;

    /// vjp of [`Kernels::swiglu`], in place: `gate_up` becomes its cotangent, and `a`, which holds the cotangent
    /// of the activation, becomes the activation itself, recomputed.
    ///
    /// # Errors
    /// The device fails.
    fn swiglu_vjp(&mut self, op: &SwiGlu) -> Result<(), Self::Error>;

    /// vjp of `y = a W^T` by its input and of the `a = silu(gate) * up` before it, [`TrainKernels::swiglu_vjp`]: with
    /// `da = dy W` and `sigma(x) = 1 / (1 + exp(-x))`, in place of gate and up
    /// `dgate = da * up * sigma(gate) * (1 + gate * (1 - sigma(gate)))` and `dup = da * silu(gate)`; and `a`, recomputed,
    /// whatever it held before.
    ///
    /// # Errors
    /// The device fails.
    fn linear_swiglu_vjp(&mut self, op: &LinearSwiGluVjp) -> Result<(), Self::Error> {
        self.linear_vjp_input(op.a, op.dy, op.w, false)?;
        self.swiglu_vjp(&op.swiglu())
    }

    /// vjp of [`Kernels::add_rms_norm`], from its output: `ds = rstd * (dy - y * mean(dy * y))`, the cotangent of
    /// both summands.
    ///
    /// # Errors
    /// The device fails.
    fn add_rms_norm_vjp(&mut self, ds: Act, dy: Act, y: Act, rstd: Stat) -> Result<(), Self::Error>;

    /// vjp of [`Kernels::q_head`]: adds `dq W` to the first position of each sequence of `dz`, and overwrites the
    /// gradients of weight and bias. `op.q` holds the cotangent `dq`.
    ///
    /// # Errors
    /// The device fails.
    fn q_head_vjp(&mut self, op: &QHead, dz: Act) -> Result<(), Self::Error>;

    /// Token loss of every row with its cotangent, see [`TokenLoss`](crate::loss::TokenLoss):
    /// `loss[b] = sum(cross entropy) / max(1, valid[b])`.
    ///
    /// # Errors
    /// A label lies outside the vocabulary, or the device fails.
    fn lm_loss(&mut self, op: &LmLoss) -> Result<(), Self::Error>;

    /// Q losses of every row with their cotangents, see [`PublishedQ`](crate::q_learning::PublishedQ).
    ///
    /// # Errors
    /// The device fails.
    fn q_loss(&mut self, op: &QLoss) -> Result<(), Self::Error>;

    /// Counts the step and decides which rows halt, by [`Exploring`](crate::act::Exploring).
    ///
    /// # Errors
    /// The device fails.
    fn advance(&mut self, op: &Advance) -> Result<(), Self::Error>;

    /// One AdamATan2 update of the first `len` parameters, see [`AdamAtan2`].
    ///
    /// # Errors
    /// The device fails.
    fn adam_atan2(&mut self, len: usize, optimizer: &AdamAtan2) -> Result<(), Self::Error>;

    /// One sign-SGD update of the rows `ids` of `table`: `p = p (1 - lr wd) - lr sign(sum of its gradients)`,
    /// once for each distinct row.
    ///
    /// # Errors
    /// An identifier lies outside the table, or the device fails.
    fn sign_sgd(
        &mut self,
        table: Param,
        ids: Ids,
        gradients: Act,
        optimizer: &SignSgd,
    ) -> Result<(), Self::Error>;
}
