//! Writes the bundle of `tests/no_std`: int8, drawn from a seed. `cargo run -p hrm-tests --example bundle -- FILE`

#[path = "../no_std/puzzle.rs"]
#[allow(dead_code)] // The programs there use the rest.
mod puzzle;

use hrm_host::model_io::bundle::Encoding;

fn main() -> std::io::Result<()> {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("the file to write is missing");
        std::process::exit(2);
    };
    std::fs::write(path, hrm_tests::portable::bundle(&puzzle::CONFIG, Encoding::Int8, 1))
}
