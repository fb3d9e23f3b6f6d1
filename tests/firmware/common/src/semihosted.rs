//! Input, output and exit through the debugger, which QEMU plays.

use core::fmt;

use semihosting::io::{Read, Stdin, Stdout, Write};

use crate::machine::Exit;

/// The console of the debugger. Without one nothing is written, and the input is at its end.
#[derive(Debug)]
pub struct Semihosted {
    input: Option<Stdin>,
    output: Option<Stdout>,
}

impl Semihosted {
    /// Opens it.
    #[must_use]
    pub fn open() -> Self {
        Self { input: semihosting::io::stdin().ok(), output: semihosting::io::stdout().ok() }
    }

    /// The next byte of input; none at its end.
    pub fn read(&mut self) -> Option<u8> {
        let mut byte = [0];
        let count = self.input.as_mut()?.read(&mut byte).ok()?;
        (count == 1).then_some(byte[0])
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
