//! The order of a forward pass: which stack is applied to what, one application after the other.
//!
//! ```text
//! H_cycles times { L_cycles times { z_l = L(z_l + (z_h + emb)) }, z_h = H(z_h + z_l) }
//! ```
//!
//! The gradient runs through the last [`with_gradient`](crate::config::Config::with_gradient) applications (HRM, section 2,
//! "Approximate gradient"; TRM, section 4.1): what comes before them only moves the states, and is a constant.

use super::{Carry, Plan};
use crate::arena::Act;
use crate::config::{Config, GradientSpan, Stacks};
use crate::kernels::Write;

/// One of the two recurrent states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// z_H, that of the planner.
    H,
    /// z_L, that of the executor.
    L,
}

/// One application of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Application {
    /// Its place in the pass, from 0.
    pub index: usize,
    /// The state that it makes anew.
    pub state: State,
    /// Its place among the applications with a gradient, from 0; none has no gradient.
    pub kept: Option<usize>,
}

impl Config {
    /// Applications of a stack in one forward pass: `H_cycles (L_cycles + 1)`.
    #[must_use]
    pub const fn applications(&self) -> usize {
        self.h_cycles * (self.l_cycles + 1)
    }

    /// How many of them, the last ones, have a gradient.
    #[must_use]
    pub const fn with_gradient(&self) -> usize {
        match self.gradient {
            GradientSpan::Applications(n) => n,
            GradientSpan::Cycle => self.l_cycles + 1,
        }
    }

    /// Application `index` of a forward pass, if it has so many.
    #[must_use]
    pub const fn application(&self, index: usize) -> Option<Application> {
        let all = self.applications();
        if index >= all {
            return None;
        }
        // A cycle has one application at least, but the compiler cannot know.
        let state = match index.checked_rem(self.l_cycles.saturating_add(1)) {
            Some(place) if place < self.l_cycles => State::L,
            _ => State::H,
        };
        Some(Application { index, state, kept: index.checked_sub(all - self.with_gradient()) })
    }

    /// The application with a gradient of place `kept`, if there are so many.
    pub(super) const fn kept_application(&self, kept: usize) -> Option<Application> {
        self.application(self.applications() - self.with_gradient() + kept)
    }

    /// Blocks that one forward pass applies.
    #[must_use]
    pub const fn blocks(&self) -> usize {
        self.h_cycles * (self.l_cycles * self.layers(State::L) + self.layers(State::H))
    }

    /// Blocks that the backward pass goes through.
    #[must_use]
    pub const fn blocks_with_gradient(&self) -> usize {
        let (mut kept, mut blocks) = (0, 0);
        while let Some(app) = self.kept_application(kept) {
            blocks += self.layers(app.state);
            kept += 1;
        }
        blocks
    }

    /// Blocks of the stack that makes `state`.
    #[must_use]
    pub const fn layers(&self, state: State) -> usize {
        match (state, self.stacks) {
            (State::H, Stacks::Separate) => self.h_layers,
            _ => self.l_layers,
        }
    }
}

impl Application {
    /// Whether an earlier application with a gradient makes `state`, so that its cotangent is wanted.
    pub(crate) fn follows_kept(&self, config: &Config, state: State) -> bool {
        (0..self.kept.unwrap_or(0))
            .any(|kept| config.kept_application(kept).is_some_and(|earlier| earlier.state == state))
    }

    /// Whether a later application makes the same state anew, so that this one's result has no place in the carry.
    pub(super) const fn is_overwritten(&self, config: &Config) -> bool {
        let mut index = self.index + 1;
        while let Some(later) = config.application(index) {
            if matches!((self.state, later.state), (State::H, State::H) | (State::L, State::L)) {
                return true;
            }
            index += 1;
        }
        false
    }
}

impl Plan {
    /// The applications of a forward pass, in order.
    pub fn applications(&self) -> impl DoubleEndedIterator<Item = Application> + ExactSizeIterator + use<> {
        let config = self.config;
        // The number is checked: there is one for each index.
        (0..config.applications()).map(move |index| Application {
            index,
            state: match config.application(index) {
                Some(application) => application.state,
                None => State::H,
            },
            kept: index.checked_sub(config.applications() - config.with_gradient()),
        })
    }

    /// What becomes of a gradient of the stack of `app`: the backward pass goes from the last application to the first, so
    /// the last one of a stack comes first and replaces, and the others add.
    #[must_use]
    pub fn write(&self, app: &Application) -> Write {
        let level = self.params.stack(app.state).level;
        let later = self.applications().skip(app.index + 1);
        if later.into_iter().any(|later| self.params.stack(later.state).level == level) {
            Write::Accumulate
        } else {
            Write::Replace
        }
    }
}

impl Carry {
    /// One of the states.
    #[must_use]
    pub const fn get(&self, state: State) -> Act {
        match state {
            State::H => self.z_h,
            State::L => self.z_l,
        }
    }

    /// The same with `z` for one of the states.
    #[must_use]
    pub const fn with(self, state: State, z: Act) -> Self {
        match state {
            State::H => Self { z_h: z, ..self },
            State::L => Self { z_l: z, ..self },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Mode;
    use std::vec::Vec;

    #[test]
    fn a_pass_is_nested_cycles_of_which_the_last_two_applications_are_kept() {
        use State::{H, L};
        let config = Config { h_cycles: 2, l_cycles: 3, ..Config::SUDOKU_EXTREME };
        let plan = Plan::new(&config, 1, Mode::Training).unwrap();
        let states: Vec<State> = plan.applications().map(|app| app.state).collect();
        assert_eq!(states, [L, L, L, H, L, L, L, H]);
        let kept: Vec<Option<usize>> = plan.applications().map(|app| app.kept).collect();
        assert_eq!(kept[5..], [None, Some(0), Some(1)]);
        assert_eq!(plan.applications().map(|app| app.index).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert!(plan.applications().all(|app| config.application(app.index) == Some(app)));
        assert_eq!(config.application(8), None);
        // Each stack has one application with a gradient.
        let last: Vec<Application> = plan.applications().skip(6).collect();
        assert!(last.iter().all(|app| plan.write(app) == Write::Replace && !app.is_overwritten(&config)));
        assert!(plan.applications().take(5).all(|app| app.is_overwritten(&config)));
    }

    #[test]
    fn one_stack_for_both_states_has_the_sum_of_its_gradients() {
        let config = Config { l_cycles: 2, ..Config::TRM_SUDOKU };
        let plan = Plan::new(&config, 1, Mode::Training).unwrap();
        let kept: Vec<Application> = plan.applications().filter(|app| app.kept.is_some()).collect();
        assert_eq!(kept.iter().map(|app| app.state).collect::<Vec<_>>(), [State::L, State::L, State::H]);
        let writes: Vec<Write> = kept.iter().map(|app| plan.write(app)).collect();
        assert_eq!(writes, [Write::Accumulate, Write::Accumulate, Write::Replace]);
        // A cycle begins with constants.
        assert!(kept.iter().all(|app| !app.follows_kept(&config, State::H)));
        assert!(kept[2].follows_kept(&config, State::L) && !kept[0].follows_kept(&config, State::L));
    }
}
