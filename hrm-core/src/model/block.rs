//! One transformer block, post-norm (paper, section 2, "architecture").
//!
//! ```text
//! y1 = rms(x  + attention(x))      cells are mixed, or by a SwiGLU over them
//! y  = rms(y1 + swiglu(y1))        channels are mixed
//! ```
//!
//! Each line is a [mixer](super::mixer): a sublayer with its residual and its norm, forward beside backward.

use super::mixer::{Pullback, attention, channels, tokens};
use crate::kernels::{Keep, Kernels, Plus, TrainKernels};
use crate::plan::{BackwardPlan, BlockParams, BlockSlot, CellParams, Plan};

/// Applies a block to `slot.x` and leaves the result in `slot.y`, unless `plus` wants no more than a sum of it.
///
/// # Errors
/// Those of the kernels.
pub fn forward<K: Kernels>(
    k: &mut K,
    plan: &Plan,
    w: &BlockParams,
    slot: &BlockSlot,
    keep: Keep,
    plus: Option<Plus>,
) -> Result<(), K::Error> {
    match w.cells {
        CellParams::Attention { qkv, o } => attention::forward(k, plan, (qkv, o), slot)?,
        CellParams::Tokens { gate_up, down } => tokens::forward(k, plan, (gate_up, down), slot)?,
    }
    channels::forward(k, plan, w, slot, keep, plus)
}

/// Turns `back.dy`, the cotangent of the block's output, into that of its input, and writes the weights' gradients. `slot`
/// holds what [`forward`] kept; its `gate_up` is spent.
///
/// # Errors
/// Those of the kernels.
pub fn backward<K: TrainKernels>(
    k: &mut K,
    plan: &Plan,
    b: &BackwardPlan,
    w: &BlockParams,
    slot: &BlockSlot,
    back: &Pullback,
) -> Result<(), K::Error> {
    channels::backward(k, b, w, slot, back)?; // dy -> ds, the cotangent of y1
    match w.cells {
        // ds -> dx, the cotangent of x
        CellParams::Attention { qkv, o } => attention::backward(k, plan, b, (qkv, o), slot, back),
        CellParams::Tokens { gate_up, down } => tokens::backward(k, plan, b, (gate_up, down), slot, back),
    }
}
