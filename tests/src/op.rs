//! Places that kernels read and write.

use hrm_core::arena::{Act, Ids, Param, Stat};

pub use hrm_core::kernels::op::Op;

/// A place in an arena that a kernel reads or writes.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)] // Each is the arena of its name.
pub enum Place {
    Act(Act),
    Stat(Stat),
    Param(Param),
    Gradient(Param),
    FirstMoment(Param),
    SecondMoment(Param),
    Ids(Ids),
}
