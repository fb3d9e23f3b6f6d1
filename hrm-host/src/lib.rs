//! The host side of HRM: datasets, models on disk, training, evaluation and solving.

pub mod backend;
pub mod bench;
pub mod carry;
pub mod cli;
mod convert;
pub mod data;
pub mod error;
pub mod evaluate;
pub mod files;
pub mod golden;
pub mod interrupt;
pub mod memory;
pub mod metrics;
pub mod model_dir;
pub mod progress;
pub mod row_metrics;
pub mod runner;
pub mod settings;
pub mod solve;
pub mod style;
pub mod tensor_file;
pub mod train;
