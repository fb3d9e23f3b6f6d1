//! Inference with the linear layers of blocks in 8-bit integers, on the threads and vectors of a host processor: the bits
//! of [`Portable`](super::portable::Portable) on a bundle of integers, many times faster.
//!
//! | module | holds |
//! |---|---|
//! | [`weights`], [`tokens`] | the operands of a product: a weight packed once, tokens quantised each time |
//! | [`product`] | the product: tiles, threads, and which instructions there are |
//! | `vnni`, `avx2`, `plain` | the sums of one tile by each kind of instructions |
//! | [`attention`], `attend` | attention in f32: heads over threads, and one query |
//! | [`floats`] | norm, SwiGLU and the head, in f32 |
//!
//! Sums of integers are exact, so neither instructions nor threads show in the results. Sums of floats have the portable
//! backend's order, which any vectors can keep.

#[cfg(target_arch = "x86_64")]
mod attend;
pub mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
mod backend;
pub mod floats;
mod plain;
pub mod product;
pub mod tokens;
#[cfg(target_arch = "x86_64")]
mod vnni;
pub mod weights;

#[cfg(test)]
mod tests;

pub use backend::Int8;
