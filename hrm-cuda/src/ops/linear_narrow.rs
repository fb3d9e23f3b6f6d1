//! Products whose weight has few rows, in bf16, and their vjps: see `kernels/linear_narrow.cu`.
//!
//! `new` decides once whether there is a kernel: there is one if the widths fit, the number of rows does not matter. `run` then
//! launches it.

use super::{LANES, Product, THREADS, blocks, blocks_with, int, sum_chunks};
use crate::error::Error;
use crate::launch::{Arg, Dtype, Kernel, Launcher, Ptr};
use hrm_core::kernels::Write;

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
) -> Result<(), Error> {
    let each = THREADS / LANES * ROWS;
    // Rows are counted in an int, those beyond the last one too.
    int(rows.next_multiple_of(each))?;
    blocks_with(l, Kernel { unit: "linear_narrow", name }, [rows.div_ceil(each), 1], shared, args)
}

/// `y = x W^T`.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    product: Product,
    /// Shared memory of a block, in bytes.
    shared: usize,
}

impl Linear {
    /// The kernel for this product, if there is one.
    #[must_use]
    pub fn new(product: &Product) -> Option<Self> {
        let weights = fits(product.inner, product.outer, 8)?;
        let results = THREADS / LANES * ROWS * OUTER * Dtype::Bf16.bytes();
        Some(Self { product: *product, shared: weights + results })
    }

    /// Launches it. Result `y` `[rows, outer]`.
    ///
    /// # Errors
    /// The device fails.
    pub fn run<L: Launcher>(&self, l: &mut L, y: Ptr) -> Result<(), Error> {
        let Product { x, w, rows, inner, outer } = self.product;
        let args = [Arg::Ptr(y), Arg::Ptr(x), Arg::Ptr(w), int(rows)?, int(inner)?, int(outer)?];
        launch(l, "linear_narrow", rows, self.shared, &args)
    }
}

/// Sizes of the vjps of `y = x W^T`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Rows.
    pub rows: usize,
    /// Columns of the input.
    pub inner: usize,
    /// Columns of the product.
    pub outer: usize,
}

/// `dx = dy W`, or `dx += dy W`.
#[derive(Clone, Copy, Debug)]
pub struct VjpInput {
    sizes: Sizes,
    /// Shared memory of a block, in bytes.
    shared: usize,
}

/// Operands of [`VjpInput`].
#[derive(Clone, Copy, Debug)]
pub struct VjpInputOperands {
    /// Result `[rows, inner]`.
    pub dx: Ptr,
    /// Cotangent `[rows, outer]`.
    pub dy: Ptr,
    /// Weight `[outer, inner]`.
    pub w: Ptr,
    /// Whether the result is added to `dx`.
    pub write: Write,
}

impl VjpInput {
    /// The kernel for these sizes, if there is one.
    #[must_use]
    pub fn new(sizes: Sizes) -> Option<Self> {
        Some(Self { sizes, shared: fits(sizes.inner, sizes.outer, 16)? })
    }

    /// Launches it.
    ///
    /// # Errors
    /// The device fails.
    pub fn run<L: Launcher>(&self, l: &mut L, op: &VjpInputOperands) -> Result<(), Error> {
        let &VjpInputOperands { dx, dy, w, write } = op;
        let Sizes { rows, inner, outer } = self.sizes;
        let pointers = [dx, dy, w].map(Arg::Ptr);
        let sizes = [int(rows)?, int(inner)?, int(outer)?, Arg::I32(i32::from(write == Write::Accumulate))];
        launch(l, "linear_narrow_vjp_input", rows, self.shared, &[&pointers[..], &sizes].concat())
    }
}

/// `dW = dy^T x`: partial sums over chunks of rows, and then their sum.
#[derive(Clone, Copy, Debug)]
pub struct VjpWeight {
    sizes: Sizes,
}

/// Operands of [`VjpWeight`].
#[derive(Clone, Copy, Debug)]
pub struct VjpWeightOperands {
    /// Result `[outer, inner]`, f32.
    pub dw: Ptr,
    /// Cotangent `[rows, outer]`.
    pub dy: Ptr,
    /// Input `[rows, inner]`.
    pub x: Ptr,
    /// [`VjpWeight::scratch`] bytes.
    pub scratch: Ptr,
}

impl VjpWeight {
    /// The kernel for these sizes, if there is one.
    #[must_use]
    pub const fn new(sizes: Sizes) -> Option<Self> {
        match fits(sizes.inner, sizes.outer, 1) {
            Some(_) => Some(Self { sizes }),
            None => None,
        }
    }

    /// Into how many chunks the rows are cut: each gives a partial sum for each element of the weight.
    const fn chunks(&self) -> usize {
        let wanted = self.sizes.rows.div_ceil(CHUNK);
        if wanted < CHUNKS { wanted } else { CHUNKS }
    }

    /// Bytes of scratch that a run takes.
    #[must_use]
    pub const fn scratch(&self) -> usize {
        self.chunks() * self.sizes.outer * self.sizes.inner * Dtype::F32.bytes()
    }

    /// Launches it.
    ///
    /// # Errors
    /// The device fails.
    pub fn run<L: Launcher>(&self, l: &mut L, op: &VjpWeightOperands) -> Result<(), Error> {
        let &VjpWeightOperands { dw, dy, x, scratch } = op;
        let Sizes { rows, inner, outer } = self.sizes;
        let chunks = self.chunks();
        let each = rows.div_ceil(chunks.max(1)).next_multiple_of(ROWS);
        let warps = chunks * outer.div_ceil(ROWS) * (inner / COLUMNS);
        // Rows are counted in an int, those beyond the last one too.
        int(chunks * each + 2 * ROWS)?;
        let pointers = [scratch, dy, x].map(Arg::Ptr);
        let sizes = [int(rows)?, int(inner)?, int(outer)?, int(each)?, int(chunks)?];
        let kernel = Kernel { unit: "linear_narrow", name: "linear_narrow_vjp_weight" };
        blocks(l, kernel, [warps.div_ceil(THREADS / LANES), 1], &[&pointers[..], &sizes].concat())?;
        sum_chunks(l, dw, scratch, chunks, outer * inner)
    }
}
