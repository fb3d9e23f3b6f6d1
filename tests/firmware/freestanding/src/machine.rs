//! The machine: a process.
#![expect(unsafe_code, reason = "paints the stack that the program was given")]

use core::cell::UnsafeCell;
use core::fmt::{self, Write};
use core::panic::PanicInfo;

use firmware::RAM;
use firmware::machine::{Exit, Machine};
use firmware::stack::Stack;
use static_cell::ConstStaticCell;

use crate::system;

/// Bytes of the stack.
pub const STACK_SIZE: usize = 256 * 1024;

/// Memory that is nobody's but the processor's.
#[repr(C, align(16))]
pub struct Raw(UnsafeCell<[u8; STACK_SIZE]>);

// SAFETY: no reference to its contents is ever made.
unsafe impl Sync for Raw {}

/// The stack: `_start` enters the program on it.
pub static STACK: Raw = Raw(UnsafeCell::new([0; STACK_SIZE]));

static MEMORY: ConstStaticCell<[u8; RAM]> = ConstStaticCell::new([0; RAM]);

/// A process with a stack of its own.
struct Process {
    stack: Stack,
}

/// Standard output.
struct Output;

impl fmt::Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            rest = system::write(rest).filter(|n| *n > 0).and_then(|n| rest.get(n..)).ok_or(fmt::Error)?;
        }
        Ok(())
    }
}

impl fmt::Write for Process {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        Output.write_str(text)
    }
}

impl Machine for Process {
    fn read(&mut self) -> Option<u8> {
        system::read()
    }

    fn peak_stack(&self) -> Option<usize> {
        Some(self.stack.peak())
    }

    fn fault(&mut self) -> ! {
        system::trap()
    }
}

/// Where the program begins.
pub extern "C" fn start() -> ! {
    let low = STACK.0.get() as usize;
    // SAFETY: this runs on that stack, and so does nothing else.
    let stack = unsafe { Stack::paint(low, low + STACK_SIZE) };
    system::exit(firmware::run(&mut Process { stack }, None, MEMORY.take()).code())
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    // The exit code tells as well.
    let _ = writeln!(Output, "{info}");
    system::exit(Exit::Panic.code())
}
