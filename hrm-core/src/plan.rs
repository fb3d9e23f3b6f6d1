//! The memory plan: where every tensor of a model lies, and how large each arena must be, by arithmetic alone.
//!
//! What tells gradient steps from the others is the plan, not the code: a pass whose activations the backward
//! pass needs is given slots of its own, any other pass shares one slot and overwrites it. So is how much of a block is in
//! memory at once: its second half works row by row, and a plan may have it done in tiles of rows.

use core::fmt;

use crate::arena::{Act, Ids, Layout, Param, Stat};
use crate::config::{Config, ConfigError, PosEncodings};

/// What a plan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Forward passes only.
    Inference,
    /// Forward and backward passes and the optimizers.
    Training,
}

/// One of the two recurrent modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The slow module, the planner.
    H,
    /// The fast module, the executor.
    L,
}

/// Whether a pass keeps its activations for the backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Every block writes to a slot of its own.
    All,
    /// Every block overwrites the shared slot.
    Nothing,
}

/// The weights of one block, each `[out, in]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockParams {
    /// Queries, keys and values of all heads, in this order: `[3D, D]`.
    pub qkv: Param,
    /// Attention output: `[D, D]`.
    pub o: Param,
    /// SwiGLU gate (first half) and up (second half): `[2F, D]`.
    pub gate_up: Param,
    /// SwiGLU output: `[D, F]`.
    pub down: Param,
}

/// The rotary tables, `[S, head_dim / 2]` each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RopeTables {
    /// Cosines.
    pub cos: Param,
    /// Sines.
    pub sin: Param,
}

/// Where the parameters lie. The trained ones come first, in the order in which the published program draws
/// them; gradients and both moments repeat that part of the layout.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ParamPlan {
    /// Token embedding `[V, D]`.
    pub embed_tokens: Param,
    /// Output head `[V, D]`.
    pub lm_head: Param,
    /// Q head `[2, D]`: row 0 halts, row 1 continues.
    pub q_weight: Param,
    /// Bias of the Q head `[1, 2]`.
    pub q_bias: Param,
    /// Learned positions `[S, D]`, if the model has them.
    pub embed_pos: Option<Param>,
    h: Stack,
    l: Stack,
    /// Elements of the trained part.
    pub trained: usize,
    /// Initial state of H `[1, D]`, a constant.
    pub h_init: Param,
    /// Initial state of L `[1, D]`, a constant.
    pub l_init: Param,
    /// Puzzle embeddings `[num_puzzle_identifiers, ndim]`, trained by sign-SGD; empty if `ndim` is 0.
    pub puzzle_emb: Param,
    /// Rotary tables, if the model has them: constants, computed rather than stored.
    pub rope: Option<RopeTables>,
    /// Elements of the arena.
    pub len: usize,
}

/// The consecutive, equally laid out blocks of a level.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stack {
    first: BlockParams,
    stride: usize,
    layers: usize,
}

impl Stack {
    const fn lay_out(layout: &mut Layout, config: &Config, layers: usize) -> Self {
        let (d, f) = (config.hidden_size, config.inter_size());
        let start = layout.position();
        let first = BlockParams {
            qkv: layout.span(3 * d, d),
            o: layout.span(d, d),
            gate_up: layout.span(2 * f, d),
            down: layout.span(d, f),
        };
        let stride = layout.position() - start;
        let mut layer = 1;
        while layer < layers {
            let _: Param = layout.span(1, stride);
            layer += 1;
        }
        Self { first, stride, layers }
    }

    const fn block(&self, layer: usize) -> BlockParams {
        let by = layer * self.stride;
        const fn shift(span: Param, by: usize) -> Param {
            Param::new(span.offset + by, span.rows, span.cols)
        }
        BlockParams {
            qkv: shift(self.first.qkv, by),
            o: shift(self.first.o, by),
            gate_up: shift(self.first.gate_up, by),
            down: shift(self.first.down, by),
        }
    }
}

