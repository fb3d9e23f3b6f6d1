//! The kernels of the Hierarchical Reasoning Model on an NVIDIA GPU.
//!
//! # How it fits together
//!
//! | module | holds |
//! |---|---|
//! | [`backend`] | arenas, and each kernel of hrm-core's contract as a call of a launch site |
//! | [`launch`] | the contract of a machine that runs kernels: memory, launches, matrix products, graphs |
//! | [`ops`] | launch sites, one function for each kernel |
//! | [`device`] | such a machine with an NVIDIA GPU |
//! | `emulator` | such a machine on the CPU, for tests (feature `emulator`) |
//! | [`error`] | what can go wrong |
#![deny(unsafe_code)]

mod arena;
pub mod backend;
pub mod device;
#[cfg(feature = "emulator")]
pub mod emulator;
pub mod error;
pub mod launch;
pub mod ops;
