//! Settings that come with the program.

/// A preset: its name, what it is for, and its TOML.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// Name on the command line.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Its settings.
    pub toml: &'static str,
}

macro_rules! preset {
    ($name:literal, $about:literal) => {
        Preset { name: $name, about: $about, toml: include_str!(concat!("../presets/", $name, ".toml")) }
    };
}

/// Every preset.
pub const PRESETS: [Preset; 12] = [
    preset!("sudoku-4x4", "4 x 4 Sudoku, minutes on two cores"),
    preset!("sudoku-mini", "9 x 9 Sudoku with a million parameters, hours on two cores"),
    preset!("sudoku-1m", "9 x 9 Sudoku with a million parameters, minutes on a GPU"),
    preset!("sudoku-extreme", "the published 27M model and recipe for Sudoku-Extreme"),
    preset!("maze-hard", "the published model and recipe for 30 x 30 mazes"),
    preset!("arc-1", "the published model and recipe for ARC-AGI-1"),
    preset!("arc-2", "the published model and recipe for ARC-AGI-2"),
    preset!("trm-sudoku-mlp", "TRM's recipe for Sudoku-Extreme, 5M parameters, cells mixed by a SwiGLU"),
    preset!("trm-sudoku", "TRM's recipe for Sudoku-Extreme, 7M parameters, attention"),
    preset!("trm-maze", "TRM's recipe for 30 x 30 mazes"),
    preset!("trm-arc-1", "TRM's recipe for ARC-AGI-1"),
    preset!("trm-arc-2", "TRM's recipe for ARC-AGI-2"),
];

/// The preset called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}
