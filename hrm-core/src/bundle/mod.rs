//! The bundle: a model in one piece of memory, read in place.
//!
//! A bundle is made for flash: [`Bundle::parse`] borrows it, copies no weight and allocates nothing, and what it returns
//! has been checked to the last byte. All integers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 0 .. 8 | [`MAGIC`] |
//! | 8 .. 12 | format version: that of the [`StoredConfig`], at most [`VERSION`] |
//! | 12 .. 16 | CRC-32 (IEEE 802.3) of everything after it |
//! | 16 .. 20 | length of the header |
//! | 20 .. 24 | zero |
//! | 24 .. 32 | length of the whole |
//! | 32 .. | the header: in postcard, a tuple of the [`StoredConfig`], the list of [`Entry`]s, and the list of the tokens' names |
//! | | the tensors, each at a multiple of [`ALIGN`] bytes, in the order of the list, zeros between them |
//!
//! A block's weight may be of integers ([`Precision::Int8`], see [`quantize`](crate::quantize)). Then the scales of its rows,
//! one f32 each, follow its elements, also at a multiple of [`ALIGN`] bytes.
//!
//! The list holds exactly the tensors of [`ParamPlan::tensors`], in that order. The names of the tokens are as many as
//! `vocab_size`, or none.
//!
//! ```
//! use hrm_core::bundle::{Bundle, BundleError};
//! assert_eq!(Bundle::parse(b"not a bundle").unwrap_err(), BundleError::Magic);
//! ```

mod config;
mod error;
mod header;
#[cfg(test)]
mod tests;
mod weights;

use serde::de::Deserialize;

pub use config::StoredConfig;
pub use error::{BundleError, TensorProblem};
pub use header::{ALIGN, Entry, MAGIC, PREAMBLE, Preamble, VERSION};
pub use weights::{Precision, Weights};

use crate::config::Config;
use crate::plan::{Mode, ParamPlan, Plan, PlanError};
use crate::quantize::MAX_TERMS;
use crate::tensors::{Tensor, TensorName};

/// A model in memory that somebody else owns.
#[derive(Clone, Copy, Debug)]
pub struct Bundle<'a> {
    bytes: &'a [u8],
    config: Config,
    params: ParamPlan,
    /// The encoded entries, without their count.
    table: &'a [u8],
    /// The encoded names of the tokens, without their count.
    vocabulary: &'a [u8],
    words: usize,
}

impl<'a> Bundle<'a> {
    /// Checks `bytes` and reads the header.
    ///
    /// # Errors
    /// The bytes are not a whole, undamaged bundle of this version; the error says in which way.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BundleError> {
        let preamble = Preamble::parse(bytes)?;
        let (header, _) = bytes
            .get(PREAMBLE..)
            .and_then(|rest| rest.split_at_checked(preamble.header_len as usize))
            .ok_or(BundleError::Header)?;
        let (config, rest) = StoredConfig::take(preamble.version, header)?;
        let plan = Plan::new(&config, 1, Mode::Inference).map_err(|error| match error {
            PlanError::Config(error) => BundleError::Config(error),
            _ => BundleError::TooLarge,
        })?;
        let (count, table) = take::<u32>(rest)?;
        let mut checked = Checked { bytes, rest: table, end: PREAMBLE + header.len() };
        let mut index = 0;
        for tensor in plan.params.tensors() {
            if index == count {
                return Err(BundleError::Tensor { index, problem: TensorProblem::Missing });
            }
            checked.next(&tensor).map_err(|problem| match problem {
                Some(problem) => BundleError::Tensor { index, problem },
                None => BundleError::Header,
            })?;
            index += 1;
        }
        if index != count {
            return Err(BundleError::Tensor { index, problem: TensorProblem::Extra });
        }
        let (words, vocabulary) = take::<u32>(checked.rest)?;
        if words != 0 && words as usize != config.vocab_size {
            return Err(BundleError::Vocabulary { given: words, expected: config.vocab_size });
        }
        let mut rest = vocabulary;
        for _ in 0..words {
            rest = take::<&str>(rest)?.1;
        }
        if !rest.is_empty() {
            return Err(BundleError::Header);
        }
        Ok(Self { bytes, config, params: plan.params, table, vocabulary, words: words as usize })
    }

    /// The configuration of the model.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Length of the whole in bytes.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Every stored tensor with its weights, in the order of [`ParamPlan::tensors`].
    pub fn tensors(&self) -> impl Iterator<Item = (Tensor, Weights<'a>)> + '_ {
        let mut rest = self.table;
        // All of it has been read once, by `parse`.
        self.params.tensors().map_while(move |tensor| {
            let (entry, after) = take::<Entry<'a>>(rest).ok()?;
            rest = after;
            Some((tensor, entry.weights(self.bytes)?))
        })
    }

    /// The names of the tokens, by token; none if the bundle does not tell.
    pub fn vocabulary(&self) -> impl Iterator<Item = &'a str> + '_ {
        let mut rest = self.vocabulary;
        (0..self.words).map_while(move |_| {
            let (word, after) = take::<&'a str>(rest).ok()?;
            rest = after;
            Some(word)
        })
    }
}

