//! `hrm info --devices`: the GPUs of this machine, and what CUDA needs beside the driver.

use std::io::Write;

use crate::error::{Error, Result};

/// Lists the devices.
///
/// # Errors
/// There is no driver, no device that will do, or a library is missing.
#[cfg(feature = "cuda")]
pub fn run(out: &mut impl Write) -> Result<()> {
    use hrm_cuda::device::library::Library;
    use hrm_cuda::device::{devices, info::LOWEST_CAPABILITY};

    let missing = |error: hrm_cuda::error::Error| {
        Error::failed(format!("no GPU can be used: {error}")).with_source(error)
    };
    // What else is missing is said at once.
    let lacks = |library: Library| library.require().err().map(|error| format!("\n  {error}"));
    let found = devices().map_err(|error| {
        let others: String = [Library::Nvrtc, Library::CublasLt].into_iter().filter_map(lacks).collect();
        Error::failed(format!("no GPU can be used: {error}{others}")).with_source(error)
    })?;
    for device in &found {
        let note = if device.is_supported() { "" } else { ", too old" };
        writeln!(out, "{device}{note}").map_err(Error::output)?;
    }
    if !found.iter().any(hrm_cuda::device::Device::is_supported) {
        let (major, minor) = LOWEST_CAPABILITY;
        return Err(Error::failed(format!(
            "no GPU can be used: {} found, none of compute capability {major}.{minor} or later",
            found.len()
        )));
    }
    Library::Nvrtc.require().and_then(|()| Library::CublasLt.require()).map_err(missing)?;
    writeln!(out, "CUDA's run-time compiler and cuBLASLt are there").map_err(Error::output)
}

/// There is nothing to list.
///
/// # Errors
/// Always.
#[cfg(not(feature = "cuda"))]
pub fn run(_: &mut impl Write) -> Result<()> {
    Err(Error::failed("no GPU can be used: this program was built without the feature `cuda`"))
}
