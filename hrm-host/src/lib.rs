//! The host side of HRM.

pub mod error;
pub mod files;
pub mod interrupt;
pub mod memory;
pub mod settings;
pub mod style;
