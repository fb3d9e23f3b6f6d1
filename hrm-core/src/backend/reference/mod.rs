//! The reference backend: plain loops over f32 or f64, the judge of all others.
//!
//! With [`Rounding::Bf16`] every value is rounded to bf16 where the published program rounds it in bf16: after
//! each linear layer, residual sum, norm, SiLU, product, rotation and attention, and weights when they are used.
//! Sums and statistics stay in full precision.
//!
//! The arenas are the caller's ([`Borrowed`], [`BorrowedMut`]: no allocation, weights may lie in flash) or the
//! backend's own ([`Owned`], feature `alloc`).

mod forward;
mod loss;
mod memory;
mod optim;
mod storage;
mod vjp;

use super::operands::Error;
use crate::kernels::Region;
use crate::optim::StepScalars;
use crate::plan::{ElementSizes, Plan};
use crate::scalar::Scalar;

#[cfg(feature = "std")]
pub(in crate::backend) use optim::averaged;
#[cfg(feature = "alloc")]
pub use storage::Owned;
pub use storage::{Borrowed, BorrowedMut, Storage, TrainArenas, TrainStorage};

/// Where values are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Nowhere beyond the precision of the arithmetic.
    None,
    /// To bf16, at the published rounding points.
    Bf16,
}

impl Rounding {
    #[inline]
    fn apply<T: Scalar>(self, x: T) -> T {
        match self {
            Self::None => x,
            Self::Bf16 => x.round_to_bf16(),
        }
    }
}

/// The reference backend over storage `M` of numbers `T`. See the [module](self).
#[derive(Debug)]
pub struct Reference<T: Scalar, M: Storage<T>> {
    store: M,
    rounding: Rounding,
    scalars: StepScalars,
    number: core::marker::PhantomData<T>,
}

impl<T: Scalar, M: Storage<T>> Reference<T, M> {
    /// A backend for `plan` over `store`.
    ///
    /// # Errors
    /// A region of the store is smaller than the plan asks for.
    pub fn new(store: M, plan: &Plan, rounding: Rounding) -> Result<Self, Error> {
        let regions = [
            (Region::Params, store.params().len(), plan.params.len),
            (Region::Acts, store.acts().len(), plan.acts_len),
            (Region::Stats, store.stats().len(), plan.stats_len),
            (Region::Ids, store.ids().len(), plan.ids_len),
        ];
        for (region, given, needed) in regions {
            if given < needed {
                return Err(Error::TooSmall { region, given, needed });
            }
        }
        Ok(Self { store, rounding, scalars: StepScalars::NONE, number: core::marker::PhantomData })
    }

    /// Bytes that an element takes in each arena.
    #[must_use]
    pub const fn element_sizes() -> ElementSizes {
        let size = size_of::<T>();
        ElementSizes { param: size, act: size, stat: size }
    }

    /// The storage, to look at what f32 cannot carry.
    pub fn store(&self) -> &M {
        &self.store
    }

    /// The storage, to change what f32 cannot carry.
    pub fn store_mut(&mut self) -> &mut M {
        &mut self.store
    }
}

#[cfg(feature = "alloc")]
impl<T: Scalar> Reference<T, Owned<T>> {
    /// A backend for `plan` with arenas of its own, zeroed.
    ///
    /// # Errors
    /// None in practice: the arenas are made to measure.
    pub fn owned(plan: &Plan, rounding: Rounding) -> Result<Self, Error> {
        Self::new(Owned::new(plan), plan, rounding)
    }
}

/// Dot product over eight running sums: fast enough to judge large models, and the same bits everywhere.
fn dot<T: Scalar>(a: &[T], b: &[T]) -> T {
    let mut sums = [T::ZERO; 8];
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let tail = a_chunks.remainder().iter().zip(b_chunks.remainder());
    for (x, y) in a_chunks.zip(b_chunks) {
        for i in 0..8 {
            sums[i] += x[i] * y[i];
        }
    }
    for (i, (&x, &y)) in tail.enumerate() {
        sums[i] += x * y;
    }
    (sums[0] + sums[4] + (sums[2] + sums[6])) + (sums[1] + sums[5] + (sums[3] + sums[7]))
}

/// `y += a x`.
fn axpy<T: Scalar>(y: &mut [T], a: T, x: &[T]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}
