//! Queries and keys that are rotated as they are written have the bits that they have when they are rotated in place; and so
//! has all that follows.

use hrm_core::kernels::Write;
use hrm_cuda::launch::{Dtype, Gemm, Launcher};
use hrm_cuda::ops::Product;
use hrm_cuda::ops::attention::{self, Attention, AttentionVjp, Rope, Shape};
use hrm_cuda::ops::gemm_sm90::{Linear, LinearRope};

use crate::common;
use crate::operands::{Case, upload, values};

/// Of qkv, of what attention makes of it, and of their cotangents.
type Bits = [Vec<u32>; 4];

/// How queries, keys and values come about, and attention over them.
type Forward<L> = fn(&mut L, &Product, &Attention);

/// By one kernel, which rotates.
fn as_written<L: Launcher>(l: &mut L, product: &Product, op: &Attention) {
    let kernel = LinearRope::new(l, product).unwrap().unwrap();
    kernel.run(l, op.qkv, op.rope.unwrap(), op.shape.positions).unwrap();
    attention::attention(l, Dtype::Bf16, op).unwrap();
}

/// By a product, and rotated in place.
fn in_place<L: Launcher>(l: &mut L, product: &Product, op: &Attention) {
    Linear::new(l, product).unwrap().unwrap().run(l, op.qkv).unwrap();
    attention::rope_attention(l, Dtype::Bf16, op).unwrap();
}

/// By the machine's general product, and rotated by attention.
fn plain<L: Launcher>(l: &mut L, product: &Product, op: &Attention) {
    let Product { x: a, w: b, rows: m, inner: k, outer: n } = *product;
    let (transpose_a, transpose_b, write) = (false, true, Write::Replace);
    let (input, output) = (Dtype::Bf16, Dtype::Bf16);
    l.gemm(&Gemm { m, n, k, a, b, c: op.qkv, transpose_a, transpose_b, write, input, output }).unwrap();
    attention::rope_attention(l, Dtype::Bf16, op).unwrap();
}

/// Attention forward and backward.
fn bits<L: Launcher>(l: &mut L, shape: Shape, run: Forward<L>) -> Bits {
    let Shape { batch, positions, heads, .. } = shape;
    let (rows, width) = (batch * positions, 64 * heads);
    let product = Case::new(l, rows, width, 3 * width).product;
    let d_o = upload(l, &values(rows * width, 4321));
    let mut table = |part: fn(f32) -> f32| {
        let angles = (0..positions * 32).map(|i| part((i / 32 + 1) as f32 * 0.7 / (i % 32 + 1) as f32));
        common::upload(l, angles.map(f32::to_ne_bytes))
    };
    let rope = Rope { cos: table(f32::cos), sin: table(f32::sin) };
    let sizes = [6 * rows * width, 2 * rows * width, 4 * rows * heads, 6 * rows * width];
    let results @ [qkv, o, lse, dqkv] = sizes.map(|bytes| l.alloc(bytes).unwrap());
    let scratch = l.alloc(attention::rope_attention_vjp_scratch(&shape)).unwrap();
    let forward = Attention { o, lse, qkv, rope: Some(rope), shape };
    run(l, &product, &forward);
    attention::rope_attention_vjp(l, Dtype::Bf16, &AttentionVjp { forward, d_o, dqkv, scratch }).unwrap();
    [0, 1, 2, 3].map(|i| common::words(l, results[i], sizes[i] / 4))
}

/// `[batch, positions, heads]`: clusters of 1 and of 2 blocks, the last rows of a tile missing, sequences that end within a
/// tile, short ones and long ones.
const SEQUENCES: [[usize; 3]; 5] = [[3, 82, 2], [1, 5, 4], [5, 27, 6], [2, 150, 2], [1, 129, 4]];

/// On `l`, which rotates as it writes; and short sequences on `other`, if there is one, which does not. They are worked on
/// by the same kernel there, which rotates itself.
pub fn check<L: Launcher, M: Launcher>(l: &mut L, mut other: Option<&mut M>) {
    for [batch, positions, heads] in SEQUENCES {
        let shape = Shape { batch, positions, heads, head_dim: 64 };
        let rotated = bits(l, shape, as_written);
        assert!(rotated == bits(l, shape, in_place), "{shape:?}");
        if let Some(other) = other.as_deref_mut().filter(|_| positions <= 96) {
            let plain = bits(other, shape, plain);
            assert!(rotated[0] != plain[0] && rotated[1..] == plain[1..], "{shape:?}");
        }
    }
}
