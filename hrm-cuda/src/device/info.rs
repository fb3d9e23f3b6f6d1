//! Which devices there are.
use std::fmt;

use super::driver::Driver;
use super::library::{Library, OLDEST_CUDA};
use crate::error::Error;

/// The lowest compute capability that the kernels are written for: bf16 tensor cores and asynchronous copies.
pub const LOWEST_CAPABILITY: (u32, u32) = (8, 0);

/// A device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its number, from 0.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// Its compute capability.
    pub capability: (u32, u32),
    /// Its memory in bytes.
    pub memory: usize,
    /// The newest version of CUDA that its driver supports.
    pub driver: (u32, u32),
}

impl Device {
    /// Whether the kernels run on it.
    #[must_use]
    pub fn is_supported(&self) -> bool {
        self.problem().is_none()
    }

    /// What stands against its use, if anything does.
    #[must_use]
    pub fn problem(&self) -> Option<Error> {
        if self.driver < OLDEST_CUDA {
            return Some(Error::DriverTooOld { given: self.driver, needed: OLDEST_CUDA });
        }
        let (given, needed) = (self.capability, LOWEST_CAPABILITY);
        (given < needed).then(|| Error::TooOld { device: self.name.clone(), given, needed })
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, name, capability, memory, driver } = self;
        write!(
            f,
            "{index}: {name}, compute capability {}.{}, {:.1} GiB, driver for CUDA {}.{}",
            capability.0,
            capability.1,
            *memory as f64 / f64::from(1 << 30),
            driver.0,
            driver.1
        )
    }
}

/// All devices of this machine, in the order of their numbers.
///
/// # Errors
/// There is no driver, or it fails.
pub fn devices() -> Result<Vec<Device>, Error> {
    let driver = Driver::get()?;
    let version = driver.version()?;
    let device = |index| {
        let facts = driver.facts(index)?;
        Ok(Device {
            index,
            name: facts.name,
            capability: facts.capability,
            memory: facts.memory,
            driver: version,
        })
    };
    (0..driver.start()?).map(device).collect()
}

/// The device of a number, if it can be used.
///
/// # Errors
/// There is no driver, no such device, or something stands against its use.
pub(super) fn usable(index: usize) -> Result<Device, Error> {
    let devices = devices()?;
    let found = devices.len();
    let device = devices.into_iter().nth(index).ok_or(Error::NoDevice { asked: index, found })?;
    match device.problem() {
        Some(problem) => Err(problem),
        None => Ok(device),
    }
}

/// The GPUs of a machine, and all that stands against the use of the first one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// The devices.
    pub devices: Vec<Device>,
    /// Each thing that has to change before it can be used.
    pub problems: Vec<Error>,
}

/// Looks for all that `--backend cuda` needs, and goes on where something is missing.
#[must_use]
pub fn survey() -> Survey {
    let (devices, found) = match devices() {
        Ok(devices) => (devices, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let of_device = match (devices.first(), &found) {
        (Some(first), _) => first.problem().or_else(|| Library::Driver.require().err()),
        (None, None) => Some(Error::NoDevice { asked: 0, found: 0 }),
        (None, Some(_)) => None,
    };
    let of_libraries = [Library::Nvrtc, Library::CublasLt].map(|library| library.require().err());
    let problems = [found, of_device].into_iter().chain(of_libraries).flatten().collect();
    Survey { devices, problems }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_says_what_it_is() {
        let device = Device {
            index: 0,
            name: "NVIDIA H200".into(),
            capability: (9, 0),
            memory: 141 << 30,
            driver: (13, 0),
        };
        let text = "0: NVIDIA H200, compute capability 9.0, 141.0 GiB, driver for CUDA 13.0";
        assert_eq!(device.to_string(), text);
        assert!(device.is_supported());
        let problem = |device: Device| device.problem().unwrap().to_string();
        let old = Device { capability: (7, 5), ..device.clone() };
        assert!(!old.is_supported());
        assert_eq!(problem(old), "NVIDIA H200 has compute capability 7.5, the kernels need 8.0 or later");
        assert_eq!(Device { driver: (13, 2), ..device.clone() }.problem(), None);
        let said = problem(Device { driver: (12, 9), ..device });
        assert!(said.contains("12.9") && said.contains("13.0 or later") && said.contains("580"), "{said}");
    }

    /// On a machine with a driver there is a list, on another a reason.
    #[test]
    fn there_is_a_list_or_a_reason() {
        match devices() {
            Ok(devices) => assert!(devices.iter().enumerate().all(|(i, device)| device.index == i)),
            Err(Error::Library { hint, .. }) => assert!(hint.contains("nvidia-smi")),
            Err(Error::Driver { reason, .. }) => assert!(!reason.is_empty()),
            Err(other) => panic!("{other}"),
        }
    }
}
