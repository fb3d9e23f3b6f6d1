//! A tiny model that computes once: shared by the program without std and by its counterpart with std, which must
//! come to the same bits.

use hrm_core::backend::Error;
use hrm_core::backend::reference::{Reference, Rounding, Storage};
use hrm_core::halting::{ActStep, HaltOnQ, HaltPolicy};
use hrm_core::init;
use hrm_core::kernels::{Memory, Region};
use hrm_core::model;
use hrm_core::plan::{Mode, Plan};

use crate::puzzle::{CONFIG, HASH, PUZZLE, hash};

/// The plan, made by the compiler: it gives the arenas their sizes.
pub const PLAN: Plan = match Plan::new(&CONFIG, 1, Mode::Inference) {
    Ok(plan) => plan,
    Err(_) => panic!("the configuration is valid"),
};

/// Draws the parameters.
pub fn draw(memory: &mut impl Memory<Error = Error>) -> Result<(), Error> {
    init::initialise(memory, &PLAN, 7)
}

/// Solves the puzzle for as long as the Q values ask for, and returns the number of ACT steps and a hash (FNV-1a)
/// of the bits of every step's logits and Q values.
pub fn solve<M: Storage<f32>>(store: M) -> Result<(usize, u64), Error> {
    let mut backend = Reference::new(store, &PLAN, Rounding::None)?;
    init::reset_carry(&mut backend, &PLAN)?;
    backend.write_ids(PLAN.incoming.inputs.offset, &PUZZLE.map(i32::from))?;
    backend.write_ids(PLAN.incoming.puzzle_ids.offset, &[0])?;
    let policy = HaltOnQ::of(&CONFIG);
    let mut logits = [0.0; PLAN.logits.len()];
    let mut q = [0.0; 2];
    let mut sum = HASH;
    for step in 1.. {
        model::act_step(&mut backend, &PLAN)?;
        backend.write_ids(PLAN.halted.offset, &[0])?;
        backend.read(Region::Acts, PLAN.logits.offset, &mut logits)?;
        backend.read(Region::Stats, PLAN.q.offset, &mut q)?;
        for x in logits.iter().chain(&q) {
            sum = hash(sum, x.to_bits());
        }
        if policy.halts(&ActStep { row: 0, step, q_halt: q[0], q_continue: q[1] }) {
            return Ok((step, sum));
        }
    }
    Ok((0, sum))
}
