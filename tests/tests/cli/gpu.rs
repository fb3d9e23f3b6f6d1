//! What the program says of GPUs that it cannot use, on machines of every kind: drivers are stand-ins, see
//! `hrm-cuda/tests/stand_in/libcuda.c`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::support::{Ended, Place, run};

/// A directory in `place` with a driver that gives these answers.
fn stand_in(place: &Place, answers: &[&str]) -> PathBuf {
    let dir = place.path("driver");
    std::fs::create_dir_all(&dir).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../hrm-cuda/tests/stand_in/libcuda.c");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC"]).args(answers).arg("-o").args([&dir.join("libcuda.so.1"), &source]);
    assert!(cc.status().unwrap().success());
    dir
}

/// Runs a line with that driver, and nothing else of CUDA that the environment names.
fn with_driver(place: &Place, answers: &[&str], line: &str) -> Ended {
    let dir = stand_in(place, answers);
    let mut command = place.command(line);
    for variable in ["HRM_CUDA_PATH", "CUDA_HOME", "CUDA_PATH", "VIRTUAL_ENV", "CONDA_PREFIX"] {
        command.env_remove(variable);
    }
    run(command.env("LD_LIBRARY_PATH", dir))
}

fn devices(answers: &[&str]) -> Ended {
    with_driver(&Place::empty(), answers, "info --devices")
}

#[test]
fn a_driver_for_an_older_cuda_is_not_called_fine() {
    let ended = devices(&["-DVERSION=12040"]);
    assert_eq!(ended.out, "0: Stand-in, compute capability 9.0, 8.0 GiB, driver for CUDA 12.4 (too old)\n");
    ended.expect(1, &["no GPU can be used", "for CUDA 12.4", "13.0 or later", "580 or later"]);
}

#[test]
fn an_older_gpu_is_not_called_fine() {
    let ended = devices(&["-DCAPABILITY=75"]);
    assert!(ended.out.contains("compute capability 7.5") && ended.out.contains("(too old)"), "{}", ended.out);
    ended.expect(1, &["Stand-in has compute capability 7.5, the kernels need 8.0 or later"]);
}

/// In words, with the code; and codes that no list has do not end the program.
#[test]
fn what_the_driver_says_comes_with_what_helps() {
    for (code, words) in [
        (2, "`nvidia-smi`"),
        (34, "libcuda.so.1 is a stub"),
        (35, "580"),
        (46, "another process"),
        (802, "nvidia-fabricmanager"),
        (803, "restart the machine"),
        (999, "dmesg"),
        (12345, "CUDA_ERROR_OF_TOMORROW"),
        (54321, "54321"),
        (-1, "says -1"),
    ] {
        let ended = devices(&[&format!("-DINIT=({code})")]);
        ended.expect(1, &["no GPU can be used: start of the driver: ", words, &code.to_string()]);
    }
    devices(&["-DNAME=77777"]).expect(1, &["no GPU can be used: look at device 0: ", "77777"]);
}

#[test]
fn no_gpu_is_said_once() {
    for answer in ["-DINIT=100", "-DCOUNT=0"] {
        devices(&[answer]).expect(1, &["finds no NVIDIA GPU", "CUDA_VISIBLE_DEVICES"]);
    }
}

#[test]
fn devices_are_listed_as_json() {
    let ended = with_driver(&Place::empty(), &["-DCOUNT=2", "-DVERSION=12080"], "info --devices --json");
    let listed: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(listed["usable"], false);
    assert_eq!(listed["devices"].as_array().unwrap().len(), 2);
    let second = &listed["devices"][1];
    assert_eq!((&second["index"], &second["name"]), (&1.into(), &"Stand-in".into()));
    assert_eq!((&second["compute_capability"], &second["driver_cuda"]), (&"9.0".into(), &"12.8".into()));
    assert_eq!((&second["memory_bytes"], &second["supported"]), (&(8u64 << 30).into(), &false.into()));
    assert!(listed["problems"][0].as_str().unwrap().contains("12.8"), "{listed}");
    ended.expect(1, &["12.8"]);
}

/// Work says what the list says, not that a backend failed.
#[test]
fn work_on_no_gpu_says_why() {
    let place = Place::empty();
    let bench = "bench --backend cuda --preset sudoku-4x4";
    for (answer, words) in [
        ("-DVERSION=12040", "no GPU can be used: the driver is for CUDA 12.4"),
        ("-DINIT=803", "no GPU can be used: start of the driver: the driver in the kernel"),
        ("-DINIT=12345", "no GPU can be used: start of the driver: the driver says 12345"),
        ("-DCOUNT=0", "no GPU can be used: the driver is there and finds no NVIDIA GPU"),
    ] {
        let ended = with_driver(&place, &[answer], bench).expect(1, &[words]);
        assert!(!ended.err.contains("the backend failed"), "{}", ended.err);
    }
}

/// Where the system's loader knows no driver, that of `HRM_CUDA_PATH` is taken, and a file there that is no library is named.
#[test]
fn a_driver_may_lie_where_the_user_says() {
    let place = Place::empty();
    let dir = stand_in(&place, &["-DVERSION=11080"]);
    let named = |path: &Path| {
        let mut command = place.command("info --devices");
        run(command.env("HRM_CUDA_PATH", path).env_remove("LD_LIBRARY_PATH"))
    };
    if !named(&place.path("nowhere")).err.contains("(libcuda) cannot be used") {
        // This machine has a driver.
        return;
    }
    named(&dir).expect(1, &["for CUDA 11.8"]);
    let broken = place.path("broken");
    std::fs::create_dir(&broken).unwrap();
    std::fs::write(broken.join("libcuda.so.1"), "no library").unwrap();
    named(&broken).expect(1, &[broken.join("libcuda.so.1").to_str().unwrap(), "cannot be used"]);
}
