//! Where the parameters lie.

use crate::arena::{Layout, Param};
use crate::config::{Config, PosEncodings};
use crate::rope::RopeTables;

use super::State;

/// A stack of blocks. Its name stands in the names of its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The slow module, the planner.
    H,
    /// The fast module, the executor.
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

impl BlockParams {
    /// Elements of all of them.
    const fn len(&self) -> usize {
        self.qkv.len() + self.o.len() + self.gate_up.len() + self.down.len()
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
        let (d, f) = (config.hidden_size, config.inter_size());
        let start = layout.position();
        let base = BlockParams {
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
        Self { level, layers, base, stride }
    }

    /// The weights of block `layer`, which counts from 0 and must be below [`layers`](Self::layers).
    #[must_use]
    pub const fn block(&self, layer: usize) -> BlockParams {
        let by = layer * self.stride;
        const fn shift(span: Param, by: usize) -> Param {
            Param::new(span.offset + by, span.rows, span.cols)
        }
        BlockParams {
            qkv: shift(self.base.qkv, by),
            o: shift(self.base.o, by),
            gate_up: shift(self.base.gate_up, by),
            down: shift(self.base.down, by),
        }
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
            PosEncodings::Rope => None,
        };
        let h = Stack::lay_out(&mut layout, config, Level::H, config.h_layers);
        let l = Stack::lay_out(&mut layout, config, Level::L, config.l_layers);
        let trained = layout.position();
        let h_init = layout.span(1, d);
        let l_init = layout.span(1, d);
        let identifiers = if config.puzzle_emb_ndim == 0 { 0 } else { config.num_puzzle_identifiers };
        let puzzle_emb = layout.span(identifiers, config.puzzle_emb_ndim);
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

    /// The same with `len` elements, all of them trained.
    pub(super) const fn all_trained(self, len: usize) -> Self {
        Self { len, trained: len, ..self }
    }

    /// The stacks of the model, in the order of the arena. Whoever goes over all of them goes over this.
    #[must_use]
    pub const fn stacks(&self) -> [Stack; 2] {
        [self.h, self.l]
    }

    /// The stack whose result is `state`.
    #[must_use]
    pub const fn stack(&self, state: State) -> &Stack {
        match state {
            State::H => &self.h,
            State::L => &self.l,
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
        let (stacks, mut i, mut sum) = (self.stacks(), 0, heads + positions);
        while i < stacks.len() {
            sum += stacks[i].parameters();
            i += 1;
        }
        sum
    }
}
