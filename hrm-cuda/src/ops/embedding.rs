//! Input embedding with its puzzle prefix.

use super::{LANES, THREADS, blocks, int, launch, launch_rows, optional, sum_chunks, typed};
use crate::error::Error;
use crate::launch::{Arg, Dtype, Launcher, Ptr};

/// Sizes of an embedding.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Sequences.
    pub batch: usize,
    /// Tokens of a sequence.
    pub seq_len: usize,
    /// Width of a state.
    pub hidden: usize,
    /// Rows of the token table.
    pub vocab: usize,
    /// Width of the puzzle embedding.
    pub ndim: usize,
    /// Positions that it fills, padded with zeros, before the tokens.
    pub prefix: usize,
}

impl Sizes {
    /// Positions of a sequence, prefix included.
    #[must_use]
    pub const fn positions(&self) -> usize {
        self.prefix + self.seq_len
    }
}

/// The published scale of an embedding of this width.
fn scale(hidden: usize) -> Arg {
    Arg::F32((hidden as f64).sqrt() as f32)
}

/// Operands of [`embed`].
#[derive(Clone, Copy, Debug)]
pub struct Embed {
    /// Result `[batch, positions, hidden]`.
    pub y: Ptr,
    /// Tokens `[batch, seq_len]`.
    pub inputs: Ptr,
    /// Rows of the puzzle table `[batch]`.
    pub puzzle_ids: Ptr,
    /// Token table `[vocab, hidden]`, a weight.
    pub tokens: Ptr,
    /// Puzzle table `[identifiers, ndim]`, f32.
    pub puzzles: Ptr,
    /// Learned positions `[positions, hidden]`, a weight.
    pub positions: Option<Ptr>,
    /// Rows of the puzzle table.
    pub identifiers: usize,
    /// Sizes.
    pub sizes: Sizes,
    /// The word for tokens and identifiers outside their tables.
    pub fault: Ptr,
}

/// See [`Kernels::embed`](hrm_core::kernels::Kernels::embed).
///
/// # Errors
/// The device fails.
pub fn embed<L: Launcher>(l: &mut L, dtype: Dtype, op: &Embed) -> Result<(), Error> {
    let Sizes { seq_len, hidden, vocab, ndim, prefix, batch } = op.sizes;
    let rows = batch * op.sizes.positions();
    let pointers = [op.y, op.inputs, op.puzzle_ids, op.tokens, op.puzzles].map(Arg::Ptr);
    let sizes = [rows, seq_len, prefix, hidden, vocab, op.identifiers, ndim];
    let [rows_arg, seq_len, prefix, hidden_arg, vocab, identifiers, ndim] = sizes.map(int);
    let rest = [
        optional(op.positions),
        rows_arg?,
        seq_len?,
        prefix?,
        hidden_arg?,
        vocab?,
        identifiers?,
        ndim?,
        scale(hidden),
        Arg::Ptr(op.fault),
    ];
    launch_rows(l, typed!("embedding", "embed", dtype), rows, &[&pointers[..], &rest].concat())
}

/// Operands of [`embed_vjp`].
#[derive(Clone, Copy, Debug)]
pub struct EmbedVjp {
    /// Cotangent of the embedding `[batch, positions, hidden]`.
    pub dy: Ptr,
    /// Result: cotangent of each sequence's puzzle embedding `[batch, ndim]`.
    pub dpuzzle: Ptr,
    /// Tokens `[batch, seq_len]`.
    pub inputs: Ptr,
    /// Result: gradient of the token table `[vocab, hidden]`, f32.
    pub tokens: Ptr,
    /// Result: gradient of the learned positions `[positions, hidden]`, f32.
    pub positions: Option<Ptr>,
    /// Scratch of [`embed_vjp_scratch`] bytes.
    pub scratch: Ptr,
    /// Sizes.
    pub sizes: Sizes,
}

/// Largest scratch that the token gradient is spread over, in f32.
const SCRATCH_LEN: usize = 4 << 20;
/// Cells that one warp looks through, at least.
const CELLS: usize = 128;
/// Columns of a warp of the kernels that sum over rows: `COLUMNS` in `kernels/embedding.cu`.
const COLUMNS: usize = 256;

/// Into how many chunks the cells are cut: each gives a partial sum for each row of the table.
fn chunks(sizes: &Sizes) -> usize {
    let most = SCRATCH_LEN / (sizes.vocab * sizes.hidden).max(1);
    (sizes.batch * sizes.seq_len).div_ceil(CELLS).clamp(1, most.clamp(1, 256))
}

/// Bytes of scratch that [`embed_vjp`] needs.
#[must_use]
pub fn embed_vjp_scratch(sizes: &Sizes) -> usize {
    chunks(sizes) * sizes.vocab * sizes.hidden * Dtype::F32.bytes()
}

/// See [`TrainKernels::embed_vjp`](hrm_core::kernels::TrainKernels::embed_vjp): the puzzle embedding's cotangents by
/// sequence; the tokens' gradient in two stages, partial sums over chunks of cells and then their sum; the
/// positions' gradient as a sum over sequences.
///
/// # Errors
/// The device fails.
pub fn embed_vjp<L: Launcher>(l: &mut L, dtype: Dtype, op: &EmbedVjp) -> Result<(), Error> {
    let Sizes { batch, seq_len, hidden, vocab, ndim, .. } = op.sizes;
    let (positions, chunks) = (op.sizes.positions(), chunks(&op.sizes));
    let (scale, learned) = (scale(hidden), Arg::I32(i32::from(op.positions.is_some())));
    let dy = Arg::Ptr(op.dy);

    let args =
        [Arg::Ptr(op.dpuzzle), dy, int(batch)?, int(positions)?, int(hidden)?, int(ndim)?, scale, learned];
    launch(l, typed!("embedding", "embed_vjp_puzzles", dtype), batch * ndim, &args)?;

    let sizes = [batch, seq_len, positions, hidden, vocab, chunks];
    let [batch_arg, seq_len, positions_arg, hidden_arg, vocab_arg, chunks_arg] = sizes.map(int);
    let args = [
        Arg::Ptr(op.scratch),
        dy,
        Arg::Ptr(op.inputs),
        batch_arg?,
        seq_len?,
        positions_arg?,
        hidden_arg?,
        vocab_arg?,
        chunks_arg?,
        scale,
        learned,
    ];
    let warps = chunks * vocab * hidden.div_ceil(COLUMNS);
    launch_rows(l, typed!("embedding", "embed_vjp_tokens", dtype), warps, &args)?;

    sum_chunks(l, op.tokens, op.scratch, chunks, vocab * hidden)?;

    if let Some(gradient) = op.positions {
        let cols = positions * hidden;
        let args = [Arg::Ptr(gradient), dy, int(batch)?, int(cols)?, scale];
        blocks(l, typed!("embedding", "embed_vjp_positions", dtype), [cols.div_ceil(LANES), 1], &args)?;
    }
    Ok(())
}

const _: () = assert!(THREADS == 8 * LANES, "sums over rows are of 32 columns by 8 groups of rows");