impl ParamPlan {
    const fn new(config: &Config) -> (Self, bool) {
        let mut layout = Layout::new();
        let (d, v, s) = (config.hidden_size, config.vocab_size, config.positions());
        let embed_tokens = layout.span(v, d);
        let lm_head = layout.span(v, d);
        let q_weight = layout.span(2, d);
        let q_bias = layout.span(1, 2);
        let embed_pos = match config.pos_encodings {
            PosEncodings::Learned => Some(layout.span(s, d)),
            PosEncodings::Rope => None,
        };
        let h = Stack::lay_out(&mut layout, config, config.h_layers);
        let l = Stack::lay_out(&mut layout, config, config.l_layers);
        let trained = layout.position();
        let h_init = layout.span(1, d);
        let l_init = layout.span(1, d);
        let puzzle_emb = layout.span(
            if config.puzzle_emb_ndim == 0 { 0 } else { config.num_puzzle_identifiers },
            config.puzzle_emb_ndim,
        );
        let rope = match config.pos_encodings {
            PosEncodings::Rope => {
                let half = config.head_dim() / 2;
                Some(RopeTables { cos: layout.span(s, half), sin: layout.span(s, half) })
            }
            PosEncodings::Learned => None,
        };
        let plan = Self {
            embed_tokens,
            lm_head,
            q_weight,
            q_bias,
            embed_pos,
            h,
            l,
            trained,
            h_init,
            l_init,
            puzzle_emb,
            rope,
            len: layout.position(),
        };
        (plan, layout.overflowed())
    }

    /// The weights of block `layer` of `level`. `layer` counts from 0 and must be below the level's layers.
    #[must_use]
    pub const fn block(&self, level: Level, layer: usize) -> BlockParams {
        match level {
            Level::H => self.h.block(layer),
            Level::L => self.l.block(layer),
        }
    }

    /// Layers of `level`.
    #[must_use]
    pub const fn layers(&self, level: Level) -> usize {
        match level {
            Level::H => self.h.layers,
            Level::L => self.l.layers,
        }
    }
}

/// The two recurrent states, `[N, D]` each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carry {
    /// State of the slow module.
    pub z_h: Act,
    /// State of the fast module.
    pub z_l: Act,
}

/// Everything one block reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSlot {
    /// Input `[N, D]`.
    pub x: Act,
    /// Queries, keys and values `[N, 3D]`.
    pub qkv: Act,
    /// Attention output before its projection `[N, D]`.
    pub o: Act,
    /// Log-sum-exp of the attention scores `[B * heads, S]`.
    pub lse: Stat,
    /// Output of the first norm `[N, D]`. In a tiled plan it lies over queries, keys and values: it comes after attention.
    pub y1: Act,
    /// Reciprocal root mean square of the first norm `[N, 1]`.
    pub rstd1: Stat,
    /// Gate and up `[tile, 2F]`.
    pub gate_up: Act,
    /// Output `[N, D]`. In the shared slot it is the input's place: by then the input is spent.
    pub y: Act,
    /// Reciprocal root mean square of the second norm `[N, 1]`.
    pub rstd2: Stat,
}

/// Rows of data: one puzzle each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowPlan {
    /// Tokens `[B, seq_len]`.
    pub inputs: Ids,
    /// Labels `[B, seq_len]`; negative where ignored. Empty for inference.
    pub labels: Ids,
    /// Rows of the puzzle embedding `[B, 1]`.
    pub puzzle_ids: Ids,
}

/// The scratch of the backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackwardPlan {
    /// Cotangent of a block's output, then of its input `[N, D]`. It lies over `target.z_h`.
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
    /// The states of the pass that bootstraps the Q target. Its last state of H is not made: see [`first`](Self::first).
    pub target: Carry,
    /// Where the last block of that pass works on the first position of each sequence, after attention: its rows are B, not
    /// N. They lie where nothing else is alive then: input and output over `target.z_h`, attention output over
    /// [`Plan::t`], the rest over that of the whole block, of which queries, keys, values and `lse` are.
    pub first: BlockSlot,
    slots: SlotStack,
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

/// The kept slots of both levels' gradient pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SlotStack {
    first: BlockSlot,
    act_stride: usize,
    stat_stride: usize,
}

