//! The kernels of training: vjps, losses with their cotangents, and the optimizers.

use super::{
    Advance, AttentionVjp, EmbedVjp, Kernels, LinearSwiGluVjp, LinearVjpInput, LinearVjpWeight, LmLoss,
    QHead, QLoss, SwiGlu, TokenMixVjp,
};
use crate::arena::{Act, Ids, Param, Stat};
use crate::optim::{AdamAtan2, Average, SignSgd, StepScalars};

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

    /// vjp of [`Kernels::linear`] by its input: `dx = dy W`, or `dx += dy W`.
    ///
    /// # Errors
    /// The device fails.
    fn linear_vjp_input(&mut self, op: &LinearVjpInput) -> Result<(), Self::Error>;

    /// vjp of [`Kernels::linear`] by its weight: `dW = dy^T x`, or `dW += dy^T x`, where `dW` is the gradient of `w`. In
    /// bf16 each product is rounded, if at all, before it is added; the sum is f32.
    ///
    /// # Errors
    /// The device fails.
    fn linear_vjp_weight(&mut self, op: &LinearVjpWeight) -> Result<(), Self::Error>;

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
    fn linear_swiglu_vjp(&mut self, op: &LinearSwiGluVjp) -> Result<(), Self::Error>;

    /// vjp of [`Kernels::add_rms_norm`], from its output: `ds = rstd * (dy - y * mean(dy * y))`, the cotangent of
    /// both summands.
    ///
    /// # Errors
    /// The device fails.
    fn add_rms_norm_vjp(&mut self, ds: Act, dy: Act, y: Act, rstd: Stat) -> Result<(), Self::Error>;

    /// vjp of [`Kernels::token_mix`] by its input and its weights: those of the norm, of both products and of the SwiGLU,
    /// on columns. Gate and up are computed again; the scratch of the forward kernel is spent.
    ///
    /// # Errors
    /// The device fails.
    fn token_mix_vjp(&mut self, op: &TokenMixVjp) -> Result<(), Self::Error>;

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

    /// Q losses of every row with their cotangents, see [`PublishedQ`](crate::halting::PublishedQ).
    ///
    /// # Errors
    /// The device fails.
    fn q_loss(&mut self, op: &QLoss) -> Result<(), Self::Error>;

    /// Counts the step and decides which rows halt, by [`Exploring`](crate::halting::Exploring).
    ///
    /// # Errors
    /// The device fails.
    fn advance(&mut self, op: &Advance) -> Result<(), Self::Error>;

    /// One AdamATan2 update of the first `len` parameters, see [`AdamAtan2`].
    ///
    /// # Errors
    /// The device fails.
    fn adam_atan2(&mut self, len: usize, optimizer: &AdamAtan2) -> Result<(), Self::Error>;

    /// Moves the averages of the first `len` parameters towards the parameters, see [`Average`].
    ///
    /// # Errors
    /// There are no averages, or the device fails.
    fn average(&mut self, len: usize, average: &Average) -> Result<(), Self::Error>;

    /// Exchanges the first `len` parameters and their averages: a model is evaluated with its averages, and trained without.
    ///
    /// # Errors
    /// As there.
    fn swap_averages(&mut self, len: usize) -> Result<(), Self::Error>;

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
