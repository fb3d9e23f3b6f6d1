//! The kernels of the Hierarchical Reasoning Model on an NVIDIA GPU.
//!
//! # How it fits together
//!
//! | module | holds |
//! |---|---|
//! | [`launch`] | the contract of a machine that runs kernels: memory, launches, matrix products, graphs |
//! | [`ops`] | launch sites, one function for each kernel |
//! | [`error`] | what can go wrong |
#![deny(unsafe_code)]

mod arena;
pub mod error;
pub mod launch;
pub mod ops;
