//! Backends: implementations of [`Kernels`](crate::kernels::Kernels) and
//! [`TrainKernels`](crate::kernels::TrainKernels).

mod columns;
#[cfg(feature = "std")]
pub mod cpu;
#[cfg(all(feature = "std", feature = "bundle"))]
pub mod int8;
pub mod math;
pub mod operands;
#[cfg(feature = "bundle")]
pub mod portable;
pub mod reference;

pub use operands::Error;
