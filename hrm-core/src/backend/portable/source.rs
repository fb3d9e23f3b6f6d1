//! Where the parameters are.

use core::fmt;

use heapless::LinearMap;

use crate::arena::Param;
use crate::bundle::{Bundle, Weights};
use crate::plan::Plan;
use crate::rope::{RopeTables, Rotary};

/// Gives parameters by their place in a plan.
pub trait Source {
    /// The stored tensor at `span`, if there is one of its shape.
    fn tensor(&self, span: Param) -> Option<Weights<'_>>;

    /// Cosines and sines of the rotary tables, which are not stored.
    fn rotary(&self, tables: RopeTables) -> Option<(&[f32], &[f32])>;
}

/// Tensors that a [`Table`] holds: those of 16 layers in all.
pub const TENSORS: usize = 7 + 4 * 16;

/// The tensors of a bundle by their first element in the plan, and rotary tables in lent memory.
#[derive(Clone, Debug)]
pub struct Table<'a> {
    tensors: LinearMap<usize, Weights<'a>, TENSORS>,
    rotary: &'a [f32],
}

impl<'a> Table<'a> {
    /// The tensors of `bundle`. `plan` is of its configuration; `rotary` has the length that
    /// [`Lengths`](super::Lengths) tells.
    ///
    /// # Errors
    /// There are more than [`TENSORS`].
    pub fn new(bundle: &Bundle<'a>, plan: &Plan, rotary: &'a mut [f32]) -> Result<Self, TooManyTensors> {
        let mut tensors = LinearMap::new();
        for (tensor, weights) in bundle.tensors() {
            let inserted = tensors.insert(tensor.span.offset, weights);
            inserted.map_err(|_| TooManyTensors { given: bundle.tensors().count() })?;
        }
        if let Some(tables) = plan.params.rope {
            let (turns, half) = (Rotary::of(&plan.config), tables.cos.cols);
            let (cos, sin) = rotary.split_at_mut_checked(tables.cos.len()).unwrap_or_default();
            for (i, (cos, sin)) in cos.iter_mut().zip(sin).enumerate() {
                (*cos, *sin) = turns.cos_sin(i / half.max(1), i % half.max(1));
            }
        }
        Ok(Self { tensors, rotary })
    }
}

impl Source for Table<'_> {
    fn tensor(&self, span: Param) -> Option<Weights<'_>> {
        let weights = *self.tensors.get(&span.offset)?;
        (weights.cols() == span.cols && weights.len() == span.len()).then_some(weights)
    }

    fn rotary(&self, tables: RopeTables) -> Option<(&[f32], &[f32])> {
        let (cos, rest) = self.rotary.split_at_checked(tables.cos.len())?;
        Some((cos, rest.get(..tables.sin.len())?))
    }
}

/// A model has more tensors than a [`Table`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyTensors {
    /// How many it has.
    pub given: usize,
}

impl fmt::Display for TooManyTensors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the model has {} tensors, expected at most {TENSORS}: 16 layers in all", self.given)
    }
}

impl core::error::Error for TooManyTensors {}
