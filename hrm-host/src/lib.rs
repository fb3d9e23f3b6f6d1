//! The host side of HRM: datasets, models on disk, training, evaluation and solving.

pub mod data;
pub mod error;
pub mod files;
pub mod interrupt;
pub mod memory;
pub mod settings;
pub mod style;
