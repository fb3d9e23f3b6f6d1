//! `eval`, `solve` and `arc` with their flags.

use serde_json::Value;

use crate::support::Place;

const PUZZLE: &str = "1.34341221434321";

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn an_evaluation_says_all_it_knows() {
    let place = Place::with_run();
    let line = "eval --model run --data data --limit 12 --seed 3 --max-steps 7 --batch 5 --json \
                --near-ties near.jsonl --svg steps.svg";
    let report = json(&place.hrm(line).expect(0, &[]).out);
    assert_eq!((&report["puzzles"], report["by_step"].as_array().unwrap().len()), (&Value::from(12), 7));
    for key in ["accuracy", "exact_accuracy", "lawful", "q_halt_accuracy", "steps", "lm_loss", "q_halt_loss"]
    {
        let bounds = report["interval95"][key].as_array().unwrap();
        let [low, value, high] = [&bounds[0], &report[key], &bounds[1]].map(|it| it.as_f64().unwrap());
        assert!(low <= value && value <= high, "{key}: {low} {value} {high}");
    }
    assert_eq!(report["strategy"]["max_steps"], 7);
    assert!(String::from_utf8(place.read("steps.svg")).unwrap().starts_with("<svg"));
    for line in String::from_utf8(place.read("near.jsonl")).unwrap().lines() {
        let tie = json(line);
        let margin = |key: &str| tie[key].as_f64().unwrap();
        assert!(margin("logit_margin") < 1e-3 || margin("q_margin") < 1e-3, "{line}");
    }

    let told =
        place.hrm("eval --model run --data data --first 3").expect(0, &["on cpu, 3 rows at a time, memory "]);
    for words in ["% solved", "valid Sudokus", "cells right", "ACT steps, mean", "puzzles per second", "step"]
    {
        assert!(told.out.contains(words), "{words:?} in:\n{}", told.out);
    }
    let reference =
        place.hrm("eval --model run --data data --first 3 --backend reference --json").expect(0, &[]);
    assert_eq!(json(&reference.out)["puzzles"], 3);
}

/// One walk to the maximum tells what halting on Q comes to, and as exactly as a walk of its own.
#[test]
fn an_evaluation_says_how_it_halted_and_what_the_other_way_gives() {
    let place = Place::with_run();
    let eval = |flags: &str| {
        json(&place.hrm(&format!("eval --model run --data data --json {flags}")).expect(0, &[]).out)
    };
    for flags in ["", "--vote 4", "--answer best-q", "--max-steps 7", "--limit 9"] {
        let (both, q) = (eval(flags), eval(&format!("--halt q {flags}")));
        assert_eq!(
            (&both["strategy"]["halt"], &both["on_q"]["strategy"]),
            (&Value::from("max"), &q["strategy"])
        );
        for key in
            ["puzzles", "solved", "exact_accuracy", "accuracy", "steps", "lm_loss", "lawful", "interval95"]
        {
            assert_eq!(both["on_q"][key], q[key], "{key} with {flags}");
        }
        assert!(q.get("on_q").is_none());
    }
    let table = |flags: &str| place.hrm(&format!("eval --model run --data data {flags}")).expect(0, &[]).out;
    let both = table("");
    for words in ["halt max: all at 4 steps", "halt q: at most 4 steps", "the last board counts"] {
        assert!(both.contains(words), "{words:?} in {both}");
    }
    let q = table("--halt q --answer best-q");
    assert!(
        q.contains("halt q: at most 4 steps") && q.contains("Q likes best") && !q.contains("halt max"),
        "{q}"
    );
    assert!(table("--halt 2").contains("halt 2: after 2 steps"));
}

