//! The sums of a panel on processors with AVX2: bytes are widened, because its product of bytes saturates.

use pulp::x86::V3;
use pulp::{cast, i8x16, i32x8, u8x16};

use super::tokens::Token;
use super::weights::{Panel, Sums, WIDTH};

/// Rows of the weight in a vector of widened integers.
const ROWS: usize = 4;
/// Such vectors that are worked on together.
const GROUP: usize = 4;

/// The sums of `M` tokens with the rows of `panel`. The tokens are as long as the panel is deep.
///
/// Each row has two running sums side by side, of even and odd pairs of inner indices.
#[inline(always)]
pub fn sums<const M: usize>(simd: V3, panel: &Panel<'_>, tokens: &[Token<'_>; M], sums: &mut [Sums; M]) {
    let avx2 = simd.avx2;
    for first in (0..WIDTH).step_by(ROWS * GROUP) {
        for (sums, token) in sums.iter_mut().zip(tokens) {
            let mut pairs = [i32x8(0, 0, 0, 0, 0, 0, 0, 0); GROUP];
            for (step, four) in panel.steps.iter().zip(token.fours) {
                let four: i8x16 = cast([*four; ROWS]);
                let four = avx2._mm256_cvtepi8_epi16(cast(four));
                let (groups, _) = step[first..].as_chunks::<ROWS>();
                for (pairs, rows) in pairs.iter_mut().zip(groups) {
                    let rows: u8x16 = cast(*rows);
                    let rows = avx2._mm256_cvtepu8_epi16(cast(rows));
                    let products = avx2._mm256_madd_epi16(four, rows);
                    *pairs = cast(avx2._mm256_add_epi32(cast(*pairs), products));
                }
            }
            let pairs: [[[i32; 2]; ROWS]; GROUP] = cast(pairs);
            for (sum, [even, odd]) in sums[first..].iter_mut().zip(pairs.as_flattened()) {
                *sum = token.start.wrapping_add(*even).wrapping_add(*odd);
            }
        }
    }
}
