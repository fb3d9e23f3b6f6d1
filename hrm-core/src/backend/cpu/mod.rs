//! The fast f32 kernels of a host processor, on plain slices.
//!
//! Matrices are row-major f32. `rows` is batch times sequence, `hidden` the model's width, `inter` the inner
//! width of SwiGLU. Every function is deterministic: its bits depend on neither the number of threads nor,
//! where rows are independent, on how many rows there are beside.
//!
//! Shapes are the caller's duty: each function asserts the lengths of its slices and panics on a mismatch,
//! which is an error in the program and never in its input.

pub mod attention;
mod backend;
pub mod elementwise;
pub mod gemm;
pub mod par;
#[cfg(target_arch = "x86_64")]
mod tile;

#[cfg(test)]
pub(in crate::backend) mod testing;

pub use backend::Cpu;
