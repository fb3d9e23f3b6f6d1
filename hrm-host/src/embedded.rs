//! What a model needs on a microcontroller: flash for its bundle, memory for its solver, multiply-accumulates.
//!
//! The stack is not here: it depends on the compiler and the target, and the firmware measures it.

use hrm_core::config::Config;
use hrm_core::plan::{Mode, Plan};
use hrm_core::solver::scratch_bytes;
use serde::Serialize;

use crate::bench::flops::Flops;
use crate::error::{Error, Result};
use crate::model_io::bundle::{self, Encoding};
use crate::numbers::Precision;

/// What one configuration needs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Needs {
    /// What it is called here.
    pub name: String,
    /// Hidden width.
    pub hidden: usize,
    /// Layers of H and of L.
    pub layers: [usize; 2],
    /// Cells and prefix of a puzzle.
    pub positions: usize,
    /// Trained parameters.
    pub parameters: usize,
    /// Bytes of its bundle.
    pub flash: Flash,
    /// Bytes that the solver works in; the stack comes on top.
    pub scratch: usize,
    /// Multiply-accumulates of an ACT step.
    pub step: u64,
    /// ACT steps of a puzzle at most.
    pub most_steps: usize,
    /// Multiply-accumulates of a puzzle that takes them all.
    pub puzzle: u64,
}

/// Bytes of a bundle by the precision of its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Flash {
    /// In single precision.
    pub f32: u64,
    /// In half precision.
    pub f16: u64,
    /// In integers, as far as weights can be.
    pub int8: u64,
}

impl Needs {
    /// What a model of `config` needs.
    ///
    /// # Errors
    /// The configuration is not valid, or too large for a bundle.
    pub fn of(name: impl Into<String>, config: &Config) -> Result<Self> {
        let plan = Plan::new(config, 1, Mode::Inference).map_err(|error| Error::input(error.to_string()))?;
        let size = |encoding| bundle::size(&plan, encoding);
        // Two operations are one multiply-accumulate.
        let step = Flops::act_step(config, 1).total() / 2;
        Ok(Self {
            name: name.into(),
            hidden: config.hidden_size,
            layers: [config.h_layers, config.l_layers],
            positions: config.positions(),
            parameters: plan.params.trained_parameters(),
            flash: Flash {
                f32: size(Encoding::Float(Precision::F32))?,
                f16: size(Encoding::Float(Precision::F16))?,
                int8: size(Encoding::Int8)?,
            },
            scratch: scratch_bytes(config),
            step,
            most_steps: config.halt_max_steps,
            puzzle: step.saturating_mul(config.halt_max_steps as u64),
        })
    }
}

/// Name, cells, tokens, hidden width, heads, layers of each level, ACT steps at most.
type Typical = (&'static str, usize, usize, usize, usize, usize, usize);

const TYPICAL: [Typical; 8] = [
    ("Sudoku 4 x 4, narrow", 16, 6, 32, 1, 1, 4),
    ("Sudoku 4 x 4 (sudoku-4x4)", 16, 6, 64, 2, 2, 4),
    ("Sudoku 9 x 9, narrow", 81, 11, 64, 2, 2, 8),
    ("Sudoku 9 x 9, medium", 81, 11, 96, 3, 2, 8),
    ("Sudoku 9 x 9 (sudoku-mini)", 81, 11, 128, 2, 2, 8),
    ("Sudoku 9 x 9, wide", 81, 11, 256, 4, 2, 16),
    ("maze 12 x 12", 144, 6, 64, 2, 2, 8),
    ("published (sudoku-extreme)", 81, 11, 512, 8, 4, 16),
];

/// What typical configurations need, from small to large.
///
/// # Errors
/// None: they are valid.
pub fn typical() -> Result<Vec<Needs>> {
    let config = |(_, seq_len, vocab_size, hidden_size, num_heads, layers, halt_max_steps): Typical| Config {
        seq_len,
        vocab_size,
        hidden_size,
        num_heads,
        h_layers: layers,
        l_layers: layers,
        halt_max_steps,
        num_puzzle_identifiers: 1,
        puzzle_emb_ndim: hidden_size,
        ..Config::SUDOKU_EXTREME
    };
    TYPICAL.into_iter().map(|typical| Needs::of(typical.0, &config(typical))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_shrinks_with_its_precision_and_the_published_model_is_the_published_one() {
        let all = typical().unwrap();
        for Needs { name, flash, scratch, step, puzzle, .. } in &all {
            assert!(flash.int8 < flash.f16 && flash.f16 < flash.f32, "{name}: {flash:?}");
            assert!(*scratch > 0 && *scratch < 1 << 28 && step <= puzzle, "{name}");
        }
        let published = all.last().unwrap();
        assert_eq!((published.parameters, published.most_steps), (27_275_266, 16));
        // 24 blocks of 82 positions, and the head.
        let block = 82 * 512 * (4 * 512 + 3 * 1536) + 2 * 82 * 82 * 512;
        assert_eq!(published.step, 24 * block + 82 * 512 * 11);
    }

    #[test]
    fn what_is_no_configuration_needs_nothing() {
        let config = Config { hidden_size: 7, ..Config::SUDOKU_EXTREME };
        assert_eq!(Needs::of("odd", &config).unwrap_err().exit_code(), 2);
    }
}
