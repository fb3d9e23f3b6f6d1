//! The same solver with std: prints what the program without std must print.

mod puzzle;
mod solver;

fn main() -> Result<(), &'static str> {
    let (steps, hash) = solver::solve(&mut [0xff; solver::RAM])?;
    println!("{steps:016x} steps, {hash:016x}");
    Ok(())
}
