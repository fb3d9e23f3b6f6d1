//! Training steps that a device has recorded once and replays, several under way at a time.

use std::collections::VecDeque;

use hrm_core::arena::{Ids, Stat};
use hrm_core::kernels::TrainKernels;
use hrm_core::model::train_step::{TrainConfig, gradients, update};
use hrm_core::optim::StepScalars;
use hrm_core::plan::{BackwardPlan, Plan};
use hrm_cuda::backend::{Cuda, Fetched, Values};
use hrm_cuda::error::Error;
use hrm_cuda::launch::{Queue, Recording};
use hrm_cuda::ops::fault::Fault;

use super::{Incoming, StepEnd, TrainSteps, feed};
use crate::row_metrics::RowOutcome;

/// Steps as one recorded sequence: forward and backward pass, the look for what is not finite, and the update, which
/// the device leaves out if there is any. Batches and scalars go up behind the step before, metrics come down behind
/// their own step, and the host waits for neither.
#[derive(Debug)]
pub struct Recorded {
    plan: Plan,
    step: Recording,
    stats: [Stat; 3],
    ids: [Ids; 4],
    under_way: VecDeque<Fetched>,
}

impl<L: Queue> TrainSteps<Cuda<L>> for Recorded {
    /// One that runs, one that waits, and one whose numbers are on their way.
    const MOST: usize = 3;

    fn new(
        backend: &mut Cuda<L>,
        plan: &Plan,
        backward: &BackwardPlan,
        train: &TrainConfig,
    ) -> Result<Self, Error> {
        let step = backend.record(|k| {
            gradients(k, plan, backward, train)?;
            k.check_finite(backward)?;
            update(k, plan, backward, train)
        })?;
        Ok(Self {
            plan: *plan,
            step,
            stats: [plan.q, backward.lm_loss, backward.q_losses],
            ids: [plan.halted, plan.steps, backward.valid, backward.correct],
            under_way: VecDeque::new(),
        })
    }

    fn start(
        &mut self,
        backend: &mut Cuda<L>,
        batch: Incoming<'_>,
        scalars: &StepScalars,
    ) -> Result<(), Error> {
        feed(backend, &self.plan, batch)?;
        backend.begin_step(scalars)?;
        backend.replay(self.step)?;
        self.under_way.push_back(backend.fetch(&self.stats, &self.ids)?);
        Ok(())
    }

    fn finish(&mut self, backend: &mut Cuda<L>, wait: bool) -> Result<Option<StepEnd>, Error> {
        let Some(oldest) = self.under_way.pop_front() else { return Ok(None) };
        if !wait && !backend.arrived(&oldest)? {
            self.under_way.push_front(oldest);
            return Ok(None);
        }
        match backend.collect(oldest) {
            Ok(values) => Ok(Some(StepEnd::Done(rows(self.plan.batch, &values)))),
            Err(Error::Fault(Fault::NotFinite)) => {
                while let Some(later) = self.under_way.pop_front() {
                    let _same = backend.collect(later);
                }
                // Clears the fault, so that the arenas can be looked at.
                match backend.wait() {
                    Ok(()) | Err(Error::Fault(_)) => Ok(Some(StepEnd::NotFinite)),
                    Err(error) => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }
}

/// The outcomes of a step's rows, from the spans that [`Recorded`] fetches, in their order.
fn rows(batch: usize, values: &Values) -> Vec<RowOutcome> {
    let (q, losses) = values.stats.split_at(2 * batch);
    let (lm_loss, q_losses) = losses.split_at(batch);
    let id = |which: usize, row: usize| values.ids[which * batch + row];
    (0..batch)
        .map(|row| RowOutcome {
            halted: id(0, row) != 0,
            steps: id(1, row),
            valid: id(2, row),
            correct: id(3, row),
            q_halt: f64::from(q[2 * row]),
            lm_loss: f64::from(lm_loss[row]),
            q_halt_loss: f64::from(q_losses[2 * row]),
            q_continue_loss: f64::from(q_losses[2 * row + 1]),
        })
        .collect()
}
