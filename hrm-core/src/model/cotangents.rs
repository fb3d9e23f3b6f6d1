//! The cotangents that are alive between two applications on the way back.
//!
//! An application turns the cotangent `g` of its result into `dx`, that of its input, which is a sum: so `dx` goes on to each
//! summand. `z_h + z_l` hands it to both states, `z_l + (z_h + emb)` to both and to the embedding. Where a summand has a
//! cotangent already, from a later use, it gets the sum; where nothing with a gradient comes before it, none is formed.

use crate::arena::Act;
use crate::kernels::TrainKernels;
use crate::plan::{Application, BackwardPlan, Plan, State};

/// Where the cotangents of the states and of the embedding are, as far as there are any. Two of them may be in one place.
pub(super) struct Cotangents<'a> {
    b: &'a BackwardPlan,
    h: Option<Act>,
    l: Option<Act>,
    emb: Option<Act>,
}

impl<'a> Cotangents<'a> {
    /// Behind the last application: that of `z_h`, from the heads, in `b.dy`.
    pub const fn of_result(b: &'a BackwardPlan) -> Self {
        Self { b, h: Some(b.dy), l: None, emb: None }
    }

    /// The cotangent of the result of `app`, which nothing else needs afterwards, and a place for that of its input.
    pub fn through(&mut self, app: &Application) -> [Act; 2] {
        let taken = match app.state {
            State::H => self.h.take(),
            State::L => self.l.take(),
        };
        let dy = taken.unwrap_or(self.b.dy);
        [dy, if self.is_alive(dy) { self.free(dy) } else { dy }]
    }

    /// Hands `dx`, the cotangent of the input of `app`, to what the input is the sum of.
    pub fn hand_on<K: TrainKernels>(
        &mut self,
        k: &mut K,
        plan: &Plan,
        app: &Application,
        dx: Act,
    ) -> Result<(), K::Error> {
        let wanted = |state| app.follows_kept(&plan.config, state);
        if wanted(State::H) {
            self.h = Some(self.sum(k, self.h, dx)?);
        }
        if wanted(State::L) {
            self.l = Some(self.sum(k, self.l, dx)?);
        }
        if app.state == State::L {
            self.emb = Some(self.sum(k, self.emb, dx)?);
        }
        Ok(())
    }

    /// The cotangent of the embedding, when all applications are done.
    pub fn of_embedding(&self) -> Act {
        self.emb.unwrap_or(self.b.dy)
    }

    fn sum<K: TrainKernels>(&self, k: &mut K, before: Option<Act>, dx: Act) -> Result<Act, K::Error> {
        let Some(before) = before else { return Ok(dx) };
        let sum = self.free(dx);
        k.add(sum, before, dx)?;
        Ok(sum)
    }

    fn is_alive(&self, place: Act) -> bool {
        [self.h, self.l, self.emb].contains(&Some(place))
    }

    /// A place that holds no cotangent, and is not `busy`. The plan has enough of them.
    fn free(&self, busy: Act) -> Act {
        let mut places = self.b.cotangent_places();
        places.find(|place| *place != busy && !self.is_alive(*place)).unwrap_or(busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, GradientSpan};
    use crate::plan::Mode;

    /// Every span of every number of cycles finds its places: none is written while another cotangent is in it.
    #[test]
    fn there_are_places_enough() {
        for (h_cycles, l_cycles) in [(1, 1), (1, 4), (2, 2), (3, 1), (3, 3)] {
            for n in 2..=h_cycles * (l_cycles + 1) {
                let gradient = GradientSpan::Applications(n);
                let config = Config { h_cycles, l_cycles, gradient, ..Config::SUDOKU_EXTREME };
                let plan = Plan::new(&config, 1, Mode::Training).unwrap();
                let b = plan.backward.unwrap();
                let mut d = Cotangents::of_result(&b);
                for app in plan.applications().rev().take(n) {
                    let [_, dx] = d.through(&app);
                    assert!(!d.is_alive(dx), "{n} of {h_cycles} {l_cycles}");
                    let parts: &mut [(bool, &str)] = &mut [
                        (app.follows_kept(&config, State::H), "h"),
                        (app.follows_kept(&config, State::L), "l"),
                        (app.state == State::L, "emb"),
                    ];
                    for (_, part) in parts.iter().filter(|(wanted, _)| *wanted) {
                        let before = match *part {
                            "h" => d.h,
                            "l" => d.l,
                            _ => d.emb,
                        };
                        let place = if before.is_some() { d.free(dx) } else { dx };
                        assert!(before.is_none() || (place != dx && !d.is_alive(place)), "{part} {n}");
                        match *part {
                            "h" => d.h = Some(place),
                            "l" => d.l = Some(place),
                            _ => d.emb = Some(place),
                        }
                    }
                }
                assert!(d.emb.is_some());
            }
        }
    }
}
