//! Where the parameters lie.

use crate::arena::{Layout, Param};
use crate::config::{Config, PosEncodings, Stacks};
use crate::rope::RopeTables;

use super::State;

/// A stack of blocks. Its name stands in the names of its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The slow module, the planner.
    H,
    /// The fast module, the executor; or the one stack of both.
    L,
}

impl Level {
    /// The name under which its tensors are stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::H => "H_level",
            Self::L => "L_level",
        }
    }
}

/// A weight of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockTensor {
    /// Queries, keys and values.
    Qkv,
    /// Attention output.
    O,
    /// Gate and up of the SwiGLU over positions.
    TokenGateUp,
    /// Output of the SwiGLU over positions.
    TokenDown,
    /// SwiGLU gate and up.
    GateUp,
    /// SwiGLU output.
    Down,
}

/// The weights of what mixes the cells, each `[out, in]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellParams {
    /// Attention.
    Attention {
        /// Queries, keys and values of all heads, in this order: `[3D, D]`.
        qkv: Param,
        /// Output: `[D, D]`.
        o: Param,
    },
    /// A SwiGLU over positions, of which there are S, and F' within it.
    Tokens {
        /// Gate (first half) and up (second half): `[2F', S]`.
        gate_up: Param,
        /// Output: `[S, F']`.
        down: Param,
    },
}

/// The weights of one block, each `[out, in]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockParams {
    /// What mixes the cells.
    pub cells: CellParams,
    /// SwiGLU gate (first half) and up (second half): `[2F, D]`.
    pub gate_up: Param,
    /// SwiGLU output: `[D, F]`.
    pub down: Param,
}

impl BlockParams {
    const fn lay_out(layout: &mut Layout, config: &Config) -> Self {
        let (d, f, s) = (config.hidden_size, config.inter_size(), config.positions());
        let cells = if config.mlp_t {
            let f = config.token_inter_size();
            CellParams::Tokens { gate_up: layout.span(2 * f, s), down: layout.span(s, f) }
        } else {
            CellParams::Attention { qkv: layout.span(3 * d, d), o: layout.span(d, d) }
        };
        Self { cells, gate_up: layout.span(2 * f, d), down: layout.span(d, f) }
    }

    /// All of them, in the order of the arena.
    #[must_use]
    pub const fn weights(&self) -> [(BlockTensor, Param); 4] {
        let [(first, a), (second, b)] = match self.cells {
            CellParams::Attention { qkv, o } => [(BlockTensor::Qkv, qkv), (BlockTensor::O, o)],
            CellParams::Tokens { gate_up, down } => {
                [(BlockTensor::TokenGateUp, gate_up), (BlockTensor::TokenDown, down)]
            }
        };
        [(first, a), (second, b), (BlockTensor::GateUp, self.gate_up), (BlockTensor::Down, self.down)]
    }

    /// The same, `by` elements further on.
    const fn shifted(&self, by: usize) -> Self {
        const fn shift(span: Param, by: usize) -> Param {
            Param::new(span.offset + by, span.rows, span.cols)
        }
        let cells = match self.cells {
            CellParams::Attention { qkv, o } => {
                CellParams::Attention { qkv: shift(qkv, by), o: shift(o, by) }
            }
            CellParams::Tokens { gate_up, down } => {
                CellParams::Tokens { gate_up: shift(gate_up, by), down: shift(down, by) }
            }
        };
        Self { cells, gate_up: shift(self.gate_up, by), down: shift(self.down, by) }
    }

    /// Elements of all of them.
    const fn len(&self) -> usize {
        let [(_, a), (_, b), (_, c), (_, d)] = self.weights();
        a.len() + b.len() + c.len() + d.len()
    }
}

/// A stack: consecutive blocks, laid out alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stack {
    /// Which one.
    pub level: Level,
    /// Number of blocks.
    pub layers: usize,
    base: BlockParams,
    stride: usize,
}

