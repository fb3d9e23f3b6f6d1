//! `solve`, `eval`, `info` and `check` on wrong input, output that nobody reads, and output for programs.

use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Place, TINY, binary, run};

const PUZZLE: &str = "1.34341221434321";

#[test]
fn a_missing_model_or_dataset_is_named() {
    let place = Place::with_run();
    for line in [
        format!("solve --model none {PUZZLE}"),
        "eval --model none --data data".into(),
        "info none".into(),
        "eval --model run --data none".into(),
        "train --resume --data none --out run".into(),
        "check --golden none".into(),
    ] {
        place.hrm(&line).expect(2, &["error:", "none"]);
    }
    std::fs::create_dir(place.path("empty")).unwrap();
    for line in [&format!("solve --model empty {PUZZLE}"), "info empty", "check --golden empty"] {
        place.hrm(line).expect(2, &["error:", "empty"]);
    }
    place
        .hrm("check --golden empty")
        .expect(2, &["found no golden numbers", "functions.json", "NAME.config.json"]);
    place.write("file", "");
    for line in
        ["info file", "eval --model run --data file", "eval --model file --data data", "check --golden file"]
    {
        place.hrm(line).expect(2, &["error:", "file"]);
    }
    std::fs::remove_dir_all(place.path("data/test")).unwrap();
    place.hrm("eval --model run --data data").expect(2, &["data, splits: found only train, expected test"]);
    place.hrm("eval --model run --data data --split train").expect(0, &[]);
    // Training without a held-out split is allowed: there is nothing to evaluate on.
    place.train("untested", "").expect(0, &["done after 40 steps"]);
}

#[test]
fn bad_puzzles_are_refused() {
    let place = Place::with_run();
    for (puzzle, words) in [
        ("1.3434122143432", &["error:"][..]),
        ("1.34341221434321.", &["error:"]),
        ("1y34341221434321", &["y"]),
        ("9.34341221434321", &["9"]),
        ("puzzle", &["puzzle"]),
        ("--", &["error:"]),
        ("1", &["error:"]),
    ] {
        place.hrm(&format!("solve --model run {puzzle}")).expect(2, words);
    }
    let nine = ".".repeat(81);
    place.hrm(&format!("solve --model run {nine}")).expect(2, &["9x9", "81 cells", "16 cells"]);
    place.hrm(&format!("solve --model run --halt 0 {PUZZLE}")).expect(2, &["--halt"]);
    place.hrm("eval --model run --data data --limit 0").expect(2, &["--limit"]);
    for (input, words) in
        [(&b"\xff\xfd"[..], "standard input"), (b"", "error:"), (&[b'1'; 100_000], "error:")]
    {
        let mut child = place
            .command("solve --model run -")
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // More than it reads: a closed pipe is no matter here.
        let _ = child.stdin.take().unwrap().write_all(input);
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{err}");
        assert!(err.contains(words) && !err.contains("panicked"), "{err}");
    }
}

#[test]
fn a_dataset_that_does_not_fit_the_model_is_refused() {
    let place = Place::with_run();
    place.hrm("data sudoku --generate 3 --size 9 --clues 40 --out nine --split test").expect(0, &[]);
    place.hrm("eval --model run --data nine").expect(2, &["nine/test", "seq_len is 81", "16"]);
}

/// Runs a line with standard output closed at its other end.
fn unread(place: &Place, line: &str) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = place.command(line).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into())
}

#[test]
fn output_that_nobody_reads_is_no_failure() {
    let place = Place::with_run();
    for line in [
        "info run",
        "info data",
        "eval --model run --data data --limit 2",
        "eval --model run --data data --limit 2 --json",
        &format!("solve --model run {PUZZLE}"),
        &format!("solve --model run --trace {PUZZLE}"),
        &format!("solve --model run --json {PUZZLE}"),
        "data sudoku --generate 3 --size 4 --out more --split train",
        "completions bash",
        "--help",
        "train --help",
        &format!("train {TINY} --steps 2 --out more-runs"),
    ] {
        let (code, err) = unread(&place, line);
        assert_eq!(code, Some(0), "{line}: {err}");
        assert!(!err.contains("panicked") && !err.contains("error:"), "{line}: {err}");
    }
}

#[test]
fn json_output_parses() {
    let place = Place::with_run();
    let eval = place.hrm("eval --model run --data data --limit 4 --json").expect(0, &[]);
    assert_eq!(eval.err, "");
    let report: Value = serde_json::from_str(&eval.out).unwrap();
    assert_eq!(report["puzzles"], 4);
    let accuracy = report["exact_accuracy"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&accuracy));
    let config: Value = serde_json::from_slice(&place.read("run/best/config.json")).unwrap();
    assert_eq!(
        report["by_step"].as_array().unwrap().len() as u64,
        config["halt_max_steps"].as_u64().unwrap()
    );

    for (more, trace) in [("", 0), ("--trace", 3)] {
        let solve = place.hrm(&format!("solve --model run --json --halt 3 {more} {PUZZLE}"));
        let answer: Value = serde_json::from_str(&solve.out).unwrap();
        assert_eq!(answer["steps"], 3);
        assert_eq!(answer["answer"].as_str().unwrap().len(), 16);
        assert_eq!(answer["trace"].as_array().map_or(0, Vec::len), trace);
        // A wrong answer is a failure, and said to be one.
        let code = if answer["solved"].as_bool().unwrap() { 0 } else { 1 };
        solve.expect(code, &[]);
    }
    for line in String::from_utf8(place.read("run/metrics.jsonl")).unwrap().lines() {
        assert!(serde_json::from_str::<Value>(line).unwrap()["step"].is_u64(), "{line}");
    }
}

#[test]
fn standard_error_may_be_closed() {
    let place = Place::with_run();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = place.command("info none").stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(2));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status =
        place.command(&format!("train {TINY} --steps 5 --out more")).stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn wrong_usage_is_2_and_help_is_0() {
    let place = Place::empty();
    for line in ["", "fly", "train", "solve", "eval --model", "info a b", "--color blue info a"] {
        place.hrm(line).expect(2, &[]);
    }
    for line in ["--help", "--version", "train --help", "data sudoku --help"] {
        place.hrm(line).expect(0, &[]);
    }
    // Arguments that are no UTF-8.
    let bad: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"\xff\xfe");
    run(std::process::Command::new(binary()).arg("info").arg(bad)).expect(2, &[]);
}
