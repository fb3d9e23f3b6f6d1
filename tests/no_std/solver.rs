//! A solver that solves once: shared by the program without std and by its counterpart with std, which must come to the
//! same bits. The bundle is linked into the program.

use hrm_core::bundle::Bundle;
use hrm_core::halting::AlwaysMax;
use hrm_core::solver::{Solver, SolverError, Step, scratch_bytes};

use crate::puzzle::{CONFIG, HASH, PUZZLE, hash};

/// The model, as `check` made it.
static MODEL: &[u8] = include_bytes!(env!("HRM_BUNDLE"));

/// Bytes that the solver works in.
pub const RAM: usize = scratch_bytes(&CONFIG);

/// Solves the puzzle in `ram`, and returns the number of ACT steps, and a hash of every step's predictions and the bits of
/// its Q values.
pub fn solve(ram: &mut [u8; RAM]) -> Result<(usize, u64), &'static str> {
    let bundle = Bundle::parse(MODEL).map_err(|_| "the bundle is damaged")?;
    let refused = |_: SolverError| "the solver refuses";
    let mut solver = Solver::new(bundle, ram).map_err(refused)?;
    solver.start(&PUZZLE, 0).map_err(refused)?;
    let mut policy = AlwaysMax { max_steps: CONFIG.halt_max_steps };
    let (mut sum, mut polls) = (HASH, 0);
    loop {
        let step = solver.step_polled(&mut policy, &mut || polls += 1).map_err(refused)?;
        let trace = step.trace();
        sum = trace.predictions.iter().fold(sum, |sum, &token| hash(sum, token as u32));
        sum = hash(hash(sum, trace.q_halt.to_bits()), trace.q_continue.to_bits());
        if let Step::Halted(answer) = step {
            return Ok((answer.step, hash(sum, polls)));
        }
    }
}
