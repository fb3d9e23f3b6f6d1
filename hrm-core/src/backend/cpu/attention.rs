//! Multi-head attention with rotary positions, non-causal, and its vjp.
//!
//! `qkv` is `[batch, seq, 3, heads, head_dim]`, `o` is `[batch, seq, heads, head_dim]`, `lse` is
//! `[batch, heads, seq]`. Scores are computed for a block of queries at a time, so memory grows with `seq`, not its square; the
//! backward pass recomputes the probabilities from `lse`. One task is one (batch, head) pair.

use super::elementwise::{exp_row, sum2};
use super::gemm::{gemm_serial, matrix, matrix_mut};
use super::par::vectorized;
use crate::backend::math::exp;
use crate::kernels::Write;
use ndarray::{ArrayView2, ArrayViewMut, ArrayViewMut2, ArrayViewMut3, Axis, Ix5, s};

/// Queries whose scores are held at once.
const BLOCK: usize = 96;

/// Shape of one attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// Sequences.
    pub batch: usize,
    /// Positions of a sequence, the puzzle prefix included.
    pub seq: usize,
    /// Heads.
    pub heads: usize,
    /// Width of a head; even when positions are rotary.
    pub head_dim: usize,
}

impl AttentionShape {
    /// Width of a row of `o`: `heads * head_dim`.
    #[must_use]
    pub const fn hidden(&self) -> usize {
        self.heads * self.head_dim
    }

    const fn block(&self) -> usize {
        if self.seq < BLOCK { self.seq } else { BLOCK }
    }
}

/// The rotation of queries and keys: the pair `(x[j], x[j + head_dim/2])` turns by the angle of position and `j`.
#[derive(Clone, Copy, Debug)]
pub struct Rope<'a> {
    /// Cosines, `[seq, head_dim/2]`.
    pub cos: &'a [f32],
    /// Sines, `[seq, head_dim/2]`.
    pub sin: &'a [f32],
}

/// Elements of scratch that [`attention`] needs when its work is spread over `tasks` (usually the threads).
#[must_use]
pub const fn attention_scratch_len(shape: &AttentionShape, tasks: usize) -> usize {
    tasks * (shape.seq * shape.head_dim + shape.block() * (shape.head_dim + shape.seq))
}

/// Elements of scratch that [`attention_vjp`] needs when its work is spread over `tasks` (usually the threads).
#[must_use]
pub const fn attention_vjp_scratch_len(shape: &AttentionShape, tasks: usize) -> usize {
    tasks * (2 * shape.seq * shape.head_dim + 2 * shape.block() * (shape.head_dim + shape.seq))
}

/// `o = softmax(R(q) R(k)^T / sqrt(head_dim)) v` per (batch, head), with `R` the rotation; keeps
/// `lse = ln sum exp` of the scaled scores.
///
/// `scratch` is as long as [`attention_scratch_len`] says for some number of tasks; it sets how many run at once.
pub fn attention(
    o: &mut [f32],
    lse: &mut [f32],
    qkv: &[f32],
    rope: Option<Rope>,
    shape: &AttentionShape,
    scratch: &mut [f32],
) {
    let AttentionShape { batch, seq, heads, head_dim } = *shape;
    check(shape, rope, qkv.len(), o.len(), lse.len());
    let unit = attention_scratch_len(shape, 1);
    let o = matrix5(o, [batch, seq, 1, heads, head_dim]);
    visit(o, lse, scratch, Walk { unit, per_head: seq, first: (0, 0) }, &|o, lse, scratch, (b, h)| {
        let [q, k, v] = heads_of(qkv, shape, b, h);
        forward_head(o.index_axis_move(Axis(1), 0), lse, q, k, v, rope, scratch);
    });
}

