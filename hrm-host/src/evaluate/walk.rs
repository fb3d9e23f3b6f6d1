//! Every view of every chosen example through the model, row by row.

use std::cell::RefCell;
use std::collections::HashMap;

use hrm_core::halting::HaltPolicy;
use hrm_core::kernels::Kernels;
use hrm_core::plan::Plan;

use super::sample::Example;
use crate::data::Dataset;
use crate::error::{Error, Kind, Result};
use crate::runner::{self, Place, RowStep};
use crate::views::View;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Walk<'a> {
    /// Where the examples are.
    pub dataset: &'a Dataset,
    /// Which of them.
    pub chosen: &'a [Example],
    /// The views of each; the first is the example as it is.
    pub views: &'a [View],
    /// Whether each row's logits are read back.
    pub with_logits: bool,
}

/// One view of one example after one ACT step.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// The example, by its place among the chosen ones.
    pub puzzle: usize,
    /// The view.
    pub view: usize,
    /// What the model says, in the view's terms.
    pub now: RowStep<'a>,
    /// The labels, in the view's terms.
    pub labels: &'a [i32],
}

impl Walk<'_> {
    /// Runs them until they halt by `policy`; `report` hears of every row after every ACT step.
    ///
    /// # Errors
    /// Those of the backend, the dataset and `report`.
    pub fn run<K>(
        &self,
        backend: &mut K,
        plan: &Plan,
        policy: &dyn HaltPolicy,
        mut report: impl FnMut(&[Row<'_>]) -> Result<()>,
    ) -> Result<()>
    where
        K: Kernels<Error: Send + Sync + 'static>,
    {
        let seq_len = plan.config.seq_len;
        let count = self.views.len();
        let jobs = self.chosen.len() * count;
        // Labels of the rows in flight.
        let labels: RefCell<HashMap<usize, Vec<i32>>> = RefCell::default();
        let (mut question, mut answer) = (vec![0; seq_len], vec![0; seq_len]);
        let mut next = 0;
        let feed = |place: Place<'_>| -> Result<Option<usize>> {
            if next >= jobs {
                return Ok(None);
            }
            let Example { set, example } = self.chosen[next / count];
            *place.puzzle_id = self.dataset.read(set, example, &mut question, &mut answer)?;
            let view = &self.views[next % count];
            let mut shown = vec![0; seq_len];
            view.show(&question, place.inputs);
            view.show(&answer, &mut shown);
            labels.borrow_mut().insert(next, shown);
            next += 1;
            Ok(Some(next - 1))
        };
        runner::run(backend, plan, policy, self.with_logits, feed, |steps| {
            let mut in_flight = labels.borrow_mut();
            let rows: Vec<Row<'_>> = steps
                .iter()
                .filter_map(|now| {
                    let labels = in_flight.get(&now.puzzle)?;
                    Some(Row { puzzle: now.puzzle / count, view: now.puzzle % count, now: *now, labels })
                })
                .collect();
            report(&rows)?;
            steps.iter().filter(|now| now.halted).for_each(|now| drop(in_flight.remove(&now.puzzle)));
            Ok(())
        })
    }
}

/// What ends a walk early, at the wish of whoever watches it.
#[must_use]
pub fn stopped() -> Error {
    Error::interrupted("the evaluation was stopped")
}

/// What a walk came to, or `None` if it was [`stopped`].
///
/// # Errors
/// That of the walk, if it is another one.
pub fn unless_stopped(ran: Result<()>) -> Result<Option<()>> {
    match ran {
        Ok(()) => Ok(Some(())),
        Err(error) if error.kind() == Kind::Interrupted => Ok(None),
        Err(error) => Err(error),
    }
}
