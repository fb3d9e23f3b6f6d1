//! Where the reference backend's arenas lie.

#[cfg(feature = "alloc")]
use alloc::{vec, vec::Vec};

#[cfg(feature = "alloc")]
use crate::plan::{Mode, Plan};
use crate::scalar::Scalar;

/// The arenas that inference needs. Parameters are only read.
pub trait Storage<T: Scalar> {
    /// Parameters and constants.
    fn params(&self) -> &[T];
    /// Activations.
    fn acts(&self) -> &[T];
    /// Statistics.
    fn stats(&self) -> &[T];
    /// Integers.
    fn ids(&self) -> &[i32];
    /// Parameters (shared), activations, statistics and integers, all at once.
    fn forward(&mut self) -> (&[T], &mut [T], &mut [T], &mut [i32]);
    /// Parameters for writing, unless they lie in read-only memory.
    fn params_mut(&mut self) -> Option<&mut [T]>;
    /// Gradients, first and second moments, and averages, if there are any.
    fn training(&mut self) -> Option<[&mut [T]; 4]> {
        None
    }
}

/// All arenas of training, at once.
pub struct TrainArenas<'a, T> {
    /// Parameters and constants.
    pub params: &'a mut [T],
    /// Gradients of the trained parameters.
    pub gradients: &'a mut [T],
    /// First moments.
    pub first: &'a mut [T],
    /// Second moments.
    pub second: &'a mut [T],
    /// Averages of the trained parameters; empty if the plan has none.
    pub averages: &'a mut [T],
    /// Activations.
    pub acts: &'a mut [T],
    /// Statistics.
    pub stats: &'a mut [T],
    /// Integers.
    pub ids: &'a mut [i32],
}

/// The arenas that training needs.
pub trait TrainStorage<T: Scalar>: Storage<T> {
    /// All of them, at once.
    fn arenas(&mut self) -> TrainArenas<'_, T>;
}

/// Arenas lent for inference: weights may lie in read-only memory.
#[derive(Debug)]
pub struct Borrowed<'a, T> {
    /// Parameters and constants.
    pub params: &'a [T],
    /// Activations.
    pub acts: &'a mut [T],
    /// Statistics.
    pub stats: &'a mut [T],
    /// Integers.
    pub ids: &'a mut [i32],
}

impl<T: Scalar> Storage<T> for Borrowed<'_, T> {
    fn params(&self) -> &[T] {
        self.params
    }
    fn acts(&self) -> &[T] {
        self.acts
    }
    fn stats(&self) -> &[T] {
        self.stats
    }
    fn ids(&self) -> &[i32] {
        self.ids
    }
    fn forward(&mut self) -> (&[T], &mut [T], &mut [T], &mut [i32]) {
        (self.params, self.acts, self.stats, self.ids)
    }
    fn params_mut(&mut self) -> Option<&mut [T]> {
        None
    }
}

macro_rules! training_storage {
    ([$($generics:tt)*] $name:ty) => {
        impl<$($generics)*> Storage<T> for $name {
            fn params(&self) -> &[T] {
                &self.params
            }
            fn acts(&self) -> &[T] {
                &self.acts
            }
            fn stats(&self) -> &[T] {
                &self.stats
            }
            fn ids(&self) -> &[i32] {
                &self.ids
            }
            fn forward(&mut self) -> (&[T], &mut [T], &mut [T], &mut [i32]) {
                (&self.params, &mut self.acts, &mut self.stats, &mut self.ids)
            }
            fn params_mut(&mut self) -> Option<&mut [T]> {
                Some(&mut self.params)
            }
            fn training(&mut self) -> Option<[&mut [T]; 4]> {
                Some([&mut self.gradients, &mut self.first, &mut self.second, &mut self.averages])
            }
        }

        impl<$($generics)*> TrainStorage<T> for $name {
            fn arenas(&mut self) -> TrainArenas<'_, T> {
                TrainArenas {
                    params: &mut self.params,
                    gradients: &mut self.gradients,
                    first: &mut self.first,
                    second: &mut self.second,
                    averages: &mut self.averages,
                    acts: &mut self.acts,
                    stats: &mut self.stats,
                    ids: &mut self.ids,
                }
            }
        }
    };
}

/// Arenas lent for training.
#[derive(Debug)]
pub struct BorrowedMut<'a, T> {
    /// Parameters and constants.
    pub params: &'a mut [T],
    /// Gradients of the trained parameters.
    pub gradients: &'a mut [T],
    /// First moments.
    pub first: &'a mut [T],
    /// Second moments.
    pub second: &'a mut [T],
    /// Averages of the trained parameters; empty if the plan has none.
    pub averages: &'a mut [T],
    /// Activations.
    pub acts: &'a mut [T],
    /// Statistics.
    pub stats: &'a mut [T],
    /// Integers.
    pub ids: &'a mut [i32],
}

training_storage!(['a, T: Scalar] BorrowedMut<'a, T>);

/// Arenas that the backend owns.
#[cfg(feature = "alloc")]
#[derive(Clone, Debug)]
pub struct Owned<T> {
    params: Vec<T>,
    gradients: Vec<T>,
    first: Vec<T>,
    second: Vec<T>,
    averages: Vec<T>,
    acts: Vec<T>,
    stats: Vec<T>,
    ids: Vec<i32>,
}

#[cfg(feature = "alloc")]
impl<T: Scalar> Owned<T> {
    /// Arenas for `plan`, zeroed. An inference plan gets no gradients and moments.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let trained = if plan.mode == Mode::Training { plan.params.trained } else { 0 };
        Self {
            params: vec![T::ZERO; plan.params.len],
            gradients: vec![T::ZERO; trained],
            first: vec![T::ZERO; trained],
            second: vec![T::ZERO; trained],
            averages: vec![T::ZERO; if plan.averages { trained } else { 0 }],
            acts: vec![T::ZERO; plan.acts_len],
            stats: vec![T::ZERO; plan.stats_len],
            ids: vec![0; plan.ids_len],
        }
    }
}

#[cfg(feature = "alloc")]
training_storage!([T: Scalar] Owned<T>);
