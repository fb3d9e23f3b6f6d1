//! Settings that come with the program, and what was measured of them.

use crate::data::Metadata;
use crate::settings::Settings as Merged;

/// A preset: its name, what it is for, its TOML, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// Name on the command line.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Its settings.
    pub toml: &'static str,
    /// Cells of its puzzles, and tokens with padding: what a dataset would say.
    pub puzzles: Puzzles,
    /// What a step of it took, if it was measured.
    pub step: Option<Step>,
    /// What a model trained with it reached; `docs/results.md` and `docs/gpu.md` say how.
    pub reached: Option<&'static str>,
}

/// Sizes of a task's puzzles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Puzzles {
    /// Cells of a puzzle.
    pub cells: usize,
    /// Distinct tokens, padding included.
    pub tokens: u32,
}

/// A training step as it was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Puzzles in it.
    pub batch: usize,
    /// Median, in milliseconds.
    pub ms: f64,
    /// The machine.
    pub on: &'static str,
}

impl Preset {
    /// Its settings, alone.
    ///
    /// # Errors
    /// None for a preset of this program: a test builds them all.
    pub fn settings(&self) -> crate::error::Result<super::Settings> {
        let mut merged = Merged::default();
        merged.text(&format!("preset {}", self.name), self.toml)?;
        merged.build()
    }

    /// What a dataset of its task says of itself, with one puzzle identifier.
    #[must_use]
    pub fn task(&self) -> Metadata {
        let Puzzles { cells, tokens } = self.puzzles;
        Metadata {
            pad_id: 0,
            ignore_label_id: Some(0),
            blank_identifier_id: 0,
            vocab_size: tokens,
            seq_len: cells,
            num_puzzle_identifiers: 1,
            total_groups: 1,
            mean_puzzle_examples: 1.0,
            total_puzzles: None,
            sets: vec!["all".into()],
        }
    }
}

const SUDOKU_4X4: Puzzles = Puzzles { cells: 16, tokens: 6 };
const SUDOKU: Puzzles = Puzzles { cells: 81, tokens: 11 };
const MAZE: Puzzles = Puzzles { cells: 900, tokens: 6 };
const ARC: Puzzles = Puzzles { cells: 900, tokens: 12 };

const H200: &str = "H200, bf16";

macro_rules! preset {
    ($name:literal, $puzzles:expr, $about:literal, $step:expr, $reached:expr) => {
        Preset {
            name: $name,
            about: $about,
            toml: include_str!(concat!("../presets/", $name, ".toml")),
            puzzles: $puzzles,
            step: $step,
            reached: $reached,
        }
    };
}

const fn h200(batch: usize, ms: f64) -> Option<Step> {
    Some(Step { batch, ms, on: H200 })
}

/// Every preset.
pub const PRESETS: [Preset; 12] = [
    preset!(
        "sudoku-4x4",
        SUDOKU_4X4,
        "4 x 4 Sudoku, minutes on two cores",
        None,
        Some("99.6% of 500 held-out puzzles after 121 s on two cores (hrm quickstart)")
    ),
    preset!(
        "sudoku-mini",
        SUDOKU,
        "9 x 9 Sudoku with a million parameters, hours on two cores",
        Some(Step { batch: 16, ms: 233.0, on: "one core, f32" }),
        Some("none of 1,000 puzzles with 17 givens after 62 minutes on one core")
    ),
    preset!(
        "sudoku-1m",
        SUDOKU,
        "9 x 9 Sudoku with a million parameters, minutes on a GPU",
        h200(768, 5.11),
        Some("52.55% of valid_mix, narrower, from 40,195 puzzles after 506 s on one H200")
    ),
    preset!(
        "sudoku-extreme",
        SUDOKU,
        "the published 27M model and recipe for Sudoku-Extreme",
        h200(384, 28.7),
        Some("36.40% of valid_mix from 1,000 puzzles after 35,000 steps on one H200; 57.30% with 8 votes")
    ),
    preset!("maze-hard", MAZE, "the published model and recipe for 30 x 30 mazes", h200(768, 777.0), None),
    preset!("arc-1", ARC, "the published model and recipe for ARC-AGI-1", None, None),
    preset!("arc-2", ARC, "the published model and recipe for ARC-AGI-2", None, None),
    preset!(
        "trm-sudoku-mlp",
        SUDOKU,
        "TRM's recipe for Sudoku-Extreme, cells mixed by a SwiGLU",
        h200(768, 69.2),
        Some(
            "47.53% of valid_mix from 1,000 puzzles after 12,426 of its 65,104 steps, 15 minutes on one H200"
        )
    ),
    preset!("trm-sudoku", SUDOKU, "TRM's recipe for Sudoku-Extreme, attention", h200(768, 79.0), None),
    preset!("trm-maze", MAZE, "TRM's recipe for 30 x 30 mazes", h200(128, 125.9), None),
    preset!("trm-arc-1", ARC, "TRM's recipe for ARC-AGI-1", None, None),
    preset!("trm-arc-2", ARC, "TRM's recipe for ARC-AGI-2", None, None),
];

/// The preset called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}
