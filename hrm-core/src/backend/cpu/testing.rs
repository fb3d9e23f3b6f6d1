//! What the tests of this backend share: noise, comparison, thread counts.

use crate::rng::{Rng, Stream};
use std::vec::Vec;

/// `len` numbers, uniform in `[-scale, scale]`.
pub fn noise(seed: u64, len: usize, scale: f32) -> Vec<f32> {
    let mut rng = Rng::new(seed, Stream::Init, 0);
    (0..len).map(|_| (rng.next_u32() as f32 / u32::MAX as f32 * 2.0 - 1.0) * scale).collect()
}

/// Panics unless every `got` is within `bound` of `want`, relative to the largest `want`.
pub fn close(got: &[f32], want: &[f64], bound: f64) {
    assert_eq!(got.len(), want.len());
    let largest = want.iter().fold(f64::MIN_POSITIVE, |m, w| m.max(w.abs()));
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(got) - want).abs() / largest;
        assert!(
            error <= bound,
            "element {i}: {got} for {want}, error {error:.2e} of the largest, bound {bound:.0e}"
        );
    }
}

/// Runs `f` in a pool of `threads`.
pub fn on_threads<R: Send>(threads: usize, f: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool").install(f)
}
