//! The configuration of a model, under the published names.

use core::fmt;

/// How positions enter the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum PosEncodings {
    /// Rotary embeddings of queries and keys (Su et al. 2021).
    Rope,
    /// A learned table, added to the input embedding.
    Learned,
    /// They do not: for a model whose cells are mixed by a SwiGLU, which tells positions apart by its weights.
    None,
    /// Rotary embeddings by the row and the column of a square grid: half of the frequencies turn by each (SE-RRM). What
    /// comes before the tokens is not turned.
    Rope2d,
}

/// Which stacks make the two states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Stacks {
    /// A stack for each: HRM.
    #[default]
    Separate,
    /// One stack, of `L_layers` blocks, for both: TRM (Jolicoeur-Martineau 2025, section 4.3).
    Shared,
}

/// How many applications of a stack, the last ones of a forward pass, have a gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GradientSpan {
    /// So many. HRM has two, the last of L and the last of H: its one-step gradient.
    Applications(usize),
    /// Those of the last cycle, `L_cycles + 1`: TRM (Jolicoeur-Martineau 2025, section 4.1).
    Cycle,
}

impl GradientSpan {
    /// How [`Cycle`](Self::Cycle) is written.
    pub const CYCLE: &str = "cycle";
}

impl Default for GradientSpan {
    fn default() -> Self {
        Self::Applications(2)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for GradientSpan {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Applications(n) => serializer.serialize_u64(*n as u64),
            Self::Cycle => serializer.serialize_str(Self::CYCLE),
        }
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for GradientSpan {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = GradientSpan;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of applications, or \"cycle\"")
            }
            fn visit_u64<E: serde::de::Error>(self, n: u64) -> Result<GradientSpan, E> {
                usize::try_from(n).map(GradientSpan::Applications).map_err(E::custom)
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<GradientSpan, E> {
                if text == GradientSpan::CYCLE {
                    return Ok(GradientSpan::Cycle);
                }
                Err(E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// The precision in which a model was trained, and in which its states are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum ForwardDtype {
    /// 8 bits of mantissa, the range of f32.
    Bfloat16,
    /// IEEE single precision.
    Float32,
}

/// The architecture of a model: HRM, TRM, or what lies between them. Field names are those of the published `config.json`;
/// those that HRM's does not know are what HRM does unless they are given.
///
/// ```
/// use hrm_core::config::Config;
/// let config = Config::SUDOKU_EXTREME;
/// assert_eq!(config.inter_size(), 1536);
/// assert_eq!(config.positions(), 82);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Config {
    /// Tokens of a puzzle: 81 for Sudoku, 900 for a 30 x 30 grid.
    pub seq_len: usize,
    /// Number of distinct tokens, padding included.
    pub vocab_size: usize,
    /// Rows of the puzzle embedding table.
    pub num_puzzle_identifiers: usize,
    /// Width D of every state and embedding.
    pub hidden_size: usize,
    /// Attention heads; must divide `hidden_size`.
    pub num_heads: usize,
    /// SwiGLU expansion; [`Config::inter_size`] gives the width it leads to.
    #[cfg_attr(feature = "serde", serde(default = "defaults::expansion"))]
    pub expansion: f64,
    /// Which stacks make the two states.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_default"))]
    pub stacks: Stacks,
    /// Whether cells are mixed by a SwiGLU over positions in place of attention (MLP-Mixer, Tolstikhin et al. 2021).
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_default"))]
    pub mlp_t: bool,
    /// Blocks of the slow module (H, the planner). With a shared stack it says nothing.
    #[cfg_attr(feature = "serde", serde(rename = "H_layers"))]
    pub h_layers: usize,
    /// Blocks of the fast module (L, the executor), or of the shared stack.
    #[cfg_attr(feature = "serde", serde(rename = "L_layers"))]
    pub l_layers: usize,
    /// N of the paper: applications of H in one forward pass.
    #[cfg_attr(feature = "serde", serde(rename = "H_cycles"))]
    pub h_cycles: usize,
    /// T of the paper: applications of L for each one of H.
    #[cfg_attr(feature = "serde", serde(rename = "L_cycles"))]
    pub l_cycles: usize,
    /// How far the gradient goes back.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_default"))]
    pub gradient: GradientSpan,
    /// Width of a puzzle's embedding; 0 for none. It fills the positions before the tokens.
    #[cfg_attr(feature = "serde", serde(default))]
    pub puzzle_emb_ndim: usize,
    /// Positions before the tokens, for the puzzle's embedding and zeros behind it; 0 for as many as it needs.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_default"))]
    pub puzzle_emb_len: usize,
    /// How positions enter the model.
    pub pos_encodings: PosEncodings,
    /// Added to the mean square inside RMSNorm.
    #[cfg_attr(feature = "serde", serde(default = "defaults::rms_norm_eps"))]
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    #[cfg_attr(feature = "serde", serde(default = "defaults::rope_theta"))]
    pub rope_theta: f64,
    /// ACT steps after which a puzzle always halts.
    pub halt_max_steps: usize,
    /// Probability that a training row must go on for a random number of steps.
    pub halt_exploration_prob: f64,
    /// Whether the value of going on is not learned: then a row halts where `q_halt > 0`, and a training step needs no second
    /// forward pass.
    #[cfg_attr(
        feature = "serde",
        serde(default, rename = "no_ACT_continue", skip_serializing_if = "is_default")
    )]
    pub no_act_continue: bool,
    /// The precision the model was trained in.
    #[cfg_attr(feature = "serde", serde(default = "defaults::forward_dtype"))]
    pub forward_dtype: ForwardDtype,
}

