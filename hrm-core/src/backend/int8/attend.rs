//! Attention of one query of one head on vectors of eight (AVX2): several sums side by side, each in its portable order.

use pulp::x86::V3;
use pulp::{cast, f32x8};

use crate::backend::math::exp;
use crate::backend::portable::sums::{self, LANES};

/// Keys that a query meets at once.
const KEYS: usize = 4;
/// Numbers of a result that are summed at once.
const WIDTH: usize = 32;

const ZERO: f32x8 = f32x8(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0);

/// [`Head::attend`](crate::backend::portable::attention::Head::attend) for query `query` of one head alone: `own`
/// `[positions, 3 dim]`.
#[inline(always)]
pub fn attend(simd: V3, own: &[f32], query: usize, o: &mut [f32], scores: &mut [f32], scale: f32) -> f32 {
    let dim = o.len();
    let position = |index: usize| &own[index * 3 * dim..][..3 * dim];
    let q = &position(query)[..dim];
    let (blocks, rest) = scores.as_chunks_mut::<KEYS>();
    let done = blocks.len() * KEYS;
    for (block, scores) in blocks.iter_mut().enumerate() {
        let keys = core::array::from_fn(|i| &position(block * KEYS + i)[dim..2 * dim]);
        *scores = dots(simd, q, keys).map(|dot| scale * dot);
    }
    for (index, score) in (done..).zip(rest) {
        *score = scale * sums::dot(q, &position(index)[dim..2 * dim]);
    }
    let largest = sums::max(scores);
    scores.iter_mut().for_each(|score| *score = exp(*score - largest));
    let total = sums::sum(scores);
    let (blocks, rest) = o.as_chunks_mut::<WIDTH>();
    let done = 2 * dim + blocks.len() * WIDTH;
    for (first, o) in (2 * dim..).step_by(WIDTH).zip(blocks) {
        let mut sum = [ZERO; WIDTH / 8];
        for (&p, own) in scores.iter().zip(own.chunks_exact(3 * dim)) {
            let Some(values) = own[first..].first_chunk::<WIDTH>() else { continue };
            let (p, values): (_, [f32x8; WIDTH / 8]) = (simd.splat_f32x8(p), cast(*values));
            for (sum, values) in sum.iter_mut().zip(values) {
                *sum = simd.add_f32x8(*sum, simd.mul_f32x8(p, values));
            }
        }
        *o = cast(sum);
    }
    rest.fill(0.0);
    for (&p, own) in scores.iter().zip(own.chunks_exact(3 * dim)) {
        sums::add_scaled(rest, p, &own[done..]);
    }
    o.iter_mut().for_each(|o| *o /= total);
    largest + libm::logf(total)
}

/// [`sums::dot`] of `q` and each of `keys`, all of one length.
#[inline(always)]
fn dots(simd: V3, q: &[f32], keys: [&[f32]; KEYS]) -> [f32; KEYS] {
    let mut lanes = [[ZERO; 2]; KEYS];
    let (chunks, rest) = q.as_chunks::<LANES>();
    let keys = keys.map(|key| key.as_chunks::<LANES>());
    for (index, q) in chunks.iter().enumerate() {
        add_products(simd, &mut lanes, q, keys.map(|(chunks, _)| chunks[index]));
    }
    if !rest.is_empty() {
        // Zeros beyond the end leave every lane as it is: none is -0.
        let padded = |rest: &[f32]| {
            let mut all = [0.0; LANES];
            all[..rest.len()].copy_from_slice(rest);
            all
        };
        add_products(simd, &mut lanes, &padded(rest), keys.map(|(_, rest)| padded(rest)));
    }
    // The tree of `sums`, level by level, two keys in a vector.
    let eight = lanes.map(|[low, high]| simd.add_f32x8(low, high));
    let four = |a: f32x8, b: f32x8| {
        let low = simd.avx._mm256_permute2f128_ps::<0x20>(cast(a), cast(b));
        let high = simd.avx._mm256_permute2f128_ps::<0x31>(cast(a), cast(b));
        simd.avx._mm256_add_ps(low, high)
    };
    let (a, b) = (four(eight[0], eight[1]), four(eight[2], eight[3]));
    let low = simd.avx._mm256_shuffle_ps::<0b01_00_01_00>(a, b);
    let high = simd.avx._mm256_shuffle_ps::<0b11_10_11_10>(a, b);
    let two = simd.avx._mm256_add_ps(low, high);
    let [first, third, _, _, second, fourth, _, _]: [f32; 8] = cast(simd.avx._mm256_hadd_ps(two, two));
    [first, second, third, fourth]
}

/// `lanes += q * key` for each key.
#[inline(always)]
fn add_products(simd: V3, lanes: &mut [[f32x8; 2]; KEYS], q: &[f32; LANES], keys: [[f32; LANES]; KEYS]) {
    let q: [f32x8; 2] = cast(*q);
    for (lanes, key) in lanes.iter_mut().zip(keys) {
        let key: [f32x8; 2] = cast(key);
        for ((lane, q), key) in lanes.iter_mut().zip(q).zip(key) {
            *lane = simd.add_f32x8(*lane, simd.mul_f32x8(q, key));
        }
    }
}
