//! Products with what follows them, on compute capability 9.0 in bf16: see `kernels/gemm_sm90.cu`.
//!
//! `new` decides once whether there is a kernel: there is none if the machine does not run such kernels or the widths do not
//! fit their tiles. `run` then launches it. The number of rows does not matter, so that a row's bits do not depend on it.
//! One exception: there is no [`LinearSwiGluVjp`] where gate and up are more than 32 bits count in units of 16 bytes.
//!
//! The weight is fetched while the launch before still runs: of all kernels only those of the unit `optimizer` may write it.
//! Only [`LinearSwiGluVjp`] waits, because it multiplies by a copy that is made right before.

use super::attention::Rope;
use super::{Product, blocks, elementwise, int, optional};
use crate::error::Error;
use crate::launch::{Arg, Axis, Dtype, Grid, Kernel, Launcher, Ptr, TensorMap};
use hrm_core::kernels::Keep;

/// What follows the product in [`LinearAddRmsNorm`].
#[derive(Clone, Copy, Debug)]
pub struct AddRmsNorm {
    /// Result `[rows, outer]`.
    pub y: Ptr,
    /// Reciprocal root mean square `[rows]`, f32.
    pub rstd: Ptr,
    /// Residual stream `[rows, outer]`.
    pub x: Ptr,
    /// Added to the mean square.
    pub eps: f64,
    /// A sum of the result, if wanted.
    pub plus: Option<Plus>,
}

/// A sum of the result of [`LinearAddRmsNorm`].
#[derive(Clone, Copy, Debug)]
pub struct Plus {
    /// Result `[rows, outer]`.
    pub sum: Ptr,
    /// What is added `[rows, outer]`.
    pub b: Ptr,
    /// Whether what it is added to is written, too.
    pub keep: Keep,
}

/// Columns of a tile whose weights stay in shared memory, and of one whose weights come with the rows.
const COLS: usize = 128;
const COLS_STREAMED: usize = 256;
/// Columns of the input that are multiplied at a time.
const DEPTH: usize = 64;
/// The widest input whose weights stay in shared memory.
const RESIDENT: usize = 512;
/// Barriers that every block has beside those of its ring and its warpgroups.
const WEIGHT_BARRIERS: usize = 2 * RESIDENT / DEPTH;

/// Bytes that a warp turns rows in: eight rows of a tile, each with 64 bytes beside it.
const TURNED: usize = 8 * (COLS * Dtype::Bf16.bytes() + 64);

/// A kernel of the source, as far as the launch must know it.
#[derive(Clone, Copy, Debug)]
struct Variant {
    name: &'static str,
    /// Blocks of a cluster: neighbours in columns.
    cluster: usize,
    /// Stages of the ring of rows.
    stages: usize,
    /// Whether weights come with the rows.
    streamed: bool,
    /// Whether blocks exchange sums of squares.
    exchanges: bool,
    /// Whether warps turn rows in shared memory.
    turns: bool,
}

impl Variant {
    /// With weights that stay, and nothing to exchange or to turn.
    const fn resident(name: &'static str, cluster: usize) -> Self {
        Self { name, cluster, stages: 6, streamed: false, exchanges: false, turns: false }
    }

    /// Warpgroups that multiply.
    const fn warpgroups(&self) -> usize {
        if self.streamed { 2 } else { 3 }
    }

    /// Rows of a warpgroup's tile.
    const fn rows(&self) -> usize {
        if self.streamed { 64 } else { 128 }
    }

    /// Rows and columns of a block's tile.
    const fn tile(&self) -> (usize, usize) {
        if self.streamed { (self.warpgroups() * self.rows(), COLS_STREAMED) } else { (self.rows(), COLS) }
    }

    const fn kernel(&self) -> Kernel {
        Kernel { unit: "gemm_sm90", name: self.name }
    }

    /// As many clusters, for as many steps of the summed dimension.
    const fn grid(&self, clusters: usize, steps: usize) -> Grid {
        let threads = (1 + self.warpgroups()) * 128;
        let blocks = (clusters * self.cluster) as u32;
        Grid { blocks: [blocks, 1, 1], threads: [threads as u32, 1, 1], shared: self.shared(steps) as u32 }
    }