#[cfg(feature = "serde")]
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(feature = "serde")]
mod defaults {
    use super::ForwardDtype;

    pub fn expansion() -> f64 {
        4.0
    }
    pub fn rms_norm_eps() -> f64 {
        1e-5
    }
    pub fn rope_theta() -> f64 {
        10_000.0
    }
    pub fn forward_dtype() -> ForwardDtype {
        ForwardDtype::Bfloat16
    }
}

impl Config {
    /// The published architecture at Sudoku's sizes: 27,275,266 trained parameters.
    pub const SUDOKU_EXTREME: Self = Self {
        seq_len: 81,
        vocab_size: 11,
        num_puzzle_identifiers: 1,
        hidden_size: 512,
        num_heads: 8,
        expansion: 4.0,
        stacks: Stacks::Separate,
        mlp_t: false,
        h_layers: 4,
        l_layers: 4,
        h_cycles: 2,
        l_cycles: 2,
        gradient: GradientSpan::Applications(2),
        puzzle_emb_ndim: 512,
        puzzle_emb_len: 0,
        pos_encodings: PosEncodings::Rope,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        halt_max_steps: 16,
        halt_exploration_prob: 0.1,
        no_act_continue: false,
        forward_dtype: ForwardDtype::Bfloat16,
    };

    /// The Tiny Recursive Model at Sudoku's sizes, its cells mixed by a SwiGLU: 5,028,866 trained parameters.
    pub const TRM_SUDOKU: Self = Self {
        stacks: Stacks::Shared,
        mlp_t: true,
        h_layers: 0,
        l_layers: 2,
        h_cycles: 3,
        l_cycles: 6,
        gradient: GradientSpan::Cycle,
        puzzle_emb_len: 16,
        pos_encodings: PosEncodings::None,
        no_act_continue: true,
        ..Self::SUDOKU_EXTREME
    };

    /// Width F of the SwiGLU hidden layer: `expansion * D * 2/3`, rounded half to even, then up to a multiple
    /// of 256.
    #[must_use]
    pub const fn inter_size(&self) -> usize {
        swiglu_width(self.expansion, self.hidden_size)
    }

    /// The same of the SwiGLU over positions: `expansion * S * 2/3` and so on.
    #[must_use]
    pub const fn token_inter_size(&self) -> usize {
        swiglu_width(self.expansion, self.positions())
    }

    /// Width of one attention head; 0 without heads, which no valid configuration has.
    #[must_use]
    pub const fn head_dim(&self) -> usize {
        match self.hidden_size.checked_div(self.num_heads) {
            Some(width) => width,
            None => 0,
        }
    }

    /// Positions P before the tokens: `puzzle_emb_len`, or `ceil(ndim / D)`; 0 at width 0, which no valid configuration has.
    #[must_use]
    pub const fn prefix_len(&self) -> usize {
        if self.puzzle_emb_len > 0 {
            self.puzzle_emb_len
        } else if self.hidden_size == 0 {
            0
        } else {
            self.puzzle_emb_ndim.div_ceil(self.hidden_size)
        }
    }

