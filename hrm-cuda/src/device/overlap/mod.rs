//! Launches that begin while the one before still runs, so that their way to the device, their blocks' start and their
//! prologues cost no time: CUDA's programmatic dependent launch, from compute capability 9.0 on.
//!
//! A kernel waits for the launch before by `wait_for_launch_before` of `kernels/common.cuh`, which says what is complete
//! when. That is true of kernels of ours behind kernels of ours only. So a launch overlaps if nothing but such a launch was
//! told to the stream before it; behind a copy, a fill, a product of cuBLASLt, an event, a replay, or the start of a
//! recording it is an ordinary one, which begins when all of that is complete. So is the launch behind an optimizer,
//! because products fetch weights before they wait.

#[cfg(test)]
mod waits;

use std::env;

use cudarc::driver::sys::{CUlaunchAttribute, CUlaunchAttributeID};

use super::config;

/// The environment variable that keeps launches apart if it is `0`.
pub const SWITCH: &str = "HRM_CUDA_PDL";

/// From which compute capability on.
const LOWEST_CAPABILITY: (u32, u32) = (9, 0);

/// The one unit whose kernels write weights.
const WRITES_WEIGHTS: &str = "optimizer";

/// Whether the next launch may begin while the last one runs.
#[derive(Debug)]
pub(super) struct Overlap {
    /// Whether any may.
    allowed: bool,
    /// Whether the stream was last told a launch that lets the next one in.
    open: bool,
}

impl Overlap {
    /// For a device of this compute capability, unless the user has switched it off.
    pub fn new(capability: (u32, u32)) -> Self {
        let off = env::var_os(SWITCH).is_some_and(|value| value == "0");
        Self { allowed: capability >= LOWEST_CAPABILITY && !off, open: false }
    }

    /// The stream is told what is no launch of ours.
    pub const fn close(&mut self) {
        self.open = false;
    }

    /// The stream was told a launch of a kernel of `unit`.
    pub fn launched(&mut self, unit: &str) {
        self.open = self.allowed && unit != WRITES_WEIGHTS;
    }

    /// What is asked of the driver for the next launch.
    pub fn attribute(&self) -> Option<CUlaunchAttribute> {
        let id = CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
        self.open.then(|| config::attribute(id, |value| value.programmaticStreamSerializationAllowed = 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether each of the launches that follow one another overlaps the one before; "" is what is no launch.
    fn overlapping(allowed: bool, told: &[&str]) -> Vec<bool> {
        let mut overlap = Overlap { allowed, open: false };
        let mut tell = |unit: &&str| {
            if unit.is_empty() {
                overlap.close();
                return None;
            }
            let early = overlap.attribute().is_some();
            overlap.launched(unit);
            Some(early)
        };
        told.iter().filter_map(&mut tell).collect()
    }

    #[test]
    fn a_launch_overlaps_the_launch_right_before() {
        assert_eq!(overlapping(true, &["add", "norm", "", "add", "add"]), [false, true, false, true]);
        assert_eq!(overlapping(false, &["add", "norm", "add"]), [false, false, false]);
    }

    #[test]
    fn no_launch_overlaps_one_that_writes_weights() {
        assert_eq!(
            overlapping(true, &["norm", "optimizer", "gemm_sm90", "norm"]),
            [false, true, false, true]
        );
    }

    #[test]
    fn there_is_a_unit_that_writes_weights() {
        assert!(super::super::sources::UNITS.iter().any(|unit| unit.0 == WRITES_WEIGHTS));
    }

    #[test]
    fn older_devices_know_no_overlap() {
        for (capability, allowed) in [((8, 0), false), ((8, 9), false), ((9, 0), true), ((12, 0), true)] {
            let off = env::var_os(SWITCH).is_some_and(|value| value == "0");
            assert_eq!(Overlap::new(capability).allowed, allowed && !off, "{capability:?}");
        }
    }
}
