//! Systems that give less than is asked for: threads, address space, files without an end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::{Place, Running, assert_same, binary, run};

/// The program in a shell that has set limits.
fn limited(place: &Place, limits: &str, line: &str) -> Command {
    let mut command = Command::new("bash");
    let script = format!("ulimit -c 0; {limits}; exec {} {line}", binary().display());
    command.args(["-c", &script]).current_dir(place.path(""));
    command
}

#[test]
fn what_does_not_fit_the_address_space_is_refused_with_its_size() {
    let place = Place::with_run();
    let large = "train --preset sudoku-4x4 --set global_batch_size=4096 --data data --out large";
    for kib in [150_000, 400_000] {
        run(&mut limited(&place, &format!("ulimit -v {kib}"), large))
            .expect(2, &["error: the run needs ", "(ulimit -v) leaves ", "hint: a batch of "]);
        assert!(place.is_free("large"));
    }
    // However little there is, it ends with a message and no signal.
    for kib in (20_000..140_000).step_by(20_000) {
        let ended = run(&mut limited(&place, &format!("ulimit -v {kib}"), "eval --model run --data data"));
        if fs::metadata(binary()).unwrap().len() / 1024 < kib {
            assert!(
                ended.status.code().is_some_and(|code| code <= 2),
                "{kib} KiB: {} {}",
                ended.status,
                ended.err
            );
        }
    }
}

/// As another user where this is root's: the limit counts a user's processes, and root's do not count.
#[test]
fn with_fewer_threads_the_work_goes_on() {
    let place = Place::with_run();
    let copy = place.path("hrm");
    fs::copy(binary(), &copy).unwrap();
    for path in [place.path(""), copy.clone()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let expected = place.hrm("eval --model run --data data --json").expect(0, &[]).out;
    let of = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["lm_loss"].clone();
    for threads in [2, 3, 5] {
        let train = crate::support::tiny(&format!("trained-{threads}"), "");
        let eval = "./hrm eval --model run --data data --json";
        let data = format!("./hrm data sudoku --generate 8 --size 4 --split train --out made-{threads} >&2");
        let script = format!(
            "ulimit -u {threads}; export RAYON_NUM_THREADS=5; ./hrm {train} && {data} && exec {eval}"
        );
        let mut command = Command::new("setpriv");
        let user = 60_000 + threads;
        command.args([
            &format!("--reuid={user}"),
            &format!("--regid={user}"),
            "--clear-groups",
            "bash",
            "-c",
            &script,
        ]);
        let output = command.current_dir(place.path("")).output();
        let Ok(output) = output.inspect_err(|error| eprintln!("no setpriv, so not tested: {error}")) else {
            return;
        };
        let err = String::from_utf8_lossy(&output.stderr);
        if err.contains("setpriv:") {
            eprintln!("another user cannot be had, so not tested: {err}");
            return;
        }
        assert_eq!(output.status.code(), Some(0), "{threads}: {err}");
        assert!(err.contains("of 5: the system gives no more"), "{threads}: {err}");
        assert_eq!(of(&String::from_utf8_lossy(&output.stdout)), of(&expected), "{threads}");
        let trained = place.result(&format!("trained-{threads}"));
        assert_same(&trained, &place.result("run"), &format!("{threads} threads"));
    }
}

/// What computes on one thread must not wait for another: of everything that says how far it is.
#[test]
fn one_thread_is_enough() {
    let place = Place::with_run();
    for line in [
        "data sudoku --generate 8 --size 4 --split train --out one",
        "data sudoku --generate 8 --size 4 --augment 3 --split test --out one",
        "eval --model run --data data",
        "train --resume --data data --out run --steps 14",
        "check --golden .",
    ] {
        let mut command = Command::new(binary());
        command.args(line.split_whitespace()).env("RAYON_NUM_THREADS", "1").current_dir(place.path(""));
        let child = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn();
        let mut child = child.unwrap();
        let ended = (0..1200).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            child.try_wait().unwrap().is_some()
        });
        if !ended {
            child.kill().unwrap();
        }
        assert!(ended, "{line} has not ended after a minute");
    }
}

#[test]
fn files_without_an_end_are_refused() {
    let place = Place::with_run();
    fs::File::create(place.path("long")).unwrap().set_len(3 << 30).unwrap();
    assert!(Command::new("mkfifo").arg(place.path("pipe")).status().unwrap().success());
    let import = "import run/best/model.safetensors --out m --config";
    let train = "train --data data --out new --config";
    let ended = "/dev/zero: the file is zeros at its beginning";
    let longer = "/dev/zero: it is longer, expected at most 1.0 MiB";
    for (line, zeros) in [(import, ended), (train, longer)] {
        for (name, words) in [
            ("long", &["long: it has 3.0 GiB, expected at most 1.0 MiB", "hint:"][..]),
            ("pipe", &["cannot read pipe: it is a named pipe", "expected a file"]),
            ("/dev/zero", &[zeros]),
        ] {
            run(&mut limited(&place, "ulimit -v 1000000", &format!("{line} {name}"))).expect(2, words);
        }
    }
    assert!(place.is_free("m") && place.is_free("new"));
}

/// Whoever writes a dataset in place while it is trained on ends the run, but not by a signal.
#[test]
fn a_mapped_file_that_is_cut_short_is_explained() {
    let place = Place::with_data();
    let line = format!("train {} --set eval_interval=0 --steps 100000 --out run", crate::support::TINY);
    let mut running = Running::start(&mut place.command(&line));
    let saved = place.path("run");
    assert!(running.wait_until(|_| !crate::support::checkpoints(&saved).is_empty()), "{}", running.err());
    let inputs = fs::OpenOptions::new().write(true).open(place.path("data/train/all__inputs.npy")).unwrap();
    inputs.set_len(0).unwrap();
    running.wait().expect(1, &["error: a file was cut short while it was read", "hint:"]);
}

/// A pipe that nobody writes into would be waited for without end, and one can be read once only.
#[cfg(unix)]
#[test]
fn pipes_are_refused_where_files_are_read_more_than_once() {
    let place = Place::empty();
    let made = std::process::Command::new("mkfifo").arg(place.path("pipe")).status();
    assert!(made.unwrap().success());
    for line in [
        "data sudoku --csv pipe --out data --split train",
        "data maze --csv pipe --out data --split train",
        "data sudoku --csv /dev/stdin --out data --split train",
        "import pipe --out model",
        "import --config pipe pipe --out model",
    ] {
        let output = place.command(line).stdin(std::process::Stdio::piped()).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}: {error}");
        assert!(error.contains("pipe or a device") || error.contains("named pipe"), "{line}: {error}");
    }
}
