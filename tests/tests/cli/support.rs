//! Finding and running the program, and a run small enough for dozens of them.
//!
//! The binary is that of the environment variable `HRM_BIN` if it is set. Otherwise it is built once per test process by
//! `cargo build -p hrm-host --bin hrm`, in the profile and target directory of the tests themselves.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Longest that any one process may take.
const LIMIT: Duration = Duration::from_secs(300);

/// The program.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| std::env::var_os("HRM_BIN").map_or_else(build, PathBuf::from))
}

fn build() -> PathBuf {
    // TARGET/PROFILE/deps/cli-HASH
    let this = std::env::current_exe().unwrap();
    let directory = this.ancestors().nth(2).unwrap();
    let profile = match directory.file_name().and_then(OsStr::to_str).unwrap() {
        "debug" => "dev",
        other => other,
    };
    // Of the whole workspace, with the tests' own features: nothing is built a second time.
    let features: &[&str] =
        if cfg!(feature = "emulator") { &["--features", "hrm-tests/emulator"] } else { &[] };
    let output = Command::new(env!("CARGO"))
        .args(["build", "--workspace", "--bin", "hrm", "--message-format", "json"])
        .args(features)
        .args(["--profile", profile, "--target-dir"])
        .arg(directory.parent().unwrap())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "the program does not build");
    let messages = String::from_utf8(output.stdout).unwrap();
    let executable = messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    executable.expect("cargo names no executable")
}

