//! A full disk: a clear error, the checkpoint before intact, and once there is room the run comes to the same end.
//!
//! The disk is a small tmpfs, and mounting one takes root. Where that is not to be had, the tests say so and pass,
//! except in CI (`CI=true`).

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::support::{Place, assert_same, checkpoints};

/// A mounted tmpfs, until it goes out of scope.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of so many KiB; `None` if the environment says to do without.
    fn mount(path: PathBuf, kib: u32) -> Option<Self> {
        fs::create_dir(&path).unwrap();
        let options = format!("size={kib}k");
        let output =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&path).output().unwrap();
        if output.status.success() {
            return Some(Self(path));
        }
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!std::env::var("CI").is_ok_and(|ci| ci == "true"), "a tmpfs cannot be mounted: {said}");
        eprintln!("a tmpfs cannot be mounted, so no disk was filled: {said}");
        None
    }

    fn resize(&self, kib: u32) {
        let options = format!("remount,size={kib}k");
        let status = Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap();
        assert!(status.success(), "{options}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Nothing holds a file in it any more; a failure shows as a directory that cannot be removed.
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn training_stops_and_goes_on_when_there_is_room() {
    let place = Place::with_data();
    place.train("whole", "").expect(0, &[]);
    let expected = place.result("whole");
    let checkpoint: usize = expected
        .iter()
        .filter(|(name, _)| name.starts_with("step-00000040/"))
        .map(|(_, bytes)| bytes.len())
        .sum();
    let checkpoint = checkpoint as u32 / 1024;
    // No room for the first checkpoint, for the second, for the third beside the two that are kept, for the best model.
    for (kib, fits) in [
        (16, 0),
        (checkpoint / 2, 0),
        (checkpoint + checkpoint / 2, 1),
        (2 * checkpoint + checkpoint / 2, 2),
        (3 * checkpoint + 64, 2),
    ] {
        let Some(disk) = SmallDisk::mount(place.path(&format!("disk-{kib}")), kib) else { return };
        let out = format!("disk-{kib}/run");
        let ended = place.train(&out, "").expect(1, &["error:", "No space left on device", "hint:", &out]);
        let kept = checkpoints(&place.path(&out));
        assert_eq!(kept.len(), fits, "{kept:?} on {kib} KiB\n{}", ended.err);
        let before: Vec<_> = kept.iter().map(|step| place.files(&format!("{out}/{step}"))).collect();
        // Still full: the same error, and nothing is lost.
        place.hrm(&format!("train --resume --data data --out {out}")).expect(1, &["No space left on device"]);
        for (step, files) in kept.iter().zip(&before) {
            assert_same(&place.files(&format!("{out}/{step}")), files, step);
            place.hrm(&format!("eval --model {out}/{step} --data data --limit 2")).expect(0, &[]);
        }
        disk.resize(16 * 1024);
        place.hrm(&format!("train --resume --data data --out {out}")).expect(0, &["done after 40 steps"]);
        assert_same(&place.result(&out), &expected, &format!("a disk of {kib} KiB"));
    }
}

#[test]
fn a_dataset_is_written_whole_or_not_at_all() {
    let place = Place::empty();
    let Some(disk) = SmallDisk::mount(place.path("disk"), 16) else { return };
    let line = "data sudoku --generate 500 --size 4 --clues 6 --out disk/data --split train";
    place.hrm(line).expect(1, &["error:", "No space left on device", "disk/data"]);
    assert_eq!(place.hrm("info disk/data").status.code(), Some(2));
    assert!(place.is_free("disk/data"), "{:?}", place.files("disk").keys());
    disk.resize(4096);
    place.hrm(line).expect(0, &[]);
    place.hrm("info disk/data").expect(0, &[]);
}

/// The files are empty until there is something to write: that there is no room shows in the end.
#[test]
fn an_evaluation_is_told_even_if_its_files_do_not_fit() {
    let place = Place::with_run();
    let Some(_disk) = SmallDisk::mount(place.path("disk"), 4) else { return };
    place.write("disk/filler", [0; 4096]);
    let ended = place
        .hrm("eval --model run --data data --svg disk/a.svg --near-ties disk/b")
        .expect(1, &["cannot write disk/a.svg", "No space left on device", "make room"]);
    assert!(ended.out.contains(" of 20 puzzles in "), "{}", ended.out);
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let place = Place::with_run();
    for line in ["info run", "info data", "eval --model run --data data --json", "completions bash"] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = place.command(line).stdout(full).output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{line}: {err}");
        assert!(
            err.contains("cannot write to standard output") && !err.contains("panicked"),
            "{line}: {err}"
        );
    }
}
