//! What the firmware of every machine does: it tests the kernels against golden numbers, then reads puzzles from a console
//! and solves them before one's eyes, with a model that lies in flash.
//!
//! | module | holds |
//! |---|---|
//! | [`machine`] | what a machine must offer, and the exit codes |
//! | [`self_test`], [`case`], [`placed`], [`hash`] | the kernels against golden numbers, and a hash of every bit that they computed |
//! | [`console`], [`board`], [`operations`] | puzzles in, boards, Q values and costs out |
//! | [`stack`] | how much of the stack was used |
//! | `semihosted` | input, output and exit by semihosting, on machines without an operating system |
#![no_std]
#![deny(unsafe_code)]

pub mod board;
pub mod case;
pub mod console;
pub mod hash;
pub mod machine;
pub mod operations;
pub mod placed;
pub mod self_test;
#[cfg(target_os = "none")]
pub mod semihosted;
pub mod stack;

use hrm_core::bundle::{self, Bundle};

use crate::console::Console;
use crate::machine::{Exit, Machine};

/// The model that is linked into every firmware: it learnt 4 x 4 Sudoku. See `models/README.md`.
pub static MODEL: &Aligned<[u8]> = &Aligned(*include_bytes!("../../../../models/sudoku-4x4.hrm"));

/// Bytes where a bundle's tensors want to be: at a multiple of 16.
#[derive(Debug)]
#[repr(C, align(16))]
pub struct Aligned<T: ?Sized>(pub T);

/// Bytes that every firmware lends to the solver: what the smallest machine of interest has.
pub const RAM: usize = 512 * 1024;

/// The bundle at the beginning of `memory`, if one was loaded there. It is not checked yet.
#[must_use]
pub fn loaded(memory: &'static [u8]) -> Option<&'static [u8]> {
    let preamble = memory.strip_prefix(&bundle::MAGIC)?;
    let len = preamble.get(16..24)?.first_chunk().map(|len| u64::from_le_bytes(*len))?;
    // A length that is not true is found out when the bundle is parsed.
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(memory.len());
    memory.get(..len)
}

/// Runs the self-test, then the console until it is told to end. `loaded` is a bundle that replaces the linked one, `ram`
/// what the solver may work in. Returns the exit code.
pub fn run(machine: &mut impl Machine, loaded: Option<&'static [u8]>, ram: &mut [u8]) -> Exit {
    let (bytes, place) = match loaded {
        Some(bytes) => (bytes, "loaded"),
        None => (&MODEL.0, "linked"),
    };
    let result = self_test::run(machine, ram).and_then(|hash| {
        let bundle = Bundle::parse(bytes)
            .map_err(|error| console::refuse(machine, format_args!("the {place} model: {error}")))?;
        Console { machine, place, bundle, ram, hash, counts: false }.run()
    });
    match result {
        Ok(()) => Exit::Right,
        Err(exit) => exit,
    }
}
