//! Models in 8-bit integers: exported, asked, compared, measured, and refused where they are no use.

use serde_json::Value;

use crate::support::Place;

const PUZZLE: &str = "1.34341221434321";

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// What an evaluation found, without how long that took.
fn found(place: &Place, flags: &str) -> Value {
    let line = format!("eval --data data --first 9 --json {flags}");
    let mut report = json(&place.hrm(&line).expect(0, &[]).out);
    report.as_object_mut().unwrap().retain(|key, _| key != "seconds" && key != "puzzles_per_second");
    report
}

#[test]
fn a_directory_and_its_bundle_of_integers_are_the_same_model() {
    let place = Place::with_run();
    let exported =
        json(&place.hrm("export run --to postcard --quantize int8 --out a.hrm --json").expect(0, &[]).out);
    let bytes = exported["bytes"].as_u64().unwrap();
    assert_eq!((exported["dtype"].as_str(), bytes), (Some("int8"), place.read("a.hrm").len() as u64));
    assert!(bytes < exported["f32_bytes"].as_u64().unwrap());
    let told = place.hrm("export run --to postcard --dtype int8 --out b.hrm").expect(0, &[]);
    assert!(told.out.contains("int8") && told.out.contains("in f32"), "{}", told.out);
    assert_eq!(place.read("a.hrm"), place.read("b.hrm"));
    assert!(place.hrm("info a.hrm").expect(0, &[]).out.contains("f32, int8"));

    let of_directory = found(&place, "--model run --backend int8");
    assert_eq!(of_directory, found(&place, "--model a.hrm --backend int8 --batch 2"));
    let solve = |model: &str| {
        let ended = place.hrm(&format!("solve --model {model} --backend int8 --json --trace {PUZZLE}"));
        assert!(ended.err.is_empty() || !ended.err.contains("int8"), "{}", ended.err);
        (ended.status.code(), ended.out)
    };
    assert_eq!(solve("run"), solve("a.hrm"));
    // It is another computation than that in f32.
    assert_ne!(of_directory["lm_loss"], found(&place, "--model run")["lm_loss"]);
}

#[test]
fn two_evaluations_are_compared_puzzle_by_puzzle() {
    let place = Place::with_run();
    let one = found(&place, "--model run --answers one.jsonl");
    let lines = String::from_utf8(place.read("one.jsonl")).unwrap();
    let solved = lines.lines().map(json).filter(|answer| answer["solved"] == true).count() as u64;
    assert_eq!((lines.lines().count(), one["solved"].as_u64()), (9, Some(solved)));

    let same = &found(&place, "--model run --against one.jsonl")["paired"];
    let counts = ["puzzles", "both", "only_here", "only_there"].map(|key| same[key].as_u64().unwrap());
    assert_eq!((counts, same["difference"].as_f64()), ([9, solved, 0, 0], Some(0.0)));
    let told = place.hrm("eval --model run --data data --first 9 --backend int8 --against one.jsonl");
    assert!(told.expect(0, &[]).out.contains("of 9 puzzles"));

    place
        .hrm("eval --model run --data data --first 8 --against one.jsonl")
        .expect(2, &["one.jsonl: 9 answers, expected 8", "--first"]);
    place.write("bad.jsonl", lines.replacen("solved", "solvd", 1));
    place.hrm("eval --model run --data data --against bad.jsonl").expect(2, &["bad.jsonl, line 1", "solvd"]);
    place.hrm("eval --model run --data data --against none.jsonl").expect(2, &["none.jsonl"]);
}

#[test]
fn what_integers_cannot_do_is_said() {
    let place = Place::with_run();
    let line = "train --preset sudoku-4x4 --data data --out new --backend int8";
    place.hrm(line).expect(2, &["given --backend int8, expected one of cpu, reference", "no gradients"]);
    assert!(place.is_free("new"));
    place.hrm("check --golden data --backend int8").expect(2, &["given --backend int8", "hrm eval"]);
    place.hrm("eval --model run --data data --backend int8 --dtype bf16").expect(2, &["given --dtype bf16"]);
    for format in ["safetensors", "pytorch-names"] {
        let line = format!("export run --to {format} --quantize int8 --out new");
        place.hrm(&line).expect(2, &["given int8, expected f32, bf16 or f16", "hint:"]);
        assert!(place.is_free("new"));
    }
}

#[test]
fn inference_alone_is_measured() {
    let place = Place::empty();
    let line = "bench --preset sudoku-4x4 --steps 1 --backend int8";
    let report = json(&place.hrm(&format!("{line} --batch 3 --kernels --json")).expect(0, &[]).out);
    assert_eq!((&report["backend"], &report["training"]), (&Value::from("int8"), &Value::Null));
    assert_eq!(report["inference"]["batch"], 3);
    assert!(
        report["inference"]["kernels"].as_array().unwrap().iter().any(|kernel| kernel["kernel"] == "linear")
    );
    let told = place.hrm(line).expect(0, &[]);
    assert!(
        told.out.contains("ACT step, inference, batch 1") && !told.out.contains("training step"),
        "{}",
        told.out
    );
}
