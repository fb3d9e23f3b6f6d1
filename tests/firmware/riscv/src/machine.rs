//! The machine: its entry, its stack, its counter, its traps.
#![expect(unsafe_code, reason = "symbols of the linker, an exception's handler, an instruction that traps")]

use core::arch::asm;
use core::fmt;
use core::panic::PanicInfo;

use firmware::machine::{Exit, Machine};
use firmware::semihosted::{Semihosted, end};
use firmware::stack::Stack;
use firmware::{RAM, loaded};
use riscv::register::{mepc, minstret};
use static_cell::ConstStaticCell;

static MEMORY: ConstStaticCell<[u8; RAM]> = ConstStaticCell::new([0; RAM]);

unsafe extern "C" {
    static __sheap: u8;
    static _stack_start: u8;
    static _model: u8;
    static _model_end: u8;
}

/// RISC-V under a debugger.
struct RiscV {
    console: Semihosted,
    stack: Stack,
}

impl fmt::Write for RiscV {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.console.write_str(text)
    }
}

impl Machine for RiscV {
    fn read(&mut self) -> Option<u8> {
        self.console.read()
    }

    fn peak_stack(&self) -> Option<usize> {
        Some(self.stack.peak())
    }

    fn instructions(&mut self) -> Option<u64> {
        Some(minstret::read64())
    }

    fn fault(&mut self) -> ! {
        loop {
            // SAFETY: an illegal instruction, which goes to the handler below and nowhere else.
            unsafe { asm!("unimp") };
        }
    }
}

#[riscv_rt::entry]
fn start() -> ! {
    // SAFETY: the linker puts the stack between the two, and nothing else; no interrupt is enabled.
    let stack = unsafe { Stack::paint(&raw const __sheap as usize, &raw const _stack_start as usize) };
    let mut machine = RiscV { console: Semihosted::open(), stack };
    let (model, model_end) = (&raw const _model, &raw const _model_end as usize);
    // SAFETY: the linker keeps this memory free of all else, and nobody writes to it while this runs.
    let model = unsafe { core::slice::from_raw_parts(model, model_end - model as usize) };
    let exit = firmware::run(&mut machine, loaded(model), MEMORY.take());
    end(format_args!(""), exit)
}

#[unsafe(no_mangle)]
extern "C" fn ExceptionHandler(_: &riscv_rt::TrapFrame) -> ! {
    end(format_args!("exception at {:#010x}\n", mepc::read()), Exit::Fault)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    end(format_args!("{info}\n"), Exit::Panic)
}
