//! How many bytes a plan takes.

use super::{Mode, Plan};

/// Bytes that one element takes in each arena of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElementSizes {
    /// A parameter, gradient or moment.
    pub param: usize,
    /// An activation.
    pub act: usize,
    /// A statistic.
    pub stat: usize,
}

impl ElementSizes {
    /// Everything in f32.
    pub const F32: Self = Self { param: 4, act: 4, stat: 4 };
}

/// What a plan needs, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes {
    /// Parameters and constants.
    pub params: usize,
    /// Gradients.
    pub gradients: usize,
    /// Both moments of the optimizer.
    pub moments: usize,
    /// Averages of the parameters.
    pub averages: usize,
    /// Activations.
    pub acts: usize,
    /// Statistics.
    pub stats: usize,
    /// Integers.
    pub ids: usize,
}

impl Bytes {
    /// The sum.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.params + self.gradients + self.moments + self.averages + self.acts + self.stats + self.ids
    }
}

impl Plan {
    /// Bytes of every arena, for a backend whose parameters, activations and statistics take so many bytes each.
    #[must_use]
    pub const fn bytes(&self, sizes: ElementSizes) -> Bytes {
        let trained = match self.mode {
            Mode::Training => self.params.trained,
            Mode::Inference => 0,
        };
        Bytes {
            params: self.params.len * sizes.param,
            gradients: trained * sizes.param,
            moments: 2 * trained * sizes.param,
            averages: if self.averages { trained * sizes.param } else { 0 },
            acts: self.acts_len * sizes.act,
            stats: self.stats_len * sizes.stat,
            ids: self.ids_len * 4,
        }
    }
}
