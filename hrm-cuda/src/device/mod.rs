//! The launcher on an NVIDIA GPU, through the driver API.
//!
//! | module | holds |
//! |---|---|
//! | [`library`] | where CUDA's shared libraries are looked for |
//! | `driver`, `states` | the driver's first calls, and its codes in words |
//! | [`info`] | which devices there are, and what stands against their use |
//! | [`sources`], [`nvrtc`], [`cache`] | the kernel sources, their compiler, and what it has compiled already |
//! | [`usage`] | registers and memory of each kernel, from the compiler's log |
//! | [`overlap`] | which launches begin while the one before still runs |
//! | [`gpu`] | the launcher: [`Gpu`] |
//!
//! Nothing of CUDA is needed to build this crate. What is missing when a GPU is asked for is an
//! [`Error`] that says where it was looked for.
//!
//! # Determinism
//!
//! Everything runs on one stream, in the order of the calls. A launch may begin while the one before still runs, but its
//! kernel waits for that one before it touches memory: see [`overlap`]. Kernels have fixed orders of summation. How
//! cuBLASLt computes a product is chosen among candidates that give the same bits, so that what is faster today changes
//! no result: see [`blas`].

pub mod blas;
pub mod cache;
mod config;
mod driver;
pub mod gpu;
mod hopper;
pub mod info;
pub mod library;
mod modules;
pub mod nvrtc;
pub mod overlap;
mod pinned;
pub mod sources;
mod states;
mod stream;
pub mod usage;

use cudarc::cublaslt::result::CublasError;
use cudarc::driver::DriverError;

use crate::error::Error;

pub use gpu::{Gpu, Mark};
pub use info::{Device, Survey, devices, survey};

/// Says what was being done when a call failed.
trait During<T> {
    fn during(self, action: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> During<T> for Result<T, DriverError> {
    fn during(self, action: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|error| Error::Device { action: action(), reason: error.to_string() })
    }
}

impl<T> During<T> for Result<T, CublasError> {
    fn during(self, action: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|error| Error::Device { action: action(), reason: error.to_string() })
    }
}
