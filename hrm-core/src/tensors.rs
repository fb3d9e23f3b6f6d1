//! The stored tensors of a model, under their published names.

use core::fmt;

use crate::arena::Param;
pub use crate::plan::BlockTensor;
use crate::plan::{Level, ParamPlan, Stack};

/// The name of a stored tensor; displays as in a published state dict, without the prefix `model.inner.`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorName {
    /// Token embedding.
    EmbedTokens,
    /// Learned positions.
    EmbedPos,
    /// Output head.
    LmHead,
    /// Weight of the Q head.
    QWeight,
    /// Bias of the Q head.
    QBias,
    /// A weight of a block.
    Block(Level, usize, BlockTensor),
    /// Initial state of H.
    HInit,
    /// Initial state of L.
    LInit,
    /// Puzzle embedding.
    PuzzleEmb,
}

impl fmt::Display for TensorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EmbedTokens => "embed_tokens.embedding_weight",
            Self::EmbedPos => "embed_pos.embedding_weight",
            Self::LmHead => "lm_head.weight",
            Self::QWeight => "q_head.weight",
            Self::QBias => "q_head.bias",
            Self::HInit => "H_init",
            Self::LInit => "L_init",
            Self::PuzzleEmb => "puzzle_emb.weights",
            Self::Block(level, layer, tensor) => {
                let part = match tensor {
                    BlockTensor::Qkv => "self_attn.qkv_proj",
                    BlockTensor::O => "self_attn.o_proj",
                    BlockTensor::TokenGateUp => "mlp_t.gate_up_proj",
                    BlockTensor::TokenDown => "mlp_t.down_proj",
                    BlockTensor::GateUp => "mlp.gate_up_proj",
                    BlockTensor::Down => "mlp.down_proj",
                };
                return write!(f, "{}.layers.{layer}.{part}.weight", level.name());
            }
        })
    }
}

/// A stored tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its name.
    pub name: TensorName,
    /// Where it lies.
    pub span: Param,
}

impl Tensor {
    /// Whether it is stored as a vector: a bias or an initial state.
    #[must_use]
    pub const fn is_vector(&self) -> bool {
        matches!(self.name, TensorName::QBias | TensorName::HInit | TensorName::LInit)
    }

    /// Whether AdamATan2 trains it.
    #[must_use]
    pub const fn is_trained(&self) -> bool {
        !matches!(self.name, TensorName::HInit | TensorName::LInit | TensorName::PuzzleEmb)
    }
}

impl ParamPlan {
    /// Every stored tensor, in the order of the arena. Tensors that the model lacks (learned positions, puzzle
    /// embedding) are left out.
    pub fn tensors(&self) -> impl Iterator<Item = Tensor> + '_ {
        let tensor = |name, span| Tensor { name, span };
        let heads = [
            tensor(TensorName::EmbedTokens, self.embed_tokens),
            tensor(TensorName::LmHead, self.lm_head),
            tensor(TensorName::QWeight, self.q_weight),
            tensor(TensorName::QBias, self.q_bias),
        ];
        let positions = self.embed_pos.map(|span| tensor(TensorName::EmbedPos, span));
        let blocks = self.stacks().flat_map(move |stack: Stack| {
            stack.blocks().enumerate().flat_map(move |(layer, w)| {
                w.weights().map(|(part, span)| tensor(TensorName::Block(stack.level, layer, part), span))
            })
        });
        let states = [tensor(TensorName::HInit, self.h_init), tensor(TensorName::LInit, self.l_init)];
        let puzzles = (!self.puzzle_emb.is_empty()).then(|| tensor(TensorName::PuzzleEmb, self.puzzle_emb));
        heads.into_iter().chain(positions).chain(blocks).chain(states).chain(puzzles)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::plan::{Mode, Plan};
    use std::string::ToString;

    #[test]
    fn names_are_the_published_ones_and_sizes_add_up() {
        let plan = Plan::new(&Config::SUDOKU_EXTREME, 1, Mode::Inference).unwrap();
        let name = TensorName::Block(Level::H, 3, BlockTensor::GateUp);
        assert_eq!(name.to_string(), "H_level.layers.3.mlp.gate_up_proj.weight");
        let trained: usize = plan.params.tensors().filter(Tensor::is_trained).map(|t| t.span.len()).sum();
        assert_eq!(trained, plan.params.trained_parameters());
        assert_eq!(plan.params.tensors().count(), 4 + 8 * 4 + 3);
        let plan = Plan::new(&Config::TRM_SUDOKU, 1, Mode::Inference).unwrap();
        let names: std::vec::Vec<_> = plan.params.tensors().map(|tensor| tensor.name.to_string()).collect();
        assert_eq!(names[4], "L_level.layers.0.mlp_t.gate_up_proj.weight");
        assert_eq!(names.len(), 4 + 2 * 4 + 3);
    }
}
