//! Compiles every kernel for every architecture and writes what the compiler says of each: registers, shared memory,
//! spills. Needs NVRTC, but neither a GPU nor a driver.
//!
//! ```text
//! cargo run -p hrm-cuda --example kernel_report -- docs/cuda-kernels.md           # writes the table
//! cargo run -p hrm-cuda --example kernel_report -- --check docs/cuda-kernels.md   # fails if it has changed
//! ```
//!
//! Fails, too, where a kernel spills more than a register or two, or where the compiler runs products that are meant to be
//! asynchronous one by one.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::{env, fs};

use hrm_cuda::device::nvrtc::{self, Arch};
use hrm_cuda::device::sources::UNITS;
use hrm_cuda::device::usage::{self, Usage};

const ARCHS: [Arch; 5] = [
    Arch { capability: (8, 0) },
    Arch { capability: (8, 9) },
    Arch { capability: (9, 0) },
    Arch { capability: (10, 0) },
    Arch { capability: (12, 0) },
];

/// Bytes that a kernel may spill, stores and loads together: a register or two that the compiler sets aside.
const TOLERATED: u32 = 32;

/// What the compiler says when it waits for each wgmma before it issues the next.
const SERIALIZED: &str = "wgmma.mma_async instructions are serialized";

/// The kernels of each unit, each with its usage on every architecture that has it.
type Report = Vec<(&'static str, BTreeMap<String, [Option<Usage>; ARCHS.len()]>)>;

/// The report, and complaints that are in no table.
fn report() -> Result<(Report, Vec<String>), hrm_cuda::error::Error> {
    let (mut report, mut complaints) = (Report::new(), Vec::new());
    for &(unit, _) in UNITS {
        let mut kernels = BTreeMap::<_, [Option<Usage>; ARCHS.len()]>::new();
        for (i, arch) in ARCHS.into_iter().enumerate() {
            let log = nvrtc::compile(unit, arch, &[usage::OPTION])?.log;
            let serialized = log.lines().filter(|line| line.contains(SERIALIZED));
            complaints.extend(serialized.map(|line| format!("kernels/{unit}.cu on {arch}: {line}")));
            for usage in usage::parse(&log) {
                let by_arch = kernels.entry(usage.kernel.clone()).or_default();
                by_arch[i] = Some(usage);
            }
        }
        report.push((unit, kernels));
    }
    Ok((report, complaints))
}

fn table(report: &Report, (major, minor): (u32, u32)) -> Result<String, std::fmt::Error> {
    let mut page = format!(
        "\
# CUDA kernels: what the compiler says

Registers of a thread on each architecture, by NVRTC {major}.{minor}; shared memory of a block in bytes, besides what a
launch asks for; bytes of registers spilled to memory, the most of any architecture. CI fails if a kernel spills more
than {TOLERATED} bytes, and if this page, which `just cuda-kernels` writes, is out of date.

"
    );
    writeln!(
        page,
        "| unit | kernel | {} | shared | spilled |",
        ARCHS.map(|arch| arch.to_string()).join(" | ")
    )?;
    writeln!(page, "|---|---|{}", "---|".repeat(ARCHS.len() + 2))?;
    for (unit, kernels) in report {
        for (kernel, by_arch) in kernels {
            let number =
                |usage: &Option<Usage>| usage.as_ref().map_or("-".into(), |u| u.registers.to_string());
            let most = |of: fn(&Usage) -> u32| by_arch.iter().flatten().map(of).max().unwrap_or(0);
            let (shared, spilled) = (most(|usage| usage.shared), most(|usage| usage.spilled));
            let registers = by_arch.each_ref().map(number).join(" | ");
            writeln!(page, "| {unit} | `{kernel}` | {registers} | {shared} | {spilled} |")?;
        }
    }
    Ok(page)
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (check, path) = match &arguments[..] {
        [path] if path != "--check" => (false, path),
        [flag, path] if flag == "--check" => (true, path),
        _ => {
            eprintln!("usage: kernel_report [--check] FILE");
            return Ok(ExitCode::from(2));
        }
    };
    let (report, complaints) = report()?;
    let page = table(&report, nvrtc::version()?)?;
    complaints.iter().for_each(|complaint| eprintln!("{complaint}"));
    let mut failed = !complaints.is_empty();
    for (unit, kernels) in &report {
        for (arch, usage) in kernels.values().flat_map(|by_arch| ARCHS.iter().zip(by_arch)) {
            if let Some(Usage { kernel, spilled, .. }) =
                usage.as_ref().filter(|usage| usage.spilled > TOLERATED)
            {
                eprintln!("kernels/{unit}.cu: {kernel} spills {spilled} bytes on {arch}");
                failed = true;
            }
        }
    }
    let kernels: usize = report.iter().map(|(_, kernels)| kernels.len()).sum();
    println!("{kernels} kernels in {} units compile for {} architectures", report.len(), ARCHS.len());
    if !check {
        fs::write(path, page).map_err(|error| format!("{path}: {error}"))?;
    } else if fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))? != page {
        eprintln!("{path} is not what the compiler says now: run `just cuda-kernels` and commit it");
        failed = true;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
