//! Damaged checkpoints: truncated files and flipped bits are found before anything is computed, the file is named, and
//! the checkpoint before is there to fall back to.

use std::fs;

use crate::support::{Ended, Place, Random, assert_same, copy_dir};

const NEWEST: &str = "run/step-00000040";
const BEFORE: &str = "step-00000035";
const FILES: [&str; 3] = ["config.json", "model.safetensors", "trainer.safetensors"];
const RESUME: &str = "train --resume --data data --out run";
/// Distance between two truncations.
const STRIDE: usize = 4096;
/// Flipped bits per file, half of them in its first 4 KiB, where the header is.
const FLIPS: u64 = 24;

/// Writes `bytes` as `file` of the newest checkpoint and asserts that everything that reads it refuses it.
fn refused(place: &Place, file: &str, bytes: &[u8], what: &str) {
    let name = format!("{NEWEST}/{file}");
    place.write(&name, bytes);
    let check = |ended: Ended, doing: &str| {
        let code = ended.status.code();
        assert!(
            code == Some(1) || code == Some(2),
            "{doing}, {file} {what}: {}\n{}",
            ended.status,
            ended.err
        );
        assert!(ended.err.contains("error:"), "{doing}, {file} {what}:\n{}", ended.err);
        assert!(ended.err.contains(file), "{doing}, {file} {what}: not named in\n{}", ended.err);
        assert!(!ended.err.contains("memory "), "{doing}, {file} {what}: the run began\n{}", ended.err);
        ended
    };
    let resumed = check(place.hrm(RESUME), "resume");
    assert!(
        resumed.err.contains("hint:") && resumed.err.contains(BEFORE),
        "{what}: no way back in\n{}",
        resumed.err
    );
    check(place.hrm(&format!("info {NEWEST}")), "info");
    let eval = place.hrm(&format!("eval --model {NEWEST} --data data --limit 1"));
    if file == "trainer.safetensors" {
        // Not a part of the model: an evaluation does without it.
        eval.expect(0, &[]);
    } else {
        check(eval, "eval");
    }
}

/// Follows the hint: with the damaged checkpoint out of the way, the run goes on from the one before and comes to the
/// same end.
fn falls_back(place: &Place, file: &str) {
    let expected = place.result("whole");
    for name in FILES {
        let name = format!("{BEFORE}/{name}");
        assert!(expected[&name] == place.read(&format!("run/{name}")), "{file}: {name} was touched");
    }
    fs::rename(place.path(NEWEST), place.path("damaged")).unwrap();
    place.hrm(RESUME).expect(0, &["done after 40 steps"]);
    assert_same(&place.result("run"), &expected, file);
    fs::remove_dir_all(place.path("damaged")).unwrap();
}

fn for_each_file(damage: impl Fn(&Place, &str, &[u8])) {
    let place = Place::with_run();
    copy_dir(&place.path("run"), &place.path("whole"));
    for file in FILES {
        let whole = place.read(&format!("{NEWEST}/{file}"));
        damage(&place, file, &whole);
        falls_back(&place, file);
    }
}

#[test]
fn a_file_truncated_at_every_4_kib_is_refused() {
    for_each_file(|place, file, whole| {
        // The configuration is smaller than that.
        for length in (0..whole.len()).step_by(STRIDE.min(whole.len() / 4)) {
            refused(place, file, &whole[..length], &format!("truncated to {length} bytes"));
        }
        refused(place, file, &whole[..whole.len() - 2], "without its last bytes");
    });
}

#[test]
fn a_file_that_grew_is_refused() {
    for_each_file(|place, file, whole| refused(place, file, &[whole, b"\0"].concat(), "one byte longer"));
}

#[test]
fn a_flipped_bit_anywhere_is_found() {
    for_each_file(|place, file, whole| {
        let mut random = Random(3);
        for index in 0..FLIPS {
            let range = if index.is_multiple_of(2) { whole.len().min(STRIDE) } else { whole.len() };
            let (at, bit) = (random.below(range as u64) as usize, random.below(8));
            let mut bytes = whole.to_vec();
            bytes[at] ^= 1 << bit;
            if same_json(&bytes, whole) {
                continue;
            }
            refused(place, file, &bytes, &format!("with bit {bit} of byte {at} flipped"));
        }
    });
}

/// The configuration is text: `1e-5` may become `1E-5`, which is no damage.
fn same_json(a: &[u8], b: &[u8]) -> bool {
    let value = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).ok();
    value(a).is_some_and(|a| Some(a) == value(b))
}

#[test]
fn a_missing_file_is_named() {
    let place = Place::with_run();
    for file in FILES {
        let name = format!("{NEWEST}/{file}");
        let whole = place.read(&name);
        fs::remove_file(place.path(&name)).unwrap();
        place.hrm(RESUME).expect(2, &["error:", file, BEFORE]);
        place.write(&name, whole);
    }
}
