//! The sums of a panel by plain loops, which a compiler turns into the vectors of any processor.

use super::tokens::Token;
use super::weights::{Panel, Sums, WIDTH};

/// The sums of `M` tokens with the rows of `panel`. The tokens are as long as the panel is deep.
#[inline(always)]
pub fn sums<const M: usize>(panel: &Panel<'_>, tokens: &[Token<'_>; M], sums: &mut [Sums; M]) {
    for (sums, token) in sums.iter_mut().zip(tokens) {
        *sums = [token.start; WIDTH];
        for (step, four) in panel.steps.iter().zip(token.fours) {
            for (sum, weights) in sums.iter_mut().zip(step) {
                for (&w, &x) in weights.iter().zip(four) {
                    *sum = sum.wrapping_add(i32::from(w) * i32::from(x));
                }
            }
        }
    }
}