impl Stack {
    const fn lay_out(layout: &mut Layout, config: &Config, level: Level, layers: usize) -> Self {
        let start = layout.position();
        let base = BlockParams::lay_out(layout, config);
        let stride = layout.position() - start;
        let mut layer = 1;
        while layer < layers {
            let _: Param = layout.span(1, stride);
            layer += 1;
        }
        Self { level, layers, base, stride }
    }

    /// The weights of block `layer`, which counts from 0 and must be below [`layers`](Self::layers).
    #[must_use]
    pub const fn block(&self, layer: usize) -> BlockParams {
        self.base.shifted(layer * self.stride)
    }

    /// The weights of all blocks, first to last.
    pub fn blocks(&self) -> impl DoubleEndedIterator<Item = BlockParams> + ExactSizeIterator + use<> {
        let stack = *self;
        (0..stack.layers).map(move |layer| stack.block(layer))
    }

    /// Elements of all weights, padding of the arena not counted.
    #[must_use]
    pub const fn parameters(&self) -> usize {
        self.layers * self.base.len()
    }
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
    /// That of H, if it has one of its own.
    h: Option<Stack>,
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

impl ParamPlan {
    /// Lays the parameters out, and says whether they overflow the address space.
    pub(super) const fn new(config: &Config) -> (Self, bool) {
        let mut layout = Layout::new();
        let (d, v, s) = (config.hidden_size, config.vocab_size, config.positions());
        let embed_tokens = layout.span(v, d);
        let lm_head = layout.span(v, d);
        let q_weight = layout.span(2, d);
        let q_bias = layout.span(1, 2);
        let embed_pos = match config.pos_encodings {
            PosEncodings::Learned => Some(layout.span(s, d)),
            PosEncodings::Rope | PosEncodings::Rope2d | PosEncodings::None => None,
        };
        let h = match config.stacks {
            Stacks::Separate => Some(Stack::lay_out(&mut layout, config, Level::H, config.h_layers)),
            Stacks::Shared => None,
        };
        let l = Stack::lay_out(&mut layout, config, Level::L, config.l_layers);
        let trained = layout.position();
        let h_init = layout.span(1, d);
        let l_init = layout.span(1, d);
        let identifiers = if config.puzzle_emb_ndim == 0 { 0 } else { config.num_puzzle_identifiers };
        let puzzle_emb = layout.span(identifiers, config.puzzle_emb_ndim);
        let rope = match config.pos_encodings {
            // What does not attend has nothing to rotate.
            PosEncodings::Rope | PosEncodings::Rope2d if !config.mlp_t => {
                let half = config.head_dim() / 2;
                Some(RopeTables { cos: layout.span(s, half), sin: layout.span(s, half) })
            }
            _ => None,
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

    /// The same with `len` elements, all of them trained.
    pub(super) const fn all_trained(self, len: usize) -> Self {
        Self { len, trained: len, ..self }
    }

    /// The stacks of the model, in the order of the arena. Whoever goes over all of them goes over this.
    #[must_use]
    pub fn stacks(&self) -> impl DoubleEndedIterator<Item = Stack> + use<> {
        self.h.into_iter().chain([self.l])
    }

    /// The stack whose result is `state`.
    #[must_use]
    pub const fn stack(&self, state: State) -> &Stack {
        match (state, &self.h) {
            (State::H, Some(h)) => h,
            _ => &self.l,
        }
    }

    /// Number of trained parameters, padding of the arena not counted. The puzzle embedding is trained as well, but not in
    /// this number, as in the published count.
    #[must_use]
    pub const fn trained_parameters(&self) -> usize {
        let positions = match self.embed_pos {
            Some(span) => span.len(),
            None => 0,
        };
        let heads = self.embed_tokens.len() + self.lm_head.len() + self.q_weight.len() + self.q_bias.len();
        let own = match &self.h {
            Some(h) => h.parameters(),
            None => 0,
        };
        heads + positions + own + self.l.parameters()
    }
}
