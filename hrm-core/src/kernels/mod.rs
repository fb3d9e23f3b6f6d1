//! The contract between the model and a backend: one method for each fused kernel.
//!
//! A backend owns its arenas; the model hands it [`Span`](crate::arena::Span)s. N is the number of positions in
//! a batch (B puzzles of S positions each), D the hidden width, F the SwiGLU width, V the vocabulary. Matrices
//! are row-major. Spans of one call never overlap unless the kernel says so.
//!
//! Every kernel that has a gradient has a `_vjp` that turns the cotangent of its output into those of its operands. The
//! vjp of [`Kernels::add`] is the identity. Carry resets have none, because the carry is detached (paper, section 2,
//! one-step gradient); neither has [`TrainKernels::take_first`], which serves the Q target alone.
//!
//! No kernel has a default body: a backend that lacks one does not compile. Some kernels are several others in one, so
//! that a backend need not write to memory what lies between them: [`Kernels::linear_swiglu`],
//! [`Kernels::linear_add_rms_norm`] (with [`Kernels::add`] where [`Plus`] says so), [`Kernels::linear_qkv`] with
//! [`Kernels::attention`], [`Kernels::token_mix`], [`TrainKernels::linear_swiglu_vjp`] and
//! [`TrainKernels::token_mix_vjp`]. A backend that gains nothing by that runs their parts:
//! their operands have an `apart` for it.
//!
//! | module | holds |
//! |---|---|
//! | `memory` | the arenas, and copies between them and the caller |
//! | `ops` | the operands of each kernel |
//! | `train` | the kernels of training: vjps, losses, optimizers |
//! | [`op`] | every kernel as a value, and a backend that watches each call of another |

mod memory;
pub mod op;
mod ops;
mod train;

use crate::arena::{Act, Ids, Param};

pub use memory::{Memory, Region};
pub use ops::{
    AddRmsNorm, Advance, Argmax, Attention, AttentionVjp, Columns, Embed, EmbedVjp, Keep, Linear,
    LinearAddRmsNorm, LinearQkv, LinearSwiGlu, LinearSwiGluVjp, LinearVjpInput, LinearVjpWeight, LmLoss,
    Plus, QHead, QLoss, SwiGlu, TokenMix, TokenMixVjp, TokenScratch, Write,
};
pub use train::TrainKernels;

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

    /// `qkv = x W^T` for [`Kernels::attention`]. Each backend decides whether queries and keys are rotated here or there.
    ///
    /// # Errors
    /// The device fails.
    fn linear_qkv(&mut self, op: &LinearQkv) -> Result<(), Self::Error>;

    /// [`Kernels::rope_attention`] of what [`Kernels::linear_qkv`] has left, with the same bits.
    ///
    /// # Errors
    /// The device fails.
    fn attention(&mut self, op: &Attention) -> Result<(), Self::Error>;

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
    fn linear_swiglu(&mut self, op: &LinearSwiGlu) -> Result<(), Self::Error>;

    /// `s = x + inner W^T`, `rstd = 1 / sqrt(mean(s^2) + eps)`, `y = s * rstd`, by row, then `sum = y + b` if
    /// asked for. Keeps `rstd` for the vjp.
    ///
    /// # Errors
    /// The device fails.
    fn linear_add_rms_norm(&mut self, op: &LinearAddRmsNorm) -> Result<(), Self::Error>;

    /// Columns of the sequences as rows: `rows[i, s] = z[b, s, d]`, where column `d` of sequence `b` is number
    /// `b D + d = first + i`.
    ///
    /// # Errors
    /// The device fails.
    fn take_columns(&mut self, op: &Columns) -> Result<(), Self::Error>;

    /// The inverse of [`Kernels::take_columns`], which is also its vjp: `z[b, s, d] = rows[i, s]`.
    ///
    /// # Errors
    /// The device fails.
    fn put_columns(&mut self, op: &Columns) -> Result<(), Self::Error>;

    /// Cells mixed by a SwiGLU over positions (MLP-Mixer, Tolstikhin et al. 2021; TRM, section 4.5), by column `c` of each
    /// sequence: `[gate, up] = W_gate_up x[:, c]`, `s = x[:, c] + W_down (silu(gate) * up)`,
    /// `rstd = 1 / sqrt(mean(s^2) + eps)`, `y[:, c] = s * rstd`. Keeps `rstd` for the vjp.
    ///
    /// # Errors
    /// The device fails.
    fn token_mix(&mut self, op: &TokenMix) -> Result<(), Self::Error>;

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

    /// Called after every block, and no kernel: a backend that shares its thread with other duties attends to them here.
    fn poll(&mut self) {}
}
