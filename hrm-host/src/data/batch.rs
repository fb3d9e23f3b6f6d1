//! A batch of examples in the caller's hands, and test order, which fills batches one after another.

use super::dataset::{Dataset, IGNORE_LABEL};
use super::error::{Error, Result};
use hrm_core::rng::{Rng, Stream};

/// A batch: `batch_size` rows, of which the first [`Batch::rows`] are examples and the rest padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Tokens, `(batch_size, seq_len)`.
    pub inputs: Vec<i32>,
    /// Labels, `(batch_size, seq_len)`; [`IGNORE_LABEL`] counts for nothing.
    pub labels: Vec<i32>,
    /// Puzzle identifiers, `(batch_size)`.
    pub puzzle_identifiers: Vec<i32>,
    /// Which example of the set each of the first `rows` rows is, in order.
    pub examples: Vec<usize>,
    /// The set that the examples come from; a batch never mixes two.
    pub set: usize,
    seq_len: usize,
}

/// One row of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example<'a> {
    /// Tokens, `(seq_len)`.
    pub inputs: &'a [i32],
    /// Labels, `(seq_len)`.
    pub labels: &'a [i32],
    /// The identifier of its puzzle.
    pub puzzle_identifier: i32,
}

impl Batch {
    /// Room for `batch_size` examples of `dataset`.
    #[must_use]
    pub fn new(dataset: &Dataset, batch_size: usize) -> Self {
        let seq_len = dataset.metadata().seq_len;
        Self {
            inputs: vec![0; batch_size * seq_len],
            labels: vec![IGNORE_LABEL; batch_size * seq_len],
            puzzle_identifiers: vec![0; batch_size],
            examples: Vec::with_capacity(batch_size),
            set: 0,
            seq_len,
        }
    }

    /// The rows that it has room for.
    #[must_use]
    pub fn batch_size(&self) -> usize {
        self.puzzle_identifiers.len()
    }

    /// The rows that are examples.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.examples.len()
    }

    /// Row `row`, padding included, or `None` beyond the batch.
    #[must_use]
    pub fn example(&self, row: usize) -> Option<Example<'_>> {
        let tokens = row.checked_mul(self.seq_len)?..row.checked_add(1)?.checked_mul(self.seq_len)?;
        Some(Example {
            inputs: self.inputs.get(tokens.clone())?,
            labels: self.labels.get(tokens)?,
            puzzle_identifier: *self.puzzle_identifiers.get(row)?,
        })
    }

    /// Tokens and labels of `row`, to be altered; empty beyond the batch.
    pub(super) fn tokens_mut(&mut self, row: usize) -> (&mut [i32], &mut [i32]) {
        let start = row * self.seq_len;
        let tokens = start..start + self.seq_len;
        (
            self.inputs.get_mut(tokens.clone()).unwrap_or_default(),
            self.labels.get_mut(tokens).unwrap_or_default(),
        )
    }

    /// Reads `self.examples` of `self.set` into the rows and pads the others.
    pub(super) fn load(&mut self, dataset: &Dataset) -> Result<()> {
        let metadata = dataset.metadata();
        if self.seq_len != metadata.seq_len {
            let expected = format!("{}, the dataset's", metadata.seq_len);
            return Err(Error::argument("seq_len of the batch", self.seq_len, expected));
        }
        let tokens =
            self.inputs.chunks_exact_mut(self.seq_len).zip(self.labels.chunks_exact_mut(self.seq_len));
        for (row, ((inputs, labels), identifier)) in tokens.zip(&mut self.puzzle_identifiers).enumerate() {
            *identifier = match self.examples.get(row) {
                Some(&example) => dataset.read(self.set, example, inputs, labels)?,
                None => {
                    inputs.fill(metadata.pad_id);
                    labels.fill(IGNORE_LABEL);
                    metadata.blank_identifier_id
                }
            };
        }
        Ok(())
    }
}

/// Test order: the examples of each set in turn, the last batch of a set padded.
#[derive(Clone, Debug)]
pub struct TestBatches<'d> {
    dataset: &'d Dataset,
    /// For each set, the chosen examples in rising order; `None` for all of them.
    chosen: Option<Vec<Vec<usize>>>,
    set: usize,
    position: usize,
}

impl<'d> TestBatches<'d> {
    /// Every example.
    #[must_use]
    pub const fn all(dataset: &'d Dataset) -> Self {
        Self { dataset, chosen: None, set: 0, position: 0 }
    }

    /// A uniform choice of `limit` examples of the whole split, the same for the same `seed`; every example if
    /// there are no more.
    #[must_use]
    pub fn subsample(dataset: &'d Dataset, limit: usize, seed: u64) -> Self {
        if limit >= dataset.examples() {
            return Self::all(dataset);
        }
        let mut rng = Rng::new(seed, Stream::Subsample, 0);
        let (mut left, mut wanted) = (dataset.examples(), limit);
        let mut chosen = Vec::with_capacity(dataset.sets().len());
        for set in dataset.sets() {
            let mut of_set = Vec::new();
            for example in 0..set.examples() {
                // Selection sampling: each remaining example is chosen with probability wanted / left.
                if (rng.below(u32::try_from(left).unwrap_or(u32::MAX)) as usize) < wanted {
                    of_set.push(example);
                    wanted -= 1;
                }
                left -= 1;
            }
            chosen.push(of_set);
        }
        Self { dataset, chosen: Some(chosen), set: 0, position: 0 }
    }

    /// The number of examples in all batches together.
    #[must_use]
    pub fn examples(&self) -> usize {
        match &self.chosen {
            Some(chosen) => chosen.iter().map(Vec::len).sum(),
            None => self.dataset.examples(),
        }
    }

    /// Fills `batch` with the next examples, or gives `false` at the end.
    ///
    /// # Errors
    /// As [`Dataset::read`]; [`Error::Argument`] if `batch` has no rows.
    pub fn next_batch(&mut self, batch: &mut Batch) -> Result<bool> {
        if batch.batch_size() == 0 {
            return Err(Error::argument("batch size", 0, "at least 1"));
        }
        while let Some(set) = self.dataset.sets().get(self.set) {
            let chosen = self.chosen.as_ref().and_then(|chosen| chosen.get(self.set));
            let total = chosen.map_or(set.examples(), Vec::len);
            let end = total.min(self.position + batch.batch_size());
            if self.position == end {
                self.set += 1;
                self.position = 0;
                continue;
            }
            batch.set = self.set;
            batch.examples.clear();
            match chosen {
                Some(chosen) => batch.examples.extend(&chosen[self.position..end]),
                None => batch.examples.extend(self.position..end),
            }
            self.position = end;
            batch.load(self.dataset)?;
            return Ok(true);
        }
        Ok(false)
    }
}
