//! The threads that compute, made before there is anything to lose.
//!
//! A system may give fewer than there are processors (`ulimit -u`, a container's limit on processes). Results do not
//! depend on their number, so the work goes on with those that there are, down to the one that runs already.

use std::io;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use crate::error::{Error, Result};

/// How many threads compute, and how many were wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threads {
    /// Those that there are.
    pub made: usize,
    /// As many as processors, or what `RAYON_NUM_THREADS` asks for.
    pub wanted: usize,
}

/// Makes the threads on which everything in this process computes, once. Where there are none to be had it is the one that calls
/// this: then nothing may wait on it for what another thread computes.
///
/// # Errors
/// The system took back what it had just given.
pub fn start() -> Result<Threads> {
    let asked = std::env::var("RAYON_NUM_THREADS").ok().and_then(|number| number.parse().ok());
    let wanted = asked.filter(|number| *number > 0).unwrap_or_else(processors);
    // One that computes, and one that listens meanwhile.
    let given = given(wanted.max(2));
    let made = given.clamp(1, wanted);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(made);
    // The thread that runs already computes alone where it gets no company.
    let pool = if given < 2 { pool.use_current_thread() } else { pool };
    match pool.build_global() {
        Ok(()) => Ok(Threads { made, wanted }),
        Err(error) => {
            let error = Error::failed(format!("cannot make {given} threads to compute on: {error}"));
            Err(error.hint(
                "raise the limit on processes (ulimit -u, the container's), or set RAYON_NUM_THREADS=1",
            ))
        }
    }
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// How many threads of `wanted` the system gives at once. They end before this returns.
fn given(wanted: usize) -> usize {
    let (hold, wait) = mpsc::channel::<()>();
    let wait = std::sync::Arc::new(std::sync::Mutex::new(wait));
    let spawn = |_| -> io::Result<JoinHandle<()>> {
        let wait = std::sync::Arc::clone(&wait);
        thread::Builder::new().spawn(move || {
            if let Ok(wait) = wait.lock() {
                // Ends when the other side is dropped.
                let _ = wait.recv();
            }
        })
    };
    let made: Vec<JoinHandle<()>> = (0..wanted).map_while(|index| spawn(index).ok()).collect();
    drop(hold);
    let count = made.len();
    made.into_iter().for_each(|thread| drop(thread.join()));
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_given_as_the_system_has() {
        assert_eq!(given(3), 3);
        assert_eq!(given(0), 0);
    }
}
