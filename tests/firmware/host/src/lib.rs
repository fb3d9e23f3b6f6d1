//! The firmware on the host, and the golden cases of its self-test.

pub mod golden;
pub mod terminal;