/// Where everything lies, and how much of it there is. See the [module](self).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// The model this plan is for.
    pub config: Config,
    /// Rows B that are worked on together.
    pub batch: usize,
    /// What the plan is for.
    pub mode: Mode,
    /// The parameters.
    pub params: ParamPlan,
    /// The states that live from one ACT step to the next.
    pub carry: Carry,
    /// Input embedding `[N, D]`.
    pub emb: Act,
    /// Scratch: what is added to L's input, `z_h + emb` `[N, D]`. See [`blocks_overwrite_t`](Self::blocks_overwrite_t).
    pub t: Act,
    /// Rows that the second half of a block works on at once: all N, but for a tiled plan.
    pub tile: usize,
    /// Scratch: what a sublayer adds to its residual stream `[tile, D]`.
    pub branch: Act,
    /// Scratch: the SwiGLU activation `[tile, F]`.
    pub a: Act,
    shared: BlockSlot,
    /// Logits `[N, V]`, prefix positions included.
    pub logits: Act,
    /// Q values `[B, 2]`: halt, continue.
    pub q: Stat,
    /// The puzzles being worked on.
    pub current: RowPlan,
    /// The puzzles that take the places of the halted.
    pub incoming: RowPlan,
    /// ACT steps done, by row `[B, 1]`.
    pub steps: Ids,
    /// Whether a row has halted and awaits a new puzzle, by row `[B, 1]`.
    pub halted: Ids,
    /// Most likely token of each cell `[B, seq_len]`.
    pub predictions: Ids,
    /// The scratch of the backward pass, in a training plan.
    pub backward: Option<BackwardPlan>,
    /// Elements of the activation arena.
    pub acts_len: usize,
    /// Elements of the statistics arena.
    pub stats_len: usize,
    /// Elements of the integer arena.
    pub ids_len: usize,
}

impl Plan {
    /// Lays out a model for `batch` rows.
    ///
    /// # Errors
    /// A field of the configuration is out of range, the batch is empty, or the sizes overflow.
    pub const fn new(config: &Config, batch: usize, mode: Mode) -> Result<Self, PlanError> {
        Self::lay_out(config, batch, mode, None)
    }

    /// As [`new`](Self::new) for inference in little memory: the second half of a block is done in tiles of `tile` rows
    /// (at most), and all that is not alive together shares a place. A result has the same bits whatever the tile.
    ///
    /// # Errors
    /// As there, or the tile is empty.
    pub const fn tiled(config: &Config, batch: usize, tile: usize) -> Result<Self, PlanError> {
        if tile == 0 {
            return Err(PlanError::EmptyTile);
        }
        Self::lay_out(config, batch, Mode::Inference, Some(tile))
    }

