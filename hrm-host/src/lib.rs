//! The host side of HRM.

pub mod cli;
pub mod error;
pub mod files;
pub mod interrupt;
pub mod memory;
pub mod metrics;
pub mod progress;
pub mod settings;
pub mod style;
