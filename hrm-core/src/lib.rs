//! The Hierarchical Reasoning Model (Wang et al. 2025, arXiv 2506.21734).
#![no_std]
#![deny(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

pub mod rng;

pub mod backend;
