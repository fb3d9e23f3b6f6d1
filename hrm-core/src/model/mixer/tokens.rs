//! Cells are mixed by a SwiGLU over positions: `y1 = rms(x^T + W_down (silu(gate) * up))^T` with
//! `[gate, up] = W_gate_up x^T`, and the norm over positions as well (TRM, section 4.5).

use super::Pullback;
use crate::arena::Param;
use crate::kernels::{Kernels, TokenMix, TokenMixVjp, TrainKernels};
use crate::plan::{BackwardPlan, BlockSlot, Plan};

/// The weights of this mixer: gate and up `[2F', S]`, output `[S, F']`.
pub type Weights = (Param, Param);

fn operands(plan: &Plan, (gate_up, down): Weights, slot: &BlockSlot) -> Option<TokenMix> {
    let eps = plan.config.rms_norm_eps;
    Some(TokenMix { y: slot.y1, rstd: slot.rstd1, x: slot.x, gate_up, down, eps, scratch: plan.tokens? })
}

/// From `slot.x` to `slot.y1`.
///
/// # Errors
/// Those of the kernels.
pub fn forward<K: Kernels>(k: &mut K, plan: &Plan, w: Weights, slot: &BlockSlot) -> Result<(), K::Error> {
    // A plan for such a model has the scratch.
    operands(plan, w, slot).map_or(Ok(()), |op| k.token_mix(&op))
}

/// Turns `b.ds`, the cotangent of `slot.y1`, into that of `slot.x`, in `back.dx`, and writes the gradients of the weights.
///
/// # Errors
/// Those of the kernels.
pub fn backward<K: TrainKernels>(
    k: &mut K,
    plan: &Plan,
    b: &BackwardPlan,
    w: Weights,
    slot: &BlockSlot,
    back: &Pullback,
) -> Result<(), K::Error> {
    let Pullback { dx, write, .. } = *back;
    let vjp = |forward| TokenMixVjp { forward, dy: b.ds, dx, write };
    operands(plan, w, slot).map_or(Ok(()), |op| k.token_mix_vjp(&vjp(op)))
}