/// The vjp of [`attention`]: `dqkv` from `d_o`, and `qkv`, `o` and `lse` of the forward pass.
///
/// `scratch` is as long as [`attention_vjp_scratch_len`] says for some number of tasks.
#[expect(
    clippy::too_many_arguments,
    reason = "two cotangents, three kept values, the table, the shape, the scratch"
)]
pub fn attention_vjp(
    dqkv: &mut [f32],
    d_o: &[f32],
    qkv: &[f32],
    o: &[f32],
    lse: &[f32],
    rope: Option<Rope>,
    shape: &AttentionShape,
    scratch: &mut [f32],
) {
    let AttentionShape { batch, seq, heads, head_dim } = *shape;
    check(shape, rope, qkv.len(), o.len(), lse.len());
    assert!(
        dqkv.len() == qkv.len() && d_o.len() == o.len(),
        "attention_vjp: {} and {}",
        dqkv.len(),
        d_o.len()
    );
    let unit = attention_vjp_scratch_len(shape, 1);
    let dqkv = matrix5(dqkv, [batch, seq, 3, heads, head_dim]);
    visit(dqkv, &mut [], scratch, Walk { unit, per_head: 0, first: (0, 0) }, &|dqkv, _, scratch, (b, h)| {
        let row = |data| head_of(data, shape, shape.hidden(), b, h * head_dim);
        let lse = &lse[(b * heads + h) * seq..][..seq];
        backward_head(dqkv, heads_of(qkv, shape, b, h), row(o), row(d_o), lse, rope, scratch);
    });
}

fn check(shape: &AttentionShape, rope: Option<Rope>, qkv: usize, o: usize, lse: usize) {
    let AttentionShape { batch, seq, heads, head_dim } = *shape;
    let len = batch * seq * shape.hidden();
    assert!(
        qkv == 3 * len && o == len && lse == batch * heads * seq,
        "attention: qkv {qkv}, o {o}, lse {lse}, {shape:?}"
    );
    if let Some(rope) = rope {
        let half = head_dim / 2;
        assert!(
            head_dim % 2 == 0 && rope.cos.len() == seq * half && rope.sin.len() == seq * half,
            "attention: rotary tables of {} and {} for {shape:?}",
            rope.cos.len(),
            rope.sin.len()
        );
    }
}

fn matrix5(data: &mut [f32], dim: [usize; 5]) -> ArrayViewMut<'_, f32, Ix5> {
    ArrayViewMut::from_shape(dim, data).expect("the length was checked")
}

/// The `[seq, head_dim]` view of `data` (rows of `stride`) of sequence `b` at column `column`.
fn head_of<'a>(
    data: &'a [f32],
    shape: &AttentionShape,
    stride: usize,
    b: usize,
    column: usize,
) -> ArrayView2<'a, f32> {
    let rows = shape.seq * stride;
    matrix(&data[b * rows..][..rows], shape.seq, stride).slice_move(s![.., column..column + shape.head_dim])
}

fn heads_of<'a>(qkv: &'a [f32], shape: &AttentionShape, b: usize, h: usize) -> [ArrayView2<'a, f32>; 3] {
    let hidden = shape.hidden();
    [0, 1, 2].map(|part| head_of(qkv, shape, 3 * hidden, b, part * hidden + h * shape.head_dim))
}

/// How the (batch, head) pairs are visited.
#[derive(Clone, Copy)]
struct Walk {
    /// Scratch of one task.
    unit: usize,
    /// Statistics of one head.
    per_head: usize,
    /// The first (batch, head) pair of the part at hand.
    first: (usize, usize),
}

