//! The solver from a bundle's bytes to the answer, as firmware calls it. Nobody runs this: it is linked, and what was
//! linked is looked into.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "a function for the linker, which takes memory by address")]

use core::panic::PanicInfo;

use hrm_core::bundle::Bundle;
use hrm_core::halting::HaltOnQ;
use hrm_core::solver::{Solver, Step};

/// Solves the puzzle in `cells` with the bundle in `flash`, and writes the answer over it. Returns the ACT steps; 0 if it
/// could not.
fn answer(flash: &[u8], ram: &mut [u8], cells: &mut [u8]) -> usize {
    let Ok(bundle) = Bundle::parse(flash) else { return 0 };
    let mut policy = HaltOnQ::of(bundle.config());
    let Ok(mut solver) = Solver::new(bundle, ram) else { return 0 };
    let Ok(()) = solver.start(cells, 0) else { return 0 };
    let mut polled = 0;
    loop {
        match solver.step_polled(&mut policy, &mut || polled += 1) {
            Ok(Step::Running(_)) => {}
            Ok(Step::Halted(answer)) => {
                cells.iter_mut().zip(answer.predictions).for_each(|(cell, token)| *cell = *token as u8);
                return answer.step;
            }
            Err(_) => return 0,
        }
    }
}

/// # Safety
/// Three pieces of memory that nobody else writes to, each with its length.
#[unsafe(no_mangle)]
unsafe extern "C" fn solve(
    flash: *const u8,
    flash_len: usize,
    ram: *mut u8,
    ram_len: usize,
    cells: *mut u8,
    cells_len: usize,
) -> usize {
    // SAFETY: the caller vouches for all three.
    unsafe {
        answer(
            core::slice::from_raw_parts(flash, flash_len),
            core::slice::from_raw_parts_mut(ram, ram_len),
            core::slice::from_raw_parts_mut(cells, cells_len),
        )
    }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}