/// A process that was started, with its output in files.
pub struct Running {
    pub child: Child,
    output: TempDir,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub out: String,
    pub err: String,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        let output = tempfile::tempdir().unwrap();
        let file = |name: &str| File::create(output.path().join(name)).unwrap();
        let child = command.stdin(Stdio::null()).stdout(file("out")).stderr(file("err")).spawn().unwrap();
        Self { child, output }
    }

    /// What the process has written to standard error so far.
    pub fn err(&self) -> String {
        fs::read_to_string(self.output.path().join("err")).unwrap()
    }

    /// What the process has written to standard output so far.
    pub fn out(&self) -> String {
        fs::read_to_string(self.output.path().join("out")).unwrap()
    }

    /// Whether it still runs.
    pub fn alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends it a signal by name, such as `INT`.
    pub fn signal(&self, name: &str) {
        let script = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success(), "{script}");
    }

    /// Waits for `ready` while it runs; false if it ended first.
    pub fn wait_until(&mut self, mut ready: impl FnMut(&Self) -> bool) -> bool {
        let started = Instant::now();
        while !ready(self) {
            assert!(started.elapsed() < LIMIT, "waited in vain:\n{}", self.err());
            if !self.alive() {
                return ready(self);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    pub fn wait(mut self) -> Ended {
        let started = Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if started.elapsed() > LIMIT => {
                    let _ = self.child.kill();
                    panic!("no end after {LIMIT:?}:\n{}", self.err());
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        let read =
            |name: &str| String::from_utf8_lossy(&fs::read(self.output.path().join(name)).unwrap()).into();
        let ended = Ended { status, out: read("out"), err: read("err") };
        assert!(!ended.err.contains("panicked"), "{}", ended.err);
        ended
    }
}

impl Ended {
    /// Asserts the exit code, and that standard error contains each of `words`.
    #[track_caller]
    pub fn expect(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.status.code(), Some(code), "{}\n{}\n{}", self.status, self.out, self.err);
        for word in words {
            assert!(self.err.contains(word), "expected {word:?} in:\n{}", self.err);
        }
        self
    }

    /// Whether `kill -9` ended it.
    pub fn killed(&self) -> bool {
        self.status.signal() == Some(9)
    }
}

/// The program with these arguments, split at spaces; paths are given by [`Place::line`].
pub fn hrm(arguments: &[impl AsRef<OsStr>]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments);
    command
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Ended {
    Running::start(command).wait()
}

/// A directory of its own for a test, in which the program runs.
pub struct Place(TempDir);

/// Settings of the tiny run, without where and how long.
pub const TINY: &str = "--preset sudoku-4x4 --set arch.hidden_size=16 --set arch.puzzle_emb_ndim=16 \
                        --set global_batch_size=4 --set checkpoint_interval=5 --set eval_interval=20 \
                        --set eval_limit=8 --data data";

impl Place {
    /// An empty one.
    pub fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// One with a dataset of 4x4 Sudoku in `data`.
    pub fn with_data() -> Self {
        let place = Self::empty();
        place.hrm("data sudoku --generate 60 --size 4 --out data --split train").expect(0, &[]);
        place.hrm("data sudoku --generate 20 --size 4 --out data --split test").expect(0, &[]);
        place
    }

    /// One with a dataset and a finished tiny run of 40 steps in `run`.
    pub fn with_run() -> Self {
        let place = Self::with_data();
        place.train("run", "").expect(0, &["done after 40 steps"]);
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The command of a line of arguments, separated by spaces.
    pub fn command(&self, line: &str) -> Command {
        let mut command = hrm(&line.split_whitespace().collect::<Vec<_>>());
        command.current_dir(self.0.path());
        command
    }

    /// Runs a line of arguments.
    pub fn hrm(&self, line: &str) -> Ended {
        run(&mut self.command(line))
    }

    /// The tiny run of 40 steps in the directory `out`, with more arguments.
    pub fn train(&self, out: &str, more: &str) -> Ended {
        self.hrm(&tiny(out, more))
    }

    /// The contents of a file.
    pub fn read(&self, name: &str) -> Vec<u8> {
        let path = self.path(name);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        fs::write(self.path(name), contents).unwrap();
    }

    /// Whether nothing lies at `name`.
    pub fn is_free(&self, name: &str) -> bool {
        self.path(name).symlink_metadata().is_err()
    }

    /// All files below `name` with their contents, by their paths in it.
    pub fn files(&self, name: &str) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        collect(&self.path(name), "", &mut found);
        found
    }

    /// What a run has come to: its checkpoints (all files: weights, moments, carry, cursor), its best model, its metrics
    /// and settings. Left out is what holds wall-clock times: `timing.jsonl`, and of the event file all but its length.
    pub fn result(&self, run: &str) -> BTreeMap<String, Vec<u8>> {
        let mut files = self.files(run);
        let leftover =
            |name: &&String| name.contains(".tmp-") || name.contains(".old-") || name.as_str() == "run.lock";
        assert_eq!(files.keys().find(leftover), None, "left by a killed process");
        let steps = checkpoints(&self.path(run));
        assert!(steps.len() <= 2, "two checkpoints are kept, there are {steps:?}");
        files.remove("timing.jsonl");
        for (name, bytes) in &mut files {
            if name.starts_with("events.") {
                *bytes = bytes.len().to_string().into_bytes();
            }
        }
        files
    }
}

/// The arguments of the tiny run of 40 steps.
pub fn tiny(out: &str, more: &str) -> String {
    format!("train {TINY} --steps 40 --out {out} {more}")
}

/// Asserts that two runs came to the same, byte for byte.
#[track_caller]
pub fn assert_same(found: &BTreeMap<String, Vec<u8>>, expected: &BTreeMap<String, Vec<u8>>, when: &str) {
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(expected), "{when}");
    for (name, bytes) in expected {
        let differs = found[name].iter().zip(bytes).position(|(a, b)| a != b);
        assert!(found[name] == *bytes, "{when}: {name} differs from byte {differs:?}");
    }
}

/// The checkpoints in `run`, oldest first.
pub fn checkpoints(run: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(run) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.strip_prefix("step-").is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit())))
        .collect();
    names.sort();
    names
}

fn collect(dir: &Path, prefix: &str, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), &format!("{name}/"), found);
        } else {
            found.insert(name, fs::read(entry.path()).unwrap());
        }
    }
}

/// Copies a directory.
pub fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A tensor file as another program would write it: without our metadata.
pub fn without_metadata(bytes: &[u8]) -> Vec<u8> {
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let mut header: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(header).unwrap();
    header.remove("__metadata__").unwrap();
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], &header, data].concat()
}

/// Seeded random numbers: SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