/// Calls `f` for every (batch, head) of `out` `[batch, seq, parts, heads, head_dim]` with that head's
/// `[seq, parts, head_dim]`, its share of `stats`, and scratch that no other task uses.
fn visit<F>(out: ArrayViewMut<f32, Ix5>, stats: &mut [f32], scratch: &mut [f32], walk: Walk, f: &F)
where
    F: Fn(ArrayViewMut3<f32>, &mut [f32], &mut [f32], (usize, usize)) + Sync,
{
    let (batch, _, _, heads, _) = out.dim();
    let pairs = batch * heads;
    if pairs == 0 {
        return;
    }
    let (b, h) = walk.first;
    if pairs == 1 {
        let out = out.index_axis_move(Axis(3), 0).index_axis_move(Axis(0), 0);
        assert!(
            scratch.len() >= walk.unit,
            "attention: {} elements of scratch, {} needed",
            scratch.len(),
            walk.unit
        );
        return f(out, stats, &mut scratch[..walk.unit], (b, h));
    }
    let axis = if batch > 1 { 0 } else { 3 };
    let mid = if batch > 1 { batch / 2 } else { heads / 2 };
    let (left, right) = out.split_at(Axis(axis), mid);
    let left_pairs = if batch > 1 { mid * heads } else { mid };
    let (left_stats, right_stats) = stats.split_at_mut(left_pairs * walk.per_head);
    let second = Walk { first: if batch > 1 { (b + mid, h) } else { (b, h + mid) }, ..walk };
    let tasks = scratch.len() / walk.unit.max(1);
    if tasks >= 2 {
        // Scratch in proportion to the work: the halves are equal up to one sequence or head.
        let (left_scratch, right_scratch) = scratch.split_at_mut(tasks / 2 * walk.unit);
        rayon::join(
            || visit(left, left_stats, left_scratch, walk, f),
            || visit(right, right_stats, right_scratch, second, f),
        );
    } else {
        visit(left, left_stats, scratch, walk, f);
        visit(right, right_stats, scratch, second, f);
    }
}

/// Copies rows `first..` of `x` to `y` `[_, head_dim]`, turned by `rope` and multiplied by `scale`.
fn rotate_rows(y: &mut [f32], x: ArrayView2<f32>, rope: Option<Rope>, first: usize, scale: f32) {
    let width = x.ncols();
    vectorized(
        #[inline(always)]
        || {
            for (i, (y, x)) in y.chunks_exact_mut(width).zip(x.rows()).enumerate() {
                if let Some(x) = x.to_slice() {
                    rotate_row(y, x, rope, first + i, scale, 1.0);
                }
            }
        },
    );
}

/// As [`rotate_rows`] but turned back, into a strided view: the vjp of the rotation.
fn rotate_back(mut y: ArrayViewMut2<f32>, x: &[f32], rope: Option<Rope>, first: usize, scale: f32) {
    let width = y.ncols();
    vectorized(
        #[inline(always)]
        || {
            for (i, (y, x)) in y.rows_mut().into_iter().zip(x.chunks_exact(width)).enumerate() {
                if let Some(y) = y.into_slice() {
                    rotate_row(y, x, rope, first + i, scale, -1.0);
                }
            }
        },
    );
}

#[inline(always)]
fn rotate_row(y: &mut [f32], x: &[f32], rope: Option<Rope>, position: usize, scale: f32, sign: f32) {
    let Some(rope) = rope else {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = x * scale;
        }
        return;
    };
    let half = x.len() / 2;
    let cos = &rope.cos[position * half..][..half];
    let sin = &rope.sin[position * half..][..half];
    let (x1, x2) = x.split_at(half);
    let (y1, y2) = y.split_at_mut(half);
    for ((y1, y2), ((&x1, &x2), (&c, &s))) in
        y1.iter_mut().zip(y2).zip(x1.iter().zip(x2).zip(cos.iter().zip(sin)))
    {
        let s = s * sign;
        *y1 = (x1 * c - x2 * s) * scale;
        *y2 = (x2 * c + x1 * s) * scale;
    }
}

fn forward_head(
    mut o: ArrayViewMut2<f32>,
    lse: &mut [f32],
    q: ArrayView2<f32>,
    k: ArrayView2<f32>,
    v: ArrayView2<f32>,
    rope: Option<Rope>,
    scratch: &mut [f32],
) {
    let (seq, width) = q.dim();
    let scale = 1.0 / (width as f32).sqrt();
    let (keys, scratch) = scratch.split_at_mut(seq * width);
    rotate_rows(keys, k, rope, 0, 1.0);
    let mut first = 0;
    while first < seq {
        let rows = BLOCK.min(seq - first);
        let block = s![first..first + rows, ..];
        let (queries, scores) = scratch.split_at_mut(rows * width);
        let scores = &mut scores[..rows * seq];
        rotate_rows(queries, q.slice(block), rope, first, scale);
        let keys = matrix(keys, seq, width);
        gemm_serial(matrix_mut(scores, rows, seq), matrix(queries, rows, width), keys.t(), Write::Replace);
        let lse = &mut lse[first..first + rows];
        vectorized(
            #[inline(always)]
            || {
                for (scores, lse) in scores.chunks_exact_mut(seq).zip(lse) {
                    let (max, sum) = exp_row(scores);
                    *lse = max + sum.ln();
                    let inverse = 1.0 / sum;
                    for p in scores {
                        *p *= inverse;
                    }
                }
            },
        );
        gemm_serial(o.slice_mut(block), matrix(scores, rows, seq), v, Write::Replace);
        first += rows;
    }
}

