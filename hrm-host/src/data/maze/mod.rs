//! Mazes: the labels' rule and its judge.

pub mod grid;

pub use grid::{Maze, ParseError, is_shortest_path};
