//! The `hrm` program.
fn main() {}
