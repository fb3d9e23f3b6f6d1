//! A stack of blocks, applied once.

use super::block;
use super::mixer::Pullback;
use crate::arena::Act;
use crate::kernels::{Kernels, Plus, TrainKernels};
use crate::plan::{Application, BackwardPlan, Plan, Slots};

/// Applies the stack of `app` to what lies in `slots.x()`, result to `slots.y()`, or, if `plus` does not keep it, only its
/// sum.
///
/// # Errors
/// Those of the kernels.
pub fn forward<K: Kernels>(
    k: &mut K,
    plan: &Plan,
    app: &Application,
    slots: &Slots,
    plus: Option<Plus>,
) -> Result<(), K::Error> {
    let stack = plan.params.stack(app.state);
    for (layer, w) in stack.blocks().enumerate() {
        let plus = plus.filter(|_| layer + 1 == stack.layers);
        block::forward(k, plan, &w, &slots.block(layer), slots.keep, plus)?;
        k.poll();
    }
    Ok(())
}

/// Turns `dy`, the cotangent of the result of `app`, into that of its input, in `dx`, and forms or adds to the gradients of
/// its weights.
///
/// # Errors
/// Those of the kernels.
pub fn backward<K: TrainKernels>(
    k: &mut K,
    plan: &Plan,
    b: &BackwardPlan,
    app: &Application,
    slots: &Slots,
    [mut dy, dx]: [Act; 2],
) -> Result<(), K::Error> {
    let write = plan.write(app);
    for (layer, w) in plan.params.stack(app.state).blocks().enumerate().rev() {
        block::backward(k, plan, b, &w, &slots.block(layer), &Pullback { dy, dx, write })?;
        dy = dx;
    }
    Ok(())
}
