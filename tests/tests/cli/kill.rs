//! `kill -9` at random moments: nothing is lost, and the resumed run equals the uninterrupted one bit for bit.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::{Place, Random, Running, assert_same, tiny};

const RESUME: &str = "train --resume --data data --out";

/// When a run is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So long after its start.
    After(Duration),
    /// So long after its `n`-th checkpoint was begun.
    Saving { n: u64, then: Duration },
}

impl Moment {
    /// Every other one is while a checkpoint is written.
    fn choose(index: u64, whole: Duration, random: &mut Random) -> Self {
        if index.is_multiple_of(2) {
            Self::After(Duration::from_micros(random.below(whole.as_micros() as u64)))
        } else {
            Self::Saving { n: random.below(8), then: Duration::from_micros(random.below(3000)) }
        }
    }

    /// Kills `running` at this moment. Says whether it was still there to be killed.
    fn kill(self, mut running: Running, place: &Place, out: &str) -> bool {
        match self {
            Self::After(time) => sleep(time),
            Self::Saving { n, then } => {
                let staging = format!("step-{:08}.tmp-{}", 5 * (n + 1), running.child.id());
                let (staging, target) =
                    (place.path(out).join(&staging), place.path(out).join(&staging[..13]));
                while running.alive() && !staging.exists() && !target.exists() {}
                sleep(then);
            }
        }
        running.child.kill().unwrap();
        running.wait().killed()
    }
}

/// The command that goes on after a kill: `--resume` as soon as the run has left anything to go on from, and else the
/// first command again.
fn go_on(place: &Place, out: &str) -> String {
    if place.is_free(&format!("{out}/settings.toml")) { tiny(out, "") } else { format!("{RESUME} {out}") }
}

fn reference() -> (Place, Duration) {
    let place = Place::with_data();
    let started = Instant::now();
    place.train("whole", "").expect(0, &[]);
    (place, started.elapsed())
}

#[test]
fn two_runs_are_the_same_bit_for_bit() {
    let (place, _) = reference();
    place.train("again", "").expect(0, &[]);
    let result = place.result("whole");
    assert_same(&place.result("again"), &result, "a second run");
    let files = [
        "metrics.jsonl",
        "events.out.tfevents.hrm",
        "settings.toml",
        "best/model.safetensors",
        "step-00000040/trainer.safetensors",
    ];
    for file in files.into_iter().chain(["step-00000035/model.safetensors", "step-00000040/config.json"]) {
        assert!(result.contains_key(file), "{file} is not compared");
    }
}

#[test]
fn a_run_killed_at_20_random_moments_resumes_to_the_same_bits() {
    let (place, whole) = reference();
    let expected = place.result("whole");
    let mut random = Random(20);
    let (mut kills, mut while_saving) = (0, 0);
    for index in 0.. {
        assert!(index < 100, "only {kills} of {index} runs were killed before their end");
        let out = format!("run-{index}");
        let moment = Moment::choose(index, whole, &mut random);
        let running = Running::start(&mut place.command(&tiny(&out, "")));
        if moment.kill(running, &place, &out) {
            kills += 1;
            let unfinished = fs::read_dir(place.path(&out)).is_ok_and(|entries| {
                entries.flatten().any(|entry| entry.file_name().to_string_lossy().contains(".tmp-"))
            });
            while_saving += u64::from(unfinished);
        }
        place.hrm(&go_on(&place, &out)).expect(0, &["done after 40 steps"]);
        assert_same(&place.result(&out), &expected, &format!("killed at {moment:?}"));
        fs::remove_dir_all(place.path(&out)).unwrap();
        if kills == 20 {
            break;
        }
    }
    assert!(while_saving > 0, "no kill met a checkpoint being written");
}

#[test]
fn a_run_killed_again_and_again_comes_to_the_same_end() {
    let (place, whole) = reference();
    let mut random = Random(7);
    let mut line = tiny("run", "");
    for index in 0..8 {
        let moment = Moment::choose(index, whole, &mut random);
        moment.kill(Running::start(&mut place.command(&line)), &place, "run");
        line = go_on(&place, "run");
    }
    place.hrm(&line).expect(0, &["done after 40 steps"]);
    assert_same(&place.result("run"), &place.result("whole"), "killed eight times");
}

/// As many kills as `HRM_KILLS` says, of one run after the other, each killed one or more times before it comes to its end.
#[test]
#[ignore = "minutes; `just kills` runs it"]
fn every_one_of_many_kills_is_survived() {
    let wanted: u64 = std::env::var("HRM_KILLS").map_or(300, |kills| kills.parse().unwrap());
    let (place, whole) = reference();
    let expected = place.result("whole");
    let (mut random, mut kills, mut runs, mut moment) = (Random(wanted), 0, 0u64, 0);
    while kills < wanted {
        runs += 1;
        let mut line = tiny("run", "");
        // One kill for most runs, several on the way of every fifth.
        for _ in 0..if runs.is_multiple_of(5) { 4 } else { 1 } {
            moment += 1;
            let at = Moment::choose(moment, whole, &mut random);
            kills += u64::from(at.kill(Running::start(&mut place.command(&line)), &place, "run"));
            line = go_on(&place, "run");
        }
        place.hrm(&line).expect(0, &["done after 40 steps"]);
        // No leftovers, two checkpoints, and the bits of the run that nobody disturbed.
        assert_same(&place.result("run"), &expected, &format!("run {runs}, killed {kills} times in all"));
        assert_eq!(crate::support::checkpoints(&place.path("run")).len(), 2);
        fs::remove_dir_all(place.path("run")).unwrap();
    }
    println!(
        "{kills} kills of {runs} runs: each came to the same bits, with two checkpoints and nothing else left"
    );
}
