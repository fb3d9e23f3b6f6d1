//! The firmware for Cortex-M. Input, output and exit by semihosting.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]

#[cfg(target_os = "none")]
mod machine;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("this program is for a Cortex-M: see tests/firmware/README.md");
    std::process::exit(2);
}
