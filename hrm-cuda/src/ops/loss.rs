//! Predictions and losses.

use hrm_core::loss::LossKind;

use super::{blocks, int, launch, optional, typed};
use crate::error::Error;
use crate::launch::{Arg, Dtype, Kernel, Launcher, Ptr};

/// Sizes of the cells that logits are of.
#[derive(Clone, Copy, Debug)]
pub struct Cells {
    /// Sequences.
    pub batch: usize,
    /// Tokens of a sequence: its last positions.
    pub seq_len: usize,
    /// Positions of a sequence, prefix included.
    pub positions: usize,
    /// Size of the vocabulary.
    pub vocab: usize,
}

impl Cells {
    fn args(&self) -> Result<[Arg; 4], Error> {
        Ok([int(self.batch)?, int(self.seq_len)?, int(self.positions)?, int(self.vocab)?])
    }
}

/// Most likely token of each cell: `predictions` `[batch, seq_len]` from `logits` `[batch, positions, vocab]`, the
/// first of equals.
///
/// # Errors
/// The device fails.
pub fn argmax<L: Launcher>(
    l: &mut L,
    dtype: Dtype,
    predictions: Ptr,
    logits: Ptr,
    cells: &Cells,
) -> Result<(), Error> {
    let args = [&[Arg::Ptr(predictions), Arg::Ptr(logits)][..], &cells.args()?].concat();
    launch(l, typed!("loss", "argmax", dtype), cells.batch * cells.seq_len, &args)
}

/// Operands of [`lm_loss`].
#[derive(Clone, Copy, Debug)]
pub struct LmLoss {
    /// Logits `[batch, positions, vocab]`.
    pub logits: Ptr,
    /// Labels `[batch, seq_len]`; negative where ignored.
    pub labels: Ptr,
    /// Result: cotangent of the logits `[batch, positions, vocab]`.
    pub dlogits: Ptr,
    /// Result: loss by row `[batch]`, f32.
    pub loss: Ptr,
    /// Result: labels that are not ignored `[batch]`.
    pub valid: Ptr,
    /// Result: correct predictions among them `[batch]`.
    pub correct: Ptr,
    /// Sizes.
    pub cells: Cells,
    /// Which cross-entropy.
    pub kind: LossKind,
    /// Factor of the cotangent.
    pub scale: f64,
    /// The word for labels outside the vocabulary.
    pub fault: Ptr,
}

/// Token loss of every row with its cotangent, its count of labels and of correct predictions. One block for each
/// row.
///
/// # Errors
/// The device fails.
pub fn lm_loss<L: Launcher>(l: &mut L, dtype: Dtype, op: &LmLoss) -> Result<(), Error> {
    let pointers = [op.logits, op.labels, op.dlogits, op.loss, op.valid, op.correct].map(Arg::Ptr);
    let softmax = Arg::I32(i32::from(op.kind == LossKind::Softmax));
    let rest = [softmax, Arg::F64(op.scale), Arg::Ptr(op.fault)];
    // A block is a sequence: how many there are is the grid's affair.
    let [_, sizes @ ..] = op.cells.args()?;
    let args = [&pointers[..], &sizes, &rest].concat();
    blocks(l, typed!("loss", "lm_loss", dtype), [op.cells.batch, 1], &args)
}

/// Operands of [`q_loss`].
#[derive(Clone, Copy, Debug)]
pub struct QLoss {
    /// Q values of this step `[batch, 2]`, f32.
    pub q: Ptr,
    /// Q values of the next step `[batch, 2]`, f32.
    pub next_q: Option<Ptr>,
    /// Result: cotangent of `q` `[batch, 2]`, f32.
    pub dq: Ptr,
    /// Result: halt and continue losses `[batch, 2]`, f32.
    pub losses: Ptr,
    /// ACT steps done `[batch]`.
    pub steps: Ptr,
    /// Labels that are not ignored `[batch]`.
    pub valid: Ptr,
    /// Correct predictions among them `[batch]`.
    pub correct: Ptr,
    /// Sequences.
    pub batch: usize,
    /// Steps after which every row halts.
    pub max_steps: usize,
    /// Factor of the cotangent.
    pub scale: f64,
}

/// Q losses of every row with their cotangents.
///
/// # Errors
/// The device fails.
pub fn q_loss<L: Launcher>(l: &mut L, op: &QLoss) -> Result<(), Error> {
    let head = [Arg::Ptr(op.q), optional(op.next_q)];
    let pointers = [op.dq, op.losses, op.steps, op.valid, op.correct].map(Arg::Ptr);
    let sizes = [int(op.batch)?, int(op.max_steps)?, Arg::F64(op.scale)];
    let args = [&head[..], &pointers, &sizes].concat();
    launch(l, Kernel { unit: "loss", name: "q_loss" }, op.batch, &args)
}
