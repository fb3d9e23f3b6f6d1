//! Training order: that of the published loader, with every choice a function of a seed and a [`Cursor`].
//!
//! An *iteration* covers `epochs_per_iteration` epochs. In it each set is taken in turn: its groups are shuffled once
//! for every epoch and the epochs joined end to end; each group gives one random puzzle, and that gives as many of
//! its examples, without replacement, as the batch still has room for. What does not fill a batch at the end of the
//! set is dropped. The published loader draws the examples from an unseeded generator; here all draws are seeded.

pub use super::batch::{Batch, Example, TestBatches};

use super::dataset::{Dataset, Set};
use super::error::{Error, Result};
use hrm_core::rng::{Rng, Stream};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// Alters an example as it enters a batch.
pub trait Augment: fmt::Debug + Send + Sync {
    /// Alters `inputs` and `labels` in place, both of `seq_len` tokens, with draws from `rng` only.
    fn augment(&self, rng: Rng, inputs: &mut [i32], labels: &mut [i32]);
}

/// What decides the order. To resume, the same options and the same dataset are needed beside the cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SamplerOptions {
    /// The seed of all choices.
    pub seed: u64,
    /// Rows of every batch.
    pub batch_size: usize,
    /// Epochs joined end to end, at least 1; the published program takes the epochs between two evaluations.
    pub epochs_per_iteration: u64,
}

/// Where the sampler stands between two batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Iterations finished.
    pub iteration: u64,
    /// The set in hand.
    pub set: u32,
    /// Groups of this set taken in this iteration, over all its epochs.
    pub position: u64,
}

/// Gives training batches without end.
#[derive(Debug)]
pub struct Sampler {
    dataset: Arc<Dataset>,
    options: SamplerOptions,
    augment: Option<Box<dyn Augment>>,
    cursor: Cursor,
    order: Option<Order>,
    /// Indices within a puzzle, for the choice without replacement.
    choice: Vec<usize>,
}

/// The shuffled groups of one set in one epoch.
#[derive(Debug)]
struct Order {
    set: u32,
    epoch: u64,
    /// The key of this epoch's draws, and the key of its augmentations.
    keys: [u64; 2],
    groups: Vec<u32>,
}

impl Order {
    fn new(seed: u64, set_index: u32, epoch: u64, set: &Set) -> Self {
        let keys = [Stream::Sampler, Stream::Augment]
            .map(|stream| Rng::new(seed, stream, set_index).at(epoch.wrapping_mul(2)).next_u64());
        let mut groups: Vec<u32> = (0..u32::try_from(set.groups()).unwrap_or(u32::MAX)).collect();
        Rng::new(keys[0], Stream::Sampler, 0).shuffle(&mut groups);
        Self { set: set_index, epoch, keys, groups }
    }
}

impl Sampler {
    /// Starts at the first batch.
    ///
    /// # Errors
    /// [`Error::Argument`] if a batch has no rows or an iteration no epochs.
    pub fn new(dataset: Arc<Dataset>, options: SamplerOptions) -> Result<Self> {
        if options.batch_size == 0 {
            return Err(Error::argument("batch size", 0, "at least 1"));
        }
        if options.epochs_per_iteration == 0 {
            return Err(Error::argument("epochs per iteration", 0, "at least 1"));
        }
        let cursor = Cursor::default();
        Ok(Self { dataset, options, augment: None, cursor, order: None, choice: Vec::new() })
    }

    /// The same sampler, with every example altered by `augment` on its way.
    #[must_use]
    pub fn with_augment(mut self, augment: Box<dyn Augment>) -> Self {
        self.augment = Some(augment);
        self
    }

    /// Where it stands: [`Self::restore`] with this goes on with the batch that comes next.
    #[must_use]
    pub const fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Goes to `cursor`, in constant time for every cursor.
    ///
    /// # Errors
    /// [`Error::Argument`] if this dataset has no such place.
    pub fn restore(&mut self, cursor: Cursor) -> Result<()> {
        let sets = self.dataset.sets();
        let end = sets.get(cursor.set as usize).map(|set| self.positions(set));
        if end.is_none_or(|end| cursor.position > end) {
            let expected = match end {
                Some(end) => format!("a position up to {end}"),
                None => format!("a set below {}", sets.len()),
            };
            return Err(Error::argument("data cursor", format!("{cursor:?}"), expected));
        }
        self.cursor = cursor;
        Ok(())
    }

