//! One transformer block, post-norm (paper, section 2, "architecture").
//!
//! ```text
//! y1 = rms(x  + attention(x))      cells are mixed
//! y  = rms(y1 + swiglu(y1))        channels are mixed
//! ```
//!
//! Each line is a [mixer](super::mixer): a sublayer with its residual and its norm, forward beside backward.

use super::mixer::{attention, channels};
use crate::kernels::{Keep, Kernels, Plus, TrainKernels, Write};
use crate::plan::{BackwardPlan, BlockParams, BlockSlot, Plan};

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
    attention::forward(k, plan, w, slot)?;
    channels::forward(k, plan, w, slot, keep, plus)
}

/// Turns `b.dy`, the cotangent of the block's output, into that of its input, and writes the weights' gradients. `slot` holds
/// what [`forward`] kept; its `gate_up` is spent.
///
/// # Errors
/// Those of the kernels.
pub fn backward<K: TrainKernels>(
    k: &mut K,
    plan: &Plan,
    b: &BackwardPlan,
    w: &BlockParams,
    slot: &BlockSlot,
    write: Write,
) -> Result<(), K::Error> {
    channels::backward(k, b, w, slot, write)?; // dy -> ds, the cotangent of y1
    attention::backward(k, plan, b, w, slot, write) // ds -> dy, the cotangent of x
}
