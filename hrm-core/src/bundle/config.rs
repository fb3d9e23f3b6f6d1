//! The configuration in a header, in two versions: what HRM consists of, and what else a model may be.

use serde::{Deserialize, Serialize, Serializer};

use super::{BundleError, take};
use crate::config::{Config, ForwardDtype, GradientSpan, PosEncodings, Stacks};

/// A configuration as a header holds it: in version 1 if that can say it, so that older readers go on to read what they
/// know, else in version 2.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StoredConfig(pub Config);

/// What version 1 says, in its order.
#[derive(Serialize, Deserialize)]
struct First {
    seq_len: usize,
    vocab_size: usize,
    num_puzzle_identifiers: usize,
    hidden_size: usize,
    num_heads: usize,
    expansion: f64,
    h_layers: usize,
    l_layers: usize,
    h_cycles: usize,
    l_cycles: usize,
    puzzle_emb_ndim: usize,
    pos_encodings: PosEncodings,
    rms_norm_eps: f64,
    rope_theta: f64,
    halt_max_steps: usize,
    halt_exploration_prob: f64,
    forward_dtype: ForwardDtype,
}

/// What version 2 says beyond it.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Second {
    shared_stack: bool,
    mlp_t: bool,
    /// Applications with a gradient; 0 for those of the last cycle.
    gradient: usize,
    puzzle_emb_len: usize,
    no_act_continue: bool,
}

impl First {
    const fn of(config: &Config) -> Self {
        Self {
            seq_len: config.seq_len,
            vocab_size: config.vocab_size,
            num_puzzle_identifiers: config.num_puzzle_identifiers,
            hidden_size: config.hidden_size,
            num_heads: config.num_heads,
            expansion: config.expansion,
            h_layers: config.h_layers,
            l_layers: config.l_layers,
            h_cycles: config.h_cycles,
            l_cycles: config.l_cycles,
            puzzle_emb_ndim: config.puzzle_emb_ndim,
            pos_encodings: config.pos_encodings,
            rms_norm_eps: config.rms_norm_eps,
            rope_theta: config.rope_theta,
            halt_max_steps: config.halt_max_steps,
            halt_exploration_prob: config.halt_exploration_prob,
            forward_dtype: config.forward_dtype,
        }
    }
}

impl Second {
    const fn of(config: &Config) -> Self {
        Self {
            shared_stack: matches!(config.stacks, Stacks::Shared),
            mlp_t: config.mlp_t,
            gradient: match config.gradient {
                GradientSpan::Applications(n) => n,
                GradientSpan::Cycle => 0,
            },
            puzzle_emb_len: config.puzzle_emb_len,
            no_act_continue: config.no_act_continue,
        }
    }

    /// What a bundle of version 1 leaves unsaid.
    const HRM: Self = Self::of(&Config::SUDOKU_EXTREME);

    const fn is_hrm(&self) -> bool {
        let hrm = Self::HRM;
        !self.shared_stack
            && !self.mlp_t
            && self.gradient == hrm.gradient
            && self.puzzle_emb_len == hrm.puzzle_emb_len
            && !self.no_act_continue
    }
}

/// Whether version 1 knows no such positions.
const fn is_second(positions: PosEncodings) -> bool {
    matches!(positions, PosEncodings::None | PosEncodings::Rope2d)
}

impl StoredConfig {
    /// The version of the format that says it.
    #[must_use]
    pub const fn version(&self) -> u32 {
        if !is_second(self.0.pos_encodings) && Second::of(&self.0).is_hrm() { 1 } else { 2 }
    }

    /// Reads that of a header of `version` from its front.
    pub(super) fn take(version: u32, header: &[u8]) -> Result<(Config, &[u8]), BundleError> {
        let (first, rest) = take::<First>(header)?;
        let (second, rest) = if version == 1 { (Second::HRM, rest) } else { take::<Second>(rest)? };
        if version == 1 && is_second(first.pos_encodings) {
            return Err(BundleError::Header);
        }
        let config = Config {
            seq_len: first.seq_len,
            vocab_size: first.vocab_size,
            num_puzzle_identifiers: first.num_puzzle_identifiers,
            hidden_size: first.hidden_size,
            num_heads: first.num_heads,
            expansion: first.expansion,
            stacks: if second.shared_stack { Stacks::Shared } else { Stacks::Separate },
            mlp_t: second.mlp_t,
            h_layers: first.h_layers,
            l_layers: first.l_layers,
            h_cycles: first.h_cycles,
            l_cycles: first.l_cycles,
            gradient: match second.gradient {
                0 => GradientSpan::Cycle,
                n => GradientSpan::Applications(n),
            },
            puzzle_emb_ndim: first.puzzle_emb_ndim,
            puzzle_emb_len: second.puzzle_emb_len,
            pos_encodings: first.pos_encodings,
            rms_norm_eps: first.rms_norm_eps,
            rope_theta: first.rope_theta,
            halt_max_steps: first.halt_max_steps,
            halt_exploration_prob: first.halt_exploration_prob,
            no_act_continue: second.no_act_continue,
            forward_dtype: first.forward_dtype,
        };
        Ok((config, rest))
    }
}

impl Serialize for StoredConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let first = First::of(&self.0);
        if self.version() == 1 {
            return first.serialize(serializer);
        }
        // In postcard, a tuple is its parts one after the other.
        (first, Second::of(&self.0)).serialize(serializer)
    }
}
