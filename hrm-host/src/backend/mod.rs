//! The backends that the program can run on.
//!
//! What runs on any backend is generic over [`HostBackend`], what trains over [`TrainBackend`]. Where the backend is chosen
//! at run time, by its name on the command line, [`BackendArgs::dispatch`] and [`BackendArgs::dispatch_training`] turn the
//! name into the type.

mod choice;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod gauge;

pub use choice::{Backend, BackendArgs, Dtype, WithBackend, WithTrainBackend};
use gauge::Gauge;
use hrm_core::backend::Error;
pub use hrm_core::backend::cpu::Cpu;
pub use hrm_core::backend::int8::Int8;
use hrm_core::backend::reference::{Owned, Reference, Rounding};
use hrm_core::kernels::{Kernels, TrainKernels};
use hrm_core::plan::{ElementSizes, Plan};

use crate::memory::{self, Room};
use crate::model_io::bundle::BundleFile;
use crate::train::steps::{Immediate, TrainSteps};

/// The backend on an NVIDIA GPU.
#[cfg(feature = "cuda")]
pub type Gpu = hrm_cuda::backend::Cuda<hrm_cuda::device::Gpu>;

/// A backend that a host can create, and solve puzzles on.
pub trait HostBackend: Kernels<Error: Send + Sync + 'static> + Gauge + Sized + 'static {
    /// Its name on the command line.
    const NAME: &'static str;
    /// Whether its arenas lie in the host's memory, rather than in a device's.
    const IN_HOST_MEMORY: bool = true;
    /// The precisions that it can be asked for.
    const DTYPES: &'static [Dtype] = &[Dtype::F32];
    /// Creates it for `plan`, in the precision of the plan's `forward_dtype` if it has that.
    ///
    /// # Errors
    /// Memory or device trouble.
    fn create(plan: &Plan) -> Result<Self, Self::Error>;

    /// Bytes that it takes for `plan`: arenas, and what it needs beside them.
    fn planned_bytes(plan: &Plan) -> usize;

    /// Bytes of an element of its arenas.
    fn element_sizes(_plan: &Plan) -> ElementSizes {
        ElementSizes::F32
    }

    /// Memory that it can still have; none if nobody tells.
    ///
    /// # Errors
    /// There is no device, or it fails.
    fn room() -> Result<Option<Room>, Self::Error> {
        Ok(memory::room())
    }

    /// Takes what it keeps as `bundle` has it, rather than as the numbers that stand for it: those are written already.
    ///
    /// # Errors
    /// Those of its memory.
    fn take_integers(&mut self, _plan: &Plan, _bundle: &BundleFile) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// A backend that a host can train on.
pub trait TrainBackend: HostBackend + TrainKernels {
    /// How it takes training steps.
    type Steps: TrainSteps<Self>;

    /// Creates the one that is held to the golden numbers of bf16. A backend that computes in f32 is the one that
    /// [`create`](HostBackend::create) gives: it must be at least as close to them.
    ///
    /// # Errors
    /// As there.
    fn create_bf16(plan: &Plan) -> Result<Self, Self::Error> {
        Self::create(plan)
    }
}

/// What to say of an error of a backend. Where no GPU can be used as the machine is, it is what `hrm info --devices` says.
#[must_use]
pub fn failure(error: &(dyn std::error::Error + 'static)) -> String {
    #[cfg(feature = "cuda")]
    if let Some(gpu) = error.downcast_ref::<hrm_cuda::error::Error>()
        && gpu.is_of_the_machine()
    {
        return format!("no GPU can be used: {gpu}");
    }
    format!("the backend failed: {error}")
}

/// The reference backend in f32.
pub type Plain = Reference<f32, Owned<f32>>;

impl HostBackend for Plain {
    const NAME: &'static str = "reference";

    fn create(plan: &Plan) -> Result<Self, Error> {
        Self::owned(plan, Rounding::None)
    }

    fn planned_bytes(plan: &Plan) -> usize {
        plan.bytes(ElementSizes::F32).total()
    }
}

impl TrainBackend for Plain {
    type Steps = Immediate;

    fn create_bf16(plan: &Plan) -> Result<Self, Error> {
        Self::owned(plan, Rounding::Bf16)
    }
}

impl HostBackend for Cpu {
    const NAME: &'static str = "cpu";

    fn create(plan: &Plan) -> Result<Self, Error> {
        Self::new(plan)
    }

    fn planned_bytes(plan: &Plan) -> usize {
        Self::planned_bytes(plan)
    }
}

impl TrainBackend for Cpu {
    type Steps = Immediate;
}

impl HostBackend for Int8 {
    const NAME: &'static str = "int8";

    fn create(plan: &Plan) -> Result<Self, Error> {
        Self::new(plan)
    }

    fn planned_bytes(plan: &Plan) -> usize {
        Self::planned_bytes(plan)
    }

    fn take_integers(&mut self, plan: &Plan, bundle: &BundleFile) -> Result<(), Error> {
        for tensor in plan.params.tensors() {
            if let Some((integers, scales)) = bundle.integers(&tensor.name.to_string()) {
                self.write_integers(tensor.span, integers, &scales)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_that_of_the_backend() {
        let error = std::io::Error::other("out of paper");
        assert_eq!(failure(&error), "the backend failed: out of paper");
    }

    #[cfg(feature = "cuda")]
    #[test]
    fn where_no_gpu_can_be_used_it_says_so() {
        use hrm_cuda::error::Error;
        let none = Error::NoDevice { asked: 0, found: 0 };
        assert_eq!(failure(&none), format!("no GPU can be used: {none}"));
        let old = Error::DriverTooOld { given: (12, 4), needed: (13, 0) };
        assert!(failure(&old).starts_with("no GPU can be used: the driver is for CUDA 12.4"));
        let memory = Error::Memory { needed: 3, free: 2, total: 4 };
        assert_eq!(failure(&memory), format!("the backend failed: {memory}"));
    }
}
