//! The machine: a module in somebody's program.
#![expect(unsafe_code, reason = "imports and an export")]

use core::fmt::{self, Write};
use core::panic::PanicInfo;

use firmware::RAM;
use firmware::machine::Machine;
use static_cell::ConstStaticCell;

#[link(wasm_import_module = "console")]
unsafe extern "C" {
    /// The next byte of input; negative at its end.
    safe fn read() -> i32;
    /// Takes text.
    fn write(text: *const u8, len: usize);
}

static MEMORY: ConstStaticCell<[u8; RAM]> = ConstStaticCell::new([0; RAM]);

struct Module;

impl fmt::Write for Module {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: pointer and length are those of a text.
        unsafe { write(text.as_ptr(), text.len()) };
        Ok(())
    }
}

impl Machine for Module {
    fn read(&mut self) -> Option<u8> {
        u8::try_from(read()).ok()
    }

    /// The stack is the engine's and cannot be seen from here.
    fn peak_stack(&self) -> Option<usize> {
        None
    }

    fn fault(&mut self) -> ! {
        core::arch::wasm32::unreachable()
    }
}

/// Runs the firmware, once; returns the exit code.
#[unsafe(no_mangle)]
extern "C" fn run() -> i32 {
    firmware::run(&mut Module, None, MEMORY.take()).code()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    // The trap tells as well.
    let _ = writeln!(Module, "{info}");
    core::arch::wasm32::unreachable()
}
