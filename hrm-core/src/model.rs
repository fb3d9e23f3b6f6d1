//! The inner model: nested cycles of H and L, the two heads, and the one-step gradient (paper, section 2).

use crate::arena::{Act, Stat};
use crate::kernels::{Argmax, Embed, EmbedVjp, Kernels, Linear, Plus, QHead, TrainKernels};
use crate::level;
use crate::plan::{BackwardPlan, Carry, Keep, Level, Plan};

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

/// One forward pass: `H_cycles` times `L_cycles` of L and one of H, from the states `from` to the states `to`,
/// which may be the same.
///
/// ```text
/// z_l = L(z_l + (z_h + emb))        L_cycles times, then
/// z_h = H(z_h + z_l)
/// ```
///
/// With [`Keep::All`] the last application of each level keeps its activations: the only ones that get a
/// gradient.
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
    to_last_h(k, plan, from, to, keep)?;
    level::forward(k, plan, Level::H, keep, to.z_h, None)
}

/// A forward pass up to the last application of H, whose input is left where [`level::input`] says.
///
/// What an application gives is in a sum next, and the product that it comes from may form that, too ([`Plus`]): L's is in its
/// own next input, or in H's; H's is in what is added to L's input throughout the next cycle, `t = z_h + emb`. What is left to
/// [`Kernels::add`] is each cycle's first input of L, `z_l + t`, and the first `t`. A plan whose blocks overwrite `t` forms only
/// H's input that way.
fn to_last_h<K: Kernels>(k: &mut K, plan: &Plan, from: Carry, to: Carry, keep: Keep) -> Result<(), K::Error> {
    let (h_cycles, l_cycles) = (plan.config.h_cycles, plan.config.l_cycles);
    let Carry { mut z_h, mut z_l } = from;
    let overwritten = plan.blocks_overwrite_t();
    for h in 0..h_cycles {
        let kept = |last| if last && h + 1 == h_cycles { keep } else { Keep::Nothing };
        let l_input = |l| level::input(plan, Level::L, kept(l + 1 == l_cycles), to.z_l);
        let h_input = level::input(plan, Level::H, kept(true), to.z_h);
        for l in 0..l_cycles {
            if (h == 0 && l == 0) || overwritten {
                k.add(plan.t, z_h, plan.emb)?;
            }
            if l == 0 || overwritten {
                k.add(l_input(l), z_l, plan.t)?;
            }
            let last = l + 1 == l_cycles;
            let plus = if last {
                Some(Plus { sum: h_input, b: z_h, keep: true })
            } else if overwritten {
                None
            } else {
                // Nobody reads z_l itself.
                Some(Plus { sum: l_input(l + 1), b: plan.t, keep: false })
            };
            level::forward(k, plan, Level::L, kept(last), to.z_l, plus)?;
            z_l = to.z_l;
        }
        if h + 1 < h_cycles {
            let plus = (!overwritten).then_some(Plus { sum: plan.t, b: plan.emb, keep: true });
            level::forward(k, plan, Level::H, Keep::Nothing, to.z_h, plus)?;
            z_h = to.z_h;
        }
    }
    Ok(())
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

/// Q values of the step after this one into `b.next_q`: those of a forward pass from the carry, without gradient.
///
/// The Q head reads the first position of each sequence, so nothing else is finished: see [`level::forward_first`]. The
/// values have the bits of those of a whole pass, where a row's bits do not depend on how many there are.
///
/// # Errors
/// Those of the kernels.
pub fn next_q<K: TrainKernels>(k: &mut K, plan: &Plan, b: &BackwardPlan) -> Result<(), K::Error> {
    to_last_h(k, plan, plan.carry, b.target, Keep::Nothing)?;
    level::forward_first(k, plan, b, Level::H)?;
    q_head(k, plan, b.first.y, b.next_q)
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
/// [`HaltPolicy`](crate::act::HaltPolicy), written to `plan.halted` before the next step.
///
/// # Errors
/// Those of the kernels.
pub fn act_step<K: Kernels>(k: &mut K, plan: &Plan) -> Result<(), K::Error> {
    refill(k, plan)?;
    embed(k, plan)?;
    forward(k, plan, plan.carry, plan.carry, Keep::Nothing)?;
    lm_head(k, plan)?;
    k.argmax(&Argmax { predictions: plan.predictions, logits: plan.logits })?;
    q_head(k, plan, plan.carry.z_h, plan.q)
}

/// The backward pass of a forward pass that kept its activations: from the cotangents of logits and Q values
/// to every gradient. The carry before the last cycle is a constant (one-step gradient), so the cotangent of
/// H's input goes on as that of L's result, and the cotangent of L's input as that of the embedding.
///
/// # Errors
/// Those of the kernels.
pub fn backward<K: TrainKernels>(k: &mut K, plan: &Plan, b: &BackwardPlan) -> Result<(), K::Error> {
    let p = &plan.params;
    k.linear_vjp_input(b.dy, b.dlogits, p.lm_head, false)?;
    k.linear_vjp_weight(p.lm_head, b.dlogits, plan.carry.z_h)?;
    k.q_head_vjp(&q_head_op(plan, plan.carry.z_h, b.dq), b.dy)?;
    level::backward(k, plan, b, Level::H, plan.carry.z_h)?;
    level::backward(k, plan, b, Level::L, plan.carry.z_l)?;
    k.embed_vjp(&EmbedVjp {
        dy: b.dy,
        dpuzzle: b.dpuzzle,
        inputs: plan.current.inputs,
        tokens: p.embed_tokens,
        positions: p.embed_pos,
    })
}
