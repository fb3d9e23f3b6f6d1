//! Where the activations of a pass that keeps nothing lie.

use crate::arena::{Act, Layout};
use crate::config::Config;

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
    /// Where what is shared begins and ends.
    pub work: usize,
    pub end: usize,
}

impl Places {
    /// All rows at once. Queries, keys, values and attention output are spent when gate and up are computed: they share
    /// a place, and so does what the backward pass needs of the like. What a sublayer adds lies there as well: over
    /// queries, which are spent when attention is done, and over gate and up, which are when the activation is there.
    pub const fn whole(acts: &mut Layout, config: &Config, n: usize) -> Self {
        let (d, f) = (config.hidden_size, config.inter_size());
        let t = acts.span(n, d);
        let logits = acts.span(n, config.vocab_size);
        let (x, y1) = (acts.span(n, d), acts.span(n, d));
        let work = acts.position();
        let (qkv, o) = (acts.span(n, 3 * d), acts.span(n, d));
        let end = acts.position();
        acts.rewind(work);
        let branch = acts.span(n, d);
        let branch_end = acts.position();
        acts.rewind(work);
        let gate_up = acts.span(n, 2 * f);
        acts.reach(branch_end);
        let a = acts.span(n, f);
        acts.reach(end);
        Self { x, t, logits, y1, qkv, o, gate_up, branch, a, work, end: acts.position() }
    }

    /// In tiles. Every tile reads its rows of the attention output, which so keeps its place to the end; the first norm
    /// and the tile's scratch lie over queries, keys and values. What a level's input is made of and the logits are
    /// needed outside of blocks only.
    pub const fn tiled(acts: &mut Layout, config: &Config, n: usize, tile: usize) -> Self {
        let (d, f) = (config.hidden_size, config.inter_size());
        let (x, o) = (acts.span(n, d), acts.span(n, d));
        let work = acts.position();
        let qkv = acts.span(n, 3 * d);
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
        let (branch, gate_up, a) = (acts.span(tile, d), acts.span(tile, 2 * f), acts.span(tile, f));
        acts.reach(end);
        Self { x, t, logits, y1, qkv, o, gate_up, branch, a, work, end: acts.position() }
    }
}
