//! What can go wrong on a device.

use core::fmt;

/// An error of this crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A call to the driver or to a library failed.
    Device {
        /// What was being done.
        action: String,
        /// What the driver or the library said.
        reason: String,
    },
    /// An operand lies outside its arena, or operands do not fit together.
    Operand(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device { action, reason } => write!(f, "{action}: {reason}"),
            Self::Operand(message) => f.write_str(message),
        }
    }
}

impl core::error::Error for Error {}
