//! Operands in bf16 whose products have exact sums, in any order, and what they come to.

use half::bf16;
use hrm_cuda::launch::{Launcher, Ptr};
use hrm_cuda::ops::Product;

use crate::common;

/// A multiple of 1/4 between -1 and 1, by a hash.
fn value(i: usize) -> f32 {
    let mixed = (i as u32 ^ 0x9e37).wrapping_mul(0x2c1b_3c6d);
    let mixed = (mixed ^ mixed >> 12).wrapping_mul(0x297a_2d39);
    ((mixed >> 15) % 9) as f32 / 4.0 - 1.0
}

/// `len` of those values, from the one numbered `first` on.
pub fn values(len: usize, first: usize) -> Vec<f32> {
    (first..first + len).map(value).collect()
}

pub fn rounded(x: f32) -> f32 {
    bf16::from_f32(x).to_f32()
}

/// In new memory, rounded.
pub fn upload<L: Launcher>(l: &mut L, values: &[f32]) -> Ptr {
    common::upload(l, values.iter().map(|x| bf16::from_f32(*x).to_ne_bytes()))
}

pub fn download<L: Launcher>(l: &mut L, at: Ptr, len: usize) -> Vec<f32> {
    let mut bytes = vec![0; 2 * len];
    l.download(at, &mut bytes).unwrap();
    bytes.as_chunks::<2>().0.iter().map(|x| bf16::from_ne_bytes(*x).to_f32()).collect()
}

/// A B of `a` `[_, inner]` and `b` `[inner, cols]`.
pub fn times(a: &[f32], b: &[f32], inner: usize, cols: usize) -> Vec<f32> {
    let mut sums = vec![0.0; a.len() / inner * cols];
    for (sums, a) in sums.chunks_mut(cols).zip(a.chunks(inner)) {
        for (a, b) in a.iter().zip(b.chunks(cols)) {
            sums.iter_mut().zip(b).for_each(|(sum, b)| *sum += a * b);
        }
    }
    sums
}

/// Of a matrix of so many columns.
pub fn transposed(matrix: &[f32], cols: usize) -> Vec<f32> {
    (0..cols).flat_map(|col| matrix.iter().skip(col).step_by(cols).copied()).collect()
}

/// x W^T, its operands here and on the machine, and what it is.
pub struct Case {
    pub product: Product,
    pub x: Vec<f32>,
    pub w: Vec<f32>,
    pub sums: Vec<f32>,
}

impl Case {
    pub fn new<L: Launcher>(l: &mut L, rows: usize, inner: usize, outer: usize) -> Self {
        let (x, w) = (values(rows * inner, 0), values(outer * inner, 12345));
        let sums = times(&x, &transposed(&w, inner), inner, outer);
        let product = Product { x: upload(l, &x), w: upload(l, &w), rows, inner, outer };
        Self { product, x, w, sums }
    }

    pub fn rounded(&self) -> impl Iterator<Item = f32> {
        self.sums.iter().copied().map(rounded)
    }
}

/// All within two units of the last place of the larger.
pub fn close(found: &[f32], expected: impl Iterator<Item = f32>, what: &str) {
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (found - expected).abs();
        assert!(error <= expected.abs() / 128.0 + 1e-6, "{what}: element {at} is {found}, not {expected}");
    }
}
