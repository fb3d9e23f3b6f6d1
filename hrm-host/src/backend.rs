//! The backends that the program can run on.

use std::fmt;

pub use hrm_core::backend::cpu::Cpu;
use hrm_core::backend::reference::{self, Owned, Reference, Rounding};
use hrm_core::kernels::TrainKernels;
use hrm_core::plan::{ElementSizes, Plan};

/// A backend that a host can create.
pub trait HostBackend: TrainKernels<Error: Send + Sync + 'static> + Sized {
    /// Its name on the command line.
    const NAME: &'static str;

    /// Creates it for `plan`.
    ///
    /// # Errors
    /// Memory or device trouble.
    fn create(plan: &Plan) -> Result<Self, Self::Error>;

    /// Bytes that it takes for `plan`: arenas, and what it needs beside them.
    fn planned_bytes(plan: &Plan) -> usize;
}

impl HostBackend for Reference<f32, Owned<f32>> {
    const NAME: &'static str = "reference";

    fn create(plan: &Plan) -> Result<Self, reference::Error> {
        Self::owned(plan, Rounding::None)
    }

    fn planned_bytes(plan: &Plan) -> usize {
        plan.bytes(ElementSizes::F32).total()
    }
}

impl HostBackend for Cpu {
    const NAME: &'static str = "cpu";

    fn create(plan: &Plan) -> Result<Self, reference::Error> {
        Self::new(plan)
    }

    fn planned_bytes(plan: &Plan) -> usize {
        Self::planned_bytes(plan)
    }
}

/// The backends by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// Multi-threaded, for training and inference without a GPU.
    #[default]
    Cpu,
    /// Plain loops, to check the others against.
    Reference,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::Reference => "reference",
        })
    }
}