    /// The same model, said in one way: a prefix as long as the puzzle embedding needs anyway is none of its own.
    #[must_use]
    pub const fn canonical(self) -> Self {
        let derived = Self { puzzle_emb_len: 0, ..self };
        if derived.prefix_len() == self.puzzle_emb_len { derived } else { self }
    }

    /// Positions S of a sequence: prefix and tokens.
    #[must_use]
    pub const fn positions(&self) -> usize {
        self.prefix_len() + self.seq_len
    }

    /// Checks every field, so that what is derived from a checked configuration cannot overflow or divide by
    /// zero.
    ///
    /// # Errors
    /// The first field that is out of its range.
    pub const fn validate(&self) -> Result<(), ConfigError> {
        const SIZE: usize = 1 << 24;
        macro_rules! check {
            ($field:ident, $name:literal, $ok:expr, $expected:literal) => {
                if !$ok {
                    return Err(ConfigError { field: $name, given: self.$field as f64, expected: $expected });
                }
            };
        }
        check!(seq_len, "seq_len", in_range(self.seq_len, 1, SIZE), "1 to 2^24");
        check!(vocab_size, "vocab_size", in_range(self.vocab_size, 1, SIZE), "1 to 2^24");
        check!(
            num_puzzle_identifiers,
            "num_puzzle_identifiers",
            in_range(self.num_puzzle_identifiers, 1, 1 << 31),
            "1 to 2^31"
        );
        check!(hidden_size, "hidden_size", in_range(self.hidden_size, 1, 1 << 16), "1 to 65536");
        check!(num_heads, "num_heads", in_range(self.num_heads, 1, self.hidden_size), "1 to hidden_size");
        check!(
            num_heads,
            "num_heads",
            self.hidden_size.is_multiple_of(self.num_heads),
            "a divisor of hidden_size"
        );
        check!(
            num_heads,
            "num_heads",
            !matches!(self.pos_encodings, PosEncodings::Rope) || self.head_dim().is_multiple_of(2),
            "an even head dimension (hidden_size / num_heads) for rotary positions"
        );
        let grid = matches!(self.pos_encodings, PosEncodings::Rope2d);
        check!(
            num_heads,
            "num_heads",
            !grid || self.head_dim().is_multiple_of(4),
            "a head dimension (hidden_size / num_heads) that 4 divides, for rotary rows and columns"
        );
        check!(
            seq_len,
            "seq_len",
            !grid || self.seq_len.isqrt() * self.seq_len.isqrt() == self.seq_len,
            "a square number, for rotary rows and columns"
        );
        check!(expansion, "expansion", self.expansion > 0.0 && self.expansion <= 64.0, "above 0, at most 64");
        check!(
            h_layers,
            "H_layers",
            in_range(self.h_layers, 1, 1024) || matches!(self.stacks, Stacks::Shared),
            "1 to 1024"
        );
        check!(l_layers, "L_layers", in_range(self.l_layers, 1, 1024), "1 to 1024");
        check!(h_cycles, "H_cycles", in_range(self.h_cycles, 1, 1024), "1 to 1024");
        check!(l_cycles, "L_cycles", in_range(self.l_cycles, 1, 1024), "1 to 1024");
        if let GradientSpan::Applications(n) = self.gradient
            && !in_range(n, 2, self.applications())
        {
            return Err(ConfigError {
                field: "gradient",
                given: n as f64,
                expected: "2 to H_cycles (L_cycles + 1), or \"cycle\"",
            });
        }
        check!(puzzle_emb_ndim, "puzzle_emb_ndim", self.puzzle_emb_ndim <= 1 << 20, "0 to 2^20");
        check!(
            puzzle_emb_len,
            "puzzle_emb_len",
            self.puzzle_emb_len == 0
                || in_range(self.puzzle_emb_len, self.puzzle_emb_ndim.div_ceil(self.hidden_size), 1 << 16)
                    && self.puzzle_emb_ndim > 0,
            "0, or puzzle_emb_ndim / hidden_size to 65536"
        );
        check!(
            rms_norm_eps,
            "rms_norm_eps",
            self.rms_norm_eps > 0.0 && self.rms_norm_eps <= 1.0,
            "above 0, at most 1"
        );
        check!(rope_theta, "rope_theta", self.rope_theta >= 1.0 && self.rope_theta <= 1e12, "1 to 10^12");
        check!(halt_max_steps, "halt_max_steps", in_range(self.halt_max_steps, 1, 1 << 16), "1 to 65536");
        check!(
            halt_exploration_prob,
            "halt_exploration_prob",
            self.halt_exploration_prob >= 0.0 && self.halt_exploration_prob <= 1.0,
            "0 to 1"
        );
        Ok(())
    }
}

