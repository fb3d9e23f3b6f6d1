//! A count of what is done, shown on standard error, and stopped by Ctrl-C.

use crate::error::Result;
use crate::interrupt::Interrupt;
use crate::progress::{Mode, Progress, Snapshot};

/// How far some work has come, and whether it is to go on.
pub struct Counter {
    interrupt: Interrupt,
    mode: Mode,
    what: &'static str,
    bar: Option<Progress>,
}

impl Counter {
    /// A count of `what`; silent where the output is JSON.
    ///
    /// # Errors
    /// Signals cannot be listened for.
    pub fn start(json: bool, what: &'static str) -> Result<Self> {
        Ok(Self { interrupt: Interrupt::install()?, mode: Mode::choose(json), what, bar: None })
    }

    /// Shows that `done` are done `of` so many, and says whether to go on.
    pub fn goes_on(&mut self, done: u64, of: u64) -> bool {
        let bar = self.bar.get_or_insert_with(|| Progress::count(self.mode, of, self.what));
        bar.update(done, &Snapshot::default());
        !self.interrupt.requested()
    }

    /// Leaves the last count standing.
    pub fn finish(&self) {
        self.bar.iter().for_each(Progress::finish);
    }
}
