//! Products whose weight has few rows, in bf16, and their vjps: see `kernels/linear_narrow.cu`.
//!
//! Each function says whether it did the work: it did if the widths fit, the number of rows does not matter.

use super::{LANES, Product, THREADS, blocks, blocks_with, int, sum_chunks};
use crate::error::Error;
use crate::launch::{Arg, Dtype, Kernel, Launcher, Ptr};

/// Rows of the weight, at most: `OUTER` in `kernels/linear_narrow.cu`.
const OUTER: usize = 32;
/// Columns of the weight are a multiple of this: `COLS_OF_8_LANES` there.
const COLUMNS: usize = 64;
/// Rows of a warp, and of a fragment of the tensor cores: `ROWS` there.
const ROWS: usize = 16;
/// Bytes that the weight may take in shared memory, so that on any device there is room for it.
const SHARED: usize = 64 << 10;
/// Rows of a chunk of which a partial sum is made, at least, and the most chunks.
const CHUNK: usize = 128;
const CHUNKS: usize = 256;

/// Whether products with a weight `[outer, inner]` are done here; in shared memory its rows are a multiple of `multiple`.
const fn fits(inner: usize, outer: usize, multiple: usize) -> Option<usize> {
    let bytes = outer.next_multiple_of(multiple) * inner * Dtype::Bf16.bytes();
    if outer <= OUTER && inner.is_multiple_of(COLUMNS) && bytes <= SHARED { Some(bytes) } else { None }
}

/// Launches one warp for each 16 rows.
fn launch<L: Launcher>(
    l: &mut L,
    name: &'static str,
    rows: usize,
    shared: usize,
    args: &[Arg],
) -> Result<bool, Error> {
    let each = THREADS / LANES * ROWS;
    // Rows are counted in an int, those beyond the last one too.
    int(rows.next_multiple_of(each))?;
    blocks_with(l, Kernel { unit: "linear_narrow", name }, [rows.div_ceil(each), 1], shared, args)?;
    Ok(true)
}

/// `y = x W^T`.
///
/// # Errors
/// The device fails.
pub fn linear<L: Launcher>(l: &mut L, product: &Product, y: Ptr) -> Result<bool, Error> {
    let &Product { x, w, rows, inner, outer } = product;
    let Some(weights) = fits(inner, outer, 8) else { return Ok(false) };
    let results = THREADS / LANES * ROWS * OUTER * Dtype::Bf16.bytes();
    let args = [Arg::Ptr(y), Arg::Ptr(x), Arg::Ptr(w), int(rows)?, int(inner)?, int(outer)?];
    launch(l, "linear_narrow", rows, weights + results, &args)
}

/// Operands of [`vjp_input`].
#[derive(Clone, Copy, Debug)]
pub struct VjpInput {
    /// Result `[rows, inner]`.
    pub dx: Ptr,
    /// Cotangent `[rows, outer]`.
    pub dy: Ptr,
    /// Weight `[outer, inner]`.
    pub w: Ptr,
    /// Rows.
    pub rows: usize,
    /// Columns of the input.
    pub inner: usize,
    /// Columns of the product.
    pub outer: usize,
    /// Whether the result is added to `dx`.
    pub accumulate: bool,
}

/// `dx = dy W`, or `dx += dy W`.
///
/// # Errors
/// The device fails.
pub fn vjp_input<L: Launcher>(l: &mut L, op: &VjpInput) -> Result<bool, Error> {
    let &VjpInput { dx, dy, w, rows, inner, outer, accumulate } = op;
    let Some(weights) = fits(inner, outer, 16) else { return Ok(false) };
    let pointers = [dx, dy, w].map(Arg::Ptr);
    let sizes = [int(rows)?, int(inner)?, int(outer)?, Arg::I32(i32::from(accumulate))];
    launch(l, "linear_narrow_vjp_input", rows, weights, &[&pointers[..], &sizes].concat())
}

/// Operands of [`vjp_weight`].
#[derive(Clone, Copy, Debug)]
pub struct VjpWeight {
    /// Result `[outer, inner]`, f32.
    pub dw: Ptr,
    /// Cotangent `[rows, outer]`.
    pub dy: Ptr,
    /// Input `[rows, inner]`.
    pub x: Ptr,
    /// Scratch of [`vjp_weight_scratch`] bytes.
    pub scratch: Ptr,
    /// Rows.
    pub rows: usize,
    /// Columns of the input.
    pub inner: usize,
    /// Columns of the product.
    pub outer: usize,
}

/// Into how many chunks the rows are cut: each gives a partial sum for each element of the weight.
const fn chunks(rows: usize) -> usize {
    let wanted = rows.div_ceil(CHUNK);
    if wanted < CHUNKS { wanted } else { CHUNKS }
}

/// Bytes of scratch that [`vjp_weight`] needs: none where it does nothing.
#[must_use]
pub const fn vjp_weight_scratch(rows: usize, inner: usize, outer: usize) -> usize {
    match fits(inner, outer, 1) {
        Some(_) => chunks(rows) * outer * inner * Dtype::F32.bytes(),
        None => 0,
    }
}

/// `dW = dy^T x`: partial sums over chunks of rows, and then their sum.
///
/// # Errors
/// The device fails.
pub fn vjp_weight<L: Launcher>(l: &mut L, op: &VjpWeight) -> Result<bool, Error> {
    let &VjpWeight { dw, dy, x, scratch, rows, inner, outer } = op;
    if fits(inner, outer, 1).is_none() {
        return Ok(false);
    }
    let chunks = chunks(rows);
    let each = rows.div_ceil(chunks.max(1)).next_multiple_of(ROWS);
    let warps = chunks * outer.div_ceil(ROWS) * (inner / COLUMNS);
    // Rows are counted in an int, those beyond the last one too.
    int(chunks * each + 2 * ROWS)?;
    let pointers = [scratch, dy, x].map(Arg::Ptr);
    let sizes = [int(rows)?, int(inner)?, int(outer)?, int(each)?, int(chunks)?];
    let kernel = Kernel { unit: "linear_narrow", name: "linear_narrow_vjp_weight" };
    blocks(l, kernel, [warps.div_ceil(THREADS / LANES), 1], &[&pointers[..], &sizes].concat())?;
    sum_chunks(l, dw, scratch, chunks, outer * inner)?;
    Ok(true)
}