/// `expansion * width * 2/3`, rounded half to even, then up to a multiple of 256.
const fn swiglu_width(expansion: f64, width: usize) -> usize {
    let exact = expansion * width as f64 * 2.0 / 3.0;
    let floor = exact as usize;
    let fraction = exact - floor as f64;
    let up = fraction > 0.5 || (fraction == 0.5 && floor % 2 == 1);
    (floor + up as usize).div_ceil(256) * 256
}

const fn in_range(value: usize, low: usize, high: usize) -> bool {
    low <= value && value <= high
}

/// A field of a [`Config`] that is out of its range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConfigError {
    /// The field, under its published name.
    pub field: &'static str,
    /// What it holds.
    pub given: f64,
    /// What it may hold.
    pub expected: &'static str,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, expected {}", self.field, self.given, self.expected)
    }
}

impl core::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inter_size_rounds_as_published() {
        let with = |hidden_size, expansion| Config { hidden_size, expansion, ..Config::SUDOKU_EXTREME };
        // (hidden, expansion, F)
        for (hidden, expansion, inter) in [
            (32, 1.0, 256),
            (64, 8.0, 512),
            (96, 4.0, 256),
            (128, 4.0, 512),
            (512, 8.0, 2816),
            (1024, 2.5, 1792),
        ] {
            assert_eq!(with(hidden, expansion).inter_size(), inter, "{hidden} {expansion}");
        }
        // 288 * 4 * 2/3 = 768 exactly: no further multiple of 256.
        assert_eq!(with(288, 4.0).inter_size(), 768);
    }

    #[test]
    fn trm_has_its_published_sizes() {
        let config = Config::TRM_SUDOKU;
        assert_eq!(config.validate(), Ok(()));
        assert_eq!((config.positions(), config.token_inter_size()), (97, 512));
        assert_eq!((config.applications(), config.with_gradient()), (21, 7));
        let plan = crate::plan::Plan::new(&config, 1, crate::plan::Mode::Inference).unwrap();
        assert_eq!(plan.params.trained_parameters(), 5_028_866);
        let attention = Config { mlp_t: false, pos_encodings: PosEncodings::Rope, ..config };
        let plan = crate::plan::Plan::new(&attention, 1, crate::plan::Mode::Inference).unwrap();
        assert_eq!(plan.params.trained_parameters(), 6_828_034);
    }

    #[test]
    fn bad_fields_are_named() {
        let field = |config: Config| config.validate().unwrap_err().field;
        let good = Config::SUDOKU_EXTREME;
        assert_eq!(good.validate(), Ok(()));
        assert_eq!(field(Config { seq_len: 0, ..good }), "seq_len");
        assert_eq!(field(Config { num_heads: 7, ..good }), "num_heads");
        assert_eq!(field(Config { num_heads: 512, ..good }), "num_heads");
        assert_eq!(field(Config { expansion: f64::NAN, ..good }), "expansion");
        assert_eq!(field(Config { h_cycles: 0, ..good }), "H_cycles");
        assert_eq!(field(Config { halt_max_steps: 0, ..good }), "halt_max_steps");
        assert_eq!(field(Config { halt_exploration_prob: 1.5, ..good }), "halt_exploration_prob");
        assert_eq!(field(Config { puzzle_emb_ndim: 0, puzzle_emb_len: 3, ..good }), "puzzle_emb_len");
        assert_eq!(field(Config { puzzle_emb_ndim: 1025, puzzle_emb_len: 2, ..good }), "puzzle_emb_len");
        assert_eq!(field(Config { gradient: GradientSpan::Applications(1), ..good }), "gradient");
        assert_eq!(field(Config { gradient: GradientSpan::Applications(7), ..good }), "gradient");
        let learned = Config { num_heads: 512, pos_encodings: PosEncodings::Learned, ..good };
        assert_eq!(learned.validate(), Ok(()));
    }
}
