//! Backends: implementations of [`Kernels`](crate::kernels::Kernels) and
//! [`TrainKernels`](crate::kernels::TrainKernels).

#[cfg(feature = "std")]
pub mod cpu;
#[cfg(feature = "std")]
pub mod int8;
pub mod reference;
