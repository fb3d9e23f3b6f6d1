//! Implementations of the kernels.

#[cfg(feature = "std")]
pub mod cpu;
