//! The memory of the backward pass.

use super::places::Places;
use super::slots::SlotRow;
use super::{BlockSlot, Carry, State};
use crate::arena::{Act, Ids, Layout, Stat};
use crate::config::Config;

/// The scratch of the backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackwardPlan {
    /// Cotangent of the result of a forward pass `[N, D]`, and the first of the places of cotangents: it lies over
    /// `target.z_h`.
    pub dy: Act,
    /// Cotangent between a block's two halves `[N, D]`. It lies over `target.z_l`.
    pub ds: Act,
    /// The SwiGLU activation, recomputed `[N, F]`; where its vjp is not one kernel, first its cotangent.
    pub da: Act,
    /// Cotangent of the attention output `[N, D]`.
    pub d_o: Act,
    /// Cotangent of queries, keys and values `[N, 3D]`.
    pub dqkv: Act,
    /// Cotangent of the logits `[N, V]`.
    pub dlogits: Act,
    /// Cotangent of each row's puzzle embedding `[B, ndim]`.
    pub dpuzzle: Act,
    /// The states of the pass that bootstraps the Q target. Its last state of H is not made: see [`leading`](Self::leading).
    pub target: Carry,
    /// Where the last block of that pass works on the first position of each sequence, after attention: its rows are B, not
    /// N. They lie where nothing else is alive then: input and output over `target.z_h`, attention output over
    /// [`Plan::t`](super::Plan::t), the rest over that of the whole block, of which queries, keys, values and `lse` are.
    pub leading: BlockSlot,
    /// The slots of the applications with a gradient, in their order.
    pub(super) slots: SlotRow,
    /// The results of those that a later application overwrites `[applications N, D]`; of one where activations are computed
    /// again.
    pub(super) kept_states: Act,
    /// The inputs of all but the last one `[applications N, D]`, where activations are computed again from them.
    kept_inputs: Act,
    /// The cotangents of states and embedding that are alive together, beside `dy` `[places N, D]`.
    cotangents: Act,
    /// Loss of the tokens, by row `[B, 1]`.
    pub lm_loss: Stat,
    /// Halt and continue losses, by row `[B, 2]`.
    pub q_losses: Stat,
    /// Q values of the next step `[B, 2]`.
    pub next_q: Stat,
    /// Cotangent of the Q values `[B, 2]`.
    pub dq: Stat,
    /// Labels that count, by row `[B, 1]`.
    pub valid: Ids,
    /// Correct predictions among them, by row `[B, 1]`.
    pub correct: Ids,
}

impl BackwardPlan {
    /// Lays it out behind the forward pass: over `places` what is not alive together with them.
    pub(super) const fn new(
        config: &Config,
        batch: usize,
        places: &Places,
        shared: &BlockSlot,
        recompute: bool,
        [acts, stats, ids]: [&mut Layout; 3],
    ) -> Self {
        let (n, d, f) = (shared.x.rows, config.hidden_size, config.inter_size());
        acts.rewind(places.work);
        let da = acts.span(n, f);
        acts.rewind(places.work);
        let attended = if config.mlp_t { 0 } else { n };
        let (dqkv, d_o) = (acts.span(attended, 3 * d), acts.span(attended, d));
        acts.reach(da.offset.saturating_add(da.rows.saturating_mul(da.cols)));
        acts.reach(places.end);
        let target = Carry { z_h: acts.span(n, d), z_l: acts.span(n, d) };
        let leading_x = target.z_h.rows_from(0, batch);
        // What the channels are mixed of is taken from attention's output, or from what a SwiGLU has made of all.
        let taken = places.t.rows_from(0, batch);
        let leading = BlockSlot {
            x: leading_x,
            o: taken,
            y1: if config.mlp_t { taken } else { places.y1.rows_from(0, batch) },
            rstd1: shared.rstd1.rows_from(0, batch),
            gate_up: places.gate_up.rows_from(0, batch),
            y: leading_x,
            rstd2: shared.rstd2.rows_from(0, batch),
            ..*shared
        };
        Self {
            // When cotangents are formed, the Q target is known, and its states are spent.
            dy: target.z_h,
            ds: target.z_l,
            da,
            d_o,
            dqkv,
            dlogits: acts.span(n, config.vocab_size),
            dpuzzle: acts.span(batch, config.puzzle_emb_ndim),
            target,
            leading,
            slots: slots(config, batch, n, recompute, acts, stats),
            kept_states: kept_states(config, n, recompute, acts),
            kept_inputs: acts
                .span(if recompute { n.saturating_mul(config.with_gradient() - 1) } else { 0 }, d),
            cotangents: acts.span(n.saturating_mul(cotangents(config) - 1), d),
            lm_loss: stats.span(batch, 1),
            q_losses: stats.span(batch, 2),
            next_q: stats.span(batch, 2),
            dq: stats.span(batch, 2),
            valid: ids.span(batch, 1),
            correct: ids.span(batch, 1),
        }
    }
}

