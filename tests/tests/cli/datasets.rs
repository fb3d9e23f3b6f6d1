//! `hrm data maze`, `arc` and `inspect`: what they build, what they refuse, and how they stop.

use std::fs;

use serde_json::Value;

use crate::support::{Place, Running, assert_same};

const TASK: &str = r#"{"train": [{"input": [[1, 2], [3, 4]], "output": [[5, 6, 7]]}, {"input": [[1]], "output": [[2]]}],
                      "test": [{"input": [[8, 9]], "output": [[1], [2]]}]}"#;

/// A place with four tasks in `tasks`, half of them for evaluation.
fn with_tasks() -> Place {
    let place = Place::empty();
    for folder in ["training", "evaluation"] {
        fs::create_dir_all(place.path(&format!("tasks/{folder}"))).unwrap();
        for name in ["a", "b"] {
            place.write(&format!("tasks/{folder}/{folder}-{name}.json"), TASK);
        }
    }
    place
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn mazes_are_generated_read_and_shown() {
    let place = Place::empty();
    let made = "data maze --generate 20 --size 9 --min-path 14 --out made --split train --seed 5";
    let out = place.hrm(made).expect(0, &[]).out;
    assert!(out.starts_with("made/train: 20 mazes of 9x9, 20 examples"), "{out}");
    place.hrm(&made.replace("--out made", "--out again")).expect(0, &[]);
    assert_same(&place.files("again"), &place.files("made"), "the same seed");
    place.hrm("info made").expect(0, &[]);
    let shown = place.hrm("data inspect made --index 3").expect(0, &[]).out;
    assert!(shown.contains("20 groups of 1 puzzle\n") && shown.contains('S') && !shown.contains('\u{1b}'));
    let coloured = place.hrm("data inspect made --index 3 --color always").expect(0, &[]).out;
    assert!(coloured.contains('\u{1b}'));
    place.hrm("data inspect made --index 20").expect(2, &["index", "20", "below 20"]);

    place.write("mazes.csv", "question,answer\nS  #  G  ,So #o Go \n");
    let line = "data maze --csv mazes.csv --out read --split train --augment dihedral --json";
    let summary = json(&place.hrm(line).expect(0, &[]).out);
    assert_eq!((&summary["examples"], &summary["by_the_rule"]), (&Value::from(8), &Value::from(1)));
    let relabelled = json(&place.hrm(&format!("{line} --relabel --force")).expect(0, &[]).out);
    assert_eq!(relabelled["mazes"], 1);
}

#[test]
fn arc_is_built_and_shown() {
    let place = with_tasks();
    let out = place.hrm("data arc --tasks tasks --out arc --augment 5").expect(0, &[]).out;
    assert!(out.contains("arc/train: 4 tasks, 24 puzzles, 60 examples"), "{out}");
    assert!(out.contains("arc/test: 2 tasks, 12 puzzles, 12 examples\n25 puzzle identifiers"), "{out}");
    place.hrm("info arc").expect(0, &[]);
    let shown = json(&place.hrm("data inspect arc --split test --index 7 --json").expect(0, &[]).out);
    let example = &shown[0]["example"];
    assert!(example["name"].as_str().unwrap().starts_with("evaluation-b_t"), "{example}");
    assert_eq!((&shown[0]["identifiers"], &example["group"]), (&Value::from(25), &Value::from(1)));
    place.hrm("data inspect arc --split test --index 12").expect(2, &["--index", "the examples of arc/test"]);
    let drawn = place.hrm("data inspect arc --split test").expect(0, &[]).out;
    assert!(drawn.contains("8 9 +     1 + "), "{drawn}");
    let summary =
        json(&place.hrm("data arc --tasks tasks --out arc --augment 2 --json --force").expect(0, &[]).out);
    assert_eq!(summary["splits"][1]["puzzles"], 6);
}

#[test]
fn what_cannot_be_built_leaves_no_directory() {
    let place = with_tasks();
    place.write("mazes.csv", "question,answer\nS  #  G  ,So #o Go \nS  #  G  ,Soo#oGoo \n");
    for (line, words) in [
        ("data maze --csv mazes.csv --out new --split train", &["mazes.csv", "line 3", "answer"][..]),
        ("data maze --generate 5 --size 4 --min-path 15 --out new --split train", &["4", "15"]),
        ("data maze --generate 5 --size 1 --out new --split train", &["--size: found 1", "2 to 255"]),
        ("data maze --generate 5 --min-path 0 --out new --split train", &["--min-path: found 0"]),
        ("data maze --csv none.csv --out new --split train", &["none.csv"]),
        ("data arc --tasks none --out new", &["none"]),
        ("data arc --tasks mazes.csv --out new", &["mazes.csv"]),
        (
            "data arc --tasks tasks/training --out new",
            &["tasks/training", "no task", "training/", "; tasks has them"],
        ),
        ("data arc --tasks . --out new", &["no task", "; ./tasks has them"]),
        ("data arc --tasks tasks tasks --out new", &["another name"]),
        ("data sudoku --csv mazes.csv --out new --split train", &["mazes.csv", "line 2", "question"]),
        ("data inspect new", &["new", "expected a dataset"]),
        ("data inspect tasks --split test", &["tasks, splits: found neither train nor test, expected test"]),
    ] {
        place.hrm(line).expect(2, &[&["error:"], words].concat());
        assert!(place.is_free("new"), "{line}");
    }
    for (task, words) in [
        ("{", &["line 1", "JSON"][..]),
        ("", &["JSON"]),
        ("[]", &["train"]),
        (&TASK.replace("[3, 4]", "[3]"), &["train, pair 1, input, row 2", "2 colours"]),
        (&TASK.replace('9', "10"), &["test, pair 1, input, row 1, column 2", "10", "0 to 9"]),
        (&TASK[..80], &["JSON"]),
    ] {
        place.write("tasks/training/bad.json", task);
        let words = [&["error:", "tasks/training/bad.json", "expected"], words].concat();
        place.hrm("data arc --tasks tasks --out new --augment 3").expect(2, &words);
        assert!(place.is_free("new"), "{task}");
    }
}

#[test]
fn ctrl_c_leaves_what_was_there() {
    let place = with_tasks();
    place.hrm("data arc --tasks tasks --out old --augment 3").expect(0, &[]);
    let before = place.files("old");
    for n in 0..400 {
        // Grids of many looks: enough work to be interrupted in.
        let rows: Vec<String> =
            (0..30).map(|i| format!("[{}]", vec![(1 + (n + i) % 9).to_string(); 30].join(","))).collect();
        let grid = rows.join(",");
        let pair = format!(r#"{{"input": [{grid}], "output": [{grid}]}}"#);
        place.write(
            &format!("tasks/training/{n}.json"),
            format!(r#"{{"train": [{pair}], "test": [{pair}]}}"#),
        );
    }
    for (line, out) in [
        ("data arc --tasks tasks --augment 3000 --out old --force", "old"),
        ("data arc --tasks tasks --augment 3000 --out new", "new"),
        ("data maze --generate 4000000 --min-path 200 --out new --split test", "new"),
        ("data sudoku --generate 4000000 --size 9 --out new --split test", "new"),
    ] {
        let mut running = Running::start(&mut place.command(line));
        let parts = |dir: &std::path::Path| {
            let unfinished = |entry: fs::DirEntry| entry.file_name().to_string_lossy().contains(".tmp-");
            fs::read_dir(dir).is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(unfinished)))
        };
        let (train, test) = (place.path(&format!("{out}/train")), place.path(&format!("{out}/test")));
        assert!(running.wait_until(|_| parts(&train) || parts(&test)), "{line}: {}", running.err());
        running.signal("INT");
        running.wait().expect(130, &["interrupted"]);
        assert!(place.is_free("new"), "{line}");
        assert_same(&place.files("old"), &before, line);
    }
}
