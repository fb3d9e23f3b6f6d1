//! Training steps one by one.

use hrm_core::kernels::TrainKernels;
use hrm_core::model::train_step::{TrainConfig, gradients, update};
use hrm_core::optim::StepScalars;
use hrm_core::plan::{BackwardPlan, Plan};

use super::{Incoming, StepEnd, TrainSteps, feed};
use crate::row_metrics::trained_rows;
use crate::train::guard;

/// Steps that are done when [`start`](TrainSteps::start) returns: for backends in the host's own memory.
#[derive(Clone, Debug)]
pub struct Immediate {
    plan: Plan,
    backward: BackwardPlan,
    train: TrainConfig,
    end: Option<StepEnd>,
}

impl<K: TrainKernels> TrainSteps<K> for Immediate {
    const MOST: usize = 1;

    fn new(_: &mut K, plan: &Plan, backward: &BackwardPlan, train: &TrainConfig) -> Result<Self, K::Error> {
        Ok(Self { plan: *plan, backward: *backward, train: *train, end: None })
    }

    fn start(&mut self, backend: &mut K, batch: Incoming<'_>, scalars: &StepScalars) -> Result<(), K::Error> {
        let Self { plan, backward, train, end } = self;
        feed(backend, plan, batch)?;
        backend.begin_step(scalars)?;
        gradients(backend, plan, backward, train)?;
        let rows = trained_rows(backend, plan, backward)?;
        let losses = rows.iter().map(|row| row.lm_loss + row.q_halt_loss + row.q_continue_loss);
        let finite = losses.sum::<f64>().is_finite() && guard::find_bad_gradient(backend, plan)?.is_none();
        if finite {
            update(backend, plan, backward, train)?;
        }
        *end = Some(if finite { StepEnd::Done(rows) } else { StepEnd::NotFinite });
        Ok(())
    }

    fn finish(&mut self, _: &mut K, _wait: bool) -> Result<Option<StepEnd>, K::Error> {
        Ok(self.end.take())
    }
}
