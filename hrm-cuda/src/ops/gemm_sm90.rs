//! Products with what follows them, on compute capability 9.0 in bf16: see `kernels/gemm_sm90.cu`.
//!
//! Each function says whether it did the work. It did not if the machine has no such kernels or the widths do not
//! fit their tiles; the number of rows does not matter, so that a row's bits do not depend on it. One exception:
//! [`linear_swiglu_vjp`] does not where gate and up are more than 32 bits count in units of 16 bytes.
//!
//! The weight is fetched while the launch before still runs: of all kernels only those of the unit `optimizer` may write it.
//! Only [`linear_swiglu_vjp`] waits, because it multiplies by a copy that is made right before.

use super::attention::Rope;
use super::{Product, blocks, elementwise, int, optional};
use crate::error::Error;
use crate::launch::{Arg, Axis, Dtype, Grid, Kernel, Launcher, Ptr, TensorMap};

/// What follows the product in [`linear_add_rms_norm`].
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

/// A sum of the result of [`linear_add_rms_norm`].
#[derive(Clone, Copy, Debug)]
pub struct Plus {
    /// Result `[rows, outer]`.
    pub sum: Ptr,
    /// What is added `[rows, outer]`.
    pub b: Ptr,
    /// Whether what it is added to is written, too.
    pub keep: bool,
}

