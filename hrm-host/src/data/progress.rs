//! What a builder tells its caller while it works.

use super::error::{Error, Result};
use std::ops::ControlFlow;

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
