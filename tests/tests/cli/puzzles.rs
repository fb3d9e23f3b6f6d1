//! Puzzles as people have them: files and clipboards of other programs, lists without answers, several at once; and
//! datasets that stay as they are.

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Place, Running, assert_same, run};

const QUESTION: &str = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79";
const ANSWER: &str = "534678912672195348198342567859761423426853791713924856961537284287419635345286179";
/// Of the repository: small, and good enough for an easy puzzle.
const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/sudoku-9x9.hrm");

fn rows(line: &str) -> String {
    line.as_bytes().chunks(9).map(|row| format!("{}\n", String::from_utf8_lossy(row))).collect()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_file_of_any_form_is_solved() {
    let place = Place::empty();
    for (name, text) in [
        ("line.txt", format!("{QUESTION} 1.2\n")),
        ("rows.txt", format!("\u{feff}{}", rows(&QUESTION.replace('.', "-")).replace('\n', "\r\n"))),
        ("program.sdk", format!("#Asomeone\n#D30-11-2026\n{}", rows(QUESTION))),
        ("table.csv", format!("Quizzes;Solutions\n{QUESTION};{ANSWER}\n")),
    ] {
        place.write(name, text);
        let out = place.hrm(&format!("solve --model {MODEL} --json {name}")).expect(0, &[]).out;
        let [found] = &lines(&out)[..] else { panic!("{out}") };
        assert_eq!(
            (&found["answer"], &found["solved"]),
            (&Value::from(ANSWER), &Value::from(true)),
            "{name}"
        );
    }
    place.hrm(&format!("solve --model {MODEL} none.txt")).expect(2, &["none.txt", "is no file"]);
    place.write("bad.txt", rows(QUESTION).replacen("9.", "9", 1));
    let words = ["while reading bad.txt", "line 8: found 8 cells", "expected"];
    place.hrm(&format!("solve --model {MODEL} bad.txt")).expect(2, &words);
    place.write("large.txt", ".".repeat(256));
    place.hrm(&format!("solve --model {MODEL} large.txt")).expect(2, &["16x16", "no other sizes"]);
}

#[test]
fn several_puzzles_have_a_result_each() {
    let place = Place::empty();
    let hopeless = QUESTION.replacen("53..", "535.", 1);
    place.write("three.txt", format!("Grid 01\n{}Grid 02\n{}{QUESTION}\n", rows(QUESTION), rows(&hopeless)));
    let ended = place.hrm(&format!("solve --model {MODEL} --json three.txt"));
    let found = lines(&ended.out);
    assert_eq!(found.iter().map(|it| it["solved"] == true).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(
        (&found[0]["name"], &found[1]["fault"]),
        (&Value::from("Grid 01"), &Value::from("the puzzle has no solution"))
    );
    ended.expect(1, &["1 of 3 puzzles are not solved", "no solution"]);
    let out = place.hrm(&format!("solve --model {MODEL} three.txt")).out;
    assert!(out.starts_with("Grid 01\n┌") && out.ends_with("\n2 of 3 solved\n"), "{out}");
    // One alone that nobody can solve is not blamed on the model.
    let alone = QUESTION.replacen("..7", "1.7", 1);
    let ended = place
        .hrm(&format!("solve --model {MODEL} {alone}"))
        .expect(1, &["error: the puzzle has no solution"]);
    assert!(!ended.err.contains("trained"), "{}", ended.err);
}

#[test]
fn standard_input_is_read_without_being_asked_for() {
    let place = Place::empty();
    let mut child = place
        .command(&format!("solve --model {MODEL} --json"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(rows(QUESTION).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(lines(&String::from_utf8(output.stdout).unwrap())[0]["answer"], ANSWER);
}

#[test]
fn lists_without_answers_become_datasets() {
    let place = Place::empty();
    place.write("good.csv", format!("question,answer\n{QUESTION},{ANSWER}\n"));
    place.hrm("data sudoku --csv good.csv --out good --split train").expect(0, &[]);
    let several = QUESTION.replace(['1', '2'], ".");
    place.write("list.sdm", format!("# a list\n{}\n{several}\n", QUESTION.replace('.', "0")));
    let out = place.hrm("data sudoku --csv list.sdm --out list --split train").expect(0, &[]).out;
    assert!(out.contains("1 puzzles of 9x9"), "{out}");
    assert!(out.contains("no answer in the file for 2 puzzles: 1 with exactly one solution"), "{out}");
    assert!(out.contains("left out: 1 with several solutions, 0 with none"), "{out}");
    assert_same(&place.files("list"), &place.files("good"), "with the answer found");
    place.write("rated.csv", format!("puzzle,difficulty\n{QUESTION},2.5\n{QUESTION},\n"));
    let out = place.hrm("data sudoku --csv rated.csv --out rated --split train").expect(0, &[]).out;
    assert!(
        out.contains("mean rating 2.5") && out.contains("rounded") && out.contains("no rating for 1 puzzle"),
        "{out}"
    );
}

#[test]
fn a_dataset_is_neither_replaced_nor_mixed_with_another() {
    let place = Place::with_data();
    let before = place.files("data");
    let again = "data sudoku --generate 5 --size 4 --out data --split train --seed 7";
    place.hrm(again).expect(2, &["data/train", "60 groups", "--force"]);
    let other = "data maze --generate 2 --size 9 --min-path 14 --out data --split test";
    place.hrm(other).expect(2, &["data/test", "--force"]);
    place
        .hrm(&format!("{other} --force"))
        .expect(2, &["split train is a dataset of 16 cells", "another directory"]);
    assert_same(&place.files("data"), &before, "refused");
    // As many others that were made take their place, and no fewer.
    let others = "data sudoku --generate 60 --size 4 --out data --split train --seed 8";
    let told = place.hrm(others).expect(0, &[]).err;
    assert!(told.contains("as many puzzles are there already, and are replaced"), "{told}");
    assert_ne!(place.files("data")["train/all__inputs.npy"], before["train/all__inputs.npy"]);
    // A file that is named like one of ours that was not finished, and is not ours.
    place.write("data/train/notes.tmp-1", "mine");
    place.hrm(&format!("{again} --force")).expect(0, &[]);
    assert_eq!(place.read("data/train/notes.tmp-1"), b"mine");
    assert_ne!(place.files("data")["train/all__inputs.npy"], before["train/all__inputs.npy"]);
}

#[test]
fn answers_to_other_puzzles_are_not_compared() {
    let place = Place::with_run();
    place.hrm("data sudoku --generate 20 --size 4 --out other --split test --seed 9").expect(0, &[]);
    place.hrm("eval --model run --data data --answers a.jsonl").expect(0, &[]);
    place
        .hrm("eval --model run --data other --against a.jsonl")
        .expect(2, &["a.jsonl", "other puzzles", "20"]);
    place.hrm("eval --model run --data data --against a.jsonl").expect(0, &[]);
}

#[test]
fn hopeless_puzzles_listen() {
    for signal in ["INT", "TERM"] {
        let place = Place::empty();
        let line = "data sudoku --generate 1000 --size 9 --clues 17 --out new --split train";
        let mut running = Running::start(&mut place.command(line));
        assert!(
            running.wait_until(|running| running.err().contains("no puzzle yet of 1000")),
            "{}",
            running.err()
        );
        let asked = Instant::now();
        running.signal(signal);
        running.wait().expect(130, &["interrupted"]);
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        assert!(place.is_free("new"));
    }
}

#[test]
fn messages_lead_the_right_way() {
    let place = Place::with_data();
    place.write("all_config.yaml", "arch:\n  hidden_size: 16\n");
    let line = "train --config all_config.yaml --data data --out run";
    place.hrm(line).expect(2, &["not TOML", "settings are TOML", "hrm import"]);
    for array in ["inputs", "labels", "puzzle_indices", "group_indices", "puzzle_identifiers"] {
        let columns = if array == "inputs" || array == "labels" { "0, 16" } else { "0," };
        let (shape, kind) = match array {
            "puzzle_indices" | "group_indices" => ("1,", "<i4"),
            "puzzle_identifiers" => (columns, "<i4"),
            _ => (columns, "|u1"),
        };
        let mut header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({shape}), }}");
        header += &" ".repeat(127 - 10 - header.len());
        header.push('\n');
        let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        bytes.extend(header.bytes());
        bytes[8..10].copy_from_slice(&(header.len() as u16).to_le_bytes());
        if array.ends_with("indices") {
            bytes.extend([0; 4]);
        }
        place.write(&format!("data/test/all__{array}.npy"), bytes);
    }
    let json = String::from_utf8(place.read("data/test/dataset.json")).unwrap();
    place.write(
        "data/test/dataset.json",
        format!("\u{feff}{}", json.replace("\"total_groups\":20", "\"total_groups\":0")),
    );
    let out = place.hrm("info data").expect(0, &[]).out;
    assert!(out.contains("test  0 examples"), "{out}");
    let out = run(&mut place.command("data inspect data --split test")).expect(0, &[]).out;
    assert!(out.contains("no examples"), "{out}");
}
