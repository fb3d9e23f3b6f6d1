//! A tiny model's configuration, and a puzzle for it.

use hrm_core::config::{Config, ForwardDtype};

/// The model.
pub const CONFIG: Config = Config {
    seq_len: 16,
    vocab_size: 6,
    hidden_size: 32,
    num_heads: 2,
    h_layers: 1,
    l_layers: 1,
    puzzle_emb_ndim: 32,
    halt_max_steps: 4,
    forward_dtype: ForwardDtype::Float32,
    ..Config::SUDOKU_EXTREME
};

/// A 4 x 4 Sudoku, tokens 1 (blank) to 5.
pub const PUZZLE: [u8; 16] = [1, 3, 1, 5, 5, 1, 1, 1, 1, 1, 4, 1, 2, 1, 1, 3];

/// Goes on with a hash (FNV-1a), begun with [`HASH`].
pub fn hash(hash: u64, word: u32) -> u64 {
    (hash ^ u64::from(word)).wrapping_mul(0x0100_0000_01b3)
}

/// The beginning of a hash.
pub const HASH: u64 = 0xcbf2_9ce4_8422_2325;
