//! What a builder tells its caller while it works.

use super::error::{Error, Result};
use std::io;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// Told how many of the original puzzles are done, and of how many; says whether to go on. A builder that is told to
/// break gives [`Error::Interrupted`] and leaves no file behind.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>;

/// Tells `progress`, if there is one.
pub(super) fn tell(progress: &mut Option<Progress<'_>>, done: u64, of: u64) -> Result<()> {
    match progress.as_mut().map(|progress| progress(done, of)) {
        Some(ControlFlow::Break(())) => Err(Error::Interrupted),
        Some(ControlFlow::Continue(())) | None => Ok(()),
    }
}

/// What those who listen and those who work tell each other.
#[derive(Debug, Default)]
pub(super) struct Shared {
    stop: AtomicBool,
    done: AtomicU64,
}

impl Shared {
    /// Whether the work is to end.
    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Ends the work: it cannot succeed any more.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Counts one more.
    pub(super) fn count(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

/// How often `progress` is asked while something works.
const EVERY: Duration = Duration::from_millis(50);

/// Does `work` while `progress` goes on hearing of it: `before` and what the work has counted, `of` so many. Where the system
/// gives no second thread, `progress` hears nothing until the work is done.
///
/// # Errors
/// [`Error::Interrupted`] if `progress` says so.
pub(super) fn listen<T: Send>(
    progress: &mut Option<Progress<'_>>,
    before: u64,
    of: u64,
    work: impl FnOnce(&Shared) -> T + Send,
) -> Result<T> {
    let shared = &Shared::default();
    let Some(progress) = progress else { return Ok(work(shared)) };
    let mut interrupted = false;
    let mut tell = || {
        let done = before.saturating_add(shared.done.load(Ordering::Relaxed)).min(of);
        if !interrupted && progress(done, of).is_break() {
            interrupted = true;
            shared.stop();
        }
    };
    // Whoever does the work takes it.
    let work = Mutex::new(Some(work));
    let take = || work.lock().ok().and_then(|mut work| work.take());
    let result = thread::scope(|scope| {
        let (listener, take) = (thread::current(), &take);
        let worker = move || {
            let result = take().map(|work| work(shared));
            listener.unpark();
            result
        };
        // If what computes is this very thread, another that waits for it would wait for ever.
        let alone = rayon::current_thread_index().is_some();
        let spawned = if alone { None } else { thread::Builder::new().spawn_scoped(scope, worker).ok() };
        let Some(worker) = spawned else {
            let result = take().map(|work| work(shared));
            tell();
            return result;
        };
        while !worker.is_finished() {
            tell();
            thread::park_timeout(EVERY);
        }
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let result = result.ok_or_else(|| Error::Thread(io::Error::other("it has ended without a result")))?;
    if interrupted { Err(Error::Interrupted) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_never_ends_is_stopped() {
        let mut heard = 0;
        let mut stop = |done: u64, of: u64| {
            heard += 1;
            assert_eq!((done.min(4), of), (done, 9));
            if heard > 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let work = |shared: &Shared| {
            shared.count();
            while !shared.stopped() {
                thread::yield_now();
            }
        };
        let result = listen(&mut Some(&mut stop), 3, 9, work);
        assert!(matches!(result, Err(Error::Interrupted)));
        assert!(!listen(&mut None, 0, 1, Shared::stopped).unwrap());
        let mut goes_on = |_: u64, _: u64| ControlFlow::Continue(());
        assert_eq!(listen(&mut Some(&mut goes_on), 0, 1, |_| 7).unwrap(), 7);
    }
}