#[test]
fn a_sweep_agrees_with_what_it_recommends() {
    let place = Place::with_run();
    let line = "eval --model run --data data --sweep --vote 4 --svg sweep.svg";
    let found = json(&place.hrm(&format!("{line} --json")).expect(0, &[]).out);
    let settings = found["settings"].as_array().unwrap();
    assert_eq!(settings.len(), 3 * 2 * 2 * 4);
    let of = |halt: &Value, answer: &str, views: u64| {
        let is = |it: &&Value| it["halt"] == *halt && it["answer"] == answer && it["views"] == views;
        settings.iter().rfind(is).unwrap()
    };
    for (flags, setting) in [
        ("", of(&serde_json::json!({"steps": 4}), "last", 1)),
        ("--halt q --answer best-q --vote 4", of(&Value::from("q"), "best-q", 4)),
        ("--halt 2 --vote 2", of(&serde_json::json!({"steps": 2}), "last", 2)),
    ] {
        let direct =
            json(&place.hrm(&format!("eval --model run --data data --json {flags}")).expect(0, &[]).out);
        assert_eq!((&direct["solved"], &direct["steps"]), (&setting["solved"], &setting["steps"]), "{flags}");
    }
    let table = place.hrm(line).expect(0, &[]).out;
    assert!(table.contains("| halt | answer | 1 view | 2 views | 4 views |"), "{table}");
    assert!(table.contains("| published | halt 4, answer last, 1 view | 4.00 |"), "{table}");
    assert!(String::from_utf8(place.read("sweep.svg")).unwrap().starts_with("<svg"));
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    let place = Place::with_run();
    for (flags, words) in [
        ("--limit 3", "--first"),
        ("--halt 3 --max-steps 8", "given --halt 3 and --max-steps 8, expected only one of them"),
        ("--sweep --halt q", "--sweep"),
        ("--vote 0", "--vote"),
        ("--answer best", "--answer"),
    ] {
        place.hrm(&format!("eval --model run --data data --first 2 {flags}")).expect(2, &[words]);
    }
}

#[test]
fn a_file_that_cannot_be_written_is_refused_before_any_work() {
    let place = Place::with_run();
    place.write("file", "");
    std::fs::create_dir(place.path("folder")).unwrap();
    let eval = "eval --model run --data data";
    for (flags, words) in [
        ("--svg none/a.svg", ["cannot write none/a.svg: there is no directory none", "mkdir -p none"]),
        ("--near-ties none/a/b", ["there is no directory none/a", "mkdir -p none/a"]),
        ("--sweep --svg none/a.svg", ["there is no directory none", "mkdir -p none"]),
        ("--svg file/a.svg", ["cannot write file/a.svg", "a part of the path is a file"]),
        ("--near-ties folder", ["cannot write folder", "name a file"]),
    ] {
        let ended = place.hrm(&format!("{eval} {flags}")).expect(2, &words);
        assert!(ended.out.is_empty() && !ended.err.contains("parameters on"), "{flags}: {}", ended.err);
    }
    assert_eq!(place.files("folder").len(), 0);
    place.hrm(&format!("{eval} --svg folder/a.svg --near-ties folder/b")).expect(0, &[]);
    assert_eq!(place.files("folder").keys().collect::<Vec<_>>(), ["a.svg", "b"]);
}

#[test]
fn only_a_random_sample_has_intervals() {
    let place = Place::with_run();
    let eval = "eval --model run --data data";
    for (flags, sample, told, noted) in [
        ("--limit 12", "random", "a random sample of 12 of 20 puzzles; with 95% intervals", ""),
        ("--first 12", "first", "the first 12 of 20 puzzles: no random sample, so without intervals", ""),
        (
            "--first 30",
            "all",
            " of 20 puzzles in ",
            "given --first 30, there are only 20 puzzles: all are evaluated",
        ),
        (
            "--limit 21",
            "all",
            " of 20 puzzles in ",
            "given --limit 21, there are only 20 puzzles: all are evaluated",
        ),
        ("--limit 20", "all", " of 20 puzzles in ", ""),
        ("", "all", " of 20 puzzles in ", ""),
    ] {
        let text = place.hrm(&format!("{eval} {flags}")).expect(0, &[noted]);
        let intervals = text.out.contains("95% interval of solved");
        assert!(text.out.contains(told) && intervals == (sample == "random"), "{flags}: {}", text.out);
        assert!(!noted.is_empty() || !text.err.contains("there are only"), "{flags}: {}", text.err);
        let report = json(&place.hrm(&format!("{eval} {flags} --json")).expect(0, &[]).out);
        assert_eq!((&report["sample"], &report["examples"]), (&Value::from(sample), &Value::from(20)));
        assert_eq!(report["interval95"].is_object(), sample == "random", "{flags}");
        let sweep = place.hrm(&format!("{eval} {flags} --sweep")).expect(0, &[noted]).out;
        assert_eq!(sweep.contains("| 95% interval |"), sample == "random", "{flags}: {sweep}");
        assert!(sample == "all" || sweep.starts_with(told), "{flags}: {sweep}");
    }
}

#[test]
fn help_says_what_each_command_does_unless_told_otherwise() {
    let place = Place::empty();
    for (command, defaults) in [
        ("eval", ["[default: max]", "[default: last]"]),
        ("solve", ["[default: q]", "[default: best-q]"]),
        ("arc predict", ["[default: max]", "[default: last]"]),
    ] {
        let help = place.hrm(&format!("{command} --help")).expect(0, &[]).out;
        assert!(defaults.iter().all(|it| help.contains(it)), "{help}");
        assert_eq!(help.contains("--vote "), command != "arc predict", "{help}");
    }
}

