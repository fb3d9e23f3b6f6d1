//! What the compiler says a kernel takes of a multiprocessor.

/// Registers and memory of a kernel on one architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The entry point.
    pub kernel: String,
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of registers that are kept in memory for want of room, written and read.
    pub spilled: u32,
    /// Shared memory of a block, in bytes, besides what a launch asks for.
    pub shared: u32,
}

/// The option that makes [`compile`](super::nvrtc::compile) report usage in its log.
pub const OPTION: &str = "--ptxas-options=-v";

/// The usage of every kernel in a log that was made with [`OPTION`], by name.
#[must_use]
pub fn parse(log: &str) -> Vec<Usage> {
    let mut kernels: Vec<Usage> = Vec::new();
    // Properties of a function that is not inlined follow in the same way, but are no kernel's.
    let mut of_kernel = false;
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            let kernel = rest.split('\'').next().unwrap_or_default().to_owned();
            kernels.push(Usage { kernel, registers: 0, spilled: 0, shared: 0 });
        } else if let (Some((_, function)), Some(last)) =
            (line.split_once("Function properties for "), kernels.last())
        {
            of_kernel = function.trim() == last.kernel;
        } else if let Some(last) = kernels.last_mut().filter(|_| of_kernel) {
            last.spilled += before(line, "bytes spill stores") + before(line, "bytes spill loads");
            last.registers += before(line, "registers");
            last.shared += before(line, "bytes smem");
        }
    }
    kernels.sort_by(|a, b| a.kernel.cmp(&b.kernel));
    kernels
}

/// The number in front of `unit`, 0 if there is none.
fn before(line: &str, unit: &str) -> u32 {
    let number = line.split_once(unit).and_then(|(front, _)| front.split_whitespace().last());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read() {
        let log = "\
ptxas info    : 12 bytes gmem
ptxas info    : Compiling entry function 'sum' for 'sm_90a'
ptxas info    : Function properties for sum
ptxas         .     24 bytes stack frame, 8 bytes spill stores, 16 bytes spill loads
ptxas info    : Used 55 registers, used 1 barriers, 24 bytes cumulative stack size, 4096 bytes smem
ptxas info    : Compile time = 385.873 ms
ptxas info    : Compiling entry function 'adam' for 'sm_90a'
ptxas info    : Function properties for adam
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 37 registers, used 1 barriers
ptxas info    : Function properties for __internal_accurate_pow
ptxas         .     0 bytes stack frame, 4 bytes spill stores, 4 bytes spill loads
";
        let usage = |kernel: &str, registers, spilled, shared| Usage {
            kernel: kernel.into(),
            registers,
            spilled,
            shared,
        };
        assert_eq!(parse(log), [usage("adam", 37, 0, 0), usage("sum", 55, 24, 4096)]);
        assert_eq!(parse(""), []);
    }
}