fn backward_head(
    mut dqkv: ArrayViewMut3<f32>,
    [q, k, v]: [ArrayView2<f32>; 3],
    o: ArrayView2<f32>,
    d_o: ArrayView2<f32>,
    lse: &[f32],
    rope: Option<Rope>,
    scratch: &mut [f32],
) {
    let (seq, width) = q.dim();
    let scale = 1.0 / (width as f32).sqrt();
    let (keys, scratch) = scratch.split_at_mut(seq * width);
    let (d_keys, scratch) = scratch.split_at_mut(seq * width);
    rotate_rows(keys, k, rope, 0, 1.0);
    let keys = matrix(keys, seq, width);
    let mut first = 0;
    while first < seq {
        let rows = BLOCK.min(seq - first);
        let block = s![first..first + rows, ..];
        let write = if first == 0 { Write::Replace } else { Write::Accumulate };
        let (queries, scratch) = scratch.split_at_mut(rows * width);
        let (d_queries, scratch) = scratch.split_at_mut(rows * width);
        let (p, ds) = scratch.split_at_mut(rows * seq);
        let ds = &mut ds[..rows * seq];
        rotate_rows(queries, q.slice(block), rope, first, scale);
        let queries = matrix(queries, rows, width);
        gemm_serial(matrix_mut(p, rows, seq), queries, keys.t(), Write::Replace);
        let d_o = d_o.slice(block);
        gemm_serial(matrix_mut(ds, rows, seq), d_o, v.t(), Write::Replace);
        softmax_vjp(p, ds, o.slice(block), d_o, &lse[first..first + rows]);
        let p = matrix(p, rows, seq);
        let ds = matrix(ds, rows, seq);
        gemm_serial(dqkv.index_axis_mut(Axis(1), 2), p.t(), d_o, write);
        gemm_serial(matrix_mut(d_keys, seq, width), ds.t(), queries, write);
        gemm_serial(matrix_mut(d_queries, rows, width), ds, keys, Write::Replace);
        rotate_back(dqkv.slice_mut(s![first..first + rows, 0, ..]), d_queries, rope, first, scale);
        first += rows;
    }
    rotate_back(dqkv.index_axis_move(Axis(1), 1), d_keys, rope, 0, 1.0);
}

/// Scores to probabilities in `p`, and `ds` from `dP` to `P (dP - rowsum(dO O))`.
fn softmax_vjp(p: &mut [f32], ds: &mut [f32], o: ArrayView2<f32>, d_o: ArrayView2<f32>, lse: &[f32]) {
    let seq = p.len() / lse.len().max(1);
    vectorized(
        #[inline(always)]
        || {
            let rows = p
                .chunks_exact_mut(seq)
                .zip(ds.chunks_exact_mut(seq))
                .zip(lse)
                .zip(o.rows().into_iter().zip(d_o.rows()));
            for (((p, ds), &lse), (o, d_o)) in rows {
                let (Some(o), Some(d_o)) = (o.to_slice(), d_o.to_slice()) else { continue };
                let delta = sum2(o, d_o, |a, b| a * b);
                for (p, ds) in p.iter_mut().zip(ds) {
                    *p = exp(*p - lse);
                    *ds = *p * (*ds - delta);
                }
            }
        },
    );
}

#[cfg(test)]
mod tests;
