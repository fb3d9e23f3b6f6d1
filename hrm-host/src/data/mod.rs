//! Datasets: the published on-disk format, its sampling order, and the builders that write it.
//!
//! * [`dataset`] opens `DIR/SPLIT` (`dataset.json`, `SET__inputs.npy`, ...), memory-mapped and checked;
//! * [`sampler`] gives batches of it: the published training order, seeded and resumable, and test order;
//! * [`writer`] writes such a directory as a stream, whole or not at all;
//! * [`sudoku`] reads, generates, shuffles and builds Sudoku;
//! * [`npy`], [`mmap`] and [`error`] are what they stand on.

mod batch;
pub mod dataset;
pub mod error;
mod metadata;
pub mod mmap;
pub mod npy;
pub mod sampler;
pub mod sudoku;
#[cfg(test)]
mod test_support;
pub mod writer;

pub use dataset::{Dataset, IGNORE_LABEL, Metadata, Set};
pub use error::{Error, Place, Result};
pub use sampler::{Augment, Batch, Cursor, Example, Sampler, SamplerOptions, TestBatches};
