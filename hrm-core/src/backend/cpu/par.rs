//! Parallel loops over chunks: how large a piece of work must be before a second thread is worth waking.

/// Fewest elements that an elementwise task works on: below this a fork costs more than it saves.
pub const MIN_ELEMENTS: usize = 16 * 1024;

/// Rows per task for `rows` rows of `width` elements on the current thread pool.
///
/// A few tasks per thread, so that a thread that the system has put to sleep does not hold up the others.
#[must_use]
pub fn rows_per_task(rows: usize, width: usize) -> usize {
    let floor = MIN_ELEMENTS.div_ceil(width.max(1));
    rows.div_ceil(4 * rayon::current_num_threads().max(1)).max(floor).max(1)
}

/// Runs `f` with the widest instructions that this processor has.
///
/// `f` and all it calls must be `#[inline(always)]` (closures are inlined), so that the loops in it are compiled
/// once per instruction set.
#[inline(always)]
pub fn vectorized<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}
