//! Ctrl-C: the first saves and stops, the second stops at once. Both exit with 130.

use crate::support::{Place, Running, assert_same, binary, checkpoints};

const LONGER: &str = "--set checkpoint_interval=50 --set eval_interval=200 --steps 800";

fn line(out: &str) -> String {
    format!("train {} {LONGER} --out {out}", crate::support::TINY)
}

#[test]
fn ctrl_c_and_sigterm_save_and_the_resumed_run_is_the_same() {
    let place = Place::with_data();
    place.hrm(&line("whole")).expect(0, &[]);
    for signal in ["INT", "TERM"] {
        let mut running = Running::start(&mut place.command(&line(signal)));
        let run = place.path(signal);
        assert!(running.wait_until(|_| !checkpoints(&run).is_empty()), "{}", running.err());
        running.signal(signal);
        let go_on = format!("hint: go on with: {} ", binary().display());
        let words = ["interrupted after step ", "saved ", &go_on, "train --resume"];
        let ended = running.wait().expect(130, &words);
        assert!(!ended.err.contains("error:"), "{}", ended.err);
        let saved = checkpoints(&run).pop().unwrap();
        assert!(ended.err.contains(&saved), "{saved} is not named in {}", ended.err);
        // The command that the hint gives.
        let hint = ended.err.lines().find_map(|line| line.split_once(&go_on)).unwrap().1;
        place.hrm(hint).expect(0, &["done after 800 steps"]);
        assert_same(&place.result(signal), &place.result("whole"), signal);
    }
}

#[test]
fn a_second_ctrl_c_ends_at_once() {
    let place = Place::with_data();
    // Steps of a second or more: the second signal comes in the step that the first one waits for.
    let slow = "train --preset sudoku-4x4 --set arch.hidden_size=256 --set arch.H_layers=2 --set arch.L_layers=2 \
                --set global_batch_size=256 --data data --out run";
    let mut running = Running::start(&mut place.command(slow));
    assert!(running.wait_until(|running| running.err().contains("memory ")), "{}", running.err());
    // Two signals that come before the process runs again count as one, so it is sent until it is heard twice.
    while running.alive() {
        running.signal("INT");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let ended = running.wait().expect(130, &[]);
    assert!(!ended.err.contains("saved"), "{}", ended.err);
    assert_eq!(checkpoints(&place.path("run")), [""; 0]);
    // What is left can be gone on with.
    place.hrm("train --resume --data data --out run --steps 1").expect(0, &["done after 1 steps"]);
}

/// A step of the published model takes minutes on a CPU: whoever asks for a stop is told within a second that it was heard.
#[test]
fn a_stop_in_the_midst_of_a_long_step_is_answered_at_once() {
    let place = Place::with_data();
    let slow = "train --preset sudoku-4x4 --set arch.hidden_size=512 --set arch.num_heads=8 --set arch.H_layers=4 \
                --set arch.L_layers=4 --set global_batch_size=1024 --data data --out run";
    for signal in ["INT", "TERM", "HUP"] {
        let mut running = Running::start(&mut place.command(slow));
        assert!(running.wait_until(|running| running.err().contains("memory ")), "{}", running.err());
        running.signal(signal);
        let heard = running.wait_until(|running| running.err().contains("stopping after this step"));
        assert!(heard, "{}", running.err());
        running.child.kill().unwrap();
        running.wait();
        std::fs::remove_dir_all(place.path("run")).unwrap();
    }
}
