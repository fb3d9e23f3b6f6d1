//! The `hrm` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    hrm_host::cli::main()
}
