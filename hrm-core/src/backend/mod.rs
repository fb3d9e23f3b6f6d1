//! Backends: implementations of [`Kernels`](crate::kernels::Kernels) and
//! [`TrainKernels`](crate::kernels::TrainKernels).

pub mod reference;
