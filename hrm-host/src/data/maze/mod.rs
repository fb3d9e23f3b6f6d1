//! Mazes: the rule of the labels, the judge of any shortest path, a generator and the dataset builders.

pub mod build;
pub mod csv;
pub mod draw;
pub mod generate;
pub mod grid;
pub mod text;

pub use build::{CsvOptions, GenerateOptions, Summary};
pub use generate::Recipe;
pub use grid::{Maze, ParseError, is_shortest_path};
