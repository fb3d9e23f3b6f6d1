//! The same inference with std, on arenas from the heap: prints what the program without std must print.

mod model;
mod puzzle;

use hrm_core::backend::reference::{Owned, Reference, Rounding};

fn main() -> Result<(), hrm_core::backend::Error> {
    let mut backend = Reference::owned(&model::PLAN, Rounding::None)?;
    model::draw(&mut backend)?;
    let store: Owned<f32> = backend.store().clone();
    let (steps, hash) = model::solve(store)?;
    println!("{steps} steps, {hash:016x}");
    Ok(())
}
