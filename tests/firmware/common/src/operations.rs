//! What a model costs.

use hrm_core::config::Config;

/// Multiply-accumulates of one ACT step: those of every matrix product. The rest is small beside them.
#[must_use]
pub const fn operations(config: &Config) -> u64 {
    let (d, f, s) = (config.hidden_size as u64, config.inter_size() as u64, config.positions() as u64);
    let block = s * (4 * d * d + 3 * d * f) + 2 * s * s * d;
    let blocks = config.blocks();
    blocks as u64 * block + s * config.vocab_size as u64 * d + 2 * d
}