#[test]
fn a_puzzle_is_asked_as_told() {
    let place = Place::with_run();
    let solve = |flags: &str| {
        let ended = place.hrm(&format!("solve --model run --json {flags} {PUZZLE}"));
        (json(&ended.out), ended.err)
    };
    let beyond = "given --halt 9, the model was trained with at most 4 ACT steps";
    for line in
        [format!("solve --model run --halt 9 {PUZZLE}"), "eval --model run --data data --halt 9".into()]
    {
        let told = place.hrm(&line).err;
        assert!(told.contains(beyond), "{told}");
    }
    let within = place.hrm(&format!("solve --model run --halt 4 {PUZZLE}")).err;
    assert!(!within.contains("was trained with"), "{within}");
    let (found, err) = solve("--halt 3 --vote 4 --verbose");
    assert_eq!((&found["steps"], &found["views"]), (&Value::from(12), &Value::from(4)));
    assert!(found["votes"].as_u64().is_some_and(|votes| (1..=4).contains(&votes)));
    assert!(err.contains("on cpu, 4 rows at a time, memory "), "{err}");
    let (found, _) = solve("--halt max --max-steps 9 --answer last --backend reference");
    assert_eq!((&found["steps"], &found["answer_step"]), (&Value::from(9), &Value::from(9)));
    let (found, _) = solve("--halt max --answer best-q --trace");
    let qs: Vec<f64> =
        found["trace"].as_array().unwrap().iter().map(|it| it["q_halt"].as_f64().unwrap()).collect();
    assert_eq!(found["q_halt"].as_f64(), qs.iter().copied().reduce(f64::max));
}

