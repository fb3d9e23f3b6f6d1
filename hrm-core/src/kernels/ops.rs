//! The operands of the kernels.

use super::{Kernels, TrainKernels};
use crate::arena::{Act, Ids, Param, Stat};
use crate::halting::HaltRule;
use crate::loss::LossKind;
use crate::rope::RopeTables;

/// What becomes of what a result's place held before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Write {
    /// `y = ..`: it is not read.
    Replace,
    /// `y += ..`.
    Accumulate,
}

/// What of a computation is read afterwards: by the backward pass, or by whatever follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Everything. A forward pass that keeps everything gives each application that has a gradient slots of its own.
    All,
    /// Only the result. A forward pass that keeps nothing overwrites one shared slot.
    Nothing,
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

impl Embed {
    /// `1 / sqrt 2` as the published program writes it: nine digits.
    #[allow(clippy::approx_constant)]
    pub const HALF_SQRT: f64 = 0.707_106_781;

    /// Positions P that the puzzle embedding fills before the tokens.
    #[must_use]
    pub const fn prefix_len(&self) -> usize {
        prefix_len(self.y, self.inputs)
    }
}

/// What a sequence of `y` `[B * S, D]` has beyond the tokens of `inputs` `[B, seq_len]`.
const fn prefix_len(y: Act, inputs: Ids) -> usize {
    let positions = match y.rows.checked_div(inputs.rows) {
        Some(positions) => positions,
        None => 0,
    };
    positions.saturating_sub(inputs.cols)
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

    /// The product alone, for a backend whose [`Kernels::attention`] is [`Kernels::rope_attention`].
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn apart<K: Kernels + ?Sized>(&self, k: &mut K) -> Result<(), K::Error> {
        k.linear(&self.linear())
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
    /// Whether gate and up are read afterwards.
    pub keep: Keep,
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

    /// The kernels it consists of, one after the other.
    ///
    /// # Errors
    /// Those of the kernels.
    pub fn apart<K: Kernels + ?Sized>(&self, k: &mut K) -> Result<(), K::Error> {
        let (linear, swiglu) = self.parts();
        k.linear(&linear)?;
        k.swiglu(&swiglu)
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
    /// Whether `y` is read afterwards, too; else it is scratch.
    pub keep: Keep,
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

/// Operands of [`Kernels::take_columns`] and [`Kernels::put_columns`].
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    /// Columns of the sequences as rows `[C, S]`.
    pub rows: Act,
    /// Sequences `[N, D]`.
    pub z: Act,
    /// The column of the first row: column `d` of sequence `b` is number `b D + d`.
    pub first: usize,
}

/// Where a SwiGLU over positions works: on columns of the states as rows, C of them at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenScratch {
    /// Its input, turned `[C, S]`.
    pub x: Act,
    /// Its result, before it is turned back `[C, S]`.
    pub y: Act,
    /// What it adds to its input `[C, S]`. It lies over `gate_up`.
    pub t: Act,
    /// Gate and up `[C, 2F']`.
    pub gate_up: Act,
    /// The activation `[C, F']`.
    pub a: Act,
}

impl TokenScratch {
    /// The same of `count` columns, from row `first` on.
    #[must_use]
    pub const fn rows_from(&self, first: usize, count: usize) -> Self {
        Self {
            x: self.x.rows_from(first, count),
            y: self.y.rows_from(first, count),
            t: self.t.rows_from(first, count),
            gate_up: self.gate_up.rows_from(first, count),
            a: self.a.rows_from(first, count),
        }
    }
}

/// Operands of [`Kernels::token_mix`].
#[derive(Clone, Copy, Debug)]
pub struct TokenMix {
    /// Result `[N, D]`.
    pub y: Act,
    /// Reciprocal root mean square, by column of each sequence `[B * D, 1]`.
    pub rstd: Stat,
    /// Residual stream and input `[N, D]`.
    pub x: Act,
    /// Weight of gate and up `[2F', S]`.
    pub gate_up: Param,
    /// Weight of the output `[S, F']`.
    pub down: Param,
    /// Added to the mean square.
    pub eps: f64,
    /// Scratch for so many columns as are worked on at once.
    pub scratch: TokenScratch,
}

impl TokenMix {
    /// The kernels it consists of, one after the other: the columns become rows, as many at once as there is scratch for,
    /// and then it is the SwiGLU of any block.
    ///
    /// # Errors
    /// Those of the kernels.
    pub fn apart<K: Kernels + ?Sized>(&self, k: &mut K) -> Result<(), K::Error> {
        let Self { rstd, eps, scratch, .. } = *self;
        let tile = scratch.x.rows.max(1);
        for first in (0..rstd.rows).step_by(tile) {
            let count = tile.min(rstd.rows - first);
            let TokenScratch { x, y, t, gate_up, a } = scratch.rows_from(0, count);
            k.take_columns(&Columns { rows: x, z: self.x, first })?;
            k.linear_swiglu(&LinearSwiGlu { a, gate_up, keep: Keep::Nothing, x, w: self.gate_up })?;
            let rstd = rstd.rows_from(first, count);
            let norm = LinearAddRmsNorm { y, rstd, x, t, inner: a, w: self.down, eps, plus: None };
            k.linear_add_rms_norm(&norm)?;
            k.put_columns(&Columns { rows: y, z: self.y, first })?;
        }
        Ok(())
    }
}

/// Operands of [`TrainKernels::token_mix_vjp`].
#[derive(Clone, Copy, Debug)]
pub struct TokenMixVjp {
    /// What the forward kernel was given, and its results. Its scratch is for all columns at once.
    pub forward: TokenMix,
    /// Cotangent of its result `[N, D]`.
    pub dy: Act,
    /// Result: cotangent of its input `[N, D]`.
    pub dx: Act,
    /// Whether the gradients of the weights replace what is there, or are added to it.
    pub write: Write,
}

impl TokenMixVjp {
    /// The kernels it consists of, one after the other, on columns that became rows. Gate and up are computed again.
    ///
    /// # Errors
    /// Those of the kernels.
    pub fn apart<K: TrainKernels + ?Sized>(&self, k: &mut K) -> Result<(), K::Error> {
        let Self { forward, dy, dx, write } = *self;
        let TokenMix { gate_up: w, down, .. } = forward;
        // What is in `t` goes into the norm's vjp alone, which gate and up come after.
        let TokenScratch { x: turned, y: ds, t, gate_up, a } = forward.scratch;
        k.take_columns(&Columns { rows: t, z: dy, first: 0 })?;
        k.take_columns(&Columns { rows: turned, z: forward.y, first: 0 })?;
        k.add_rms_norm_vjp(ds, t, turned, forward.rstd)?;
        k.take_columns(&Columns { rows: turned, z: forward.x, first: 0 })?;
        k.linear(&Linear { y: gate_up, x: turned, w })?;
        k.linear_swiglu_vjp(&LinearSwiGluVjp { a, gate_up, dy: ds, w: down })?;
        k.linear_vjp_weight(&LinearVjpWeight { w: down, dy: ds, x: a, write })?;
        // ds holds the cotangent of the residual; that of the other path is added.
        k.linear_vjp_input(&LinearVjpInput { dx: ds, dy: gate_up, w, write: Write::Accumulate })?;
        k.linear_vjp_weight(&LinearVjpWeight { w, dy: gate_up, x: turned, write })?;
        k.put_columns(&Columns { rows: ds, z: dx, first: 0 })
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

impl EmbedVjp {
    /// Positions P that the puzzle embedding fills before the tokens.
    #[must_use]
    pub const fn prefix_len(&self) -> usize {
        prefix_len(self.dy, self.inputs)
    }
}

/// Operands of [`TrainKernels::linear_vjp_input`].
#[derive(Clone, Copy, Debug)]
pub struct LinearVjpInput {
    /// Result: cotangent of the input `[N, in]`.
    pub dx: Act,
    /// Cotangent of the product `[N, out]`.
    pub dy: Act,
    /// Weight `[out, in]`.
    pub w: Param,
    /// Whether the result replaces what `dx` holds, or is added to it.
    pub write: Write,
}

/// Operands of [`TrainKernels::linear_vjp_weight`].
#[derive(Clone, Copy, Debug)]
pub struct LinearVjpWeight {
    /// Weight `[out, in]`, whose gradient is the result.
    pub w: Param,
    /// Cotangent of the product `[N, out]`.
    pub dy: Act,
    /// Input of the product `[N, in]`.
    pub x: Act,
    /// Whether the result replaces the gradient, or is added to it: a weight that is used several times has the sum of
    /// all its uses' gradients.
    pub write: Write,
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

    /// The vjps it consists of, one after the other.
    ///
    /// # Errors
    /// Those of the kernels.
    pub fn apart<K: TrainKernels + ?Sized>(&self, k: &mut K) -> Result<(), K::Error> {
        let Self { a, dy, w, .. } = *self;
        k.linear_vjp_input(&LinearVjpInput { dx: a, dy, w, write: Write::Replace })?;
        k.swiglu_vjp(&self.swiglu())
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
    /// When the Q values say that a row is done.
    pub rule: HaltRule,
    /// Probability of exploration.
    pub exploration: f64,
}
