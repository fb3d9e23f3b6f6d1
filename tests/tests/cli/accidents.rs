//! Ordinary accidents around a run: two processes on it, folders of other people, other data, a closed terminal.

use std::fs;
use std::process::Command;

use crate::support::{Place, Running, TINY, assert_same, checkpoints, copy_dir};

const RESUME: &str = "train --resume --data data --out run";

/// A run of many short steps that is still going on when the test is done with it.
fn long_run(place: &Place, out: &str) -> Running {
    let line =
        format!("train {TINY} --set checkpoint_interval=20 --set eval_interval=0 --steps 100000 --out {out}");
    let mut running = Running::start(&mut place.command(&line));
    let run = place.path(out);
    assert!(running.wait_until(|_| !checkpoints(&run).is_empty()), "{}", running.err());
    running
}

#[test]
fn a_run_that_is_trained_is_nobody_else_s() {
    let place = Place::with_data();
    let mut first = long_run(&place, "run");
    let who = format!("process {} on ", first.child.id());
    for line in [RESUME.to_owned(), format!("train {TINY} --steps 4 --out run")] {
        place.hrm(&line).expect(2, &["run: ", &who, "is training this run", "hint:"]);
        assert!(first.alive(), "{}", first.err());
    }
    // Looking is free.
    place.hrm("info run").expect(0, &[]);
    first.signal("HUP");
    first.wait().expect(130, &["interrupted after step ", "saved ", "train --resume"]);
    assert!(place.is_free("run/run.lock"));
    assert_eq!(checkpoints(&place.path("run")).len(), 2);
    // A killed process keeps nobody out.
    let mut killed = long_run(&place, "again");
    killed.child.kill().unwrap();
    assert!(killed.wait().killed());
    let step = checkpoints(&place.path("again")).pop().unwrap()[5..].parse::<u64>().unwrap() + 1;
    place.hrm(&format!("train --resume --data data --out again --steps {step}")).expect(0, &["done after"]);
    assert!(place.is_free("again/run.lock"));
}

#[test]
fn nohup_keeps_a_run_going_when_the_terminal_is_closed() {
    let place = Place::with_data();
    let binary = crate::support::binary().display();
    let line = format!("train {TINY} --set eval_interval=0 --steps 100000 --out run");
    let mut command = Command::new("sh");
    command.args(["-c", &format!("trap '' HUP; exec {binary} {line}")]).current_dir(place.path(""));
    let mut running = Running::start(&mut command);
    let run = place.path("run");
    assert!(running.wait_until(|_| !checkpoints(&run).is_empty()), "{}", running.err());
    running.signal("HUP");
    let seen = checkpoints(&run);
    assert!(running.wait_until(|_| checkpoints(&run).last() > seen.last()), "{}", running.err());
    running.signal("TERM");
    running.wait().expect(130, &["saved "]);
}

/// Nothing is touched before it is certain that a run begins or goes on, and nothing of other people's ever.
#[test]
fn a_refused_command_leaves_a_folder_as_it_was() {
    let place = Place::with_data();
    for (name, text) in [
        ("out/letter.old-1999999", "dear"),
        ("out/album.tmp-4000001/a.jpg", "sun"),
        ("out/best.old-1999999/notes.txt", "mine"),
        ("out/step-00000005.tmp-1999999/notes.txt", "mine"),
    ] {
        fs::create_dir_all(place.path(name).parent().unwrap()).unwrap();
        place.write(name, text);
    }
    let before = place.files("out");
    place.train("out", "").expect(2, &["out exists and is not empty"]);
    place.hrm("train --resume --data data --out out").expect(2, &["nothing to resume", "hint:"]);
    assert_same(&place.files("out"), &before, "refused");
    place.hrm("train --resume --data data --out none").expect(2, &["cannot read none"]);
    assert!(place.is_free("none"));
    // A setting that is refused later on: the directory is not made.
    place.train("new", "--set lr=-1").expect(2, &["lr is -1"]);
    assert!(place.is_free("new"));
}

/// What a kill can leave, made by hand: an unfinished checkpoint, a third one, and a best model that is moved aside, under
/// the id of a process that is alive.
#[test]
fn what_a_kill_left_is_cleared_whoever_has_its_process_id() {
    let place = Place::with_run();
    let best = place.files("run/best");
    copy_dir(&place.path("run/step-00000035"), &place.path("run/step-00000030"));
    fs::rename(place.path("run/best"), place.path("run/best.old-1")).unwrap();
    fs::create_dir(place.path("run/step-00000045.tmp-1")).unwrap();
    place.write("run/step-00000045.tmp-1/config.json", "{");
    let model = place.hrm("eval --model run --data data --limit 4 --json").expect(0, &[]).out;
    place.hrm(RESUME).expect(0, &["done after 40 steps"]);
    assert_same(&place.files("run/best"), &best, "the best model");
    assert_eq!(checkpoints(&place.path("run")), ["step-00000035", "step-00000040"]);
    assert!(place.files("run").keys().all(|name| !name.contains(".tmp-") && !name.contains(".old-")));
    let of = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["lm_loss"].clone();
    let again = place.hrm("eval --model run --data data --limit 4 --json").expect(0, &[]).out;
    assert_eq!(of(&model), of(&again), "the model that was moved aside is the one that is asked");
}

