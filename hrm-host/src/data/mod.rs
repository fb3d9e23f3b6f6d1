//! Datasets: the published on-disk format, its sampling order, and the builders that write it.
//!
//! * [`dataset`] opens `DIR/SPLIT` (`dataset.json`, `SET__inputs.npy`, ...), memory-mapped and checked;
//! * [`sampler`] gives batches of it: the published training order, seeded and resumable, and test order;
//! * [`prefetch`] makes training batches ahead of time;
//! * [`writer`] writes such a directory as a stream, whole or not at all;
//! * [`sudoku`], [`maze`] and [`arc`] read, generate, augment and build the three published tasks;
//! * [`inspect`] counts what a dataset holds and draws its examples;
//! * [`puzzle_csv`], [`puzzle_columns`], [`plain`], [`dihedral`], [`split`] and [`progress`] are what the builders share;
//! * [`npy`], [`identifiers`], [`new_directory`], [`destination`], [`mmap`] and [`error`] are what they stand on.

pub mod arc;
mod batch;
mod choice;
pub mod dataset;
pub mod destination;
pub mod dihedral;
pub mod error;
pub mod identifiers;
pub mod inspect;
mod joined;
pub mod maze;
mod metadata;
pub mod mmap;
pub mod new_directory;
pub mod npy;
pub mod plain;
pub mod prefetch;
pub mod progress;
pub mod puzzle_columns;
pub mod puzzle_csv;
pub mod sampler;
pub mod split;
pub mod sudoku;
#[cfg(test)]
mod test_support;
pub mod writer;

pub use dataset::{Dataset, IGNORE_LABEL, Metadata, Set};
pub use error::{Error, Place, Result};
pub use sampler::{Augment, Batch, Cursor, Example, Sampler, SamplerOptions, TestBatches};
