//! One transformer block, post-norm: `y1 = rms(x + attention(x))`, `y = rms(y1 + swiglu(y1))`.

use core::ops::Range;

use crate::arena::Act;
use crate::kernels::{
    Attention, AttentionVjp, Kernels, LinearAddRmsNorm, LinearQkv, LinearSwiGlu, LinearSwiGluVjp, Plus,
    TrainKernels,
};
use crate::plan::{BackwardPlan, BlockParams, BlockSlot, Keep, Plan};

fn attention(plan: &Plan, slot: &BlockSlot) -> Attention {
    Attention {
        o: slot.o,
        lse: slot.lse,
        qkv: slot.qkv,
        rope: plan.params.rope,
        heads: plan.config.num_heads,
    }
}

/// Applies a block to `slot.x` and leaves the result in `slot.y`, unless `plus` wants no more than a sum of it. `slot` is the
/// one that the plan has for `keep`.
///
/// Attention sees all rows; what follows it treats each row alone, and is done in tiles of as many rows as the plan says.
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
    to_attention(k, plan, w, slot)?;
    after_attention(k, plan, w, slot, keep, plus)
}

/// As [`forward`], with the first position of each sequence as its whole result: in `first.y`. The rest of `first` is where
/// those rows are worked on.
///
/// # Errors
/// Those of the kernels.
pub fn forward_first<K: TrainKernels>(
    k: &mut K,
    plan: &Plan,
    w: &BlockParams,
    slot: &BlockSlot,
    first: &BlockSlot,
) -> Result<(), K::Error> {
    to_attention(k, plan, w, slot)?;
    k.take_first(first.x, slot.x)?;
    k.take_first(first.o, slot.o)?;
    after_attention(k, plan, w, first, Keep::Nothing, None)
}

/// The part of a block in which positions meet.
fn to_attention<K: Kernels>(
    k: &mut K,
    plan: &Plan,
    w: &BlockParams,
    slot: &BlockSlot,
) -> Result<(), K::Error> {
    let attention = attention(plan, slot);
    k.linear_qkv(&LinearQkv { attention, x: slot.x, w: w.qkv })?;
    k.attention(&attention)
}

/// The part of a block that works row by row, for all rows of `slot.x`.
fn after_attention<K: Kernels>(
    k: &mut K,
    plan: &Plan,
    w: &BlockParams,
    slot: &BlockSlot,
    keep: Keep,
    plus: Option<Plus>,
) -> Result<(), K::Error> {
    let rows = slot.x.rows;
    let mut first = 0;
    while first < rows {
        let count = plan.tile.min(rows - first);
        tile_after_attention(k, plan, w, slot, keep, plus, first..first + count)?;
        first += count;
    }
    Ok(())
}

/// The same for some of its rows.
fn tile_after_attention<K: Kernels>(
    k: &mut K,
    plan: &Plan,
    w: &BlockParams,
    slot: &BlockSlot,
    keep: Keep,
    plus: Option<Plus>,
    rows: Range<usize>,
) -> Result<(), K::Error> {
    let eps = plan.config.rms_norm_eps;
    let (first, count) = (rows.start, rows.len());
    let tile = |span: Act| span.rows_from(first, count);
    let (x, o, y1, y) = (tile(slot.x), tile(slot.o), tile(slot.y1), tile(slot.y));
    let (rstd1, rstd2) = (slot.rstd1.rows_from(first, count), slot.rstd2.rows_from(first, count));
    // The activation is scratch in every slot: the vjp recomputes it.
    let [t, gate_up, a] = [plan.branch, slot.gate_up, plan.a].map(|scratch| scratch.rows_from(0, count));
    let first_norm = LinearAddRmsNorm { y: y1, rstd: rstd1, x, t, inner: o, w: w.o, eps, plus: None };
    k.linear_add_rms_norm(&first_norm)?;
    let keep = matches!(keep, Keep::All);
    k.linear_swiglu(&LinearSwiGlu { a, gate_up, keep, x: y1, w: w.gate_up })?;
    let plus = plus.map(|plus| plus.rows_from(first, count));
    k.linear_add_rms_norm(&LinearAddRmsNorm { y, rstd: rstd2, x: y1, t, inner: a, w: w.down, eps, plus })
}

/// Turns `b.dy`, the cotangent of the block's output, into that of its input, and writes the weights'
/// gradients. `slot` holds what [`forward`] left; its `gate_up` is spent.
///
/// # Errors
/// Those of the kernels.
pub fn backward<K: TrainKernels>(
    k: &mut K,
    plan: &Plan,
    b: &BackwardPlan,
    w: &BlockParams,
    slot: &BlockSlot,
) -> Result<(), K::Error> {
    let BackwardPlan { dy, ds, da: a, d_o, dqkv, .. } = *b;
    k.add_rms_norm_vjp(ds, dy, slot.y, slot.rstd2)?;
    k.linear_swiglu_vjp(&LinearSwiGluVjp { a, gate_up: slot.gate_up, dy: ds, w: w.down })?;
    k.linear_vjp_weight(w.down, ds, a)?;
    k.linear_vjp_input(ds, slot.gate_up, w.gate_up, true)?;
    k.linear_vjp_weight(w.gate_up, slot.gate_up, slot.y1)?;

    // ds now holds the cotangent of y1, which reaches it by both paths.
    k.add_rms_norm_vjp(dy, ds, slot.y1, slot.rstd1)?;
    k.linear_vjp_input(d_o, dy, w.o, false)?;
    k.linear_vjp_weight(w.o, dy, slot.o)?;
    k.rope_attention_vjp(&AttentionVjp { forward: attention(plan, slot), d_o, dqkv })?;
    k.linear_vjp_input(dy, dqkv, w.qkv, true)?;
    k.linear_vjp_weight(w.qkv, dqkv, slot.x)
}
