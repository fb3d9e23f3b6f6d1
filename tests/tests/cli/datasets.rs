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

/// The forms in which the ARC Prize, RE-ARC and copies of ARC come give the dataset that folders of tasks give.
#[test]
fn arc_is_built_from_the_files_that_people_have() {
    let place = with_tasks();
    place.hrm("data arc --tasks tasks --out expected --augment 2").expect(0, &[]);
    let expected = place.files("expected");
    // The two files of each subset, the tests without their answers, a byte order mark in one.
    let output = r#", "output": [[1], [2]]"#;
    let hidden = TASK.replace(output, "");
    assert_ne!(hidden, TASK);
    fs::create_dir(place.path("kaggle")).unwrap();
    for subset in ["training", "evaluation"] {
        let name = |kind: &str| format!("kaggle/arc-agi_{subset}_{kind}.json");
        let tasks = format!(r#"{{"{subset}-b": {hidden}, "{subset}-a": {hidden}}}"#);
        place.write(&name("challenges"), tasks);
        let outputs = format!("\u{feff}{{\"{subset}-a\": [[[1], [2]]], \"{subset}-b\": [[[1], [2]]]}}");
        place.write(&name("solutions"), outputs);
    }
    for (folder, other) in [("training", "Training"), ("evaluation", "public_eval")] {
        fs::create_dir_all(place.path("copy").join(other)).unwrap();
        for name in ["a", "b"] {
            place.write(&format!("copy/{other}/{folder}-{name}.json"), TASK);
        }
    }
    for (tasks, told) in [
        ("kaggle", ""),
        ("kaggle/arc-agi_training_challenges.json kaggle/arc-agi_evaluation_challenges.json", ""),
        ("kaggle/arc-agi_training_solutions.json kaggle/arc-agi_evaluation_challenges.json", ""),
        ("copy", ""),
        ("tasks/training tasks/evaluation", ""),
        ("tasks kaggle", "4 tasks in more than one place with the same pairs, taken once"),
    ] {
        let out = place.hrm(&format!("data arc --tasks {tasks} --out new --augment 2")).expect(0, &[]).out;
        assert!(out.contains("new/test: 2 tasks, 6 puzzles, 6 examples") && out.contains(told), "{out}");
        assert_same(&place.files("new"), &expected, tasks);
        fs::remove_dir_all(place.path("new")).unwrap();
    }
    // What a competitor gets: no answers anywhere.
    fs::remove_file(place.path("kaggle/arc-agi_evaluation_solutions.json")).unwrap();
    let out = place.hrm("data arc --tasks kaggle --out asked --augment 0").expect(0, &[]).out;
    assert!(out.contains("2 tests have no answer: their labels are ignored"), "{out}");
    fs::create_dir(place.path("pairs")).unwrap();
    place.write("pairs/a.json", r#"[{"input": [[1]], "output": [[2]]}, {"input": [[3]], "output": [[4]]}]"#);
    let out = place.hrm("data arc --tasks pairs --out pairs-out --augment 0").expect(0, &[]).out;
    assert!(out.contains("1 tasks, 1 puzzles, 2 examples") && out.contains("no test is held out"), "{out}");
    let line = "data arc --tasks tasks --out trm --augment 2 --identifiers trm";
    place.hrm(line).expect(0, &[]);
    let names = String::from_utf8(place.read("trm/identifiers.json")).unwrap();
    assert!(names.contains("evaluation-a|||t") && place.path("trm/test_puzzles.json").is_file(), "{names}");
}

#[cfg(unix)]
#[test]
fn pipes_and_directories_in_the_place_of_files_are_named() {
    let place = with_tasks();
    let fifo = place.path("tasks/training/pipe.json");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    place
        .hrm("data arc --tasks tasks --out new")
        .expect(2, &["pipe.json", "a pipe or a device", "a regular file"]);
    place
        .hrm("arc score tasks/training/pipe.json --tasks tasks")
        .expect(2, &["pipe.json", "a pipe or a device"]);
    fs::remove_file(&fifo).unwrap();
    fs::create_dir(place.path("tasks/training/more.json")).unwrap();
    place.hrm("data arc --tasks tasks --out new").expect(2, &["more.json", "found a directory"]);
    assert!(place.is_free("new"));
}

#[test]
fn what_cannot_be_built_leaves_no_directory() {
    let place = with_tasks();
    place.write("mazes.csv", "question,answer\nS  #  G  ,So #o Go \nS  #  G  ,Soo#oGoo \n");
    for folder in ["empty", "deep/1/2/3", "mine/part1"] {
        fs::create_dir_all(place.path(folder)).unwrap();
    }
    place.write("deep/1/2/3/a.json", TASK);
    place.write("mine/part1/a.json", TASK);
    for (line, words) in [
        ("data maze --csv mazes.csv --out new --split train", &["mazes.csv", "line 3", "answer"][..]),
        ("data maze --generate 5 --size 4 --min-path 15 --out new --split train", &["4", "15"]),
        ("data maze --generate 5 --size 1 --out new --split train", &["--size: found 1", "2 to 255"]),
        ("data maze --generate 5 --min-path 0 --out new --split train", &["--min-path: found 0"]),
        ("data maze --csv none.csv --out new --split train", &["none.csv"]),
        ("data arc --tasks none --out new", &["none"]),
        ("data arc --tasks mazes.csv --out new", &["mazes.csv"]),
        ("data arc --tasks empty --out new", &["empty, folders: found no task", "training/"]),
        ("data arc --tasks deep --out new", &["no task", "; deep/1/2/3 has some"]),
        (
            "data arc --tasks mine --out new",
            &["mine/part1", "--hold-out part1", "--train-on part1", "others"],
        ),
        ("data arc --tasks mine --hold-out part2 --out new", &["mine/part1", "--train-on part1"]),
        ("data arc --tasks tasks --hold-out part2 --out new", &["--hold-out: found part2"]),
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
        ("[]", &["list", "at least one pair"]),
        ("\u{1f}\u{8b}", &["JSON"]),
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

/// Datasets that are trained on together: as the one that was made of all their puzzles.
#[test]
fn several_datasets_are_trained_on_together() {
    let place = Place::with_data();
    place.hrm("data sudoku --generate 24 --size 4 --split train --out more --seed 7").expect(0, &[]);
    let both = crate::support::tiny("both", "--data more");
    place.hrm(&both).expect(0, &["done after 40 steps"]);
    let resume = "train --resume --steps 44 --out both";
    place.hrm(&format!("{resume} --data data")).expect(2, &["other training data than the run began with"]);
    place.hrm(&format!("{resume} --data data --data more")).expect(0, &["done after 44 steps"]);
    // What is held out is that of the first: the second has none.
    let card = String::from_utf8(place.read("both/best/README.md")).unwrap();
    let alone = place.hrm(&crate::support::tiny("alone", ""));
    alone.expect(0, &[]);
    let line = |card: &str| card.lines().find(|line| line.starts_with("| held-out data")).unwrap().to_owned();
    let other = String::from_utf8(place.read("alone/best/README.md")).unwrap();
    assert_eq!(line(&card), line(&other));
    place.hrm("data maze --generate 2 --size 9 --min-path 14 --split train --out maze").expect(0, &[]);
    let unlike = "train --preset sudoku-4x4 --out new --data data --data maze";
    place
        .hrm(unlike)
        .expect(2, &["maze/train/dataset.json", "seq_len: found 81, expected 16, as in data/train"]);
    assert!(place.is_free("new"));
}