    /// Bytes of a block's shared memory, for as many steps of the summed dimension.
    const fn shared(&self, steps: usize) -> usize {
        let (rows, cols) = self.tile();
        let weights = if self.streamed { self.stages } else { steps };
        let tables = 2 * self.warpgroups();
        let sums = if self.exchanges { tables * self.cluster * self.rows() * 4 } else { 0 };
        let turned = if self.turns { 4 * self.warpgroups() * TURNED } else { 0 };
        let barriers = 8 * (2 * self.stages + self.warpgroups() + tables + WEIGHT_BARRIERS);
        2 * DEPTH * (self.stages * rows + weights * cols) + turned + sums + barriers
    }
}

/// A kernel that fits the widths of a product, on a machine that runs it.
#[derive(Clone, Copy, Debug)]
struct Fused {
    variant: Variant,
    product: Product,
    /// How many clusters the machine holds at once.
    clusters: usize,
}

impl Fused {
    /// None if the width of the input does not fit, or the machine has no such kernels.
    fn new<L: Launcher>(l: &mut L, variant: Variant, product: &Product) -> Result<Option<Self>, Error> {
        let inner = product.inner;
        if inner == 0 || !inner.is_multiple_of(DEPTH) || (inner > RESIDENT && !variant.streamed) {
            return Ok(None);
        }
        let (grid, size) = (variant.grid(0, inner / DEPTH), variant.cluster as u32);
        let clusters = l.clusters(variant.kernel(), grid, size)?;
        Ok((clusters > 0).then_some(Self { variant, product: *product, clusters }))
    }

    /// Launches it, with `more` behind what every product is given.
    fn launch<L: Launcher>(&self, l: &mut L, more: &[Arg]) -> Result<(), Error> {
        let &Self { ref variant, product: Product { x, w, rows, inner, outer }, clusters } = self;
        if rows == 0 {
            return Ok(());
        }
        let (tile_rows, tile_cols) = variant.tile();
        let (steps, groups) = (inner / DEPTH, outer / tile_cols / variant.cluster);
        let grid = variant.grid(clusters.min(rows.div_ceil(tile_rows) * groups), steps);
        let args = [
            Arg::TensorMap(map_of_rows(x, rows, inner, tile_rows / variant.cluster)),
            Arg::TensorMap(map_of_weights(w, outer, inner)),
            int(rows)?,
            int(steps)?,
            int(groups)?,
        ];
        l.launch(variant.kernel(), grid, &[&args[..], more].concat())
    }
}

/// `y = x W^T`.
#[derive(Clone, Copy, Debug)]
pub struct Linear(Fused);

impl Linear {
    /// The kernel for this product, if there is one.
    ///
    /// # Errors
    /// The device fails.
    pub fn new<L: Launcher>(l: &mut L, product: &Product) -> Result<Option<Self>, Error> {
        let (name, cluster) = match product.outer {
            outer if outer.is_multiple_of(2 * COLS) => ("linear_2_sm90", 2),
            outer if outer.is_multiple_of(COLS) => ("linear_1_sm90", 1),
            _ => return Ok(None),
        };
        Ok(Fused::new(l, Variant::resident(name, cluster), product)?.map(Self))
    }

    /// Launches it. Result `y` `[rows, outer]`.
    ///
    /// # Errors
    /// The device fails.
    pub fn run<L: Launcher>(&self, l: &mut L, y: Ptr) -> Result<(), Error> {
        self.0.launch(l, &[Arg::Ptr(y)])
    }
}

/// `y = x W^T`: queries, keys and values, heads of 64, of which queries and keys are rotated.
#[derive(Clone, Copy, Debug)]
pub struct LinearRope(Fused);

impl LinearRope {
    /// The kernel for this product, if there is one.
    ///
    /// # Errors
    /// The device fails.
    pub fn new<L: Launcher>(l: &mut L, product: &Product) -> Result<Option<Self>, Error> {
        // Where queries, keys and values begin, a tile does.
        let (name, cluster) = match product.outer / 3 {
            width if !product.outer.is_multiple_of(3) || !width.is_multiple_of(COLS) => return Ok(None),
            width if width.is_multiple_of(2 * COLS) => ("linear_rope_2_sm90", 2),
            _ => ("linear_rope_1_sm90", 1),
        };
        Ok(Fused::new(l, Variant::resident(name, cluster), product)?.map(Self))
    }

    /// Launches it. Result `y` `[rows, outer]`, of which row r is position r modulo `positions`.
    ///
    /// # Errors
    /// The device fails.
    pub fn run<L: Launcher>(&self, l: &mut L, y: Ptr, rope: Rope, positions: usize) -> Result<(), Error> {
        self.0.launch(l, &[Arg::Ptr(y), Arg::Ptr(rope.cos), Arg::Ptr(rope.sin), int(positions)?])
    }
}

