//! A blinking board: the smallest firmware that solves a puzzle. The light of the MPS2 changes after every block while the
//! model thinks, and stays on when the puzzle is solved.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]

#[cfg(target_os = "none")]
mod board;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("this program is for a Cortex-M: see tests/firmware/README.md");
    std::process::exit(2);
}
