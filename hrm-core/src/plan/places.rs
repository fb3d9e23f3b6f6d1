//! Where the activations of a pass that keeps nothing lie.

use crate::arena::{Act, Layout};
use crate::config::Config;
use crate::kernels::TokenScratch;

/// See the [module](self).
pub(super) struct Places {
    pub x: Act,
    pub t: Act,
    pub logits: Act,
    pub y1: Act,
    pub qkv: Act,
    pub o: Act,
    pub gate_up: Act,
    pub branch: Act,
    pub a: Act,
    pub tokens: Option<TokenScratch>,
    /// Where what is shared begins and ends.
    pub work: usize,
    pub end: usize,
}

impl Places {
    /// All rows at once. Queries, keys, values and attention output are spent when gate and up are computed: they share
    /// a place, and so does what the backward pass needs of the like. What a sublayer adds lies there as well: over
    /// queries, which are spent when attention is done, and over gate and up, which are when the activation is there. What
    /// mixes cells by a SwiGLU works at the same place.
    pub const fn whole(acts: &mut Layout, config: &Config, n: usize) -> Self {
        let (d, f) = (config.hidden_size, config.inter_size());
        let t = acts.span(n, d);
        let logits = acts.span(n, config.vocab_size);
        let (x, y1) = (acts.span(n, d), acts.span(n, d));
        let work = acts.position();
        let (qkv, o) = attention(acts, config, n);
        let mut end = acts.position();
        acts.rewind(work);
        let tokens = tokens(acts, config, columns(config, n));
        acts.reach(end);
        end = acts.position();
        acts.rewind(work);
        let branch = acts.span(n, d);
        let branch_end = acts.position();
        acts.rewind(work);
        let gate_up = acts.span(n, 2 * f);
        acts.reach(branch_end);
        let a = acts.span(n, f);
        acts.reach(end);
        Self { x, t, logits, y1, qkv, o, gate_up, branch, a, tokens, work, end: acts.position() }
    }

    /// In tiles. Every tile reads its rows of the attention output, which so keeps its place to the end; the first norm
    /// and the tile's scratch lie over queries, keys and values. What a level's input is made of and the logits are
    /// needed outside of blocks only. Where a SwiGLU mixes the cells, the first norm is made while that works.
    pub const fn tiled(acts: &mut Layout, config: &Config, n: usize, tile: usize) -> Self {
        let (d, f) = (config.hidden_size, config.inter_size());
        let x = acts.span(n, d);
        let attended = if config.mlp_t { 0 } else { n };
        let o = acts.span(attended, d);
        let work = acts.position();
        let qkv = acts.span(attended, 3 * d);
        let mut end = acts.position();
        acts.rewind(work);
        let t = acts.span(n, d);
        acts.reach(end);
        end = acts.position();
        acts.rewind(work);
        let logits = acts.span(n, config.vocab_size);
        acts.reach(end);
        end = acts.position();
        acts.rewind(work);
        let y1 = acts.span(n, d);
        let behind = acts.position();
        let all = columns(config, n);
        let tokens = tokens(acts, config, if tile < all { tile } else { all });
        acts.reach(end);
        end = acts.position();
        acts.rewind(behind);
        let (branch, gate_up, a) = (acts.span(tile, d), acts.span(tile, 2 * f), acts.span(tile, f));
        acts.reach(end);
        Self { x, t, logits, y1, qkv, o, gate_up, branch, a, tokens, work, end: acts.position() }
    }
}

/// Columns of all sequences together, of which there are `n` rows.
const fn columns(config: &Config, n: usize) -> usize {
    match n.checked_div(config.positions()) {
        Some(batch) => batch.saturating_mul(config.hidden_size),
        None => 0,
    }
}

/// Queries, keys and values, and what attention makes of them: none where it does not mix the cells.
const fn attention(acts: &mut Layout, config: &Config, n: usize) -> (Act, Act) {
    let (rows, d) = (if config.mlp_t { 0 } else { n }, config.hidden_size);
    (acts.span(rows, 3 * d), acts.span(rows, d))
}

/// What a SwiGLU over positions needs for so many columns at once, if that mixes the cells.
const fn tokens(acts: &mut Layout, config: &Config, columns: usize) -> Option<TokenScratch> {
    if !config.mlp_t {
        return None;
    }
    let (s, f) = (config.positions(), config.token_inter_size());
    let (x, y) = (acts.span(columns, s), acts.span(columns, s));
    let start = acts.position();
    let t = acts.span(columns, s);
    let t_end = acts.position();
    acts.rewind(start);
    let gate_up = acts.span(columns, 2 * f);
    acts.reach(t_end);
    Some(TokenScratch { x, y, t, gate_up, a: acts.span(columns, f) })
}
