//! Attention over rotated queries and keys: which kernels, by width of a head and length of a sequence.
//!
//! | activations | head | sequence | kernels | queries and keys |
//! |---|---|---|---|---|
//! | bf16 | 32, 64 | short | `attention_short`: a block for each head, all in shared memory | stay as they are |
//! | bf16 | 64 | any, on compute capability 9.0 | `attention_sm90`: blocks that stay, tiles from the copy engine | come rotated |
//! | bf16 | 32, 64, 128 | any | `attention_long`: a block for each tile of a head | rotated in place |
//! | any | any | any | `attention_plain`: a warp for each row | rotated in place |
//!
//! The vjp takes the same way as the forward kernel: it reads queries and keys as that has left them.
//!
//! On compute capability 9.0 in bf16, with heads of 64, all kernels, also those for short sequences, expect queries and keys
//! rotated: the product that they come from does that as it writes them, or else `rope` in place ([`comes_rotated`]).

mod sm90;
mod way;

use super::{LANES, THREADS, int, launch, optional, typed};
use crate::error::Error;
use crate::launch::{Arg, Dtype, Grid, Kernel, Launcher, Ptr};
use way::{Blocks, SHARED_LIMIT, Way};

/// Sizes of attention.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Sequences.
    pub batch: usize,
    /// Positions of a sequence.
    pub positions: usize,
    /// Heads.
    pub heads: usize,
    /// Width of a head.
    pub head_dim: usize,
}

/// Rotary tables `[positions, head_dim / 2]`, f32.
#[derive(Clone, Copy, Debug)]
pub struct Rope {
    /// Cosines.
    pub cos: Ptr,
    /// Sines.
    pub sin: Ptr,
}

/// Operands of [`rope_attention`].
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Result `[batch, positions, heads * head_dim]`.
    pub o: Ptr,
    /// Log-sum-exp of the scaled scores `[batch * heads, positions]`, f32.
    pub lse: Ptr,
    /// Queries, keys, values `[batch, positions, 3 * heads * head_dim]`.
    pub qkv: Ptr,
    /// Rotary tables, if the model rotates.
    pub rope: Option<Rope>,
    /// Sizes.
    pub shape: Shape,
}

/// Operands of [`rope_attention_vjp`].
#[derive(Clone, Copy, Debug)]
pub struct AttentionVjp {
    /// What the forward kernel was given.
    pub forward: Attention,
    /// Cotangent of `o`.
    pub d_o: Ptr,
    /// Result: cotangent of the unrotated `qkv`.
    pub dqkv: Ptr,
    /// Scratch of [`rope_attention_vjp_scratch`] bytes.
    pub scratch: Ptr,
}

/// Whether [`attention`] and [`rope_attention_vjp`] expect queries and keys rotated in `qkv`.
///
/// # Errors
/// The device fails.
pub fn comes_rotated<L: Launcher>(l: &mut L, dtype: Dtype, shape: &Shape) -> Result<bool, Error> {
    sm90::is_for(l, dtype, shape)
}

/// Rotates queries and keys in place where [`comes_rotated`] says so.
///
/// # Errors
/// The device fails, or the sizes are beyond it.
pub fn rotate<L: Launcher>(l: &mut L, dtype: Dtype, op: &Attention) -> Result<(), Error> {
    if comes_rotated(l, dtype, &op.shape)? { op.rotate_parts(l, dtype, QUERIES) } else { Ok(()) }
}

/// See [`Kernels::rope_attention`](hrm_core::kernels::Kernels::rope_attention).
///
/// # Errors
/// The device fails, or the sizes are beyond it.
pub fn rope_attention<L: Launcher>(l: &mut L, dtype: Dtype, op: &Attention) -> Result<(), Error> {
    rotate(l, dtype, op)?;
    attention(l, dtype, op)
}

/// What follows [`rotate`].
///
/// # Errors
/// The device fails, or the sizes are beyond it.
pub fn attention<L: Launcher>(l: &mut L, dtype: Dtype, op: &Attention) -> Result<(), Error> {
    let [o, lse, qkv] = [op.o, op.lse, op.qkv].map(Arg::Ptr);
    let rotated = comes_rotated(l, dtype, &op.shape)?;
    match Way::of(dtype, &op.shape) {
        Way::Short(kernels) => {
            let tables = if rotated { [optional(None); 2] } else { op.tables() };
            let args = [&[o, lse, qkv][..], &tables, &op.tensor_sizes()?].concat();
            tensor(l, &kernels.forward, &op.shape, &args)
        }
        Way::Long(_) if rotated => sm90::attention(l, op),
        Way::Long(kernels) => {
            op.rotate_parts(l, dtype, KEYS)?;
            let args = [&[o, lse, qkv][..], &op.tables(), &op.tensor_sizes()?].concat();
            tensor(l, &kernels.forward, &op.shape, &args)
        }
        Way::Plain => {
            op.rotate_parts(l, dtype, QUERIES)?;
            let args = [&[o, lse, qkv][..], &op.plain_sizes()?].concat();
            plain(l, typed!("attention_plain", "attention_plain", dtype), 1, &op.shape, &args)
        }
    }
}

