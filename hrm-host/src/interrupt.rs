//! Ctrl-C and SIGTERM: the first asks the work to stop in good order, the second ends the program at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

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

    /// One that SIGINT and SIGTERM set. A second signal ends the program with exit code 130 and no clean-up, which is
    /// safe because files are written whole or not at all.
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
        [SIGINT, SIGTERM].into_iter().try_for_each(listen).map_err(|error| {
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
            std::process::Command::new(std::env::current_exe().unwrap())
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
    }
}
