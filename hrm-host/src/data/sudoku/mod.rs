//! Sudoku of 4x4 and 9x9 cells: boards, an exact solver, a generator, the published shuffle, and dataset builders.

pub mod augment;
pub mod build;
pub mod csv;
pub mod generate;
pub mod grid;
pub mod partition;
pub mod solver;
pub mod source;
pub mod text;

pub use augment::{Shuffle, ShuffleExamples};
pub use build::{CsvOptions, GenerateOptions, Summary};
pub use grid::{Board, ParseError, Size, Style};
pub use solver::{Solutions, solve};
