//! Attention over rotated queries and keys.

use super::{blocks, int, optional, typed};
use crate::error::Error;
use crate::launch::{Arg, Dtype, Launcher, Ptr};

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

impl Attention {
    fn rest(&self) -> Result<[Arg; 6], Error> {
        let Shape { batch, positions, heads, head_dim } = self.shape;
        let (cos, sin) = (optional(self.rope.map(|t| t.cos)), optional(self.rope.map(|t| t.sin)));
        Ok([cos, sin, int(batch)?, int(positions)?, int(heads)?, int(head_dim)?])
    }
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

/// See [`Kernels::rope_attention`](hrm_core::kernels::Kernels::rope_attention). One block for each head.
///
/// # Errors
/// The device fails.
pub fn rope_attention<L: Launcher>(l: &mut L, dtype: Dtype, op: &Attention) -> Result<(), Error> {
    let args = [&[op.o, op.lse, op.qkv].map(Arg::Ptr)[..], &op.rest()?].concat();
    blocks(l, typed!("attention", "rope_attention", dtype), [op.shape.batch * op.shape.heads, 1], &args)
}

/// See [`TrainKernels::rope_attention_vjp`](hrm_core::kernels::TrainKernels::rope_attention_vjp). One block for
/// each head.
///
/// # Errors
/// The device fails.
pub fn rope_attention_vjp<L: Launcher>(l: &mut L, dtype: Dtype, op: &AttentionVjp) -> Result<(), Error> {
    let Attention { o, lse, qkv, shape, .. } = op.forward;
    let pointers = [op.dqkv, op.d_o, o, lse, qkv, op.scratch].map(Arg::Ptr);
    let args = [&pointers[..], &op.forward.rest()?].concat();
    blocks(l, typed!("attention", "rope_attention_vjp", dtype), [shape.batch * shape.heads, 1], &args)
}

/// Bytes of scratch that [`rope_attention_vjp`] needs: `rowsum(do * o)` by position and head, f32.
#[must_use]
pub fn rope_attention_vjp_scratch(shape: &Shape) -> usize {
    4 * shape.batch * shape.heads * shape.positions
}
