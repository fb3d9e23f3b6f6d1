//! A uniform choice among rows that come one after another.

use hrm_core::rng::{Rng, Stream};

/// Selection sampling: takes each of the rows left with probability wanted / left, so exactly `wanted` of them.
#[derive(Debug)]
pub(super) struct Choice {
    rng: Rng,
    left: u64,
    wanted: u64,
}

impl Choice {
    /// A choice of `wanted` of `rows`, the same for the same `seed`.
    pub(super) const fn new(seed: u64, rows: u64, wanted: u64) -> Self {
        Self { rng: Rng::new(seed, Stream::Subsample, 0), left: rows, wanted }
    }

    /// Whether the next row is taken.
    pub(super) fn takes(&mut self) -> bool {
        let takes = u64::from(self.rng.below(u32::try_from(self.left).unwrap_or(u32::MAX))) < self.wanted;
        self.left = self.left.saturating_sub(1);
        self.wanted -= u64::from(takes);
        takes
    }
}