/// `[gate, up] = x W^T`, `a = silu(gate) * up`.
#[derive(Clone, Copy, Debug)]
pub struct LinearSwiGlu(Fused);

impl LinearSwiGlu {
    /// The kernel for this product, if there is one.
    ///
    /// # Errors
    /// The device fails.
    pub fn new<L: Launcher>(l: &mut L, product: &Product) -> Result<Option<Self>, Error> {
        let (name, cluster) = match product.outer {
            outer if outer.is_multiple_of(2 * COLS) => ("linear_swiglu_2_sm90", 2),
            outer if outer.is_multiple_of(COLS) => ("linear_swiglu_1_sm90", 1),
            _ => return Ok(None),
        };
        Ok(Fused::new(l, Variant::resident(name, cluster), product)?.map(Self))
    }

    /// Launches it. Result `a` `[rows, outer / 2]`; `gate_up` `[rows, outer]` is written if it is given.
    ///
    /// # Errors
    /// The device fails.
    pub fn run<L: Launcher>(&self, l: &mut L, a: Ptr, gate_up: Option<Ptr>) -> Result<(), Error> {
        self.0.launch(l, &[Arg::Ptr(a), optional(gate_up)])
    }
}

/// `s = x + inner W^T`, `rstd = 1 / sqrt(mean(s^2) + eps)`, `y = s * rstd`, by row, then `sum = y + b` if asked for.
#[derive(Clone, Copy, Debug)]
pub struct LinearAddRmsNorm(Fused);

impl LinearAddRmsNorm {
    /// The kernel for this product, if there is one.
    ///
    /// # Errors
    /// The device fails.
    pub fn new<L: Launcher>(l: &mut L, product: &Product) -> Result<Option<Self>, Error> {
        let streamed = product.inner > RESIDENT;
        let (name, cluster) = match (product.outer, streamed) {
            (128, false) => ("linear_add_rms_norm_1_sm90", 1),
            (256, false) => ("linear_add_rms_norm_2_sm90", 2),
            (512, false) => ("linear_add_rms_norm_4_sm90", 4),
            (256, true) => ("linear_add_rms_norm_streamed_1_sm90", 1),
            (512, true) => ("linear_add_rms_norm_streamed_2_sm90", 2),
            _ => return Ok(None),
        };
        let stages = if streamed { 4 } else { 5 };
        let variant = Variant { name, cluster, stages, streamed, exchanges: cluster > 1, turns: false };
        Ok(Fused::new(l, variant, product)?.map(Self))
    }

    /// Launches it.
    ///
    /// # Errors
    /// The device fails.
    pub fn run<L: Launcher>(&self, l: &mut L, op: &AddRmsNorm) -> Result<(), Error> {
        let &AddRmsNorm { y, rstd, x, eps, plus } = op;
        let norm = |y: Option<Ptr>| [optional(y), Arg::Ptr(rstd), Arg::Ptr(x), Arg::F32(eps as f32)];
        if self.0.variant.streamed {
            let kept = plus.is_none_or(|plus| plus.keep == Keep::All).then_some(y);
            let (sum, b) = plus.map(|plus| (plus.sum, plus.b)).unzip();
            return self.0.launch(l, &[&norm(kept)[..], &[optional(sum), optional(b)]].concat());
        }
        self.0.launch(l, &norm(Some(y)))?;
        match plus {
            Some(Plus { sum, b, .. }) => {
                let Product { rows, outer, .. } = self.0.product;
                elementwise::add(l, Dtype::Bf16, sum, y, b, rows * outer)
            }
            None => Ok(()),
        }
    }
}

/// vjp of `y = a W^T` and of the `a = silu(gate) * up` before it, see
/// [`TrainKernels::linear_swiglu_vjp`](hrm_core::kernels::TrainKernels::linear_swiglu_vjp). The product sums over
/// the rows of the weight: it is given a transposed copy, which a launch ahead of it makes.
#[derive(Clone, Copy, Debug)]
pub struct LinearSwiGluVjp(Fused);

/// Sizes of [`LinearSwiGluVjp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatedSizes {
    /// Rows.
    pub rows: usize,
    /// Columns of the activation.
    pub cols: usize,
    /// Columns of the product.
    pub outer: usize,
}

