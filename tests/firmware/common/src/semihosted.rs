//! Input, output and exit through the debugger, which QEMU plays.

use core::fmt;

use semihosting::io::{Stdout, Write};
use semihosting::sys::arm_compat::sys_readc;

use crate::machine::Exit;

/// The console of the debugger. Without one nothing is written.
#[derive(Debug)]
pub struct Semihosted {
    output: Option<Stdout>,
}

impl Semihosted {
    /// Opens it.
    #[must_use]
    pub fn open() -> Self {
        Self { output: semihosting::io::stdout().ok() }
    }

    /// The next byte of input. A debugger knows no end of it, and waits.
    pub fn read(&self) -> Option<u8> {
        Some(sys_readc())
    }
}

impl fmt::Write for Semihosted {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.output.as_mut().ok_or(fmt::Error)?.write_all(text.as_bytes()).map_err(|_| fmt::Error)
    }
}

/// Says what happened and ends.
pub fn end(what: fmt::Arguments<'_>, exit: Exit) -> ! {
    // The exit code tells as well.
    let _ = fmt::Write::write_fmt(&mut Semihosted::open(), what);
    semihosting::process::exit(exit.code())
}