    /// Epochs finished, counting a part of an epoch of the set in hand as that part.
    #[must_use]
    pub fn epochs(&self) -> f64 {
        let groups = |sets: &[Set]| sets.iter().map(Set::groups).sum::<usize>() as f64;
        let sets = self.dataset.sets();
        let before = groups(sets.get(..self.cursor.set as usize).unwrap_or_default());
        let each = self.options.epochs_per_iteration as f64;
        let part = (before * each + self.cursor.position as f64) / groups(sets).max(1.0);
        self.cursor.iteration as f64 * each + part
    }

    /// Groups of `set` in one iteration.
    fn positions(&self, set: &Set) -> u64 {
        (set.groups() as u64).saturating_mul(self.options.epochs_per_iteration)
    }

    /// Fills `batch` with the next examples. The cursor moves only if this succeeds.
    ///
    /// # Errors
    /// As [`Dataset::read`]; [`Error::Argument`] if `batch` is not one of this sampler's, or if the dataset is too
    /// small to fill a batch in a whole iteration.
    pub fn next_batch(&mut self, batch: &mut Batch) -> Result<()> {
        if batch.batch_size() != self.options.batch_size {
            let expected = format!("{}, the sampler's", self.options.batch_size);
            return Err(Error::argument("rows of the batch", batch.batch_size(), expected));
        }
        let dataset = Arc::clone(&self.dataset);
        let mut cursor = self.cursor;
        let mut sets_left = dataset.sets().len() + 1;
        loop {
            let Some(set) = dataset.sets().get(cursor.set as usize) else {
                cursor = Cursor { iteration: cursor.iteration.wrapping_add(1), set: 0, position: 0 };
                continue;
            };
            if self.fill(set, &mut cursor, batch)? {
                self.cursor = cursor;
                return Ok(());
            }
            // The rest of the set did not fill a batch. Once round all sets from their starts, and nothing ever will.
            cursor = Cursor { set: cursor.set + 1, position: 0, ..cursor };
            sets_left -= 1;
            if sets_left == 0 {
                let each = self.options.epochs_per_iteration;
                let expected = format!("at most what {each} epochs of {} give", dataset.path().display());
                return Err(Error::argument("batch size", self.options.batch_size, expected));
            }
        }
    }

    /// Takes groups of `set` from `cursor` on until `batch` is full, or gives `false` at the end of the set.
    fn fill(&mut self, set: &Set, cursor: &mut Cursor, batch: &mut Batch) -> Result<bool> {
        let seed = self.options.seed;
        let mut draws: Vec<Rng> = Vec::with_capacity(batch.batch_size());
        batch.set = cursor.set as usize;
        batch.examples.clear();
        let end = self.positions(set);
        while batch.rows() < batch.batch_size() {
            if cursor.position >= end {
                return Ok(false);
            }
            let groups = set.groups() as u64;
            let each = self.options.epochs_per_iteration;
            let epoch = cursor.iteration.wrapping_mul(each).wrapping_add(cursor.position / groups);
            let place = (cursor.position % groups) as usize;
            let order = match self.order.take() {
                Some(order) if (order.set, order.epoch) == (cursor.set, epoch) => order,
                _ => Order::new(seed, cursor.set, epoch, set),
            };
            let group = order.groups.get(place).map_or(0..0, |&group| set.group(group as usize));
            // Lane 0 is the shuffle's.
            let lane = place as u32 + 1;
            let mut rng = Rng::new(order.keys[0], Stream::Sampler, lane);
            let puzzle = set.puzzle(group.start + rng.below(group.len() as u32) as usize);
            let room = batch.batch_size() - batch.rows();
            self.choice.clear();
            self.choice.extend(puzzle);
            for taken in 0..self.choice.len().min(room) {
                let rest = (self.choice.len() - taken) as u32;
                self.choice.swap(taken, taken + rng.below(rest) as usize);
                batch.examples.push(self.choice[taken]);
                // Far apart enough for any number of draws.
                draws.push(Rng::new(order.keys[1], Stream::Augment, lane).at((taken as u64) << 32));
            }
            self.order = Some(order);
            cursor.position += 1;
        }
        batch.load(&self.dataset)?;
        if let Some(augment) = &self.augment {
            for (row, rng) in draws.into_iter().enumerate() {
                let (inputs, labels) = batch.tokens_mut(row);
                augment.augment(rng, inputs, labels);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
#[path = "sampler_tests.rs"]
mod tests;
