//! Launch sites: one function for each kernel, from resolved operands to a grid and arguments.
//!
//! They speak of addresses and sizes, and know neither arenas nor the model. Activations have the element type that
//! is given, weights too: the bf16 copy of the trained parameters in bf16. Statistics, gradients, moments, constants
//! and the puzzle table are f32 in either.

pub mod attention;
pub mod carry;
pub mod columns;
pub mod elementwise;
pub mod embedding;
pub mod fault;
pub mod gemm_sm90;
pub mod linear_narrow;
pub mod loss;
pub mod norm;
pub mod optimizer;
pub mod q_head;
pub mod scalars;
pub mod token_mix;

use crate::error::Error;
use crate::launch::{Arg, Dtype, Grid, Kernel, Launcher, Ptr};

/// Threads of a block: `THREADS` of `kernels/common.cuh`.
const THREADS: usize = 256;
/// Threads that share a row, in kernels that work by rows: a warp.
const LANES: usize = 32;

/// Operands of a product `x W^T`.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    /// Input `[rows, inner]`.
    pub x: Ptr,
    /// Weight `[outer, inner]`.
    pub w: Ptr,
    /// Rows.
    pub rows: usize,
    /// Columns of the input.
    pub inner: usize,
    /// Columns of the product.
    pub outer: usize,
}

/// The version of a kernel for activations of type `dtype`.
macro_rules! typed {
    ($unit:literal, $name:literal, $dtype:expr) => {
        $crate::launch::Kernel {
            unit: $unit,
            name: match $dtype {
                $crate::launch::Dtype::F32 => concat!($name, "_f32"),
                $crate::launch::Dtype::Bf16 => concat!($name, "_bf16"),
            },
        }
    };
}
use typed;

/// A size as the `int` that kernels take.
fn int(size: usize) -> Result<Arg, Error> {
    let fits = i32::try_from(size).map(Arg::I32);
    fits.map_err(|_| {
        Error::Operand(format!("a dimension of {size} is beyond what a kernel counts, {}", i32::MAX))
    })
}

/// Launches `threads` threads, a few more to fill the last block. None is no launch.
fn launch<L: Launcher>(l: &mut L, kernel: Kernel, threads: usize, args: &[Arg]) -> Result<(), Error> {
    // Threads count themselves in an int.
    int(threads.next_multiple_of(THREADS))?;
    blocks(l, kernel, [threads.div_ceil(THREADS), 1], args)
}

/// Launches one warp for each of `rows` rows.
fn launch_rows<L: Launcher>(l: &mut L, kernel: Kernel, rows: usize, args: &[Arg]) -> Result<(), Error> {
    int(rows)?;
    blocks(l, kernel, [rows.div_ceil(THREADS / LANES), 1], args)
}

/// Launches blocks of [`THREADS`] threads.
fn blocks<L: Launcher>(l: &mut L, kernel: Kernel, count: [usize; 2], args: &[Arg]) -> Result<(), Error> {
    blocks_with(l, kernel, count, 0, args)
}

/// The same, each with `shared` bytes of dynamic shared memory.
fn blocks_with<L: Launcher>(
    l: &mut L,
    kernel: Kernel,
    count: [usize; 2],
    shared: usize,
    args: &[Arg],
) -> Result<(), Error> {
    if count.contains(&0) {
        return Ok(());
    }
    let [x, y] = count;
    match (i32::try_from(x), u16::try_from(y)) {
        (Ok(_), Ok(_)) => {
            let grid = Grid {
                blocks: [x as u32, y as u32, 1],
                threads: [THREADS as u32, 1, 1],
                shared: shared as u32,
            };
            l.launch(kernel, grid, args)
        }
        _ => Err(Error::Operand(format!(
            "{}: {x} x {y} blocks are beyond what a device launches",
            kernel.name
        ))),
    }
}

/// `y[col]`, the sum of `parts[chunk, col]` over chunks: `[chunks, cols]`, f32.
fn sum_chunks<L: Launcher>(l: &mut L, y: Ptr, parts: Ptr, chunks: usize, cols: usize) -> Result<(), Error> {
    let args = [Arg::Ptr(y), Arg::Ptr(parts), int(chunks)?, int(cols)?];
    let kernel = Kernel { unit: "sum_chunks", name: "sum_chunks" };
    blocks(l, kernel, [cols.div_ceil(LANES), 1], &args)
}

/// Elements that a thread of an element-wise kernel works on: 16 bytes if rows of `cols` elements allow it.
const fn width(dtype: Dtype, cols: usize) -> usize {
    if cols.is_multiple_of(8) { 16 / dtype.bytes() } else { 1 }
}

/// A pointer that may be absent.
fn optional(ptr: Option<Ptr>) -> Arg {
    Arg::Ptr(ptr.unwrap_or(Ptr(0)))
}
