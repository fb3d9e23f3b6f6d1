//! The backends that the program can run on.
//!
//! What runs on any backend is generic over [`HostBackend`]. Where the backend is chosen at run time, by its name on the
//! command line, [`BackendArgs::dispatch`] turns the name into the type.

mod choice;

pub use choice::{Backend, BackendArgs, Dtype, WithBackend};
pub use hrm_core::backend::cpu::Cpu;
use hrm_core::backend::reference::{self, Owned, Reference, Rounding};
use hrm_core::kernels::TrainKernels;
use hrm_core::plan::{ElementSizes, Plan};

/// A backend that a host can create.
pub trait HostBackend: TrainKernels<Error: Send + Sync + 'static> + Sized + 'static {
    /// Its name on the command line.
    const NAME: &'static str;
    /// The precisions that it can be asked for.
    const DTYPES: &'static [Dtype] = &[Dtype::F32];

    /// Creates it for `plan`, in the precision of the plan's `forward_dtype` if it has that.
    ///
    /// # Errors
    /// Memory or device trouble.
    fn create(plan: &Plan) -> Result<Self, Self::Error>;

    /// Creates the one that is held to the golden numbers of bf16. A backend that computes in f32 is the one that
    /// [`create`](Self::create) gives: it must be at least as close to them.
    ///
    /// # Errors
    /// As there.
    fn create_bf16(plan: &Plan) -> Result<Self, Self::Error> {
        Self::create(plan)
    }

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

    fn create_bf16(plan: &Plan) -> Result<Self, reference::Error> {
        Self::owned(plan, Rounding::Bf16)
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
