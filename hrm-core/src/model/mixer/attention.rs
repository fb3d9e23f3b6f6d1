//! Cells are mixed by attention: `y1 = rms(x + W_o attention(W_qkv x))`.

use super::{Pullback, tiles};
use crate::arena::{Act, Param};
use crate::kernels::{
    Attention, AttentionVjp, Kernels, LinearAddRmsNorm, LinearQkv, LinearVjpInput, LinearVjpWeight,
    TrainKernels, Write,
};
use crate::plan::{BackwardPlan, BlockSlot, Plan};

/// The weights of this mixer: queries, keys and values `[3D, D]`, output `[D, D]`.
pub type Weights = (Param, Param);

fn operands(plan: &Plan, slot: &BlockSlot) -> Attention {
    Attention {
        o: slot.o,
        lse: slot.lse,
        qkv: slot.qkv,
        rope: plan.params.rope,
        heads: plan.config.num_heads,
    }
}

/// From `slot.x` to `slot.y1`.
///
/// # Errors
/// Those of the kernels.
pub fn forward<K: Kernels>(k: &mut K, plan: &Plan, w: Weights, slot: &BlockSlot) -> Result<(), K::Error> {
    mix(k, plan, w.0, slot)?;
    project(k, plan, w.1, slot)
}

/// The part in which rows meet: `o = attention(W_qkv x)`.
pub(crate) fn mix<K: Kernels>(k: &mut K, plan: &Plan, w: Param, slot: &BlockSlot) -> Result<(), K::Error> {
    let attention = operands(plan, slot);
    k.linear_qkv(&LinearQkv { attention, x: slot.x, w })?;
    k.attention(&attention)
}

/// The part that treats each row alone: `y1 = rms(x + W_o o)`, for all rows of `slot.x`.
pub(crate) fn project<K: Kernels>(
    k: &mut K,
    plan: &Plan,
    w: Param,
    slot: &BlockSlot,
) -> Result<(), K::Error> {
    for rows in tiles(plan, slot.x.rows) {
        let (from, count) = (rows.start, rows.len());
        let tile = |span: Act| span.rows_from(from, count);
        k.linear_add_rms_norm(&LinearAddRmsNorm {
            y: tile(slot.y1),
            rstd: slot.rstd1.rows_from(from, count),
            x: tile(slot.x),
            t: plan.branch.rows_from(0, count),
            inner: tile(slot.o),
            w,
            eps: plan.config.rms_norm_eps,
            plus: None,
        })?;
    }
    Ok(())
}

/// Turns `b.ds`, the cotangent of `slot.y1`, into that of `slot.x`, in `back.dx`, and writes the gradients of the weights.
///
/// # Errors
/// Those of the kernels.
pub fn backward<K: TrainKernels>(
    k: &mut K,
    plan: &Plan,
    b: &BackwardPlan,
    (qkv, o): Weights,
    slot: &BlockSlot,
    back: &Pullback,
) -> Result<(), K::Error> {
    let (BackwardPlan { ds, d_o, dqkv, .. }, Pullback { dx, write, .. }) = (*b, *back);
    k.add_rms_norm_vjp(dx, ds, slot.y1, slot.rstd1)?;
    k.linear_vjp_input(&LinearVjpInput { dx: d_o, dy: dx, w: o, write: Write::Replace })?;
    k.linear_vjp_weight(&LinearVjpWeight { w: o, dy: dx, x: slot.o, write })?;
    k.rope_attention_vjp(&AttentionVjp { forward: operands(plan, slot), d_o, dqkv })?;
    // dx holds the cotangent of the residual; that of the other path is added.
    k.linear_vjp_input(&LinearVjpInput { dx, dy: dqkv, w: qkv, write: Write::Accumulate })?;
    k.linear_vjp_weight(&LinearVjpWeight { w: qkv, dy: dqkv, x: slot.x, write })
}
