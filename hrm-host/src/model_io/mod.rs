//! Models in and out: checkpoints of the published program and of others become model directories, model directories
//! become what other programs and microcontrollers read.
//!
//! * [`source`] opens a model of ours, once for all who want something of it;
//! * [`checkpoint`] opens what holds tensors, whatever its format: [`pytorch`], safetensors, [`bundle`], or several files;
//!   [`selection`] finds the model among what it holds, and [`foreign`] names what is no checkpoint;
//! * [`architecture`] finds out what model they are of, by the table of `keys`;
//! * [`identifiers`] moves a puzzle embedding to another dataset's identifiers;
//! * [`import`] and [`export`] put these together.

pub mod architecture;
pub mod bundle;
pub mod checkpoint;
pub mod export;
pub mod foreign;
pub mod identifiers;
pub mod import;
mod interpolation;
pub(crate) mod keys;
mod pickle;
pub mod pytorch;
pub mod selection;
mod shards;
pub mod source;
mod vocabulary;
