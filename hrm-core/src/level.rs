//! One level, H or L: a stack of blocks over the sum of its inputs.

use core::ops::Range;

use crate::arena::Act;
use crate::block;
use crate::kernels::{Kernels, Plus, TrainKernels};
use crate::plan::{BackwardPlan, Keep, Level, Plan};

/// Applies the blocks of `level` to what lies in the first block's input (see [`input`]), result to `out`, or, if `plus` does
/// not keep it, only its sum.
///
/// # Errors
/// Those of the kernels.
pub fn forward<K: Kernels>(
    k: &mut K,
    plan: &Plan,
    level: Level,
    keep: Keep,
    out: Act,
    plus: Option<Plus>,
) -> Result<(), K::Error> {
    blocks(k, plan, level, 0..plan.params.layers(level), keep, out, plus)
}

/// As [`forward`], keeping nothing, with the first position of each sequence as its whole result: `b.first.y` `[B, D]`.
/// Positions meet in attention alone, so the last block does no others behind it.
///
/// # Errors
/// Those of the kernels.
pub fn forward_first<K: TrainKernels>(
    k: &mut K,
    plan: &Plan,
    b: &BackwardPlan,
    level: Level,
) -> Result<(), K::Error> {
    let last = plan.params.layers(level) - 1;
    blocks(k, plan, level, 0..last, Keep::Nothing, b.target.z_h, None)?;
    let slot = plan.slot(level, last, Keep::Nothing, b.target.z_h);
    block::forward_first(k, plan, &plan.params.block(level, last), &slot, &b.first)?;
    k.poll();
    Ok(())
}

fn blocks<K: Kernels>(
    k: &mut K,
    plan: &Plan,
    level: Level,
    layers: Range<usize>,
    keep: Keep,
    out: Act,
    plus: Option<Plus>,
) -> Result<(), K::Error> {
    for layer in layers {
        let slot = plan.slot(level, layer, keep, out);
        let plus = plus.filter(|_| layer + 1 == plan.params.layers(level));
        block::forward(k, plan, &plan.params.block(level, layer), &slot, keep, plus)?;
        k.poll();
    }
    Ok(())
}

/// Where `level` expects its input.
#[must_use]
pub const fn input(plan: &Plan, level: Level, keep: Keep, out: Act) -> Act {
    plan.slot(level, 0, keep, out).x
}

/// Turns `b.dy`, the cotangent of the level's result in `out`, into that of its input.
///
/// # Errors
/// Those of the kernels.
pub fn backward<K: TrainKernels>(
    k: &mut K,
    plan: &Plan,
    b: &BackwardPlan,
    level: Level,
    out: Act,
) -> Result<(), K::Error> {
    for layer in (0..plan.params.layers(level)).rev() {
        let slot = plan.slot(level, layer, Keep::All, out);
        block::backward(k, plan, b, &plan.params.block(level, layer), &slot)?;
    }
    Ok(())
}