#[test]
fn the_chart_goes_without_what_is_wrong_with_the_metrics() {
    for (damage, notes) in [
        ("byte", &["metrics.jsonl: 1 line is damaged, the chart goes without"][..]),
        ("cut", &["metrics.jsonl has ", "the run goes on"]),
        ("gone", &["metrics.jsonl is gone: the run goes on"]),
    ] {
        let place = Place::with_run();
        let mut bytes = place.read("run/metrics.jsonl");
        match damage {
            "byte" => {
                let middle = bytes.len() / 2;
                bytes[middle] = 0;
            }
            "cut" => bytes.truncate(bytes.len() / 2),
            _ => fs::remove_file(place.path("run/metrics.jsonl")).unwrap(),
        }
        if damage != "gone" {
            place.write("run/metrics.jsonl", bytes);
        }
        place.hrm(&format!("{RESUME} --steps 60")).expect(0, notes).expect(0, &["done after 60 steps"]);
        let text = String::from_utf8_lossy(&place.read("run/metrics.jsonl")).into_owned();
        let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(last["step"], 60, "{damage}");
        place.hrm(&format!("{RESUME} --steps 65")).expect(0, &["done after 65 steps"]);
    }
}

/// Each hint is about what is wrong, and none blames a good checkpoint or the learning rate.
#[test]
fn hints_are_about_what_is_wrong() {
    let place = Place::with_run();
    copy_dir(&place.path("data"), &place.path("other"));
    place.hrm("data sudoku --generate 60 --size 4 --out again --split train --seed 9").expect(0, &[]);
    place.hrm("data sudoku --generate 20 --size 4 --out again --split test --seed 8").expect(0, &[]);
    let swap = |split: &str| {
        fs::remove_dir_all(place.path("other").join(split)).unwrap();
        copy_dir(&place.path("again").join(split), &place.path("other").join(split));
    };
    let before = place.files("run");
    let blameless = |line: &str, words: &[&str]| {
        let ended = place.hrm(line).expect(2, words);
        for wrong in ["damaged", "move ", "learning rate"] {
            assert!(!ended.err.contains(wrong), "{wrong:?} in {}", ended.err);
        }
        assert_same(&place.files("run"), &before, line);
    };
    let resume = "train --resume --out run --steps 50 --data";
    swap("test");
    blameless(&format!("{resume} other"), &["other/test: other held-out data", "hint:", "--data"]);
    fs::remove_dir_all(place.path("other/test")).unwrap();
    blameless(&format!("{resume} other"), &["other held-out data", "found none"]);
    swap_in(&place, "test");
    swap("train");
    blameless(&format!("{resume} other"), &["other/train: other training data", "hint:", "--data"]);
    blameless(&format!("{resume} data --backend reference"), &["backend cpu", "hint: add --backend cpu"]);
    place.hrm(&format!("{resume} data")).expect(0, &["done after 50 steps"]);
}

/// Puts the split back that the run began with.
fn swap_in(place: &Place, split: &str) {
    copy_dir(&place.path("data").join(split), &place.path("other").join(split));
}

#[test]
fn a_quickstart_goes_on_where_it_was_interrupted() {
    let place = Place::empty();
    let mut running = Running::start(&mut place.command("quickstart"));
    let run = place.path("runs/quickstart/run");
    assert!(running.wait_until(|_| run.join("settings.toml").is_file()), "{}", running.err());
    // The handlers are there once the bar is.
    std::thread::sleep(std::time::Duration::from_millis(300));
    running.signal("TERM");
    let ended = running.wait();
    assert_eq!(ended.status.code(), Some(130), "{}", ended.err);
    assert!(ended.err.contains("hint: go on with: ") && ended.err.contains(" quickstart"), "{}", ended.err);
    let saved = checkpoints(&run).pop().unwrap();
    let step: u64 = saved[5..].parse().unwrap();
    let mut running = Running::start(&mut place.command("quickstart"));
    assert!(running.wait_until(|running| running.out().contains("goes on after step")), "{}", running.err());
    assert!(running.out().contains(&format!("goes on after step {step}, ")), "{}", running.out());
    running.child.kill().unwrap();
    running.wait();
    assert!(place.is_free("runs/quickstart-2"));
}
