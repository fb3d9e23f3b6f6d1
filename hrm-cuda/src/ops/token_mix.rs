//! Cells mixed by a SwiGLU over positions, in one kernel, on compute capability 9.0 in bf16: `kernels/token_mix_sm90.cu`
//! and `kernels/token_mix_vjp_sm90.cu`.
//!
//! [`TokenMix::new`] decides once whether there is a kernel: there is none if the machine does not run such kernels, or if
//! the sizes do not fit its tiles. Each run copies the weights first, as the kernels want them.

use super::{int, launch};
use crate::error::Error;
use crate::launch::{Arg, Axis, Dtype, Gemm, Grid, Kernel, Launcher, Ptr, TensorMap};
use hrm_core::kernels::Write;

/// Sizes of the kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Sequences.
    pub batch: usize,
    /// Positions of a sequence.
    pub positions: usize,
    /// Columns of a sequence.
    pub width: usize,
    /// Columns of the activation.
    pub inter: usize,
}

/// Operands of [`TokenMix::forward`].
#[derive(Clone, Copy, Debug)]
pub struct Forward {
    /// Result `[batch, positions, width]`.
    pub y: Ptr,
    /// Reciprocal root mean square by column `[batch * width]`, f32.
    pub rstd: Ptr,
    /// Residual stream and input `[batch, positions, width]`.
    pub x: Ptr,
    /// Weight of gate and up `[2 inter, positions]`.
    pub gate_up: Ptr,
    /// Weight of the output `[positions, inter]`.
    pub down: Ptr,
    /// Added to the mean square.
    pub eps: f64,
    /// [`TokenMix::scratch`] bytes, at a multiple of 256.
    pub scratch: Ptr,
}

/// Operands of [`TokenMix::vjp`].
#[derive(Clone, Copy, Debug)]
pub struct Vjp {
    /// What the forward kernel was given, and its results. Its scratch has [`TokenMix::vjp_scratch`] bytes.
    pub forward: Forward,
    /// Cotangent of its result `[batch, positions, width]`.
    pub dy: Ptr,
    /// Result: cotangent of its input `[batch, positions, width]`.
    pub dx: Ptr,
    /// Spent: the activation of each column `[batch * width, inter]`.
    pub a: Ptr,
    /// Spent: cotangents of gate and up of each column `[batch * width, 2 inter]`.
    pub gate_up: Ptr,
    /// Result: gradient of the weight of gate and up, f32.
    pub d_gate_up: Ptr,
    /// Result: gradient of the weight of the output, f32.
    pub d_down: Ptr,
    /// Whether the gradients replace what is there, or are added to it.
    pub write: Write,
}

/// Columns of a warpgroup, and of the activation in a step.
const COLUMNS: usize = 64;
const CONSUMERS: usize = 2;
/// Blocks of a cluster, which share the weights.
const CLUSTER: usize = 2;
/// The most positions that a warpgroup's registers hold.
const POSITIONS: usize = 104;
/// Positions that are summed over, and those in a row of the copy of gate and up.
const SUMMED: usize = 112;
const COPIED: usize = 128;
const ROW_BYTES: usize = 128;
const TILE_BYTES: usize = SUMMED * ROW_BYTES;
const STAGE_BYTES: usize = (2 * 2 * COLUMNS + SUMMED) * ROW_BYTES;

/// A kernel with what a launch of it takes.
struct Persistent {
    /// Its entry point, and the source file that holds it alone.
    name: &'static str,
    /// Sequences that each warpgroup reads a tile of.
    operands: usize,
    /// Stages of the ring of weights.
    stages: usize,
    /// Bytes in which each warp turns rows.
    turned: usize,
}

const FORWARD: Persistent = Persistent { name: "token_mix_sm90", operands: 1, stages: 3, turned: 0 };
/// Eight rows are turned at a time, each 16 bytes longer than it need be.
const VJP: Persistent =
    Persistent { name: "token_mix_vjp_sm90", operands: 3, stages: 2, turned: 8 * (2 * SUMMED + 16) };

impl Persistent {
    const fn kernel(&self) -> Kernel {
        Kernel { unit: self.name, name: self.name }
    }

