//! The board and its program.
#![expect(unsafe_code, reason = "a register by its address, an exception's handler")]

use core::panic::PanicInfo;

use cortex_m as _;
use cortex_m_rt::{ExceptionFrame, entry, exception};
use firmware::machine::Exit;
use firmware::semihosted::end;
use hrm_core::bundle::Bundle;
use hrm_core::config::{Config, ForwardDtype};
use hrm_core::halting::HaltOnQ;
use hrm_core::solver::{Solver, SolverError, Step, scratch_bytes};
use static_cell::ConstStaticCell;

/// The model's configuration, as `hrm info` tells it.
const CONFIG: Config = Config {
    seq_len: 16,
    vocab_size: 6,
    hidden_size: 64,
    num_heads: 2,
    h_layers: 2,
    l_layers: 2,
    puzzle_emb_ndim: 64,
    halt_max_steps: 4,
    forward_dtype: ForwardDtype::Float32,
    ..Config::SUDOKU_EXTREME
};

/// Bytes that the solver works in, known when the program is compiled.
const N: usize = scratch_bytes(&CONFIG);

static RAM: ConstStaticCell<[u8; N]> = ConstStaticCell::new([0; N]);

/// Tokens: 1 is blank, 2 to 5 are the digits.
const PUZZLE: [u8; 16] = [1, 1, 1, 1, 1, 2, 5, 4, 1, 4, 3, 5, 1, 1, 4, 1];
const SOLUTION: [i32; 16] = [4, 5, 2, 3, 3, 2, 5, 4, 2, 4, 3, 5, 5, 3, 4, 2];

/// The first light of the MPS2, in its register of lights.
struct Light(*mut u32);

impl Light {
    fn set(&mut self, on: bool) {
        // SAFETY: the address is that of a register, which takes any value.
        unsafe { self.0.write_volatile(on.into()) };
    }
    fn is_on(&self) -> bool {
        // SAFETY: as above; reading it changes nothing.
        unsafe { self.0.read_volatile() & 1 == 1 }
    }
}

/// Solves the puzzle; whether the answer is the solution.
fn solve(bundle: Bundle<'static>, ram: &'static mut [u8; N], light: &mut Light) -> Result<bool, SolverError> {
    let mut solver = Solver::new(bundle, ram)?;
    let mut policy = HaltOnQ::of(&CONFIG);
    solver.start(&PUZZLE, 0)?;
    loop {
        // Here a watchdog would be fed, too.
        match solver.step_polled(&mut policy, &mut || light.set(!light.is_on()))? {
            Step::Running(_) => {}
            Step::Halted(answer) => return Ok(answer.predictions == SOLUTION),
        }
    }
}

#[entry]
fn start() -> ! {
    let mut light = Light(0x4002_8000 as *mut u32);
    light.set(false);
    let solved = match Bundle::parse(&firmware::MODEL.0) {
        Ok(bundle) => solve(bundle, RAM.take(), &mut light),
        Err(error) => end(format_args!("{error}\n"), Exit::Wrong),
    };
    light.set(solved == Ok(true));
    // A board on a desk would shine on; QEMU is told how it went.
    let exit = if light.is_on() { Exit::Right } else { Exit::Wrong };
    end(format_args!("{solved:?}, the light is on: {}\n", light.is_on()), exit)
}

#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    end(format_args!("HardFault at {:#010x}\n", frame.pc()), Exit::Fault)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    end(format_args!("{info}\n"), Exit::Panic)
}
