//! The backends that the program can run on.

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

/// The reference backend in f32.
pub type Plain = Reference<f32, Owned<f32>>;

impl HostBackend for Plain {
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
