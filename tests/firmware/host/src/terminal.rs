//! A terminal as a machine.

use std::fmt;
use std::io::{Read, Write};

use firmware::machine::Machine;

/// Standard input and output.
#[derive(Debug)]
pub struct Terminal;

impl fmt::Write for Terminal {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        std::io::stdout().write_all(text.as_bytes()).map_err(|_| fmt::Error)
    }
}

impl Machine for Terminal {
    fn read(&mut self) -> Option<u8> {
        let mut byte = [0];
        let count = std::io::stdin().read(&mut byte).ok()?;
        (count == 1).then_some(byte[0])
    }

    /// The stack is the system's.
    fn peak_stack(&self) -> Option<usize> {
        None
    }

    fn fault(&mut self) -> ! {
        std::process::abort()
    }
}