#[test]
fn submissions_are_scored_and_bad_ones_named() {
    let place = Place::empty();
    std::fs::create_dir(place.path("tasks")).unwrap();
    place.write(
        "tasks/one.json",
        r#"{"train": [{"input": [[0]], "output": [[0]]}], "test": [{"input": [[0]], "output": [[1, 2]]}]}"#,
    );
    place.write(
        "tasks/two.json",
        r#"{"train": [{"input": [[0]], "output": [[0]]}], "test": [{"input": [[0]], "output": [[3]]}]}"#,
    );
    place.write("good.json", r#"{"one": [{"attempt_1": [[0]], "attempt_2": [[1, 2]]}]}"#);
    let score = json(&place.hrm("arc score good.json --tasks tasks --json").expect(0, &[]).out);
    assert_eq!(score["pass_at"], serde_json::json!([0.0, 0.5]));
    let table = place.hrm("arc score good.json --tasks tasks").expect(0, &[]).out;
    assert!(table.contains("2 tasks of 2 tests; attempts at 1 of them"), "{table}");
    assert!(table.contains("pass@2        50.00%  1 of 2 tests"), "{table}");

    for (text, words) in [
        (&b"\xff"[..], "expected UTF-8"),
        (b"", "JSON: found EOF"),
        (&[b'['; 1 << 20], "recursion limit"),
        (br#"{"one": [{"attempt_1": [[1e400]]}]}"#, "JSON: found number out of range"),
        (br#"{"three": []}"#, "task \"three\" of the submission is not among the 2 tasks"),
    ] {
        place.write("bad.json", text);
        place.hrm("arc score bad.json --tasks tasks").expect(2, &[words]);
    }
    // One bad attempt, a key more, a task or a test too many: the rest is scored, and a warning says what was wrong.
    for (more, words) in [
        (
            r#", "two": [{"attempt_1": [[3]], "attempt_2": [[1, 2], [3]]}]"#,
            "task two, test 1, attempt_2: row 2",
        ),
        (
            r#", "two": [{"attempt_1": [[3]], "attempt_2": [[10]]}]"#,
            "1 attempt is no grid and counts as wrong",
        ),
        (r#", "two": [{"attempt_1": [[3]], "attempt_2": [[]], "confidence": 0.5}]"#, ""),
        (r#", "two": [{"attempt_1": [[3]]}, {"attempt_1": [[3]]}]"#, "task two: attempts at 2 tests"),
        (r#", "two": [{"attempt_1": [[3]]}], "three": []"#, "is not one of the tasks, passed over: three"),
    ] {
        place.write("fair.json", format!(r#"{{"one": [{{"attempt_1": [[1, 2]]}}]{more}}}"#));
        let scored = place.hrm("arc score fair.json --tasks tasks").expect(0, &[words]);
        assert!(scored.out.contains("pass@1       100.00%  2 of 2 tests"), "{more}: {}", scored.out);
        assert_eq!(scored.err.is_empty(), words.is_empty(), "{more}: {}", scored.err);
    }
    place.write("x_solutions.json", r#"{"one": [[[1, 2]]], "two": [[[3]]]}"#);
    let table = place.hrm("arc score fair.json --tasks x_solutions.json").expect(0, &[]).out;
    assert!(table.contains("100.00%  2 of 2 tests"), "{table}");
    place.write("x_solutions.json", r#"{"one": [null], "two": [null]}"#);
    place.hrm("arc score fair.json --tasks x_solutions.json").expect(2, &["no answers to their 2 tests"]);
    place.hrm("arc score none.json --tasks tasks").expect(2, &["none.json"]);
    place.hrm("arc score good.json --tasks none").expect(2, &["none"]);
    place.write("tasks/two.json", "{}");
    place.hrm("arc score good.json --tasks tasks").expect(2, &["two.json", "train"]);
}

/// The smallest model there can be, after two steps.
const TWO_STEPS: &str = "--set arch.hidden_size=16 --set arch.num_heads=1 --set arch.H_layers=1 --set arch.L_layers=1 \
                         --set arch.puzzle_emb_ndim=16 --set arch.halt_max_steps=2 --set arch.expansion=1.0 \
                         --set global_batch_size=2 --set eval_interval=0 --set eval_limit=2 --steps 2";

#[test]
fn arc_is_answered_by_votes_and_scored() {
    let place = Place::empty();
    let pair = |colour: u8| format!(r#"{{"input": [[0, {colour}]], "output": [[{colour}], [0]]}}"#);
    for (name, colours) in
        [("training/one", [1, 2]), ("evaluation/two", [3, 4]), ("evaluation/three", [5, 6])]
    {
        std::fs::create_dir_all(place.path("tasks").join(name).parent().unwrap()).unwrap();
        let [train, test] = colours.map(pair);
        place.write(
            &format!("tasks/{name}.json"),
            format!(r#"{{"train": [{train}], "test": [{test}, {train}]}}"#),
        );
    }
    place.hrm("data arc --tasks tasks --out data --augment 2").expect(0, &[]);
    place
        .hrm(&format!("train --preset arc-1 {TWO_STEPS} --data data --out run"))
        .expect(0, &["done after 2 steps"]);
    let predict = "arc predict --model run --data data --out submission.json";
    let told = json(&place.hrm(&format!("{predict} --json --halt q --answer best-q")).expect(0, &[]).out);
    assert_eq!((&told["votes"], &told["score"]["tests"]), (&Value::from(12), &Value::from(4)));
    let written = json(&String::from_utf8(place.read("submission.json")).unwrap());
    for task in ["two", "three"] {
        let tests = written[task].as_array().unwrap();
        assert!(tests.len() == 2 && tests.iter().all(|test| test["attempt_2"].is_array()), "{written}");
    }
    let score =
        json(&place.hrm("arc score submission.json --tasks tasks/evaluation --json").expect(0, &[]).out);
    assert_eq!(score["pass_at"][1], told["score"]["pass_at"][1]);
    // Nothing is kept from one prediction to the next.
    place.hrm(predict).expect(0, &[]);
    let once = place.read("submission.json");
    place.hrm(predict).expect(0, &[]);
    assert_eq!(place.read("submission.json"), once);
    // Without the answers to its tests: the same attempts, and no score.
    for name in ["two", "three"] {
        let path = format!("tasks/evaluation/{name}.json");
        let text = String::from_utf8(place.read(&path)).unwrap();
        let mut task = json(&text);
        for pair in task["test"].as_array_mut().unwrap() {
            pair.as_object_mut().unwrap().remove("output");
        }
        place.write(&path, task.to_string());
    }
    place.hrm("data arc --tasks tasks --out asked --augment 2").expect(0, &[]);
    let told = place.hrm(&predict.replace("--data data", "--data asked")).expect(0, &[]).out;
    assert!(told.contains("no score: the dataset does not have the answers to 4 tests"), "{told}");
    assert!(!told.contains("pass@"), "{told}");
    let tests = |bytes: &[u8]| json(std::str::from_utf8(bytes).unwrap())["two"].as_array().unwrap().len();
    assert_eq!((tests(&place.read("submission.json")), tests(&once)), (2, 2));
    place.hrm("eval --model run --data asked").expect(0, &[]);
    place
        .hrm("arc score submission.json --tasks tasks/evaluation")
        .expect(2, &["no answers to their 4 tests"]);
    place.hrm("export run --to postcard --quantize int8 --out a.hrm").expect(0, &[]);
    let in_integers = |model: &str| {
        let line = format!("arc predict --model {model} --data data --out int8.json --backend int8");
        place.hrm(&line).expect(0, &["on int8"]);
        json(&String::from_utf8(place.read("int8.json")).unwrap())
    };
    let from_run = in_integers("run");
    assert_eq!((from_run["three"].as_array().unwrap().len(), &from_run), (2, &in_integers("a.hrm")));
    let fewer = place.hrm(&format!("{predict} --votes 1 --attempts 3")).expect(0, &["on cpu"]);
    assert!(fewer.out.contains("submission.json: 4 answers in 2.00 ACT steps"), "{}", fewer.out);
    place.hrm(&format!("{predict} --vote 3")).expect(2, &["--votes"]);
    let elsewhere = predict.replace("submission.json", "none/submission.json");
    let refused = place.hrm(&elsewhere).expect(2, &["there is no directory none", "mkdir -p none"]);
    assert!(refused.out.is_empty() && !refused.err.contains("on cpu"), "{}", refused.err);
    place.hrm("eval --model run --data data --vote 2").expect(2, &["an ARC puzzle has no more symmetries"]);
    place.hrm("solve --model run 01").expect(0, &[]);
    let solved = json(&place.hrm("solve --model run --json --puzzle-id 2 01").expect(0, &[]).out);
    assert_eq!((&solved["solved"], &solved["steps"]), (&Value::Null, &Value::from(2)));
    place
        .hrm("solve --model run --puzzle-id 99 01")
        .expect(2, &["the puzzle identifier is 99, expected 0 to "]);
}

#[test]
fn mazes_are_solved_and_judged_by_any_shortest_path() {
    let place = Place::empty();
    for split in ["train", "test"] {
        place
            .hrm(&format!("data maze --generate 4 --size 5 --min-path 4 --out data --split {split}"))
            .expect(0, &[]);
    }
    place.hrm(&format!("train --preset maze-hard {TWO_STEPS} --data data --out run")).expect(0, &[]);
    let told = place.hrm("eval --model run --data data --vote 8").expect(0, &[]).out;
    assert!(told.contains("any shortest path"), "{told}");
    place.hrm("eval --model run --data data --vote 9").expect(2, &["expected at most 8"]);
    let swept = place.hrm("eval --model run --data data --sweep").expect(0, &[]).out;
    assert!(swept.contains("\n| 2 | last | ") && swept.contains("\n| q, at most 2 | last | "), "{swept}");
    let maze = "S---#-----##---------#--G".replace('-', " ");
    let mut command = place.command("solve --model run --json");
    let ended = crate::support::run(command.arg(&maze));
    let found = json(&ended.out);
    assert_eq!(found["answer"].as_str().unwrap().chars().count(), 25);
    ended.expect(if found["solved"] == true { 0 } else { 1 }, &[]);
    place.hrm("solve --model run S#G").expect(2, &["maze, line 1: found 3 cells"]);
}

/// An array of no rows.
fn no_rows(descr: &str, shape: &str) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    let header = format!("{header:<117}\n");
    [b"\x93NUMPY\x01\x00".as_slice(), &(header.len() as u16).to_le_bytes(), header.as_bytes()].concat()
}

#[test]
fn no_puzzles_are_no_score() {
    let place = Place::with_run();
    let split = place.path("none/test");
    std::fs::create_dir_all(&split).unwrap();
    let description = String::from_utf8(place.read("data/test/dataset.json")).unwrap();
    let groups = format!("\"total_groups\":{}", json(&description)["total_groups"]);
    assert!(description.contains(&groups), "{description}");
    std::fs::write(split.join("dataset.json"), description.replace(&groups, "\"total_groups\":0")).unwrap();
    let one = |descr: &str| {
        let mut array = no_rows(descr, "(1,)");
        array.extend(0i32.to_le_bytes());
        array
    };
    for (name, array) in [
        ("inputs", no_rows("|u1", "(0, 16)")),
        ("labels", no_rows("|u1", "(0, 16)")),
        ("puzzle_identifiers", no_rows("<i4", "(0,)")),
        ("puzzle_indices", one("<i4")),
        ("group_indices", one("<i4")),
    ] {
        std::fs::write(split.join(format!("all__{name}.npy")), array).unwrap();
    }
    for more in ["", " --json", " --sweep", " --first 3", " --limit 3"] {
        let line = format!("eval --model run --data none{more}");
        place.hrm(&line).expect(1, &["there is nothing to evaluate: none/test has no puzzles"]);
    }
}
