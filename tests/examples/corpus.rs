//! Writes the seeds of every reader below a directory, for `cargo fuzz`: `DIR/READER/seed-N`.

use std::path::PathBuf;

use hrm_tests::readers::{READERS, seeds};

fn main() -> std::io::Result<()> {
    let dir = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("fuzz/corpus"), PathBuf::from);
    for (name, _) in READERS {
        let place = dir.join(name);
        std::fs::create_dir_all(&place)?;
        for (index, seed) in seeds::of(name).into_iter().enumerate() {
            std::fs::write(place.join(format!("seed-{index}")), seed)?;
        }
    }
    Ok(())
}
