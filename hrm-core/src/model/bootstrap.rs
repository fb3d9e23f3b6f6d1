//! The forward pass that bootstraps the Q target (paper, section 2, "Adaptive computational time").
//!
//! The Q head reads the first position of each sequence, and positions meet in what mixes the cells alone. So the last block
//! of the last application does no other positions behind that: its rows are B there, not N.

use super::mixer::{attention, channels, tokens};
use super::{q_head, recurrence};
use crate::kernels::{Keep, TrainKernels};
use crate::plan::{Application, BackwardPlan, CellParams, Plan};

/// Q values of the step after this one into `b.next_q`: those of a forward pass from the carry, without gradient. They have
/// the bits of those of a whole pass, where a row's bits do not depend on how many there are.
///
/// # Errors
/// Those of the kernels.
pub fn next_q<K: TrainKernels>(k: &mut K, plan: &Plan, b: &BackwardPlan) -> Result<(), K::Error> {
    let mut apps = plan.applications();
    let last = apps.next_back();
    recurrence::apply(k, plan, apps, plan.carry, b.target, Keep::Nothing)?;
    if let Some(last) = last {
        leading(k, plan, b, &last)?;
    }
    q_head(k, plan, b.leading.y, b.next_q)
}

/// The application `app`, of whose result only the first position of each sequence is made: in `b.leading.y` `[B, D]`.
fn leading<K: TrainKernels>(
    k: &mut K,
    plan: &Plan,
    b: &BackwardPlan,
    app: &Application,
) -> Result<(), K::Error> {
    let stack = plan.params.stack(app.state);
    let slots = plan.slots(app, Keep::Nothing, b.target);
    for (layer, w) in stack.blocks().enumerate() {
        let slot = slots.block(layer);
        if layer + 1 < stack.layers {
            super::block::forward(k, plan, &w, &slot, Keep::Nothing, None)?;
        } else {
            match w.cells {
                CellParams::Attention { qkv, o } => {
                    attention::mix(k, plan, qkv, &slot)?;
                    k.take_first(b.leading.x, slot.x)?;
                    k.take_first(b.leading.o, slot.o)?;
                    attention::project(k, plan, o, &b.leading)?;
                }
                CellParams::Tokens { gate_up, down } => {
                    tokens::forward(k, plan, (gate_up, down), &slot)?;
                    k.take_first(b.leading.y1, slot.y1)?;
                }
            }
            channels::forward(k, plan, &w, &b.leading, Keep::Nothing, None)?;
        }
        k.poll();
    }
    Ok(())
}
