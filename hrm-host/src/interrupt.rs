//! Ctrl-C, SIGTERM and a closed terminal (SIGHUP): the first asks the work to stop in good order, a second Ctrl-C or
//! SIGTERM ends the program at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

#[cfg(unix)]
use signal_hook::consts::SIGHUP;
use signal_hook::consts::{SIGABRT, SIGINT, SIGTERM};

use crate::error::{Error, Result};

/// The exit code of an interrupted run.
pub const EXIT_CODE: u8 = 130;

/// Whether someone has asked the work to stop. Clones share the answer.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    requested: Arc<AtomicBool>,
}

impl Interrupt {
    /// One that no signal reaches: for library use and tests.
    pub fn manual() -> Self {
        Self::default()
    }

    /// One that SIGINT, SIGTERM and SIGHUP set. A second SIGINT or SIGTERM ends the program with exit code 130 and no
    /// clean-up, which is safe because files are written whole or not at all. A second SIGHUP does not: a terminal that is
    /// closed sends several. Where SIGHUP is ignored, as under `nohup`, it stays so.
    ///
    /// # Errors
    /// The system refuses.
    pub fn install() -> Result<Self> {
        let interrupt = Self::default();
        let listen = |signal| -> io::Result<()> {
            // The order matters: the exit looks at the flag before this same signal sets it.
            let flag = || Arc::clone(&interrupt.requested);
            signal_hook::flag::register_conditional_shutdown(signal, i32::from(EXIT_CODE), flag())?;
            signal_hook::flag::register(signal, flag()).map(drop)
        };
        let hang_up = || -> io::Result<()> {
            #[cfg(unix)]
            if !ignores(SIGHUP) {
                signal_hook::flag::register(SIGHUP, Arc::clone(&interrupt.requested))?;
            }
            Ok(())
        };
        [SIGINT, SIGTERM].into_iter().try_for_each(listen).and_then(|()| hang_up()).map_err(|error| {
            Error::failed(format!("cannot listen for Ctrl-C: {error}")).with_source(error)
        })?;
        Ok(interrupt)
    }

    /// Asks for a stop from within the program.
    pub fn request(&self) {
        self.requested.store(true, Ordering::SeqCst);
    }

    /// Whether a stop was asked for: polled once per training step.
    pub fn requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }
}

/// Whether this process was started with `signal` ignored. Only Linux tells; elsewhere the answer is no.
#[cfg(unix)]
fn ignores(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask =
        status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// From here on what aborts the program (memory that the system refuses in the midst of work) ends it with exit code 1,
/// after the line that says why, and without a core file.
///
/// # Errors
/// The system refuses.
pub fn fail_rather_than_abort() -> io::Result<()> {
    signal_hook::flag::register_conditional_shutdown(SIGABRT, 1, Arc::new(AtomicBool::new(true))).map(drop)
}

/// Tells the person who asked for a stop that it was heard, while the work is in the midst of a step. Dropped, it tells
/// nothing more.
#[derive(Debug)]
pub struct Listener {
    done: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// How often a listener looks.
const EVERY: Duration = Duration::from_millis(100);
/// How long a step may go on after the request before a word is said: most are over sooner.
const PATIENCE: Duration = Duration::from_millis(300);

impl Listener {
    /// Calls `tell` once, soon after `interrupt` is requested, unless it is dropped before. Without a thread to listen on,
    /// it tells nothing.
    pub fn start(interrupt: &Interrupt, tell: impl FnOnce() + Send + 'static) -> Self {
        let (done, ended) = mpsc::channel::<()>();
        let interrupt = interrupt.clone();
        let goes_on = move |time| matches!(ended.recv_timeout(time), Err(RecvTimeoutError::Timeout));
        let listen = move || {
            while goes_on(EVERY) {
                if interrupt.requested() {
                    if goes_on(PATIENCE) {
                        tell();
                    }
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("listener".into()).spawn(listen).ok();
        Self { done: Some(done), thread }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.done = None;
        if let Some(thread) = self.thread.take() {
            // It panics no more than `tell` does, and there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reaches_every_clone() {
        let interrupt = Interrupt::manual();
        let clone = interrupt.clone();
        assert!(!clone.requested());
        interrupt.request();
        assert!(clone.requested());
    }

    const CHILD: &str = "HRM_TEST_RAISE";

    /// Does nothing unless started by the test below, since a signal reaches the whole process.
    #[test]
    fn child_that_raises() {
        let Ok(signals) = std::env::var(CHILD) else { return };
        let interrupt = Interrupt::install().unwrap();
        for signal in signals.split(',') {
            signal_hook::low_level::raise(signal.parse().unwrap()).unwrap();
            assert!(interrupt.requested());
        }
        std::process::exit(7);
    }

    #[test]
    fn the_first_signal_sets_the_flag_and_the_second_exits_with_130() {
        let exit_code = |signals: &[i32]| {
            let list: Vec<String> = signals.iter().map(i32::to_string).collect();
            // Whoever runs the tests may have hang-ups ignored, as nohup does.
            std::process::Command::new("env")
                .arg("--default-signal=HUP")
                .arg(std::env::current_exe().unwrap())
                .args(["--exact", "interrupt::tests::child_that_raises"])
                .env(CHILD, list.join(","))
                .output()
                .unwrap()
                .status
                .code()
        };
        assert_eq!(exit_code(&[SIGINT]), Some(7));
        assert_eq!(exit_code(&[SIGTERM]), Some(7));
        assert_eq!(exit_code(&[SIGINT, SIGINT]), Some(130));
        assert_eq!(exit_code(&[SIGINT, SIGTERM]), Some(130));
        assert_eq!(exit_code(&[SIGHUP]), Some(7));
        assert_eq!(exit_code(&[SIGHUP, SIGHUP]), Some(7));
        assert_eq!(exit_code(&[SIGHUP, SIGINT]), Some(130));
    }

    #[test]
    fn a_request_in_the_midst_of_a_step_is_answered_once() {
        let told = |busy: Duration| {
            let (interrupt, (say, heard)) = (Interrupt::manual(), mpsc::channel());
            let listener = Listener::start(&interrupt, move || say.send(()).unwrap());
            interrupt.request();
            thread::sleep(busy);
            drop(listener);
            heard.iter().count()
        };
        assert_eq!(told(EVERY + PATIENCE + Duration::from_millis(200)), 1);
        assert_eq!(told(Duration::ZERO), 0);
    }
}
