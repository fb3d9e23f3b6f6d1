//! The product of quantised tokens and a packed weight, on the threads of the current pool.
//!
//! The sums are of integers, so they are exact, and each becomes a number by the same two multiplications
//! ([`quantize::product`]): the bits depend on neither the instructions, nor on the number of threads or of tokens.

use ndarray::{ArrayViewMut2, Axis};

#[cfg(target_arch = "x86_64")]
use super::avx2;
use super::plain;
use super::tokens::Tokens;
#[cfg(target_arch = "x86_64")]
use super::vnni::Vnni;
use super::weights::{Packed, Sums, WIDTH};
use crate::backend::cpu::gemm::matrix_mut;
use crate::backend::cpu::par::vectorized;
use crate::quantize;

/// Tokens of a tile: with the four vectors of a panel, their sums fill the registers.
const TILE: usize = 6;
/// Multiplications below which a piece is not worth a thread.
const MIN_PIECE: usize = 1 << 20;
/// Pieces for each thread, so that one that the system has put to sleep does not hold up the others.
const PIECES: usize = 4;

/// The instructions that a product is made of.
#[derive(Clone, Copy, Debug)]
pub enum Path {
    /// Four multiplications and additions of bytes in one (AVX-512 VNNI).
    #[cfg(target_arch = "x86_64")]
    Vnni(Vnni),
    /// Bytes widened to 16 bits, two multiplications and an addition in one (AVX2).
    #[cfg(target_arch = "x86_64")]
    Avx2(pulp::x86::V3),
    /// Loops.
    Plain,
}

impl Path {
    /// Those that this processor has, the best first.
    pub fn all() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let wide = Vnni::detect().map(Self::Vnni).into_iter().chain(pulp::x86::V3::try_new().map(Self::Avx2));
        #[cfg(not(target_arch = "x86_64"))]
        let wide = core::iter::empty();
        wide.chain([Self::Plain])
    }

    /// The best that this processor has.
    #[must_use]
    pub fn best() -> Self {
        Self::all().next().unwrap_or(Self::Plain)
    }
}

/// `y = x W^T` with `x` `[rows, inputs]` as `tokens`, `W` `[outputs, inputs]` as `weight`, `y` `[rows, outputs]`.
///
/// Panics when the sizes do not agree, which is an error in the program.
pub fn linear(path: Path, y: &mut [f32], tokens: &Tokens, weight: &Packed) {
    let (rows, outputs) = (tokens.count(), weight.outputs());
    let pieces = (rows * outputs * weight.inputs() / MIN_PIECE).min(PIECES * rayon::current_num_threads());
    let whole = Piece { path, tokens, weight, row: 0, panel: 0 };
    whole.split(matrix_mut(y, rows, outputs), pieces);
}

/// A part of the result: rows from `row` on, columns from those of `panel` on.
#[derive(Clone, Copy)]
struct Piece<'a> {
    path: Path,
    tokens: &'a Tokens,
    weight: &'a Packed,
    row: usize,
    panel: usize,
}

