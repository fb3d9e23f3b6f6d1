//! `hrm info --devices`: the GPUs of this machine, and what stands against their use.

use std::io::Write;

use crate::error::{Error, Result};

/// Lists the devices, as text or as one line of JSON.
///
/// # Errors
/// No GPU can be used: the message has all that stands against it. What was found is written nevertheless.
#[cfg(feature = "cuda")]
pub fn run(out: &mut impl Write, json: bool) -> Result<()> {
    let survey = hrm_cuda::device::survey();
    if json { write_json(out, &survey) } else { write_text(out, &survey) }.map_err(Error::output)?;
    let Some((first, others)) = survey.problems.split_first() else { return Ok(()) };
    let others: String = others.iter().map(|error| format!("\n  {error}")).collect();
    Err(Error::failed(format!("no GPU can be used: {first}{others}")).with_source(first.clone()))
}

#[cfg(feature = "cuda")]
fn write_text(out: &mut impl Write, survey: &hrm_cuda::device::Survey) -> std::io::Result<()> {
    for device in &survey.devices {
        let problem = device.problem().map(|_| " (too old)").unwrap_or_default();
        writeln!(out, "{device}{problem}")?;
    }
    if survey.problems.is_empty() {
        writeln!(out, "CUDA's run-time compiler and cuBLASLt are there")?;
    }
    Ok(())
}

#[cfg(feature = "cuda")]
fn write_json(out: &mut impl Write, survey: &hrm_cuda::device::Survey) -> std::io::Result<()> {
    let version = |(major, minor): (u32, u32)| format!("{major}.{minor}");
    let device = |device: &hrm_cuda::device::Device| {
        serde_json::json!({
            "index": device.index,
            "name": device.name,
            "compute_capability": version(device.capability),
            "memory_bytes": device.memory,
            "driver_cuda": version(device.driver),
            "supported": device.is_supported(),
        })
    };
    let devices: Vec<_> = survey.devices.iter().map(device).collect();
    let problems: Vec<String> = survey.problems.iter().map(ToString::to_string).collect();
    let usable = problems.is_empty();
    writeln!(out, "{}", serde_json::json!({ "usable": usable, "devices": devices, "problems": problems }))
}

/// There is nothing to list.
///
/// # Errors
/// Always.
#[cfg(not(feature = "cuda"))]
pub fn run(out: &mut impl Write, json: bool) -> Result<()> {
    let problem = "this program was built without the feature `cuda`";
    if json {
        let none: [(); 0] = [];
        writeln!(out, "{}", serde_json::json!({ "usable": false, "devices": none, "problems": [problem] }))
            .map_err(Error::output)?;
    }
    Err(Error::failed(format!("no GPU can be used: {problem}")))
}
