//! Which kernels there are on tensor cores, and the blocks and shared memory that each takes.

use super::Shape;
use crate::launch::{Dtype, Kernel};

/// Bytes of shared memory that a block may have on every device that the kernels are built for: the least of them has
/// 99 KiB.
pub(super) const SHARED_LIMIT: usize = 99 * 1024;

/// Which kernels.
pub(super) enum Way {
    Short(&'static Short),
    Long(&'static Long),
    Plain,
}

impl Way {
    pub(super) fn of(dtype: Dtype, shape: &Shape) -> Self {
        if dtype != Dtype::Bf16 {
            return Self::Plain;
        }
        let short = SHORT.iter().find(|k| k.head_dim == shape.head_dim && shape.positions <= k.rows);
        let long = LONG.iter().find(|k| k.head_dim == shape.head_dim);
        short.map(Self::Short).or(long.map(Self::Long)).unwrap_or(Self::Plain)
    }
}

/// A kernel with what a launch of it takes.
pub(super) struct Blocks {
    pub(super) kernel: Kernel,
    /// Threads of a block.
    pub(super) threads: usize,
    /// Shared memory of a block.
    pub(super) shared: usize,
    /// Positions of a block.
    pub(super) rows: usize,
}

impl Blocks {
    pub(super) const fn count(&self, shape: &Shape) -> usize {
        shape.batch * shape.heads * shape.positions.div_ceil(self.rows)
    }
}

/// A tile of `rows` rows in shared memory: each row is 8 elements longer than it need be.
const fn tile(rows: usize, width: usize) -> usize {
    2 * rows * (width + 8)
}

/// Kernels for sequences that fit into shared memory.
pub(super) struct Short {
    head_dim: usize,
    /// Positions that there is room for. Each 16 have a warp.
    rows: usize,
    pub(super) forward: Blocks,
    pub(super) vjp: Blocks,
}

const SHORT: [Short; 3] = [
    Short::new(32, 96, "attention_short_32x96", "attention_short_vjp_32x96"),
    Short::new(32, 128, "attention_short_32x128", "attention_short_vjp_32x128"),
    Short::new(64, 96, "attention_short_64x96", "attention_short_vjp_64x96"),
];

impl Short {
    const fn new(head_dim: usize, rows: usize, forward: &'static str, vjp: &'static str) -> Self {
        Self {
            head_dim,
            rows,
            // Queries, keys, values.
            forward: Self::blocks(forward, rows, 3 * tile(rows, head_dim)),
            // The same and the cotangent of the output, the cotangent of the scores, two statistics.
            vjp: Self::blocks(vjp, rows, 4 * tile(rows, head_dim) + tile(rows, rows) + 8 * rows),
        }
    }

    const fn blocks(name: &'static str, rows: usize, shared: usize) -> Blocks {
        Blocks { kernel: Kernel { unit: "attention_short", name }, threads: 2 * rows, shared, rows }
    }
}

/// Kernels for sequences of any length.
pub(super) struct Long {
    head_dim: usize,
    pub(super) forward: Blocks,
    pub(super) vjp_q: Blocks,
    pub(super) vjp_kv: Blocks,
}

const LONG: [Long; 3] = [
    Long::new(32, 128, 64, ["attention_long_32", "attention_long_vjp_q_32", "attention_long_vjp_kv_32"]),
    Long::new(64, 128, 64, ["attention_long_64", "attention_long_vjp_q_64", "attention_long_vjp_kv_64"]),
    Long::new(128, 64, 32, ["attention_long_128", "attention_long_vjp_q_128", "attention_long_vjp_kv_128"]),
];

impl Long {
    /// Keys of a block in the keys' half of the vjp.
    const KEYS: usize = 64;

    /// `queries` of a block, which goes through tiles of `step` positions.
    const fn new(head_dim: usize, queries: usize, step: usize, names: [&'static str; 3]) -> Self {
        // Two tiles that a block goes through, and the next two.
        let buffers = 4 * tile(step, head_dim);
        Self {
            head_dim,
            // Queries.
            forward: Self::blocks(names[0], queries, tile(queries, head_dim) + buffers),
            // Queries, the cotangent of the output, a statistic.
            vjp_q: Self::blocks(names[1], queries, 2 * tile(queries, head_dim) + buffers + 4 * queries),
            // Keys, values, two statistics of the queries of two tiles.
            vjp_kv: Self::blocks(names[2], Self::KEYS, 2 * tile(Self::KEYS, head_dim) + buffers + 16 * step),
        }
    }

    const fn blocks(name: &'static str, rows: usize, shared: usize) -> Blocks {
        Blocks { kernel: Kernel { unit: "attention_long", name }, threads: 128, shared, rows }
    }
}