impl Piece<'_> {
    /// Computes `y` in `pieces` parts.
    fn split(self, y: ArrayViewMut2<'_, f32>, pieces: usize) {
        let (rows, columns) = y.dim();
        let left = pieces / 2;
        // The longer side is the one to split: the other operand is read once for each part.
        let (axis, length, grain) = if columns >= rows { (1, columns, WIDTH) } else { (0, rows, TILE) };
        let middle = (length.div_ceil(grain) * left).checked_div(pieces).unwrap_or(0) * grain;
        if middle == 0 || middle >= length {
            return vectorized(
                #[inline(always)]
                || self.compute(y),
            );
        }
        let (first, second) = y.split_at(Axis(axis), middle);
        let rest = match axis {
            0 => Self { row: self.row + middle, ..self },
            _ => Self { panel: self.panel + middle / WIDTH, ..self },
        };
        rayon::join(|| self.split(first, left), || rest.split(second, pieces - left));
    }

    /// Computes `y` on this thread: each panel stays in the nearest cache while all tokens pass by.
    #[inline(always)]
    fn compute(self, mut y: ArrayViewMut2<'_, f32>) {
        for (panel, mut columns) in y.axis_chunks_iter_mut(Axis(1), WIDTH).enumerate() {
            for (tile, rows) in columns.axis_chunks_iter_mut(Axis(0), TILE).enumerate() {
                let (panel, row) = (self.panel + panel, self.row + tile * TILE);
                match rows.nrows() {
                    TILE => self.tile::<TILE>(panel, row, rows),
                    5 => self.tile::<5>(panel, row, rows),
                    4 => self.tile::<4>(panel, row, rows),
                    3 => self.tile::<3>(panel, row, rows),
                    2 => self.tile::<2>(panel, row, rows),
                    _ => self.tile::<1>(panel, row, rows),
                }
            }
        }
    }

    /// Computes `M` rows of one panel's columns.
    #[inline(always)]
    fn tile<const M: usize>(self, panel: usize, row: usize, mut y: ArrayViewMut2<'_, f32>) {
        let panel = self.weight.panel(panel);
        let tokens = core::array::from_fn(|i| self.tokens.get(row + i));
        let mut sums: [Sums; M] = [[0; WIDTH]; M];
        match self.path {
            #[cfg(target_arch = "x86_64")]
            Path::Vnni(vnni) => vnni.sums(&panel, &tokens, &mut sums),
            #[cfg(target_arch = "x86_64")]
            Path::Avx2(simd) => avx2::sums(simd, &panel, &tokens, &mut sums),
            Path::Plain => plain::sums(&panel, &tokens, &mut sums),
        }
        for ((y, sums), token) in y.rows_mut().into_iter().zip(&sums).zip(tokens) {
            let y = y.into_slice().unwrap_or_default();
            for ((y, &sum), &scale) in y.iter_mut().zip(sums).zip(panel.scales) {
                *y = quantize::product(sum, scale, token.scale);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::testing::{noise, on_threads};
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    fn quantised(x: &[f32], inputs: usize) -> Vec<(Vec<i8>, f32)> {
        let row = |x: &[f32]| {
            let mut q = vec![0; inputs];
            let scale = quantize::row(x, &mut q);
            (q, scale)
        };
        x.chunks_exact(inputs).map(row).collect()
    }

    fn packed(rows: &[(Vec<i8>, f32)], inputs: usize) -> Packed {
        let mut packed = Packed::new(rows.len(), inputs);
        rows.iter().enumerate().for_each(|(at, (q, scale))| packed.set_row(at, q, *scale));
        packed
    }

    /// The product by loops over i32.
    fn naive(x: &[f32], w: &[f32], inputs: usize) -> Vec<f32> {
        let (x, w) = (quantised(x, inputs), quantised(w, inputs));
        let dot = |a: &[i8], b: &[i8]| a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum();
        x.iter().flat_map(|(q, s)| w.iter().map(|(v, r)| quantize::product(dot(q, v), *r, *s))).collect()
    }

    fn check(rows: usize, inputs: usize, outputs: usize, seed: u64) {
        let (x, w) = (noise(seed, rows * inputs, 3.0), noise(seed + 1, outputs * inputs, 0.2));
        let want = naive(&x, &w, inputs);
        let weight = packed(&quantised(&w, inputs), inputs);
        let mut tokens = Tokens::default();
        // What another product left in the memory does not matter.
        tokens.set(&noise(3, 40 * 50, 1.0), 50);
        for path in Path::all() {
            for threads in [1, 2, 3] {
                let mut y = vec![f32::NAN; rows * outputs];
                on_threads(threads, || {
                    tokens.set(&x, inputs);
                    linear(path, &mut y, &tokens, &weight);
                });
                assert!(y == want, "{rows} x {inputs} x {outputs}, {path:?}, {threads} threads");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn every_path_gives_the_exact_sums(
            rows in 1usize..40, inputs in 1usize..150, outputs in 1usize..200, seed: u16,
        ) {
            check(rows, inputs, outputs, u64::from(seed));
        }
    }

    #[test]
    fn sizes_around_the_edges_of_tiles_and_pieces() {
        for (rows, inputs, outputs) in [
            (1, 4, 64),
            (6, 3, 65),
            (7, 5, 63),
            (13, 64, 128),
            (82, 512, 192),
            (83, 129, 449),
            (500, 260, 70),
        ] {
            check(rows, inputs, outputs, 7);
        }
    }

    /// The largest sums of all, on either side of zero, of numbers that overflow 16 bits in pairs.
    #[test]
    fn extremes_are_exact() {
        let inputs = 5000;
        for (x, w) in [(1.0, 1.0), (1.0, -1.0), (-1.0, -1.0), (-1.0, 1.0)] {
            let (x, w) = (vec![x; 7 * inputs], vec![w; 66 * inputs]);
            let want = naive(&x, &w, inputs);
            let weight = packed(&quantised(&w, inputs), inputs);
            let mut tokens = Tokens::default();
            tokens.set(&x, inputs);
            for path in Path::all() {
                let mut y = vec![f32::NAN; want.len()];
                linear(path, &mut y, &tokens, &weight);
                assert!(y == want, "{path:?}");
            }
        }
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        let (inputs, outputs) = (8, 3);
        let weight = packed(&quantised(&noise(1, inputs * outputs, 1.0), inputs), inputs);
        let mut x = noise(2, 2 * inputs, 1.0);
        x[3] = f32::INFINITY;
        let mut tokens = Tokens::default();
        tokens.set(&x, inputs);
        let mut y = vec![0.0; 2 * outputs];
        linear(Path::best(), &mut y, &tokens, &weight);
        assert!(y[..outputs].iter().all(|y| y.is_nan()) && y[outputs..].iter().all(|y| y.is_finite()));
    }
}
