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

use core::fmt;
use core::ops::Range;

use crate::arena::Span;
use crate::kernels::{Region, StepScalars};
use crate::plan::{ElementSizes, Plan};
use crate::scalar::Scalar;

#[cfg(feature = "bundle")]
pub(crate) use forward::HALF_SQRT;
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
        ];
        for (region, given, needed) in regions {
            if given < needed {
                return Err(Error::TooSmall { region: Some(region), given, needed });
            }
        }
        if store.ids().len() < plan.ids_len {
            return Err(Error::TooSmall { region: None, given: store.ids().len(), needed: plan.ids_len });
        }
        let scalars = StepScalars { step: 1, lr: 0.0, puzzle_emb_lr: 0.0, seed: 0 };
        Ok(Self { store, rounding, scalars, number: core::marker::PhantomData })
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

/// What can go wrong in the reference backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A span lies outside its arena, or two spans of one kernel overlap.
    Span,
    /// A region is smaller than the plan asks for. No region stands for the integers.
    TooSmall {
        /// Which one.
        region: Option<Region>,
        /// Elements it has.
        given: usize,
        /// Elements the plan needs.
        needed: usize,
    },
    /// Scratch beside the arenas is smaller than a kernel needs.
    Scratch {
        /// Elements it has.
        given: usize,
        /// Elements the kernel needs.
        needed: usize,
    },
    /// A read or write beyond the end of a region, or to one that this storage does not have.
    OutOfRange {
        /// Which one; none stands for the integers.
        region: Option<Region>,
        /// One past the last element asked for.
        end: usize,
        /// Elements it has.
        len: usize,
    },
    /// The parameters lie in read-only memory.
    ReadOnly,
    /// A token, label or identifier outside its table.
    Id {
        /// What it is.
        what: &'static str,
        /// What was given.
        given: i32,
        /// Rows of the table.
        rows: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Span => f.write_str("operands of a kernel overlap or lie outside their arena"),
            Self::TooSmall { region, given, needed } => {
                f.write_str("the arena of ")?;
                name(f, region)?;
                write!(f, " has {given} elements, the plan needs {needed}")
            }
            Self::Scratch { given, needed } => {
                write!(f, "the scratch has {given} elements, a kernel needs {needed}")
            }
            Self::OutOfRange { region, end, len } => {
                write!(f, "access up to element {end} of ")?;
                name(f, region)?;
                write!(f, ", which has {len}")
            }
            Self::ReadOnly => f.write_str("the parameters lie in read-only memory"),
            Self::Id { what, given, rows } => write!(f, "{what} {given} is outside its table of {rows} rows"),
        }
    }
}

fn name(f: &mut fmt::Formatter<'_>, region: Option<Region>) -> fmt::Result {
    match region {
        Some(region) => write!(f, "{region:?}"),
        None => f.write_str("Ids"),
    }
}

impl core::error::Error for Error {}

/// Exclusive slices of several spans of one arena at once.
pub(crate) fn split<const N: usize, U>(
    arena: &mut [U],
    ranges: [Range<usize>; N],
) -> Result<[&mut [U]; N], Error> {
    arena.get_disjoint_mut(ranges).map_err(|_| Error::Span)
}

/// The slice of a span.
pub(crate) fn at<U, A>(arena: &[U], span: Span<A>) -> Result<&[U], Error> {
    arena.get(span.range()).ok_or(Error::Span)
}

/// The exclusive slice of a span.
pub(crate) fn at_mut<U, A>(arena: &mut [U], span: Span<A>) -> Result<&mut [U], Error> {
    arena.get_mut(span.range()).ok_or(Error::Span)
}

/// `id` as a row of a table of `rows`.
pub(crate) fn row(what: &'static str, id: i32, rows: usize) -> Result<usize, Error> {
    usize::try_from(id).ok().filter(|&i| i < rows).ok_or(Error::Id { what, given: id, rows })
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
