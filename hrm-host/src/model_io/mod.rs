//! Models in and out: checkpoints of the published program and of others become model directories, model directories
//! become what other programs and microcontrollers read.
//!
//! * [`checkpoint`] opens a file that holds tensors, whatever its format: [`pytorch`], safetensors, [`bundle`];
//! * [`architecture`] finds out what model they are of;
//! * [`identifiers`] moves a puzzle embedding to another dataset's identifiers;
//! * [`import`] and [`export`] put these together.

pub mod architecture;
pub mod bundle;
pub mod checkpoint;
pub mod export;
pub mod identifiers;
pub mod import;
mod pickle;
pub mod pytorch;
mod vocabulary;