impl BackwardPlan {
    /// The places of the cotangents that are alive together, `[N, D]` each; the first is [`dy`](Self::dy).
    pub(crate) fn cotangent_places(&self) -> impl Iterator<Item = Act> + use<> {
        let (dy, more) = (self.dy, self.cotangents);
        let places = more.rows.checked_div(dy.rows).unwrap_or(0);
        core::iter::once(dy).chain((0..places).map(move |i| more.rows_from(i * dy.rows, dy.rows)))
    }

    /// The input of the application with a gradient of place `kept`.
    pub(super) const fn kept_input(&self, kept: usize) -> Act {
        self.kept_inputs.rows_from(kept * self.dy.rows, self.dy.rows)
    }
}

/// How many cotangents of states and embedding are alive together: one, if only the last of L and the last of H have a
/// gradient; that of the embedding, its next sum and that of L within a cycle; beyond it that of H as well.
const fn cotangents(config: &Config) -> usize {
    let n = config.with_gradient();
    if n <= 2 {
        1
    } else if n <= config.l_cycles + 1 {
        3
    } else {
        4
    }
}

/// A slot for each block of each application with a gradient; of one application where activations are computed again.
const fn slots(
    config: &Config,
    batch: usize,
    n: usize,
    recompute: bool,
    acts: &mut Layout,
    stats: &mut Layout,
) -> SlotRow {
    let (d, f) = (config.hidden_size, config.inter_size());
    let (attended, sequences) = if config.mlp_t { (0, 0) } else { (n, batch) };
    let start = [acts.position(), stats.position()];
    let x = acts.span(n, d);
    let base = BlockSlot {
        x,
        qkv: acts.span(attended, 3 * d),
        o: acts.span(attended, d),
        lse: stats.span(sequences * config.num_heads, config.positions()),
        y1: acts.span(n, d),
        rstd1: stats.span(first_norms(config, batch, n), 1),
        gate_up: acts.span(n, 2 * f),
        // Of the next slot, or elsewhere.
        y: x,
        rstd2: stats.span(n, 1),
    };
    let stride = [acts.position() - start[0], stats.position() - start[1]];
    let (h, l) = (config.layers(State::H), config.layers(State::L));
    let blocks = match (recompute, h > l) {
        (false, _) => config.blocks_with_gradient(),
        (true, true) => h,
        (true, false) => l,
    };
    let mut block = 1;
    while block < blocks {
        let _: Act = acts.span(1, stride[0]);
        let _: Stat = stats.span(1, stride[1]);
        block += 1;
    }
    SlotRow { base, stride }
}

/// Statistics of a block's first norm: one a row, or one a column of each sequence.
pub(super) const fn first_norms(config: &Config, batch: usize, n: usize) -> usize {
    if config.mlp_t { batch.saturating_mul(config.hidden_size) } else { n }
}

/// A place for the result of each application with a gradient, up to the last one that a later one overwrites.
const fn kept_states(config: &Config, n: usize, recompute: bool, acts: &mut Layout) -> Act {
    let (mut kept, mut places) = (0, 0);
    while let Some(app) = config.kept_application(kept) {
        kept += 1;
        if app.is_overwritten(config) {
            places = if recompute { 1 } else { kept };
        }
    }
    acts.span(n.saturating_mul(places), config.hidden_size)
}
