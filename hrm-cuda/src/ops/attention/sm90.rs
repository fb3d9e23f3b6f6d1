//! Attention on compute capability 9.0 in bf16, heads of 64: `kernels/attention_sm90.cu`, and for the vjp
//! `kernels/attention_vjp_q_sm90.cu` and `kernels/attention_vjp_kv_sm90.cu`.
//!
//! [`is_for`] says whether the machine has such kernels; only then may they be launched.

use super::super::int;
use super::{Attention, AttentionVjp, Shape};
use crate::error::Error;
use crate::launch::{Arg, Axis, Dtype, Grid, Kernel, Launcher, Ptr, TensorMap};

/// Width of a head.
const HEAD_DIM: usize = 64;
/// Rows of a warpgroup's own tile, and of those that the vjp goes through.
const TILE: usize = 64;
/// Keys that the forward kernel works on at a time.
const KEYS: usize = 128;
const ROW_BYTES: usize = 2 * HEAD_DIM;
const WARPGROUP: usize = 128;
/// Bytes in which a warpgroup gathers its rows of a result: each is 8 elements longer than it need be.
const STAGING: usize = 2 * TILE * (HEAD_DIM + 8);

/// A kernel with what a launch of it takes.
struct Persistent {
    /// Its entry point, and the source file that holds it alone.
    name: &'static str,
    /// Warpgroups that work, each on a tile of rows of its own; one more fetches.
    consumers: usize,
    /// Shared memory of a block.
    shared: usize,
}

/// Each consumer's queries, rings of keys and of values, rows on their way out, barriers of the stages and of the queries.
const FORWARD: Persistent = {
    let (consumers, stages) = (3, 3);
    let tiles = (consumers * TILE + 2 * stages * KEYS) * ROW_BYTES;
    Persistent {
        name: "attention_sm90",
        consumers,
        shared: tiles + consumers * STAGING + 8 * (3 * stages + consumers),
    }
};
const VJP_Q: Persistent = vjp("attention_vjp_q_sm90", 3);
const VJP_KV: Persistent = vjp("attention_vjp_kv_sm90", 2);

/// Each consumer's rows of two matrices, a ring of tiles of two more, two statistics of each of their rows, rows on their
/// way out, barriers.
const fn vjp(name: &'static str, consumers: usize) -> Persistent {
    let stages = 4;
    let tiles = 2 * (consumers + stages) * TILE * ROW_BYTES;
    let stats = stages * 2 * TILE * 4;
    let barriers = 8 * 2 * (stages + consumers);
    Persistent { name, consumers, shared: tiles + stats + consumers * STAGING + barriers }
}

/// Whether the machine has these kernels, for such activations and heads.
pub(super) fn is_for<L: Launcher>(l: &mut L, dtype: Dtype, shape: &Shape) -> Result<bool, Error> {
    Ok(dtype == Dtype::Bf16 && shape.head_dim == HEAD_DIM && FORWARD.blocks(l)? > 0)
}

/// The forward kernel.
pub(super) fn attention<L: Launcher>(l: &mut L, op: &Attention) -> Result<(), Error> {
    let maps = [map(op.qkv, &op.shape, 3, TILE), map(op.qkv, &op.shape, 3, KEYS)].map(Arg::TensorMap);
    FORWARD.launch(l, op, &[&maps[..], &[op.o, op.lse].map(Arg::Ptr)].concat())
}

/// The two halves of the vjp.
pub(super) fn attention_vjp<L: Launcher>(l: &mut L, op: &AttentionVjp) -> Result<(), Error> {
    let Attention { o, lse, qkv, shape, .. } = &op.forward;
    let maps = [map(*qkv, shape, 3, TILE), map(op.d_o, shape, 1, TILE)].map(Arg::TensorMap);
    let tables = op.forward.tables();
    let args = [&maps[..], &[op.dqkv, op.scratch, op.d_o, *o, *lse].map(Arg::Ptr), &tables].concat();
    VJP_Q.launch(l, &op.forward, &args)?;
    let args = [&maps[..], &[op.dqkv, op.scratch, *lse].map(Arg::Ptr), &tables].concat();
    VJP_KV.launch(l, &op.forward, &args)
}

impl Persistent {
    const fn kernel(&self) -> Kernel {
        Kernel { unit: self.name, name: self.name }
    }

    /// `count` blocks.
    const fn grid(&self, count: u32) -> Grid {
        let threads = ((self.consumers + 1) * WARPGROUP) as u32;
        Grid { blocks: [count, 1, 1], threads: [threads, 1, 1], shared: self.shared as u32 }
    }

    /// How many blocks the machine holds at once.
    fn blocks<L: Launcher>(&self, l: &mut L) -> Result<usize, Error> {
        l.clusters(self.kernel(), self.grid(0), 1)
    }

    /// Launches as many blocks as fit at once, with `args` ahead of the sizes.
    fn launch<L: Launcher>(&self, l: &mut L, op: &Attention, args: &[Arg]) -> Result<(), Error> {
        let &Shape { batch, positions, heads, .. } = &op.shape;
        let rows = self.consumers * TILE;
        let (pieces, last_is_whole) = (positions.div_ceil(rows), positions.is_multiple_of(rows));
        let work = batch * heads * pieces;
        int(work)?;
        if work == 0 {
            return Ok(());
        }
        let grid = self.grid(even_blocks(self.blocks(l)?, work, pieces, last_is_whole) as u32);
        l.launch(self.kernel(), grid, &[args, &[int(batch)?], &op.tensor_sizes()?].concat())
    }
}

/// How many blocks take `work` pieces between them, of which a head has `pieces` in a row, if `most` fit at once.
///
/// If a head's last piece is less work than the others, every block is to meet it as often: of 8 pieces, a quarter of 132
/// blocks would meet it every second time, the others never. So the number has no factor in common with `pieces`, unless
/// that takes more than a sixteenth of the blocks.
const fn even_blocks(most: usize, work: usize, pieces: usize, last_is_whole: bool) -> usize {
    if work <= most {
        return work;
    }
    let mut count = most;
    while !last_is_whole && gcd(count, pieces) > 1 {
        if count == most - most / 16 {
            return most;
        }
        count -= 1;
    }
    count
}

const fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Tiles of `rows` rows of a head, of a matrix `[batch, positions, parts * heads * HEAD_DIM]`.
fn map(base: Ptr, shape: &Shape, parts: usize, rows: usize) -> TensorMap {
    let &Shape { batch, positions, heads, .. } = shape;
    let width = parts * heads * HEAD_DIM;
    let axis = |len, stride, boxed| Axis { len, stride, boxed };
    let axes = [axis(width, 1, HEAD_DIM), axis(positions, width, rows), axis(batch, positions * width, 1)];
    let [inner, row, sequence] = axes;
    TensorMap { base, axes: [inner, row, sequence, Axis::default(), Axis::default()] }
}

#[cfg(test)]
mod tests {
    use super::even_blocks;

    #[test]
    fn blocks_meet_each_piece_of_a_head_as_often() {
        assert_eq!(even_blocks(132, 4096, 8, false), 131);
        assert_eq!(even_blocks(132, 2560, 5, false), 132);
        assert_eq!(even_blocks(132, 100, 8, false), 100);
        // Nothing to be gained, or too many blocks to be lost.
        assert_eq!(even_blocks(132, 4096, 8, true), 132);
        assert_eq!(even_blocks(6, 4096, 30, false), 6);
        assert_eq!(even_blocks(0, 8, 8, false), 0);
    }
}
