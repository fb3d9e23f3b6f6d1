//! The library in ten lines: solves a puzzle with the model that `hrm quickstart` leaves behind.

use hrm_host::backend::Cpu;
use hrm_host::solve::{Halt, Model};

fn main() -> hrm_host::error::Result<()> {
    let mut model = Model::<Cpu>::load("runs/quickstart/run".as_ref(), 1)?;
    let puzzle = [5, 2, 1, 1, 3, 4, 1, 5, 1, 1, 1, 1, 2, 1, 5, 1]; // tokens: 1 is blank, 2 to 5 are the digits
    let found = model.solve(&puzzle, 0, Halt::Q)?;
    println!("{:?} after {} ACT steps", found.answer(), found.steps());
    Ok(())
}
