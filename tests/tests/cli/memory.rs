//! The memory that a run says it will take is the memory that it takes.

use std::fs;

use crate::support::{Place, Running};

const MIB: f64 = (1u64 << 20) as f64;

/// The number of bytes after `memory ` in what a run prints.
fn planned(err: &str) -> f64 {
    let line = err.lines().find_map(|line| line.strip_prefix("memory ")).unwrap_or_else(|| panic!("{err}"));
    let (size, _) = line.split_once(':').unwrap();
    let (number, unit) = size.split_once(' ').unwrap();
    let scale = match unit {
        "B" => 1.0,
        "KiB" => 1024.0,
        "MiB" => MIB,
        "GiB" => 1024.0 * MIB,
        other => panic!("{other}"),
    };
    number.parse::<f64>().unwrap() * scale
}

/// The largest resident set of a process so far.
fn peak(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? * 1024.0)
}

#[test]
fn the_peak_is_within_a_tenth_and_64_mib_of_the_plan() {
    let place = Place::with_data();
    let line = "train --preset sudoku-4x4 --set arch.hidden_size=256 --set arch.num_heads=4 \
                --set arch.H_layers=2 --set arch.L_layers=2 --set global_batch_size=512 \
                --set eval_limit=8 --data data --out run --steps 2";
    let mut running = Running::start(&mut place.command(line));
    let pid = running.child.id();
    let mut largest = 0.0f64;
    running.wait_until(|_| {
        largest = peak(pid).unwrap_or(0.0).max(largest);
        false
    });
    let ended = running.wait().expect(0, &["done after 2 steps"]);
    let planned = planned(&ended.err);
    assert!(planned > 300.0 * MIB, "the plan of {:.0} MiB is too small to tell", planned / MIB);
    let bound = 1.1 * planned + 64.0 * MIB;
    println!("planned {:.1} MiB, peak {:.1} MiB, bound {:.1} MiB", planned / MIB, largest / MIB, bound / MIB);
    assert!(largest <= bound, "peak {:.1} MiB, planned {:.1} MiB", largest / MIB, planned / MIB);
    assert!(largest >= 0.5 * planned, "peak {:.1} MiB, planned {:.1} MiB", largest / MIB, planned / MIB);
}
