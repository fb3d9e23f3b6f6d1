//! The recurrence, its gradient and its memory (HRM, section 2; TRM, section 4).
//!
//! ```text
//! H_cycles times:
//!     L_cycles times:  z_l = L(z_l + (z_h + emb))
//!     once:            z_h = H(z_h + z_l)
//! ```
//!
//! TRM has one stack for both: `L = H = net`.
//!
//! **Gradient.** Only the last applications of a stack have one ([`Application::kept`]): HRM's one-step gradient goes through
//! the last of L and the last of H, TRM's through the whole last cycle. The states before them are constants. The cotangent
//! of an application's input goes on to all that the input is the sum of; see `cotangents`. A stack that is applied several
//! times has the sum of its gradients.
//!
//! **Memory.** An application that has a gradient works in slots of its own and keeps its activations; all others share one
//! slot and overwrite it ([`Plan::slots`]). The code is the same for both. A plan may also keep the inputs alone: then the
//! backward pass computes the activations of one application after the other again.

use super::cotangents::Cotangents;
use super::sums::Sums;
use super::{heads_vjp, stack};
use crate::kernels::{EmbedVjp, Keep, Kernels, TrainKernels};
use crate::plan::{Application, BackwardPlan, Carry, Plan};

/// One forward pass, from the states `from` to the states `to`, which may be the same. With [`Keep::All`] the applications
/// that have a gradient keep their activations.
///
/// # Errors
/// Those of the kernels.
pub fn forward<K: Kernels>(
    k: &mut K,
    plan: &Plan,
    from: Carry,
    to: Carry,
    keep: Keep,
) -> Result<(), K::Error> {
    apply(k, plan, plan.applications(), from, to, keep)
}

/// The applications `apps`, the first of a pass, one after the other. What the next one starts from is left where its slots
/// say, as far as the last product could form it.
pub(super) fn apply<K: Kernels>(
    k: &mut K,
    plan: &Plan,
    apps: impl Iterator<Item = Application>,
    from: Carry,
    to: Carry,
    keep: Keep,
) -> Result<(), K::Error> {
    let mut z = from;
    let mut sums = Sums::default();
    for app in apps {
        let slots = plan.slots(&app, keep, to);
        sums.form(k, plan, &app, z, slots.x())?; // z_l + (z_h + emb), or z_h + z_l
        let plus = sums.formed_with(plan, &app, z, keep, to); // the next of these sums, formed with this result
        stack::forward(k, plan, &app, &slots, plus)?;
        z = z.with(app.state, slots.y());
    }
    Ok(())
}

/// The backward pass of a forward pass that kept its activations: from the cotangents of logits and Q values to every
/// gradient.
///
/// # Errors
/// Those of the kernels.
pub fn backward<K: TrainKernels>(k: &mut K, plan: &Plan, b: &BackwardPlan) -> Result<(), K::Error> {
    heads_vjp(k, plan, b)?;
    let mut d = Cotangents::of_result(b);
    for app in plan.applications().rev().take(plan.config.with_gradient()) {
        let slots = plan.kept_slots(&app, b);
        if plan.recomputes(&app) {
            stack::forward(k, plan, &app, &slots, None)?;
        }
        let [dy, dx] = d.through(&app);
        stack::backward(k, plan, b, &app, &slots, [dy, dx])?;
        d.hand_on(k, plan, &app, dx)?;
    }
    k.embed_vjp(&EmbedVjp {
        dy: d.of_embedding(),
        dpuzzle: b.dpuzzle,
        inputs: plan.current.inputs,
        tokens: plan.params.embed_tokens,
        positions: plan.params.embed_pos,
    })
}
