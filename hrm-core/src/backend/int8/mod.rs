//! The linear layers of blocks in 8-bit integers, on the threads and the vectors of a host processor.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod backend;
mod plain;
pub mod product;
pub mod tokens;
#[cfg(target_arch = "x86_64")]
mod vnni;
pub mod weights;

pub use backend::Int8;
