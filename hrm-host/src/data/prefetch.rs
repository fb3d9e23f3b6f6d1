//! Training batches made ahead of time, on a thread of their own.
//!
//! A few batches circulate: the thread fills one while another is in use, and waits when all are full. Which examples a
//! batch holds is the sampler's affair alone, so nothing depends on who is faster. To resume, the cursor of the last
//! batch that was used counts, not that of the thread, which is ahead: each batch comes with its own. Where the system
//! gives no thread, each batch is made when it is asked for.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use super::dataset::Dataset;
use super::error::{Error, Result};
use super::sampler::{Batch, Cursor, Sampler};

/// Batches that circulate: one in use, one that is filled, two in store.
const BATCHES: usize = 4;

/// A batch, and where the sampler stands behind it.
#[derive(Debug)]
pub struct Prefetched {
    /// The batch.
    pub batch: Batch,
    /// The cursor of the batch that comes next.
    pub cursor: Cursor,
}

/// Gives the batches of a sampler without end.
#[derive(Debug)]
pub struct Prefetch {
    full: Option<Receiver<Result<Prefetched>>>,
    empty: Option<Sender<Batch>>,
    thread: Option<JoinHandle<()>>,
    /// The sampler and the batches to fill, where there is no thread to have them.
    here: Option<Box<(Sampler, Receiver<Batch>)>>,
}

/// Fills `batch` with what `sampler` gives next.
fn fill(sampler: &mut Sampler, mut batch: Batch) -> Result<Prefetched> {
    sampler.next_batch(&mut batch)?;
    Ok(Prefetched { batch, cursor: sampler.cursor() })
}

impl Prefetch {
    /// Starts to make the batches that `sampler` gives next, `batch_size` rows of `dataset` each.
    ///
    /// # Errors
    /// None so far.
    pub fn new(sampler: Sampler, dataset: &Arc<Dataset>, batch_size: usize) -> Result<Self> {
        let (to_use, full) = mpsc::channel();
        let (empty, to_fill) = mpsc::channel::<Batch>();
        for _ in 0..BATCHES {
            // The receiver is in this very function.
            let _ = empty.send(Batch::new(dataset, batch_size));
        }
        // Handed over once there is a thread to take it.
        let (hand, taken) = mpsc::channel::<(Sampler, Receiver<Batch>)>();
        let work = move || {
            let Ok((mut sampler, to_fill)) = taken.recv() else { return };
            // It ends when nobody takes batches or gives them back any more, or with the first error.
            while let Ok(batch) = to_fill.recv() {
                let next = fill(&mut sampler, batch);
                let failed = next.is_err();
                if to_use.send(next).is_err() || failed {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("batches".into()).spawn(work).ok();
        let here = hand.send((sampler, to_fill)).err().map(|unsent| Box::new(unsent.0));
        Ok(Self { full: Some(full), empty: Some(empty), thread, here })
    }

    /// Bytes that the circulating batches take.
    #[must_use]
    pub const fn bytes(batch_size: usize, seq_len: usize) -> usize {
        let row = 2 * size_of::<i32>() * seq_len + size_of::<i32>() + size_of::<usize>();
        BATCHES * batch_size * row
    }

    /// The next batch, waited for if it is not made yet. It is to be [`given back`](Self::give_back).
    ///
    /// # Errors
    /// Those of the sampler, once; or the thread has ended.
    pub fn take(&mut self) -> Result<Prefetched> {
        if let Some((sampler, to_fill)) = self.here.as_deref_mut()
            && let Ok(batch) = to_fill.recv()
        {
            return fill(sampler, batch);
        }
        match self.full.as_ref().and_then(|full| full.recv().ok()) {
            Some(next) => next,
            None => Err(Error::Thread(io::Error::other("it has ended after an error"))),
        }
    }

    /// Lets the thread fill `batch` anew.
    pub fn give_back(&mut self, batch: Batch) {
        if let Some(empty) = &self.empty {
            // A thread that has ended needs no batch; `take` says so.
            let _ = empty.send(batch);
        }
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        // Without these the thread ends with the batch it is at.
        self.full = None;
        self.empty = None;
        if let Some(thread) = self.thread.take() {
            // It panics no more than the sampler does, and there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sampler::SamplerOptions;
    use super::super::test_support::write_dataset;
    use super::*;

    fn sampler(dataset: &Arc<Dataset>, batch_size: usize) -> Sampler {
        let options = SamplerOptions { seed: 7, batch_size, epochs_per_iteration: 2 };
        Sampler::new(Arc::clone(dataset), options).unwrap()
    }

    fn dataset() -> Arc<Dataset> {
        let dir = tempfile::tempdir().unwrap();
        write_dataset(dir.path(), &vec![vec![1, 2]; 9]);
        Arc::new(Dataset::open(dir.path(), "train").unwrap())
    }

    /// Batches and cursors are the sampler's, wherever one starts again.
    #[test]
    fn batches_come_in_the_sampler_s_order_with_its_cursors() {
        let dataset = dataset();
        let mut plain = sampler(&dataset, 4);
        let mut ahead = Prefetch::new(sampler(&dataset, 4), &dataset, 4).unwrap();
        for i in 0..40 {
            let mut expected = Batch::new(&dataset, 4);
            plain.next_batch(&mut expected).unwrap();
            let next = ahead.take().unwrap();
            assert_eq!((&next.batch, next.cursor), (&expected, plain.cursor()), "batch {i}");
            ahead.give_back(next.batch);
            if i == 20 {
                let mut resumed = sampler(&dataset, 4);
                resumed.restore(next.cursor).unwrap();
                ahead = Prefetch::new(resumed, &dataset, 4).unwrap();
            }
        }
    }

    #[test]
    fn an_error_of_the_sampler_arrives_and_is_the_last_batch() {
        let dataset = dataset();
        let mut ahead = Prefetch::new(sampler(&dataset, 400), &dataset, 400).unwrap();
        assert!(matches!(ahead.take(), Err(Error::Argument { .. })));
        assert!(matches!(ahead.take(), Err(Error::Thread(_))));
    }
}