/// See [`TrainKernels::rope_attention_vjp`](hrm_core::kernels::TrainKernels::rope_attention_vjp).
///
/// # Errors
/// The device fails, or the sizes are beyond it.
pub fn rope_attention_vjp<L: Launcher>(l: &mut L, dtype: Dtype, op: &AttentionVjp) -> Result<(), Error> {
    let forward = &op.forward;
    let [dqkv, delta, d_o] = [op.dqkv, op.scratch, op.d_o].map(Arg::Ptr);
    let [o, lse, qkv] = [forward.o, forward.lse, forward.qkv].map(Arg::Ptr);
    let tables = forward.tables();
    let rotated = comes_rotated(l, dtype, &forward.shape)?;
    match Way::of(dtype, &forward.shape) {
        Way::Short(kernels) => {
            let (rotated, sizes) = ([Arg::I32(rotated.into())], forward.tensor_sizes()?);
            let args = [&[dqkv, d_o, o, lse, qkv][..], &tables, &rotated, &sizes].concat();
            tensor(l, &kernels.vjp, &forward.shape, &args)
        }
        Way::Long(_) if rotated => sm90::attention_vjp(l, op),
        Way::Long(kernels) => {
            let (sizes, shape) = (forward.tensor_sizes()?, &forward.shape);
            let args = [&[dqkv, delta, d_o, o, lse, qkv][..], &tables, &sizes].concat();
            tensor(l, &kernels.vjp_q, shape, &args)?;
            let args = [&[dqkv, delta, d_o, lse, qkv][..], &tables, &sizes].concat();
            tensor(l, &kernels.vjp_kv, shape, &args)
        }
        Way::Plain => {
            let (sizes, shape) = (forward.plain_sizes()?, &forward.shape);
            let args = [&[dqkv, delta, d_o, o, lse, qkv][..], &tables, &sizes].concat();
            plain(l, typed!("attention_plain", "attention_plain_vjp_q", dtype), 1, shape, &args)?;
            let args = [&[dqkv, delta, d_o, lse, qkv][..], &tables, &sizes].concat();
            plain(l, typed!("attention_plain", "attention_plain_vjp_kv", dtype), 2, shape, &args)
        }
    }
}

/// Bytes of scratch that [`rope_attention_vjp`] needs: `rowsum(do * o)` by position and head, f32.
#[must_use]
pub fn rope_attention_vjp_scratch(shape: &Shape) -> usize {
    4 * shape.batch * shape.heads * shape.positions
}

/// The first part of qkv that is rotated.
const QUERIES: usize = 0;
const KEYS: usize = 1;

impl Attention {
    fn tables(&self) -> [Arg; 2] {
        [optional(self.rope.map(|tables| tables.cos)), optional(self.rope.map(|tables| tables.sin))]
    }

    fn tensor_sizes(&self) -> Result<[Arg; 3], Error> {
        let Shape { positions, heads, head_dim, .. } = self.shape;
        // Exponentials are taken to the base 2.
        let scale = std::f64::consts::LOG2_E / (head_dim as f64).sqrt();
        Ok([int(positions)?, int(heads)?, Arg::F32(scale as f32)])
    }

    fn plain_sizes(&self) -> Result<[Arg; 5], Error> {
        let Shape { batch, positions, heads, head_dim } = self.shape;
        let scale = 1.0 / (head_dim as f64).sqrt();
        Ok([int(batch)?, int(positions)?, int(heads)?, int(head_dim)?, Arg::F32(scale as f32)])
    }

    /// Rotates queries and keys, or keys alone, in place.
    fn rotate_parts<L: Launcher>(&self, l: &mut L, dtype: Dtype, first_part: usize) -> Result<(), Error> {
        let Some(tables) = self.rope else { return Ok(()) };
        let Shape { batch, positions, heads, head_dim } = self.shape;
        let rows = batch * positions;
        let width = if head_dim.is_multiple_of(16) { 8 } else { 1 };
        let threads = rows * (head_dim / 2 / width);
        let sizes = [int(rows)?, int(positions)?, int(heads)?, int(head_dim)?, int(first_part)?];
        let args = [&[self.qkv, tables.cos, tables.sin].map(Arg::Ptr)[..], &sizes].concat();
        launch(l, typed!("rope", "rope", dtype), threads, &args)
    }
}

/// Launches a kernel on tensor cores.
fn tensor<L: Launcher>(l: &mut L, blocks: &Blocks, shape: &Shape, args: &[Arg]) -> Result<(), Error> {
    let &Blocks { kernel, threads, shared, .. } = blocks;
    shared_blocks(l, kernel, blocks.count(shape), threads, shared, args)
}

/// Launches a warp for each row, with `sums` rows of sums in shared memory.
fn plain<L: Launcher>(
    l: &mut L,
    kernel: Kernel,
    sums: usize,
    shape: &Shape,
    args: &[Arg],
) -> Result<(), Error> {
    let &Shape { batch, positions, heads, head_dim } = shape;
    let (rows, warps) = (batch * heads * positions, THREADS / LANES);
    int(rows)?;
    shared_blocks(l, kernel, rows.div_ceil(warps), THREADS, 4 * warps * sums * head_dim, args)
}

/// Launches `count` blocks with `shared` bytes of shared memory each. None is no launch.
fn shared_blocks<L: Launcher>(
    l: &mut L,
    kernel: Kernel,
    count: usize,
    threads: usize,
    shared: usize,
    args: &[Arg],
) -> Result<(), Error> {
    if shared > SHARED_LIMIT {
        return Err(Error::Operand(format!(
            "{} needs {shared} bytes of shared memory for these sizes, of {SHARED_LIMIT}: the head is too wide",
            kernel.name
        )));
    }
    int(count)?;
    if count == 0 {
        return Ok(());
    }
    let grid = Grid { blocks: [count as u32, 1, 1], threads: [threads as u32, 1, 1], shared: shared as u32 };
    l.launch(kernel, grid, args)
}
