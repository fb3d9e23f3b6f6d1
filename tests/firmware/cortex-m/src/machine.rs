//! The machine: its entry, its stack, its counter, its faults.
#![expect(unsafe_code, reason = "symbols of the linker, an exception's handler, an instruction that traps")]

use core::fmt;
use core::panic::PanicInfo;

use cortex_m::Peripherals;
use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::{ExceptionFrame, entry, exception};
use firmware::machine::{Exit, Machine};
use firmware::semihosted::{Semihosted, end};
use firmware::stack::Stack;
use firmware::{RAM, loaded};
use static_cell::ConstStaticCell;

static MEMORY: ConstStaticCell<[u8; RAM]> = ConstStaticCell::new([0; RAM]);

unsafe extern "C" {
    static __sheap: u8;
    static _stack_start: u8;
    static _model: u8;
    static _model_size: u8;
    /// Its address: picoseconds in a period of the processor's clock, in QEMU.
    static _period: u8;
}

/// Cortex-M under a debugger.
struct CortexM {
    console: Semihosted,
    stack: Stack,
    last: u32,
    ticks: u64,
}

impl fmt::Write for CortexM {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.console.write_str(text)
    }
}

impl Machine for CortexM {
    fn read(&mut self) -> Option<u8> {
        self.console.read()
    }

    fn peak_stack(&self) -> Option<usize> {
        Some(self.stack.peak())
    }

    fn instructions(&mut self) -> Option<u64> {
        // The timer counts 24 bits down.
        let now = SYST::get_current();
        self.ticks += u64::from(self.last.wrapping_sub(now) & 0x00ff_ffff);
        self.last = now;
        // QEMU can run one instruction a nanosecond.
        Some(self.ticks * (&raw const _period as u64) / 1000)
    }

    fn fault(&mut self) -> ! {
        cortex_m::asm::udf()
    }
}

#[entry]
fn start() -> ! {
    // SAFETY: the linker puts the stack between the two, and nothing else; no interrupt is enabled.
    let stack = unsafe { Stack::paint(&raw const __sheap as usize, &raw const _stack_start as usize) };
    let mut machine = CortexM { console: Semihosted::open(), stack, last: 0, ticks: 0 };
    start_timer();
    // SAFETY: the linker keeps this memory free of all else, and nobody writes to it while this runs.
    let model = unsafe { core::slice::from_raw_parts(&raw const _model, &raw const _model_size as usize) };
    let exit = firmware::run(&mut machine, loaded(model), MEMORY.take());
    end(format_args!(""), exit)
}

/// Has the system timer count.
fn start_timer() {
    // SAFETY: this is called once, at the start.
    let mut timer = unsafe { Peripherals::steal() }.SYST;
    timer.set_clock_source(SystClkSource::Core);
    timer.set_reload(0x00ff_ffff);
    timer.clear_current();
    timer.enable_counter();
}

#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    end(format_args!("HardFault at {:#010x}\n", frame.pc()), Exit::Fault)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    end(format_args!("{info}\n"), Exit::Panic)
}
