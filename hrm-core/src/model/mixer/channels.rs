//! Channels are mixed by a SwiGLU: `y = rms(y1 + W_down (silu(gate) * up))` with `[gate, up] = W_gate_up y1` (Shazeer 2020).

use super::{Pullback, tiles};
use crate::arena::Act;
use crate::kernels::{
    Keep, Kernels, LinearAddRmsNorm, LinearSwiGlu, LinearSwiGluVjp, LinearVjpInput, LinearVjpWeight, Plus,
    TrainKernels, Write,
};
use crate::plan::{BackwardPlan, BlockParams, BlockSlot, Plan};

/// From `slot.y1` to `slot.y`, unless `plus` wants no more than a sum of it.
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
    for rows in tiles(plan, slot.y1.rows) {
        let (from, count) = (rows.start, rows.len());
        let tile = |span: Act| span.rows_from(from, count);
        // The activation is scratch in every slot: the vjp recomputes it.
        let [t, gate_up, a] = [plan.branch, slot.gate_up, plan.a].map(|scratch| scratch.rows_from(0, count));
        k.linear_swiglu(&LinearSwiGlu { a, gate_up, keep, x: tile(slot.y1), w: w.gate_up })?;
        k.linear_add_rms_norm(&LinearAddRmsNorm {
            y: tile(slot.y),
            rstd: slot.rstd2.rows_from(from, count),
            x: tile(slot.y1),
            t,
            inner: a,
            w: w.down,
            eps: plan.config.rms_norm_eps,
            plus: plus.map(|plus| plus.rows_from(from, count)),
        })?;
    }
    Ok(())
}

/// Turns `back.dy`, the cotangent of `slot.y`, into that of `slot.y1`, in `b.ds`, and writes the gradients of the weights.
/// `slot.gate_up` is spent.
///
/// # Errors
/// Those of the kernels.
pub fn backward<K: TrainKernels>(
    k: &mut K,
    b: &BackwardPlan,
    w: &BlockParams,
    slot: &BlockSlot,
    back: &Pullback,
) -> Result<(), K::Error> {
    let (BackwardPlan { ds, da: a, .. }, Pullback { dy, write, .. }) = (*b, *back);
    k.add_rms_norm_vjp(ds, dy, slot.y, slot.rstd2)?;
    k.linear_swiglu_vjp(&LinearSwiGluVjp { a, gate_up: slot.gate_up, dy: ds, w: w.down })?;
    k.linear_vjp_weight(&LinearVjpWeight { w: w.down, dy: ds, x: a, write })?;
    // ds holds the cotangent of the residual; that of the other path is added.
    k.linear_vjp_input(&LinearVjpInput { dx: ds, dy: slot.gate_up, w: w.gate_up, write: Write::Accumulate })?;
    k.linear_vjp_weight(&LinearVjpWeight { w: w.gate_up, dy: slot.gate_up, x: slot.y1, write })
}