/// What remains to be checked of the table, and where the last tensor ended.
struct Checked<'a> {
    bytes: &'a [u8],
    rest: &'a [u8],
    end: usize,
}

impl Checked<'_> {
    /// Checks the next entry against the tensor that it should be. An error without a problem is a malformed header.
    fn next(&mut self, tensor: &Tensor) -> Result<(), Option<TensorProblem>> {
        let (entry, rest) = take::<Entry<'_>>(self.rest).map_err(|_| None)?;
        if !header::displays_as(&tensor.name, entry.name) {
            return Err(Some(TensorProblem::Name));
        }
        if entry.rows as usize != tensor.span.rows || entry.cols as usize != tensor.span.cols {
            return Err(Some(TensorProblem::Shape));
        }
        if Precision::from_id(entry.precision).is_none() {
            return Err(Some(TensorProblem::Precision(entry.precision)));
        }
        let elements = entry
            .elements_in(self.bytes)
            .filter(|_| self.is_free(entry.offset))
            .ok_or(TensorProblem::Place)?;
        self.end = entry.offset as usize + elements.len();
        if entry.precision == Precision::Int8.id() {
            self.integers(tensor, &entry, elements)?;
        } else if entry.scales.is_some() {
            return Err(Some(TensorProblem::Scales));
        }
        self.rest = rest;
        Ok(())
    }

    /// Checks what integers need: a weight of a block, rows that can be summed, and scales after the elements.
    fn integers(&mut self, tensor: &Tensor, entry: &Entry<'_>, elements: &[u8]) -> Result<(), TensorProblem> {
        if !matches!(tensor.name, TensorName::Block(..)) {
            return Err(TensorProblem::Integers);
        }
        if tensor.span.cols > MAX_TERMS {
            return Err(TensorProblem::Long);
        }
        let at = entry.scales.ok_or(TensorProblem::NoScales)?;
        let scales =
            entry.scales_in(self.bytes).filter(|_| self.is_free(at)).ok_or(TensorProblem::ScalesPlace)?;
        self.end = at as usize + scales.len();
        let rows = elements.chunks_exact(tensor.span.cols.max(1));
        for ((row, elements), scale) in (0..).zip(rows).zip(scales.as_chunks().0) {
            let scale = f32::from_le_bytes(*scale);
            if !(scale.is_finite() && scale > 0.0) {
                return Err(TensorProblem::Scale(row));
            }
            if elements.contains(&(i8::MIN as u8)) {
                return Err(TensorProblem::Integer(row));
            }
        }
        Ok(())
    }

    /// Whether byte `offset` is at a multiple of [`ALIGN`] after all that has been checked.
    fn is_free(&self, offset: u64) -> bool {
        usize::try_from(offset).is_ok_and(|at| at >= self.end && at.is_multiple_of(ALIGN))
    }
}

/// Reads one value from the front.
fn take<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<(T, &'a [u8]), BundleError> {
    postcard::take_from_bytes(bytes).map_err(|_| BundleError::Header)
}
