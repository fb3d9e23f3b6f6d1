//! The solver without std, without alloc and without libc: its memory is a static array, the bundle lies in the program.
//! Prints the number of ACT steps and a hash of what was computed; exits with 1 if anything failed, and formats nothing but
//! numbers, so that what panics are left are the solver's.

#![no_std]
#![no_main]

mod puzzle;
mod solver;
mod start;

use core::fmt::Write;

static MEMORY: start::Once<[u8; solver::RAM]> = start::Once::new([0; solver::RAM]);

/// `value` in 16 hexadecimal digits.
fn hexadecimal(value: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    for (i, digit) in digits.iter_mut().rev().enumerate() {
        let nibble = (value >> (4 * i)) as u8 & 15;
        *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    }
    digits
}

/// The program; returns its exit code.
fn main() -> i32 {
    let Some(Ok((steps, hash))) = MEMORY.take().map(|ram| solver::solve(ram)) else { return 1 };
    let mut said = Ok(());
    for part in [&hexadecimal(steps as u64)[..], b" steps, ", &hexadecimal(hash), b"\n"] {
        said = said.and(
            core::str::from_utf8(part)
                .map_err(|_| core::fmt::Error)
                .and_then(|part| start::Stdout.write_str(part)),
        );
    }
    i32::from(said.is_err())
}
