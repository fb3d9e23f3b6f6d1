//! The sums of a panel by the instruction that multiplies and adds four pairs of bytes at once (AVX-512 VNNI).
#![expect(
    unsafe_code,
    reason = "instructions that not every processor has, and unaligned loads and stores of them"
)]

use core::arch::x86_64::{
    __m512i, _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_storeu_si512,
};

use super::tokens::Token;
use super::weights::{Panel, Step, Sums};

/// Numbers in a vector.
const LANES: usize = 16;
/// Vectors in a row of sums.
const VECTORS: usize = size_of::<Sums>() / size_of::<__m512i>();

/// Stands for the instructions: there is one only where the processor has them.
#[derive(Clone, Copy, Debug)]
pub struct Vnni(());

impl Vnni {
    /// The instructions, if this processor has them.
    #[must_use]
    pub fn detect() -> Option<Self> {
        let found = std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512vnni");
        found.then_some(Self(()))
    }

    /// The sums of `M` tokens with the rows of `panel`. The tokens are as long as the panel is deep, or it panics.
    #[inline]
    pub fn sums<const M: usize>(self, panel: &Panel<'_>, tokens: &[Token<'_>; M], sums: &mut [Sums; M]) {
        assert!(
            tokens.iter().all(|token| token.fours.len() == panel.steps.len()),
            "as long as the panel is deep"
        );
        // SAFETY: a `Vnni` is made by `detect` alone, where the processor has both features; the lengths are checked.
        unsafe { tile(panel, tokens, sums) }
    }
}

/// # Safety
/// The processor has the features, and every token is as long as the panel is deep.
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn tile<const M: usize>(panel: &Panel<'_>, tokens: &[Token<'_>; M], sums: &mut [Sums; M]) {
    let mut totals = tokens.map(|token| [_mm512_set1_epi32(token.start); VECTORS]);
    for (k, step) in panel.steps.iter().enumerate() {
        let weights = vectors(step);
        for (totals, token) in totals.iter_mut().zip(tokens) {
            // SAFETY: the caller's duty: `k` is below the length of every token.
            let four = *unsafe { token.fours.get_unchecked(k) };
            let four = _mm512_set1_epi32(i32::from_le_bytes(four.map(|q| q as u8)));
            for (total, weights) in totals.iter_mut().zip(weights) {
                *total = _mm512_dpbusd_epi32(*total, weights, four);
            }
        }
    }
    // By index: an iterator over the totals would have them in memory, and written there at every step.
    for i in 0..M {
        let (vectors, _) = sums[i].as_chunks_mut::<LANES>();
        for j in 0..VECTORS {
            // SAFETY: a vector of `sums` is 64 bytes that are ours; the store asks for no alignment.
            unsafe { _mm512_storeu_si512((&raw mut vectors[j]).cast(), totals[i][j]) };
        }
    }
}

/// A step as vectors.
#[target_feature(enable = "avx512f")]
fn vectors(step: &Step) -> [__m512i; VECTORS] {
    const { assert!(size_of::<Step>() == size_of::<[__m512i; VECTORS]>()) };
    let first: *const __m512i = (&raw const *step).cast();
    // SAFETY: a step is as long as the vectors, and the load asks for no alignment.
    core::array::from_fn(|i| unsafe { _mm512_loadu_si512(first.add(i)) })
}