/// Operands of [`linear_swiglu_vjp`].
#[derive(Clone, Copy, Debug)]
pub struct LinearSwiGluVjp {
    /// Result `[rows, cols]`: the activation.
    pub a: Ptr,
    /// Gate, then up `[rows, 2 cols]`: replaced by their cotangents.
    pub gate_up: Ptr,
    /// Cotangent of the product `[rows, outer]`.
    pub dy: Ptr,
    /// Weight `[outer, cols]`.
    pub w: Ptr,
    /// Scratch of [`linear_swiglu_vjp_scratch`] bytes.
    pub scratch: Ptr,
    /// Rows.
    pub rows: usize,
    /// Columns of the activation.
    pub cols: usize,
    /// Columns of the product.
    pub outer: usize,
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

/// `y = x W^T`.
///
/// # Errors
/// The device fails.
pub fn linear<L: Launcher>(l: &mut L, product: &Product, y: Ptr) -> Result<bool, Error> {
    let (name, cluster) = match product.outer {
        outer if outer.is_multiple_of(2 * COLS) => ("linear_2_sm90", 2),
        outer if outer.is_multiple_of(COLS) => ("linear_1_sm90", 1),
        _ => return Ok(false),
    };
    run(l, &Variant::resident(name, cluster), product, &[Arg::Ptr(y)])
}

/// `y = x W^T`: queries, keys and values, heads of 64, of which queries and keys are rotated, row r as position r modulo
/// `positions`.
///
/// # Errors
/// The device fails.
pub fn linear_rope<L: Launcher>(
    l: &mut L,
    product: &Product,
    y: Ptr,
    rope: Rope,
    positions: usize,
) -> Result<bool, Error> {
    // Where queries, keys and values begin, a tile does.
    let (name, cluster) = match product.outer / 3 {
        width if !product.outer.is_multiple_of(3) || !width.is_multiple_of(COLS) => return Ok(false),
        width if width.is_multiple_of(2 * COLS) => ("linear_rope_2_sm90", 2),
        _ => ("linear_rope_1_sm90", 1),
    };
    run(
        l,
        &Variant::resident(name, cluster),
        product,
        &[Arg::Ptr(y), Arg::Ptr(rope.cos), Arg::Ptr(rope.sin), int(positions)?],
    )
}

/// `[gate, up] = x W^T`, `a = silu(gate) * up`; `gate_up` is written if it is given.
///
/// # Errors
/// The device fails.
pub fn linear_swiglu<L: Launcher>(
    l: &mut L,
    product: &Product,
    a: Ptr,
    gate_up: Option<Ptr>,
) -> Result<bool, Error> {
    let (name, cluster) = match product.outer {
        outer if outer.is_multiple_of(2 * COLS) => ("linear_swiglu_2_sm90", 2),
        outer if outer.is_multiple_of(COLS) => ("linear_swiglu_1_sm90", 1),
        _ => return Ok(false),
    };
    run(l, &Variant::resident(name, cluster), product, &[Arg::Ptr(a), optional(gate_up)])
}

/// Bytes of scratch that [`linear_swiglu_vjp`] needs, at a multiple of 16: none where it does nothing.
#[must_use]
pub const fn linear_swiglu_vjp_scratch(cols: usize, outer: usize) -> usize {
    if cols.is_multiple_of(COLS) && outer.is_multiple_of(DEPTH) && outer <= RESIDENT {
        cols * outer * Dtype::Bf16.bytes()
    } else {
        0
    }
}

/// vjp of `y = a W^T` and of the `a = silu(gate) * up` before it, see
/// [`TrainKernels::linear_swiglu_vjp`](hrm_core::kernels::TrainKernels::linear_swiglu_vjp). The product sums over
/// the rows of the weight: it is given a transposed copy, which a launch ahead of it makes.
///
/// # Errors
/// The device fails.
pub fn linear_swiglu_vjp<L: Launcher>(l: &mut L, op: &LinearSwiGluVjp) -> Result<bool, Error> {
    let &LinearSwiGluVjp { a, gate_up, dy, w, scratch, rows, cols, outer } = op;
    let (name, cluster) = if cols.is_multiple_of(2 * COLS) {
        ("linear_swiglu_vjp_2_sm90", 2)
    } else {
        ("linear_swiglu_vjp_1_sm90", 1)
    };
    let variant = Variant { name, cluster, stages: 4, streamed: false, exchanges: false, turns: true };
    // The kernel counts gate and up in units of 16 bytes, by 32 bits.
    let too_many = u32::try_from(rows * 2 * cols / 8).is_err();
    if linear_swiglu_vjp_scratch(cols, outer) == 0 || too_many || clusters(l, &variant, outer)? == 0 {
        return Ok(false);
    }
    if rows > 0 {
        transpose(l, scratch, w, outer, cols)?;
    }
    let product = Product { x: dy, w: scratch, rows, inner: outer, outer: cols };
    run(l, &variant, &product, &[Arg::Ptr(a), Arg::Ptr(gate_up)])
}

/// Rows and columns that a block transposes.
const TRANSPOSED: usize = 64;

/// `y [cols, rows] = x [rows, cols]^T`, multiples of [`TRANSPOSED`].
fn transpose<L: Launcher>(l: &mut L, y: Ptr, x: Ptr, rows: usize, cols: usize) -> Result<(), Error> {
    let kernel = Kernel { unit: "transpose", name: "transpose" };
    let args = [Arg::Ptr(y), Arg::Ptr(x), int(rows)?, int(cols)?];
    blocks(l, kernel, [cols / TRANSPOSED, rows / TRANSPOSED], &args)
}

/// `s = op.x + x W^T`, `rstd = 1 / sqrt(mean(s^2) + eps)`, `y = s * rstd`, by row, then `sum = y + b` if asked for.
///
/// # Errors
/// The device fails.
pub fn linear_add_rms_norm<L: Launcher>(
    l: &mut L,
    product: &Product,
    op: &AddRmsNorm,
) -> Result<bool, Error> {
    let streamed = product.inner > RESIDENT;
    let (name, cluster) = match (product.outer, streamed) {
        (128, false) => ("linear_add_rms_norm_1_sm90", 1),
        (256, false) => ("linear_add_rms_norm_2_sm90", 2),
        (512, false) => ("linear_add_rms_norm_4_sm90", 4),
        (256, true) => ("linear_add_rms_norm_streamed_1_sm90", 1),
        (512, true) => ("linear_add_rms_norm_streamed_2_sm90", 2),
        _ => return Ok(false),
    };
    let stages = if streamed { 4 } else { 5 };
    let variant = Variant { name, cluster, stages, streamed, exchanges: cluster > 1, turns: false };
    let &AddRmsNorm { y, rstd, x, eps, plus } = op;
    let norm = |y: Option<Ptr>| [optional(y), Arg::Ptr(rstd), Arg::Ptr(x), Arg::F32(eps as f32)];
    if streamed {
        let kept = plus.is_none_or(|plus| plus.keep).then_some(y);
        let (sum, b) = plus.map(|plus| (plus.sum, plus.b)).unzip();
        return run(l, &variant, product, &[&norm(kept)[..], &[optional(sum), optional(b)]].concat());
    }
    let done = run(l, &variant, product, &norm(Some(y)))?;
    if let (true, Some(Plus { sum, b, .. })) = (done, plus) {
        elementwise::add(l, Dtype::Bf16, sum, y, b, product.rows * product.outer)?;
    }
    Ok(done)
}

/// How many clusters the machine holds at once: none if it has no such kernels or the width of the input does not fit.
fn clusters<L: Launcher>(l: &mut L, variant: &Variant, inner: usize) -> Result<usize, Error> {
    if inner == 0 || !inner.is_multiple_of(DEPTH) || (inner > RESIDENT && !variant.streamed) {
        return Ok(0);
    }
    l.clusters(variant.kernel(), variant.grid(0, inner / DEPTH), variant.cluster as u32)
}

fn run<L: Launcher>(l: &mut L, variant: &Variant, product: &Product, more: &[Arg]) -> Result<bool, Error> {
    let cluster = variant.cluster;
    let &Product { x, w, rows, inner, outer } = product;
    let clusters = clusters(l, variant, inner)?;
    if clusters == 0 {
        return Ok(false);
    }
    if rows == 0 {
        return Ok(true);
    }
    let (tile_rows, tile_cols) = variant.tile();
    let (steps, groups) = (inner / DEPTH, outer / tile_cols / cluster);
    let grid = variant.grid(clusters.min(rows.div_ceil(tile_rows) * groups), steps);
    let args = [
        Arg::TensorMap(map_of_rows(x, rows, inner, tile_rows / cluster)),
        Arg::TensorMap(map_of_weights(w, outer, inner)),
        int(rows)?,
        int(steps)?,
        int(groups)?,
    ];
    l.launch(variant.kernel(), grid, &[&args[..], more].concat())?;
    Ok(true)
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