    const fn lay_out(
        config: &Config,
        batch: usize,
        mode: Mode,
        tile: Option<usize>,
    ) -> Result<Self, PlanError> {
        if let Err(error) = config.validate() {
            return Err(PlanError::Config(error));
        }
        if batch == 0 {
            return Err(PlanError::EmptyBatch);
        }
        let (d, f, v) = (config.hidden_size, config.inter_size(), config.vocab_size);
        let Some(n) = batch.checked_mul(config.positions()) else {
            return Err(PlanError::TooLarge);
        };
        let training = matches!(mode, Mode::Training);
        let (params, params_overflow) = ParamPlan::new(config);

        let mut acts = Layout::new();
        let mut stats = Layout::new();
        let carry = Carry { z_h: acts.span(n, d), z_l: acts.span(n, d) };
        let emb = acts.span(n, d);
        let places = match tile {
            None => Places::whole(&mut acts, config, n),
            Some(tile) => Places::tiled(&mut acts, config, n, if tile < n { tile } else { n }),
        };
        let Places { x, t, logits, y1, qkv, o, gate_up, branch, a, work, end } = places;
        let shared = BlockSlot {
            x,
            qkv,
            o,
            lse: stats.span(batch * config.num_heads, config.positions()),
            y1,
            rstd1: stats.span(n, 1),
            gate_up,
            y: x,
            rstd2: stats.span(n, 1),
        };

        let mut ids = Layout::new();
        let labels = if training { config.seq_len } else { 0 };
        let current = rows(&mut ids, batch, config.seq_len, labels);
        let incoming = rows(&mut ids, batch, config.seq_len, labels);
        let steps = ids.span(batch, 1);
        let halted = ids.span(batch, 1);
        let predictions = ids.span(batch, config.seq_len);
        let q = stats.span(batch, 2);

        let backward = if training {
            acts.rewind(work);
            let da = acts.span(n, f);
            acts.rewind(work);
            let (dqkv, d_o) = (acts.span(n, 3 * d), acts.span(n, d));
            acts.reach(da.offset.saturating_add(da.rows.saturating_mul(da.cols)));
            acts.reach(end);
            let target = Carry { z_h: acts.span(n, d), z_l: acts.span(n, d) };
            let first_x = target.z_h.rows_from(0, batch);
            let first = BlockSlot {
                x: first_x,
                o: t.rows_from(0, batch),
                y1: y1.rows_from(0, batch),
                rstd1: shared.rstd1.rows_from(0, batch),
                gate_up: gate_up.rows_from(0, batch),
                y: first_x,
                rstd2: shared.rstd2.rows_from(0, batch),
                ..shared
            };
            // When cotangents are formed, the Q target is known, and its states are spent.
            let (dy, ds) = (target.z_h, target.z_l);
            let dlogits = acts.span(n, v);
            let dpuzzle = acts.span(batch, config.puzzle_emb_ndim);
            let (act_start, stat_start) = (acts.position(), stats.position());
            let x = acts.span(n, d);
            let kept = BlockSlot {
                x,
                qkv: acts.span(n, 3 * d),
                o: acts.span(n, d),
                lse: stats.span(batch * config.num_heads, config.positions()),
                y1: acts.span(n, d),
                rstd1: stats.span(n, 1),
                gate_up: acts.span(n, 2 * f),
                // The next block's input; the last block's is the carry.
                y: x,
                rstd2: stats.span(n, 1),
            };
            let act_stride = acts.position() - act_start;
            let stat_stride = stats.position() - stat_start;
            let mut block = 1;
            while block < config.h_layers + config.l_layers {
                let _: Act = acts.span(1, act_stride);
                let _: Stat = stats.span(1, stat_stride);
                block += 1;
            }
            Some(BackwardPlan {
                dy,
                ds,
                da,
                d_o,
                dqkv,
                dlogits,
                dpuzzle,
                target,
                first,
                slots: SlotStack { first: kept, act_stride, stat_stride },
                lm_loss: stats.span(batch, 1),
                q_losses: stats.span(batch, 2),
                next_q: stats.span(batch, 2),
                dq: stats.span(batch, 2),
                valid: ids.span(batch, 1),
                correct: ids.span(batch, 1),
            })
        } else {
            None
        };
        if params_overflow || acts.overflowed() || stats.overflowed() || ids.overflowed() {
            return Err(PlanError::TooLarge);
        }
        Ok(Self {
            config: *config,
            batch,
            mode,
            params,
            carry,
            emb,
            t,
            tile: branch.rows,
            branch,
            a,
            shared,
            logits,
            q,
            current,
            incoming,
            steps,
            halted,
            predictions,
            backward,
            acts_len: acts.position(),
            stats_len: stats.position(),
            ids_len: ids.position(),
        })
    }

