//! The firmware as a WebAssembly module: imports `console.read` and `console.write`, exports `run`, which returns the
//! exit code. `run.mjs` runs it.
#![cfg_attr(target_family = "wasm", no_std)]

#[cfg(target_family = "wasm")]
mod machine;