    /// `clusters` clusters: a ring of weights, tiles, results on their way out, barriers, what warps turn rows in.
    const fn grid(&self, clusters: usize) -> Grid {
        let tiles = CONSUMERS * (self.operands + 1) * TILE_BYTES;
        let barriers = 8 * 2 * (self.stages + CONSUMERS);
        let shared = self.stages * STAGE_BYTES + tiles + barriers + 4 * CONSUMERS * self.turned;
        let threads = ((1 + CONSUMERS) * 128) as u32;
        Grid { blocks: [(clusters * CLUSTER) as u32, 1, 1], threads: [threads, 1, 1], shared: shared as u32 }
    }
}

/// The kernels for some sizes, on a machine that runs them.
#[derive(Clone, Copy, Debug)]
pub struct TokenMix {
    sizes: Sizes,
    /// How many clusters of each kernel the machine holds at once.
    clusters: [usize; 2],
}

/// Where the parts of the scratch begin: the copies of both weights, then for the vjp rows of x and of ds, and gradients
/// with rows of [`SUMMED`]; the last is where it ends.
struct Scratch {
    down: usize,
    x: usize,
    ds: usize,
    d_gate_up: usize,
    d_down: usize,
    end: usize,
}

impl Scratch {
    const fn of(sizes: &Sizes) -> Self {
        let &Sizes { batch, positions, width, inter } = sizes;
        let rows = batch * width * SUMMED * Dtype::Bf16.bytes();
        let down = 2 * inter * COPIED * Dtype::Bf16.bytes();
        let x = (down + positions * inter * Dtype::Bf16.bytes()).next_multiple_of(256);
        let ds = (x + rows).next_multiple_of(256);
        let d_gate_up = (ds + rows).next_multiple_of(256);
        let d_down = d_gate_up + 2 * inter * SUMMED * 4;
        Self { down, x, ds, d_gate_up, d_down, end: d_down + SUMMED * inter * 4 }
    }
}

impl TokenMix {
    /// Whether there are kernels for these sizes, on a machine that has such kernels.
    const fn fits(sizes: &Sizes) -> bool {
        let &Sizes { positions, width, inter, .. } = sizes;
        let columns = width > 0 && width.is_multiple_of(CONSUMERS * COLUMNS);
        columns && inter > 0 && inter.is_multiple_of(COLUMNS) && 0 < positions && positions <= POSITIONS
    }

    /// Bytes of scratch that [`forward`](Self::forward) takes: none for sizes that no machine has a kernel for.
    #[must_use]
    pub const fn scratch(sizes: &Sizes) -> usize {
        if Self::fits(sizes) { Scratch::of(sizes).x } else { 0 }
    }

    /// Bytes of scratch that [`vjp`](Self::vjp) takes: none for sizes that no machine has a kernel for.
    #[must_use]
    pub const fn vjp_scratch(sizes: &Sizes) -> usize {
        if Self::fits(sizes) { Scratch::of(sizes).end } else { 0 }
    }

    /// The kernels for these sizes, if there are any.
    ///
    /// # Errors
    /// The device fails.
    pub fn new<L: Launcher>(l: &mut L, sizes: Sizes) -> Result<Option<Self>, Error> {
        if !Self::fits(&sizes) {
            return Ok(None);
        }
        let mut clusters = [0; 2];
        for (clusters, kernel) in clusters.iter_mut().zip([FORWARD, VJP]) {
            *clusters = l.clusters(kernel.kernel(), kernel.grid(0), CLUSTER as u32)?;
        }
        Ok((!clusters.contains(&0)).then_some(Self { sizes, clusters }))
    }

    /// From x to y, with `rstd`.
    ///
    /// # Errors
    /// The device fails.
    pub fn forward<L: Launcher>(&self, l: &mut L, op: &Forward) -> Result<(), Error> {
        let maps = [self.sequences(op.x)];
        let results = [Arg::Ptr(op.y), Arg::Ptr(op.rstd)];
        self.launch(l, (&FORWARD, self.clusters[0]), op, &maps, [&results, &[Arg::F32(op.eps as f32)]])
    }

