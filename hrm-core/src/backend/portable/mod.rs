//! The portable backend: inference on a [`Bundle`](crate::bundle::Bundle) in place and on lent memory, with the same bits
//! on every machine.
//!
//! It needs neither std nor alloc, and no weight is copied: a row of weights is widened to f32 when it is multiplied, or
//! stays 8 bits wide and is multiplied by tokens of 8 bits. Everything else is IEEE single precision: additions,
//! multiplications, divisions and square roots, never a fused operation, each sum in one order that is part of the
//! contract ([`sums`]). The exponential is a polynomial ([`math`](super::math)); rotary tables are made by libm.
//!
//! The work is done by functions on slices, written so that a compiler can vectorise them, and inlined, so that a backend
//! for a host can compile them for wider registers without changing a bit: [`sums`], [`rows`], [`attention`], [`linear`].
//! A row's bits depend neither on the batch nor on the plan's tile.
//!
//! No operand, no weight and no token makes it panic. Sizes are those of a plan, whose spans are checked against the
//! arenas when they are used.

pub mod attention;
mod kernels;
pub mod linear;
mod memory;
pub mod pieces;
pub mod rows;
mod source;
pub mod sums;

use core::fmt;

pub use super::operands::Error;
pub use source::{Source, TENSORS, Table, TooManyTensors};

use crate::kernels::Region;
use crate::plan::Plan;

/// The backend over the parameters of `S` and lent memory. See the [module](self).
pub struct Portable<'a, S> {
    source: &'a S,
    arenas: Arenas<'a>,
    hook: Option<&'a mut dyn FnMut()>,
}

/// The memory that [`Portable`] works in.
#[derive(Debug)]
pub struct Arenas<'a> {
    /// Activations.
    pub acts: &'a mut [f32],
    /// Statistics.
    pub stats: &'a mut [f32],
    /// Integers.
    pub ids: &'a mut [i32],
    /// A row of weights in f32, or of scores.
    pub wide: &'a mut [f32],
    /// A block of tokens, quantised.
    pub tokens: &'a mut [i8],
}

/// Elements of each of [`Arenas`], and of the rotary tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// Activations, f32.
    pub acts: usize,
    /// Statistics, f32.
    pub stats: usize,
    /// Integers, i32.
    pub ids: usize,
    /// A row, f32.
    pub wide: usize,
    /// A block of tokens, i8.
    pub tokens: usize,
    /// Cosines and sines, f32.
    pub rotary: usize,
}

impl Lengths {
    /// What `plan` needs.
    #[must_use]
    pub const fn of(plan: &Plan) -> Self {
        let config = &plan.config;
        let (d, f, s) = (config.hidden_size, config.inter_size(), config.positions());
        let longest = if d > f { d } else { f };
        Self {
            acts: plan.acts_len,
            stats: plan.stats_len,
            ids: plan.ids_len,
            wide: if longest > s { longest } else { s },
            tokens: linear::TOKENS * longest,
            rotary: match plan.params.rope {
                Some(tables) => tables.cos.len() + tables.sin.len(),
                None => 0,
            },
        }
    }
}

impl<'a, S: Source> Portable<'a, S> {
    /// A backend for `plan`.
    ///
    /// # Errors
    /// An arena is smaller than the plan asks for.
    pub fn new(source: &'a S, arenas: Arenas<'a>, plan: &Plan) -> Result<Self, Error> {
        let needed = Lengths::of(plan);
        let Arenas { acts, stats, ids, wide, tokens } = &arenas;
        let regions = [
            (Region::Acts, acts.len(), needed.acts),
            (Region::Stats, stats.len(), needed.stats),
            (Region::Ids, ids.len(), needed.ids),
        ];
        for (region, given, needed) in regions {
            if given < needed {
                return Err(Error::TooSmall { region, given, needed });
            }
        }
        for (given, needed) in [(wide.len(), needed.wide), (tokens.len(), needed.tokens)] {
            if given < needed {
                return Err(Error::Scratch { given, needed });
            }
        }
        Ok(Self { source, arenas, hook: None })
    }

    /// The same, calling `hook` whenever it is [polled](crate::kernels::Kernels::poll).
    #[must_use]
    pub fn polled(self, hook: &'a mut dyn FnMut()) -> Self {
        Self { hook: Some(hook), ..self }
    }
}

impl<S> fmt::Debug for Portable<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Portable").field("polled", &self.hook.is_some()).finish_non_exhaustive()
    }
}
