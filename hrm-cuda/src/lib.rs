//! The kernels of the Hierarchical Reasoning Model on an NVIDIA GPU.
//!
//! # How it fits together
//!
//! | module | holds |
//! |---|---|
//! | [`launch`] | the contract of a machine that runs kernels: memory, launches, matrix products, graphs |
//! | [`ops`] | launch sites, one function for each kernel |
//! | [`emulator`] | such a machine on the CPU, for tests (feature `emulator`) |
//! | [`error`] | what can go wrong |
#![deny(unsafe_code)]

#[cfg(feature = "emulator")]
pub mod emulator;
pub mod error;
pub mod launch;
pub mod ops;
