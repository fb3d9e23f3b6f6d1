//! A count of what is done, shown on standard error, and stopped by Ctrl-C.

use std::io::Write;

use crate::error::Result;
use crate::interrupt::{Interrupt, Listener};
use crate::progress::{Mode, Progress, Snapshot};
use crate::style;

/// How far some work has come, and whether it is to go on.
pub struct Counter {
    interrupt: Interrupt,
    mode: Mode,
    what: &'static str,
    bar: Option<Progress>,
    _listener: Listener,
}

impl Counter {
    /// A count of `what`; silent where the output is JSON.
    ///
    /// # Errors
    /// Signals cannot be listened for.
    pub fn start(json: bool, what: &'static str) -> Result<Self> {
        let interrupt = Interrupt::install()?;
        let listener = Listener::start(&interrupt, || {
            // Whoever closed standard error does not want to know.
            let _ = writeln!(style::stderr(), "stopping after this step; ask again to stop at once");
        });
        Ok(Self { interrupt, mode: Mode::choose(json), what, bar: None, _listener: listener })
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