/// Operands of [`LinearSwiGluVjp`].
#[derive(Clone, Copy, Debug)]
pub struct GatedOperands {
    /// Result `[rows, cols]`: the activation.
    pub a: Ptr,
    /// Gate, then up `[rows, 2 cols]`: replaced by their cotangents.
    pub gate_up: Ptr,
    /// Cotangent of the product `[rows, outer]`.
    pub dy: Ptr,
    /// Weight `[outer, cols]`.
    pub w: Ptr,
    /// [`LinearSwiGluVjp::scratch`] bytes, at a multiple of 16.
    pub scratch: Ptr,
}

impl LinearSwiGluVjp {
    /// Whether there is a kernel for these sizes, on a machine that has such kernels.
    const fn fits(sizes: &GatedSizes) -> bool {
        let &GatedSizes { rows, cols, outer } = sizes;
        // The kernel counts gate and up in units of 16 bytes, by 32 bits.
        let counts = rows * 2 * cols / 8 <= u32::MAX as usize;
        counts && cols.is_multiple_of(COLS) && outer.is_multiple_of(DEPTH) && outer <= RESIDENT
    }

    /// Bytes of scratch that a run takes, for the copy of the weight: none for sizes that no machine has a kernel for.
    #[must_use]
    pub const fn scratch(sizes: &GatedSizes) -> usize {
        if Self::fits(sizes) { sizes.cols * sizes.outer * Dtype::Bf16.bytes() } else { 0 }
    }

    /// The kernel for these sizes, if there is one.
    ///
    /// # Errors
    /// The device fails.
    pub fn new<L: Launcher>(l: &mut L, sizes: GatedSizes) -> Result<Option<Self>, Error> {
        if !Self::fits(&sizes) {
            return Ok(None);
        }
        let GatedSizes { rows, cols, outer } = sizes;
        let (name, cluster) = if cols.is_multiple_of(2 * COLS) {
            ("linear_swiglu_vjp_2_sm90", 2)
        } else {
            ("linear_swiglu_vjp_1_sm90", 1)
        };
        let variant = Variant { name, cluster, stages: 4, streamed: false, exchanges: false, turns: true };
        // Both operands are known when it runs.
        let product = Product { x: Ptr(0), w: Ptr(0), rows, inner: outer, outer: cols };
        Ok(Fused::new(l, variant, &product)?.map(Self))
    }

    /// Launches it, and the copy ahead of it.
    ///
    /// # Errors
    /// The device fails.
    pub fn run<L: Launcher>(&self, l: &mut L, op: &GatedOperands) -> Result<(), Error> {
        let &GatedOperands { a, gate_up, dy, w, scratch } = op;
        let Product { rows, inner, outer, .. } = self.0.product;
        if rows > 0 {
            transpose(l, scratch, w, inner, outer)?;
        }
        let product = Product { x: dy, w: scratch, ..self.0.product };
        Fused { product, ..self.0 }.launch(l, &[Arg::Ptr(a), Arg::Ptr(gate_up)])
    }
}

/// Rows and columns that a block transposes.
const TRANSPOSED: usize = 64;

/// `y [cols, rows] = x [rows, cols]^T`, multiples of [`TRANSPOSED`].
fn transpose<L: Launcher>(l: &mut L, y: Ptr, x: Ptr, rows: usize, cols: usize) -> Result<(), Error> {
    let kernel = Kernel { unit: "transpose", name: "transpose" };
    let args = [Arg::Ptr(y), Arg::Ptr(x), int(rows)?, int(cols)?];
    blocks(l, kernel, [cols / TRANSPOSED, rows / TRANSPOSED], &args)
}

/// Rows `[rows, cols]`, `boxed` of them in a box.
fn map_of_rows(base: Ptr, rows: usize, cols: usize, boxed: usize) -> TensorMap {
    let inner = Axis { len: cols, stride: 1, boxed: DEPTH };
    let outer = Axis { len: rows, stride: cols, boxed };
    TensorMap { base, axes: [inner, outer, Axis::default(), Axis::default(), Axis::default()] }
}

/// Weights `[rows, cols]`, 64 rows in a box. Of each 32 rows, 8 q + 2 j + e comes to place 8 j + 2 q + e: so a lane of
/// the tensor cores, which holds two columns in each 8, gets 8 neighbours.
fn map_of_weights(base: Ptr, rows: usize, cols: usize) -> TensorMap {
    let axis = |len, stride, boxed| Axis { len, stride: stride * cols, boxed };
    let inner = Axis { len: cols, stride: 1, boxed: DEPTH };
    let axes = [inner, axis(2, 1, 2), axis(4, 8, 4), axis(4, 2, 4), axis(rows / 32, 32, 2)];
    TensorMap { base, axes }
}
