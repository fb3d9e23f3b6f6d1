//! The model: input embedding, nested cycles of H and L, the two heads, and one training step of all of it.
//!
//! | module | holds |
//! |---|---|
//! | [`recurrence`] | the nested cycles, their gradient and their memory |
//! | [`stack`], [`block`], [`mixer`] | what is applied in them |
//! | `cotangents` | what goes back from one application to the one before |
//! | `sums` | the sums that an application starts from, formed with the product before |
//! | [`bootstrap`] | the pass that the Q target comes from |
//! | [`train_step`] | an ACT step with its losses, the backward pass and the update |

pub mod block;
pub mod bootstrap;
mod cotangents;
pub mod mixer;
pub mod recurrence;
pub mod stack;
mod sums;
pub mod train_step;

use crate::arena::{Act, Stat};
use crate::kernels::{
    Argmax, Embed, Keep, Kernels, Linear, LinearVjpInput, LinearVjpWeight, QHead, TrainKernels, Write,
};
use crate::plan::{BackwardPlan, Plan};

/// Input embedding of the current puzzles into `plan.emb`.
///
/// # Errors
/// Those of the kernels.
pub fn embed<K: Kernels>(k: &mut K, plan: &Plan) -> Result<(), K::Error> {
    k.embed(&Embed {
        y: plan.emb,
        inputs: plan.current.inputs,
        puzzle_ids: plan.current.puzzle_ids,
        tokens: plan.params.embed_tokens,
        puzzles: plan.params.puzzle_emb,
        positions: plan.params.embed_pos,
    })
}

fn q_head_op(plan: &Plan, z_h: Act, q: Stat) -> QHead {
    QHead { q, z: z_h, w: plan.params.q_weight, bias: plan.params.q_bias }
}

/// Q values of the states `z_h` `[N, D]`, or of their first positions alone `[B, D]`, into `q` `[B, 2]`.
///
/// # Errors
/// Those of the kernels.
pub fn q_head<K: Kernels>(k: &mut K, plan: &Plan, z_h: Act, q: Stat) -> Result<(), K::Error> {
    k.q_head(&q_head_op(plan, z_h, q))
}

/// Logits of the carry into `plan.logits`.
///
/// # Errors
/// Those of the kernels.
pub fn lm_head<K: Kernels>(k: &mut K, plan: &Plan) -> Result<(), K::Error> {
    k.linear(&Linear { y: plan.logits, x: plan.carry.z_h, w: plan.params.lm_head })
}

/// Replaces the puzzles of halted rows by the incoming ones and resets their states.
///
/// # Errors
/// Those of the kernels.
pub fn refill<K: Kernels>(k: &mut K, plan: &Plan) -> Result<(), K::Error> {
    let (now, next) = (&plan.current, &plan.incoming);
    k.replace_rows(now.inputs, next.inputs, plan.halted)?;
    if !now.labels.is_empty() {
        k.replace_rows(now.labels, next.labels, plan.halted)?;
    }
    k.replace_rows(now.puzzle_ids, next.puzzle_ids, plan.halted)?;
    k.reset_rows(plan.carry.z_h, plan.params.h_init, plan.halted)?;
    k.reset_rows(plan.carry.z_l, plan.params.l_init, plan.halted)
}

/// One ACT step of inference: halted rows start on their incoming puzzles, every row does one forward pass;
/// logits, predictions and Q values follow. Who halts is the caller's decision, by a
/// [`HaltPolicy`](crate::halting::HaltPolicy), written to `plan.halted` before the next step.
///
/// # Errors
/// Those of the kernels.
pub fn act_step<K: Kernels>(k: &mut K, plan: &Plan) -> Result<(), K::Error> {
    refill(k, plan)?;
    embed(k, plan)?;
    recurrence::forward(k, plan, plan.carry, plan.carry, Keep::Nothing)?;
    lm_head(k, plan)?;
    k.argmax(&Argmax { predictions: plan.predictions, logits: plan.logits })?;
    q_head(k, plan, plan.carry.z_h, plan.q)
}

/// The backward passes of both heads: from the cotangents of logits and Q values to that of z_H, in `b.dy`.
fn heads_vjp<K: TrainKernels>(k: &mut K, plan: &Plan, b: &BackwardPlan) -> Result<(), K::Error> {
    let (w, z_h) = (plan.params.lm_head, plan.carry.z_h);
    k.linear_vjp_input(&LinearVjpInput { dx: b.dy, dy: b.dlogits, w, write: Write::Replace })?;
    k.linear_vjp_weight(&LinearVjpWeight { w, dy: b.dlogits, x: z_h, write: Write::Replace })?;
    k.q_head_vjp(&q_head_op(plan, z_h, b.dq), b.dy)
}
