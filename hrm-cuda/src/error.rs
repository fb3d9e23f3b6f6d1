//! What can go wrong on a device.

use core::fmt;

use hrm_core::kernels::Region;

use crate::ops::fault::Fault;

/// An error of this crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A shared library of CUDA is not there, or not one that will do.
    Library {
        /// What it is for, and its name.
        name: &'static str,
        /// What was tried, and what to do.
        hint: String,
    },
    /// There is no device of this number.
    NoDevice {
        /// The number asked for, counted from 0.
        asked: usize,
        /// How many devices there are.
        found: usize,
    },
    /// The device lacks what the kernels need.
    TooOld {
        /// Its name.
        device: String,
        /// Its compute capability.
        given: (u32, u32),
        /// The lowest that will do.
        needed: (u32, u32),
    },
    /// The driver is for an older CUDA than is needed.
    DriverTooOld {
        /// The newest CUDA that it supports.
        given: (u32, u32),
        /// The oldest that will do.
        needed: (u32, u32),
    },
    /// The driver cannot be used, or not with this device.
    Driver {
        /// What it was asked for.
        action: String,
        /// Its code.
        code: i32,
        /// What the code means, and what helps.
        reason: String,
    },
    /// The device's memory is too small.
    Memory {
        /// Bytes asked for.
        needed: usize,
        /// Bytes that were free.
        free: usize,
        /// Bytes of the device.
        total: usize,
    },
    /// A kernel's source does not compile for the device.
    Compile {
        /// The source file.
        unit: &'static str,
        /// The architecture it was compiled for.
        arch: String,
        /// What the compiler said.
        log: String,
    },
    /// A call to the driver or to a library failed.
    Device {
        /// What was being done.
        action: String,
        /// What the driver or the library said.
        reason: String,
    },
    /// An operand lies outside its arena, or operands do not fit together.
    Operand(String),
    /// A read or write beyond the end of a region.
    OutOfRange {
        /// Which one.
        region: Region,
        /// One past the last element asked for.
        end: usize,
        /// Elements it has.
        len: usize,
    },
    /// A kernel found what it cannot work on. Nothing outside an arena was touched.
    Fault(Fault),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Library { name, hint } => write!(f, "{name} cannot be used: {hint}"),
            Self::NoDevice { asked, found: 0 } => {
                write!(
                    f,
                    "the driver is there and finds no NVIDIA GPU (device {asked} was asked for): see `nvidia-smi`, and \
                     whether CUDA_VISIBLE_DEVICES hides it; start a container with `docker run --gpus all`"
                )
            }
            Self::NoDevice { asked, found } => {
                write!(f, "there is no device {asked}: {found} found, numbered from 0")
            }
            Self::TooOld { device, given, needed } => write!(
                f,
                "{device} has compute capability {}.{}, the kernels need {}.{} or later",
                given.0, given.1, needed.0, needed.1
            ),
            Self::DriverTooOld { given, needed } => write!(
                f,
                "the driver is for CUDA {}.{}, {}.{} or later is needed: install an NVIDIA driver of version 580 or later",
                given.0, given.1, needed.0, needed.1
            ),
            Self::Driver { action, reason, .. } => write!(f, "{action}: {reason}"),
            Self::Memory { needed, free, total } => write!(
                f,
                "the device has {free} bytes free of {total}, {needed} more are needed: take a smaller batch"
            ),
            Self::Compile { unit, arch, log } => {
                write!(f, "kernels/{unit}.cu does not compile for {arch}:\n{log}")
            }
            Self::Device { action, reason } => {
                write!(f, "{action}: {reason}")
            }
            Self::Operand(message) => f.write_str(message),
            Self::OutOfRange { region, end, len } => {
                write!(f, "access up to element {end} of {region:?}, which has {len}")
            }
            Self::Fault(Fault::NotFinite) => write!(f, "{}; no parameter was changed", Fault::NotFinite),
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

impl Error {
    /// Whether it says that no GPU can be used as the machine is, rather than that work on one has failed.
    #[must_use]
    pub const fn is_of_the_machine(&self) -> bool {
        matches!(
            self,
            Self::Library { .. }
                | Self::NoDevice { .. }
                | Self::TooOld { .. }
                | Self::DriverTooOld { .. }
                | Self::Driver { .. }
        )
    }
}

impl core::error::Error for Error {}
