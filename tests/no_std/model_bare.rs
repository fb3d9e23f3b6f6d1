//! An inference without std, without alloc and without libc: arenas are static arrays, the weights are lent
//! read-only. Prints the number of ACT steps and a hash of what was computed; exits with 1 if anything failed.

#![no_std]
#![no_main]

mod model;
mod puzzle;
mod start;

use core::fmt::Write;

use hrm_core::backend::Error;
use hrm_core::backend::reference::{Borrowed, BorrowedMut, Reference, Rounding};
use model::PLAN;

/// The arenas of [`PLAN`].
struct Arenas {
    params: [f32; PLAN.params.len],
    acts: [f32; PLAN.acts_len],
    stats: [f32; PLAN.stats_len],
    ids: [i32; PLAN.ids_len],
}

static ARENAS: start::Once<Arenas> = start::Once::new(Arenas {
    params: [0.0; PLAN.params.len],
    acts: [0.0; PLAN.acts_len],
    stats: [0.0; PLAN.stats_len],
    ids: [0; PLAN.ids_len],
});

fn run() -> Result<(usize, u64), Error> {
    let Some(Arenas { params, acts, stats, ids }) = ARENAS.take() else { return Ok((0, 0)) };
    let store = BorrowedMut {
        params,
        gradients: &mut [],
        first: &mut [],
        second: &mut [],
        averages: &mut [],
        acts: &mut *acts,
        stats: &mut *stats,
        ids: &mut *ids,
    };
    model::draw(&mut Reference::new(store, &PLAN, Rounding::None)?)?;
    model::solve(Borrowed { params, acts, stats, ids })
}

/// The program; returns its exit code.
fn main() -> i32 {
    let said = match run() {
        Ok((steps, hash)) => writeln!(start::Stdout, "{steps} steps, {hash:016x}"),
        Err(error) => return i32::from(writeln!(start::Stdout, "{error}").is_ok()),
    };
    i32::from(said.is_err())
}
