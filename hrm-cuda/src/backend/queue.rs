//! Steps that are recorded once and replayed, and numbers that come back without anyone waiting for them.

use hrm_core::arena::{Ids, Stat};

use super::Cuda;
use crate::error::Error;
use crate::launch::{Fetch, Launcher, Queue, Recording};
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

impl<L: Launcher + Queue> Cuda<L> {
    /// Records what `calls` launches, which is then not done but noted: see [`Queue`]. Nothing in it may read or
    /// write memory, so [`begin_step`](hrm_core::kernels::TrainKernels::begin_step) stays outside, and every matrix
    /// product must have been launched before: run the step once, then record it.
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