    /// Rows N of a state: `batch * positions`.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.batch * self.config.positions()
    }

    /// Whether [`t`](Self::t) shares its place with what a block writes: in a tiled plan. Otherwise it lasts for as long as
    /// nobody writes it.
    #[must_use]
    pub const fn blocks_overwrite_t(&self) -> bool {
        self.t.offset == self.shared.qkv.offset
    }

    /// Where block `layer` of `level` works, when its level's result goes to `out`.
    ///
    /// Kept slots need a training plan; in another one every pass shares.
    #[must_use]
    pub const fn slot(&self, level: Level, layer: usize, keep: Keep, out: Act) -> BlockSlot {
        let layers = self.params.layers(level);
        let mut slot = match (&self.backward, keep) {
            (Some(backward), Keep::All) => {
                let index = match level {
                    Level::H => layer,
                    Level::L => self.config.h_layers + layer,
                };
                let mut slot = backward.slots.at(index);
                if layer + 1 < layers {
                    slot.y = backward.slots.at(index + 1).x;
                }
                slot
            }
            _ => self.shared,
        };
        if layer + 1 == layers {
            slot.y = out;
        }
        slot
    }

    /// Bytes of every arena, for a backend whose parameters, activations and statistics take so many bytes each.
    #[must_use]
    pub const fn bytes(&self, sizes: ElementSizes) -> Bytes {
        let trained = match self.mode {
            Mode::Training => self.params.trained,
            Mode::Inference => 0,
        };
        Bytes {
            params: self.params.len * sizes.param,
            gradients: trained * sizes.param,
            moments: 2 * trained * sizes.param,
            acts: self.acts_len * sizes.act,
            stats: self.stats_len * sizes.stat,
            ids: self.ids_len * 4,
        }
    }

    /// Number of trained parameters, padding of the arena not counted; the puzzle embedding is trained as well
    /// but not in this number, as in the published count.
    #[must_use]
    pub const fn trained_parameters(&self) -> usize {
        let p = &self.params;
        let block = p.block(Level::H, 0);
        let block = block.qkv.len() + block.o.len() + block.gate_up.len() + block.down.len();
        let positions = match p.embed_pos {
            Some(span) => span.len(),
            None => 0,
        };
        p.embed_tokens.len()
            + p.lm_head.len()
            + p.q_weight.len()
            + p.q_bias.len()
            + positions
            + block * (self.config.h_layers + self.config.l_layers)
    }
}

/// Where the activations of a pass that keeps nothing lie.
struct Places {
    x: Act,
    t: Act,
    logits: Act,
    y1: Act,
    qkv: Act,
    o: Act,
    gate_up: Act,
    branch: Act,
    a: Act,
    /// Where what is shared begins and ends.
    work: usize,
    end: usize,
}

impl Places {
    /// All rows at once. Queries, keys, values and attention output are spent when gate and up are computed: they share
    /// a place, and so does what the backward pass needs of the like. What a sublayer adds lies there as well: over
    /// queries, which are spent when attention is done, and over gate and up, which are when the activation is there.
    const fn whole(acts: &mut Layout, config: &Config, n: usize) -> Self {
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
    const fn tiled(acts: &mut Layout, config: &Config, n: usize, tile: usize) -> Self {
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

const fn rows(ids: &mut Layout, batch: usize, seq_len: usize, labels: usize) -> RowPlan {
    RowPlan {
        inputs: ids.span(batch, seq_len),
        labels: ids.span(batch, labels),
        puzzle_ids: ids.span(batch, 1),
    }
}

impl SlotStack {
    const fn at(&self, index: usize) -> BlockSlot {
        let (acts, stats) = (index * self.act_stride, index * self.stat_stride);
        const fn act(span: Act, by: usize) -> Act {
            Act::new(span.offset + by, span.rows, span.cols)
        }
        const fn stat(span: Stat, by: usize) -> Stat {
            Stat::new(span.offset + by, span.rows, span.cols)
        }
        let first = &self.first;
        BlockSlot {
            x: act(first.x, acts),
            qkv: act(first.qkv, acts),
            o: act(first.o, acts),
            lse: stat(first.lse, stats),
            y1: act(first.y1, acts),
            rstd1: stat(first.rstd1, stats),
            gate_up: act(first.gate_up, acts),
            y: act(first.y, acts),
            rstd2: stat(first.rstd2, stats),
        }
    }
}

/// Bytes that one element takes in each arena of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElementSizes {
    /// A parameter, gradient or moment.
    pub param: usize,
    /// An activation.
    pub act: usize,
    /// A statistic.
    pub stat: usize,
}

impl ElementSizes {
    /// Everything in f32.
    pub const F32: Self = Self { param: 4, act: 4, stat: 4 };
}

/// What a plan needs, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes {
    /// Parameters and constants.
    pub params: usize,
    /// Gradients.
    pub gradients: usize,
    /// Both moments of the optimizer.
    pub moments: usize,
    /// Activations.
    pub acts: usize,
    /// Statistics.
    pub stats: usize,
    /// Integers.
    pub ids: usize,
}

impl Bytes {
    /// The sum.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.params + self.gradients + self.moments + self.acts + self.stats + self.ids
    }
}