    /// From the cotangent of y to that of x, and the gradients of both weights.
    ///
    /// # Errors
    /// The device fails.
    pub fn vjp<L: Launcher>(&self, l: &mut L, op: &Vjp) -> Result<(), Error> {
        let Sizes { batch, positions, width, inter } = self.sizes;
        let scratch = Scratch::of(&self.sizes);
        let at = |offset| op.forward.scratch.offset(offset);
        let [x, ds] = [scratch.x, scratch.ds].map(at);
        let maps = [op.forward.x, op.forward.y, op.dy].map(|base| self.sequences(base));
        let results = [op.dx, x, ds, op.a, op.gate_up, op.forward.rstd].map(Arg::Ptr);
        self.launch(l, (&VJP, self.clusters[1]), &op.forward, &maps, [&results, &[]])?;

        let [d_gate_up, d_down] = [scratch.d_gate_up, scratch.d_down].map(at);
        for (c, a, m, b, n) in
            [(d_gate_up, op.gate_up, 2 * inter, x, SUMMED), (d_down, ds, SUMMED, op.a, inter)]
        {
            l.gemm(&Gemm {
                m,
                n,
                k: batch * width,
                a,
                b,
                c,
                transpose_a: true,
                transpose_b: false,
                write: Write::Replace,
                input: Dtype::Bf16,
                output: Dtype::F32,
            })?;
        }
        let pointers = [op.d_gate_up, op.d_down, d_gate_up, d_down].map(Arg::Ptr);
        let accumulate = Arg::I32((op.write == Write::Accumulate).into());
        let args = [&pointers[..], &[int(positions)?, int(inter)?, accumulate]].concat();
        let kernel = Kernel { unit: "token_weights", name: "write_token_gradients" };
        launch(l, kernel, 3 * inter * positions, &args)
    }

    /// Copies the weights and launches a kernel, with `results` behind the maps and `more` behind the sizes.
    fn launch<L: Launcher>(
        &self,
        l: &mut L,
        (kernel, clusters): (&Persistent, usize),
        op: &Forward,
        sequences: &[TensorMap],
        [results, more]: [&[Arg]; 2],
    ) -> Result<(), Error> {
        let Sizes { batch, positions, width, inter } = self.sizes;
        let pairs = (batch * (width / (CONSUMERS * COLUMNS))).div_ceil(CLUSTER);
        if pairs == 0 {
            return Ok(());
        }
        let (gate_up, down) = (op.scratch, op.scratch.offset(Scratch::of(&self.sizes).down));
        let pointers = [gate_up, down, op.gate_up, op.down].map(Arg::Ptr);
        let args = [&pointers[..], &[int(positions)?, int(inter)?]].concat();
        let copy = Kernel { unit: "token_weights", name: "copy_token_weights" };
        launch(l, copy, 2 * inter * COPIED + positions * inter, &args)?;

        let weights =
            [map(gate_up, 2 * inter, COPIED, COLUMNS), map(down, positions, inter, SUMMED / CLUSTER)];
        let maps: Vec<Arg> = sequences.iter().chain(&weights).map(|map| Arg::TensorMap(*map)).collect();
        let sizes = [int(batch)?, int(positions)?, int(width)?, int(inter)?];
        let args = [&maps[..], results, &sizes, more].concat();
        l.launch(kernel.kernel(), kernel.grid(clusters.min(pairs)), &args)
    }

    /// Tiles of 64 columns of a sequence at all its positions, and zeros behind them.
    fn sequences(&self, base: Ptr) -> TensorMap {
        let Sizes { batch, positions, width, .. } = self.sizes;
        let axis = |len, stride, boxed| Axis { len, stride, boxed };
        let (inner, row) = (axis(width, 1, COLUMNS), axis(positions, width, SUMMED));
        let sequence = axis(batch, positions * width, 1);
        TensorMap { base, axes: [inner, row, sequence, Axis::default(), Axis::default()] }
    }
}

/// A matrix `[rows, cols]`, `boxed` rows and 64 columns in a box.
fn map(base: Ptr, rows: usize, cols: usize, boxed: usize) -> TensorMap {
    let inner = Axis { len: cols, stride: 1, boxed: 64 };
    let outer = Axis { len: rows, stride: cols, boxed };
    TensorMap { base, axes: [inner, outer, Axis::default(), Axis::default(), Axis::default()] }
}
