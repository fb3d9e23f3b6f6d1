//! ARC: grids, the published augmentations and their inverses.

pub mod augment;
pub mod grid;

pub use augment::Augmentation;
pub use grid::{Grid, crop};