/// Why there is no plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PlanError {
    /// A field of the configuration is out of range.
    Config(ConfigError),
    /// A batch needs at least one row.
    EmptyBatch,
    /// A tile needs at least one row.
    EmptyTile,
    /// The sizes overflow this machine's address space.
    TooLarge,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::EmptyBatch => f.write_str("the batch is 0 rows, expected at least 1"),
            Self::EmptyTile => f.write_str("the tile is 0 rows, expected at least 1"),
            Self::TooLarge => {
                f.write_str("the model and batch are too large for this machine's address space")
            }
        }
    }
}

impl core::error::Error for PlanError {}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = match Plan::new(&Config::SUDOKU_EXTREME, 384, Mode::Training) {
        Ok(plan) => plan,
        Err(_) => panic!("the published configuration has a plan"),
    };

    #[test]
    fn the_published_model_has_the_published_size() {
        assert_eq!(PLAN.trained_parameters(), 27_275_266);
    }

    /// No two spans that are alive together overlap, and all lie within their arena.
    #[test]
    fn kept_slots_are_disjoint() {
        let mut spans = std::vec![PLAN.carry.z_h, PLAN.carry.z_l, PLAN.emb, PLAN.t, PLAN.logits];
        let backward = PLAN.backward.unwrap();
        // The states of the Q target's pass are spent when cotangents take their places.
        assert_eq!((backward.dy, backward.ds), (backward.target.z_h, backward.target.z_l));
        spans.extend([backward.dy, backward.ds, backward.dlogits, backward.dpuzzle]);
        // The scratch of the backward pass, which overlays that of the forward pass.
        spans.extend([backward.dqkv, backward.d_o]);
        for (level, out) in [(Level::H, PLAN.carry.z_h), (Level::L, PLAN.carry.z_l)] {
            for layer in 0..4 {
                let slot = PLAN.slot(level, layer, Keep::All, out);
                spans.extend([slot.x, slot.qkv, slot.o, slot.y1, slot.gate_up]);
                let next = if layer < 3 { PLAN.slot(level, layer + 1, Keep::All, out).x } else { out };
                assert_eq!(slot.y, next);
            }
        }
        spans.sort_by_key(|span| span.offset);
        for pair in spans.windows(2) {
            assert!(pair[0].range().end <= pair[1].offset, "{pair:?}");
            assert!(pair[1].offset.is_multiple_of(crate::arena::ALIGN));
        }
        assert!(spans.last().unwrap().range().end <= PLAN.acts_len);
        assert!(backward.da.range().end <= backward.target.z_h.offset);
    }

    #[test]
    fn inference_needs_no_gradients() {
        let plan = Plan::new(&Config::SUDOKU_EXTREME, 1, Mode::Inference).unwrap();
        let bytes = plan.bytes(ElementSizes::F32);
        assert_eq!(bytes.gradients + bytes.moments, 0);
        assert!(bytes.acts < 82 * 4 * (6 * 512 + 11 + 3 * 1536 + 64));
        assert_eq!(bytes.total(), bytes.params + bytes.acts + bytes.stats + bytes.ids);
    }

    #[test]
    fn without_tiles_all_rows_are_one_tile() {
        let plan = Plan::new(&Config::SUDOKU_EXTREME, 3, Mode::Inference).unwrap();
        assert_eq!((plan.tile, plan.branch.rows), (3 * 82, 3 * 82));
    }

    /// Each of `turns` is alive together with `always`, and does not overlap with it.
    fn assert_disjoint_by_turns(plan: &Plan, always: &[Act], turns: &[&[Act]]) {
        for turn in turns {
            let mut spans = [always, turn].concat();
            spans.sort_by_key(|span| span.offset);
            assert!(spans.windows(2).all(|pair| pair[0].range().end <= pair[1].offset), "{spans:?}");
            assert!(spans.last().unwrap().range().end <= plan.acts_len);
        }
    }

    /// What is alive together does not overlap: in attention, and around each of the products after it. The states, and
    /// what is added to L's input, are alive throughout. So at a width of SwiGLU that is less than half of the state's.
    #[test]
    fn the_shared_slot_shares_memory_by_turns() {
        let narrow =
            Config { hidden_size: 1024, puzzle_emb_ndim: 0, expansion: 0.1, ..Config::SUDOKU_EXTREME };
        for (config, mode) in [
            (Config::SUDOKU_EXTREME, Mode::Inference),
            (Config::SUDOKU_EXTREME, Mode::Training),
            (narrow, Mode::Training),
        ] {
            let plan = Plan::new(&config, 2, mode).unwrap();
            assert!(!plan.blocks_overwrite_t());
            let slot = plan.slot(Level::L, 0, Keep::Nothing, plan.carry.z_l);
            let always = [plan.carry.z_h, plan.carry.z_l, plan.emb, plan.t, slot.x, plan.logits];
            let turns: [&[Act]; 4] = [
                &[slot.qkv, slot.o],
                &[slot.o, plan.branch, slot.y1],
                &[slot.y1, slot.gate_up, plan.a],
                &[slot.y1, plan.branch, plan.a],
            ];
            assert_disjoint_by_turns(&plan, &always, &turns);
        }
    }

    /// Nor do the first positions, for which there is no memory of their own: with what they are taken from, and around each
    /// of the products behind attention. So where each sequence has no other position.
    #[test]
    fn first_positions_share_memory_by_turns() {
        let alone = Config { seq_len: 1, puzzle_emb_ndim: 0, ..Config::SUDOKU_EXTREME };
        for config in [Config::SUDOKU_EXTREME, alone] {
            let plan = Plan::new(&config, 3, Mode::Training).unwrap();
            let backward = plan.backward.unwrap();
            let whole = plan.slot(Level::H, 3, Keep::Nothing, backward.target.z_h);
            let first = backward.first;
            assert_eq!((first.x, first.x.rows, first.x.cols), (first.y, 3, 512));
            let always = [plan.carry.z_h, plan.carry.z_l, plan.emb, plan.logits, first.x];
            let turns: [&[Act]; 4] = [
                &[whole.x, whole.o, first.o],
                &[first.o, plan.branch, first.y1],
                &[first.y1, first.gate_up, plan.a],
                &[first.y1, plan.branch, plan.a],
            ];
            assert_disjoint_by_turns(&plan, &always, &turns);
        }
    }

    /// What is alive together does not overlap: between blocks, in attention, and in the second half of a block.
    #[test]
    fn tiles_share_memory_by_turns() {
        let config =
            Config { hidden_size: 128, num_heads: 4, puzzle_emb_ndim: 128, ..Config::SUDOKU_EXTREME };
        for tile in [1, 7, 16, 82, 1000] {
            let plan = Plan::tiled(&config, 1, tile).unwrap();
            assert_eq!(plan.tile, tile.min(82));
            let slot = plan.slot(Level::L, 0, Keep::Nothing, plan.carry.z_l);
            assert!(plan.blocks_overwrite_t());
            let always = [plan.carry.z_h, plan.carry.z_l, plan.emb, slot.x];
            let turns: [&[Act]; 4] = [
                &[plan.t],
                &[plan.logits],
                &[slot.qkv, slot.o],
                &[slot.o, slot.y1, plan.branch, slot.gate_up, plan.a],
            ];
            assert_disjoint_by_turns(&plan, &always, &turns);
        }
        // Four states, attention output, queries, keys and values: 16 rows of the rest fit over them.
        let small = Plan::tiled(&config, 1, 8).unwrap();
        assert_eq!(small.acts_len, 82 * 128 * 8);
        assert_eq!(Plan::tiled(&config, 1, 0), Err(PlanError::EmptyTile));
    }

    #[test]
    fn absurd_sizes_are_an_error() {
        let config = Config { seq_len: 1 << 24, hidden_size: 1 << 16, ..Config::SUDOKU_EXTREME };
        assert_eq!(Plan::new(&config, usize::MAX / 2, Mode::Training), Err(PlanError::TooLarge));
        assert_eq!(Plan::new(&Config::SUDOKU_EXTREME, 0, Mode::Training), Err(PlanError::EmptyBatch));
    }
}
