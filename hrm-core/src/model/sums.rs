//! The sums that applications start from, formed as early as can be.
//!
//! What an application gives is in a sum next, and the product that it comes from may form that, too ([`Plus`]): L's result
//! goes into its own next input, or into H's; H's goes into what is added to L's input throughout the next cycle,
//! `t = z_h + emb`. [`Kernels::add`] forms the rest: each cycle's first input of L, `z_l + t`, and the first `t`. Where blocks
//! overwrite `t` ([`Plan::blocks_overwrite_t`]), only H's input is formed early.

use crate::arena::Act;
use crate::kernels::{Keep, Kernels, Plus};
use crate::plan::{Application, Carry, Plan, State};

/// What is formed already.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    /// `t = z_h + emb`.
    t: bool,
    /// The input of the next application.
    x: bool,
}

impl Sums {
    /// Forms what `app` starts from in `x`, as far as it is not there: `z_l + (z_h + emb)` for L, `z_h + z_l` for H.
    pub fn form<K: Kernels>(
        &mut self,
        k: &mut K,
        plan: &Plan,
        app: &Application,
        z: Carry,
        x: Act,
    ) -> Result<(), K::Error> {
        let formed = core::mem::take(self);
        match app.state {
            State::L => {
                if !formed.t {
                    k.add(plan.t, z.z_h, plan.emb)?;
                }
                if !formed.x {
                    k.add(x, z.z_l, plan.t)?;
                }
                self.t = !plan.blocks_overwrite_t();
            }
            State::H => {
                if !formed.x {
                    k.add(x, z.z_h, z.z_l)?;
                }
            }
        }
        Ok(())
    }

    /// The sum that the last product of `app` forms with its result, for the application after it. `z` are the states before
    /// `app`.
    pub fn formed_with(
        &mut self,
        plan: &Plan,
        app: &Application,
        z: Carry,
        keep: Keep,
        to: Carry,
    ) -> Option<Plus> {
        let next = plan.config.application(app.index + 1)?;
        let x = plan.slots(&next, keep, to).x();
        match (app.state, next.state) {
            (State::L, State::H) => {
                self.x = true;
                Some(Plus { sum: x, b: z.z_h, keep: Keep::All })
            }
            _ if plan.blocks_overwrite_t() => None,
            (State::L, State::L) => {
                self.x = true;
                // Nobody but its vjp reads z_l itself.
                Some(Plus { sum: x, b: plan.t, keep: plan.slots(app, keep, to).keep })
            }
            (State::H, _) => {
                self.t = true;
                Some(Plus { sum: plan.t, b: plan.emb, keep: Keep::All })
            }
        }
    }
}
