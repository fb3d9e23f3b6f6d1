//! Steps that are recorded once and replayed, and numbers that come back without anyone waiting for them.

use hrm_core::arena::{Ids, Stat};
use hrm_core::kernels::TrainKernels;
use hrm_core::loss::LossKind;
use hrm_core::model;
use hrm_core::model::train_step::{self, TrainConfig};
use hrm_core::optim::{AdamAtan2, Average, SignSgd};
use hrm_core::plan::Plan;

use super::{Cuda, Precision};
use crate::error::Error;
use crate::launch::{Fetch, Queue, Recording};
use crate::ops::fault::{self, Fault};

/// Numbers on their way to the host.
#[derive(Debug)]
pub struct Fetched {
    fetch: Fetch,
    stats: usize,
}

/// Numbers that have arrived, in the order in which they were asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values {
    /// Of the statistics.
    pub stats: Vec<f32>,
    /// Of the integers.
    pub ids: Vec<i32>,
}

impl<L: Queue> Cuda<L> {
    /// A backend for `plan` as [`new`](Self::new) makes it, with every kernel of the plan loaded and every product
    /// tried: a training step, or an ACT step of inference, is rehearsed. So the first step is as fast as the others
    /// and can be recorded.
    ///
    /// # Errors
    /// As [`new`](Self::new), or a kernel does not compile.
    pub fn rehearsed(launcher: L, plan: &Plan, precision: Precision) -> Result<Self, Error> {
        let mut k = Self::new(launcher, plan, precision)?;
        k.launcher.rehearse(true)?;
        // What is launched depends on the plan alone, not on the numbers.
        let result = match &plan.backward {
            Some(b) => {
                let train = TrainConfig {
                    loss: LossKind::Stablemax,
                    adam: AdamAtan2 { beta1: 0.9, beta2: 0.95, weight_decay: 0.0 },
                    puzzle_emb: SignSgd { weight_decay: 0.0 },
                    average: plan.averages.then_some(Average { rate: 0.5 }),
                    global_batch_size: plan.batch,
                };
                train_step::gradients(&mut k, plan, b, &train)
                    .and_then(|()| k.check_finite(b))
                    .and_then(|()| train_step::update(&mut k, plan, b, &train))
                    .and_then(|()| match plan.averages {
                        true => k.swap_averages(plan.params.trained),
                        false => Ok(()),
                    })
            }
            None => model::act_step(&mut k, plan),
        };
        k.launcher.rehearse(false)?;
        result?;
        k.clear()?;
        Ok(k)
    }

    /// Records what `calls` launches, which is then not done but noted: see [`Queue`]. Nothing in it may read or
    /// write memory, so [`begin_step`](hrm_core::kernels::TrainKernels::begin_step) stays outside, and all of it must
    /// have been launched or [`rehearsed`](Self::rehearsed) before.
    ///
    /// # Errors
    /// Those of `calls`, or the device fails.
    pub fn record(&mut self, calls: impl FnOnce(&mut Self) -> Result<(), Error>) -> Result<Recording, Error> {
        self.launcher.record()?;
        let result = calls(self);
        // Recording ends in either case: a launcher that still records would be of no use.
        let recording = self.launcher.finish();
        result.and(recording)
    }

    /// Launches what was recorded, with whatever the arenas hold now.
    ///
    /// # Errors
    /// The device fails.
    pub fn replay(&mut self, recording: Recording) -> Result<(), Error> {
        self.launcher.replay(recording)
    }

    /// Starts a copy of statistics and integers to the host, as they are when everything launched so far is done.
    ///
    /// # Errors
    /// A span lies outside its arena, or the device fails.
    pub fn fetch(&mut self, stats: &[Stat], ids: &[Ids]) -> Result<Fetched, Error> {
        let mut ranges = vec![(self.fault(), fault::BYTES)];
        for span in stats {
            ranges.push((self.stat(*span)?, 4 * span.len()));
        }
        for span in ids {
            ranges.push((self.ids(*span)?, 4 * span.len()));
        }
        let stats = stats.iter().map(Stat::len).sum();
        Ok(Fetched { fetch: self.launcher.fetch(&ranges)?, stats })
    }

    /// Whether the numbers have arrived.
    ///
    /// # Errors
    /// The device fails.
    pub fn arrived(&mut self, fetched: &Fetched) -> Result<bool, Error> {
        self.launcher.arrived(&fetched.fetch)
    }

    /// The numbers, waited for if they have not arrived.
    ///
    /// # Errors
    /// A kernel had found a fault by then, or the device fails.
    pub fn collect(&mut self, fetched: Fetched) -> Result<Values, Error> {
        let bytes = self.launcher.collect(fetched.fetch)?;
        let (word, values) = bytes.split_at(fault::BYTES);
        let mut code = [0; fault::BYTES];
        code.copy_from_slice(word);
        if let Some(found) = Fault::decode(code) {
            return Err(Error::Fault(found));
        }
        let (stats, ids) = values.split_at(4 * fetched.stats);
        Ok(Values {
            stats: bytemuck::allocation::pod_collect_to_vec(stats),
            ids: bytemuck::allocation::pod_collect_to_vec(ids),
        })
    }
}
