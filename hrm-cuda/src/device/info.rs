//! Which devices there are.
#![expect(unsafe_code, reason = "attributes of devices are asked for through the driver's C interface")]

use std::fmt;

use cudarc::driver::sys::{self, CUdevice_attribute, CUresult};
use cudarc::driver::{DriverError, result};

use super::During;
use super::library::Library;
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
        self.capability >= LOWEST_CAPABILITY
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
    Library::Driver.require()?;
    match result::init() {
        Err(DriverError(CUresult::CUDA_ERROR_NO_DEVICE)) => return Ok(Vec::new()),
        other => other.during(|| "start of the driver".into())?,
    }
    let count = result::device::get_count().during(|| "count of the devices".into())?;
    (0..count).map(device).collect()
}

fn device(index: i32) -> Result<Device, Error> {
    let during = || format!("look at device {index}");
    let device = result::device::get(index).during(during)?;
    // SAFETY: the driver has just given us this device.
    let attribute = |which| unsafe { result::device::get_attribute(device, which) }.during(during);
    let major = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    // SAFETY: as above.
    let memory = unsafe { result::device::total_mem(device) }.during(during)?;
    let mut version = 0;
    // SAFETY: the driver writes one int.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }.result().during(during)?;
    Ok(Device {
        index: index.unsigned_abs() as usize,
        name: result::device::get_name(device).during(during)?,
        capability: (major.unsigned_abs(), minor.unsigned_abs()),
        memory,
        driver: (version.unsigned_abs() / 1000, version.unsigned_abs() % 1000 / 10),
    })
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
        assert!(!Device { capability: (7, 5), ..device }.is_supported());
    }

    /// On a machine with a driver there is a list, on another a reason.
    #[test]
    fn there_is_a_list_or_a_reason() {
        match devices() {
            Ok(devices) => assert!(devices.iter().enumerate().all(|(i, device)| device.index == i)),
            Err(Error::Library { hint, .. }) => assert!(hint.contains("nvidia-smi")),
            Err(Error::Device { action, .. }) => assert!(!action.is_empty()),
            Err(other) => panic!("{other}"),
        }
    }
}
