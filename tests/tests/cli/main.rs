//! The `hrm` program under bad luck and bad input: killed, interrupted, on a full disk, with damaged files.
//!
//! Every test starts the real binary as a process of its own. [`support`] says how it is found. No test may ever see
//! the word "panicked" on standard error; this is checked wherever the program is run.

#![cfg(target_os = "linux")]

mod accidents;
mod commands;
mod damage;
mod datasets;
mod evaluate;
mod full_disk;
mod gpu;
mod input;
mod int8;
mod interrupt;
mod kill;
mod limits;
mod memory;
mod model_files;
mod not_finite;
mod puzzles;
mod support;
