//! Matrix products of strided f32 views, `C = A B` or `C += A B`, on the threads of the current pool.
//!
//! Each part is computed on one thread, by our own tiles on AVX2 and by matrixmultiply elsewhere; the split is over
//! rows or columns of `C`, never over the inner dimension, so an element of `C` has the same bits whatever the number
//! of threads and however many rows and columns stand beside it.

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2, Axis};

use crate::kernels::Write;

/// Multiply-adds below which one thread is faster than two.
const MIN_PARALLEL: usize = 400_000;

/// A row-major `[rows, cols]` view of `data`. Panics when the length is not `rows * cols`.
#[must_use]
pub fn matrix(data: &[f32], rows: usize, cols: usize) -> ArrayView2<'_, f32> {
    assert_eq!(data.len(), rows * cols, "a matrix of {rows} x {cols}");
    ArrayView2::from_shape((rows, cols), data).expect("the length was checked")
}

/// A mutable row-major `[rows, cols]` view of `data`. Panics when the length is not `rows * cols`.
#[must_use]
pub fn matrix_mut(data: &mut [f32], rows: usize, cols: usize) -> ArrayViewMut2<'_, f32> {
    assert_eq!(data.len(), rows * cols, "a matrix of {rows} x {cols}");
    ArrayViewMut2::from_shape((rows, cols), data).expect("the length was checked")
}

/// `C (+)= A B` on the calling thread; for products inside a parallel task.
pub fn gemm_serial(c: ArrayViewMut2<f32>, a: ArrayView2<f32>, b: ArrayView2<f32>, write: Write) {
    let ((m, n), k) = (c.dim(), a.ncols());
    assert!(a.nrows() == m && b.dim() == (k, n), "gemm: {m} x {n} = {:?} x {:?}", a.dim(), b.dim());
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V3::try_new() {
        let unit = |x: &ArrayView2<f32>| x.strides().contains(&1);
        if m > 0 && n > 0 && k > 0 && c.strides()[1] == 1 && unit(&a) && unit(&b) {
            return super::tile::multiply(simd, c, a, b, write);
        }
    }
    portable(c, a, b, write);
}

fn portable(mut c: ArrayViewMut2<f32>, a: ArrayView2<f32>, b: ArrayView2<f32>, write: Write) {
    let beta = if write == Write::Accumulate { 1.0 } else { 0.0 };
    // The operand with more rows goes first: it is repacked in blocks that stay in the first-level cache.
    if c.nrows() >= c.ncols() {
        general_mat_mul(1.0, &a, &b, beta, &mut c);
    } else {
        general_mat_mul(1.0, &b.t(), &a.t(), beta, &mut c.reversed_axes());
    }
}

/// `C (+)= A B` with `C` `[m, n]`, `A` `[m, k]`, `B` `[k, n]` of any strides, on the current thread pool.
pub fn gemm(c: ArrayViewMut2<f32>, a: ArrayView2<f32>, b: ArrayView2<f32>, write: Write) {
    let work = c.nrows() * c.ncols() * a.ncols();
    let parts = rayon::current_num_threads().min(work / MIN_PARALLEL);
    split(c, a, b, write, parts);
}

fn split(c: ArrayViewMut2<f32>, a: ArrayView2<f32>, b: ArrayView2<f32>, write: Write, parts: usize) {
    // Each half repacks the whole of the operand that is not split, so the longer side is the one to split.
    const GRAIN: usize = 16;
    let (m, n) = c.dim();
    let axis = usize::from(n > m);
    let len = c.dim().0.max(n);
    let left = parts / 2;
    let mid = (len * left).checked_div(parts).unwrap_or(0).next_multiple_of(GRAIN);
    if left == 0 || mid >= len {
        return gemm_serial(c, a, b, write);
    }
    let (c0, c1) = c.split_at(Axis(axis), mid);
    let ((a0, a1), (b0, b1)) =
        if axis == 0 { (a.split_at(Axis(0), mid), (b, b)) } else { ((a, a), b.split_at(Axis(1), mid)) };
    rayon::join(|| split(c0, a0, b0, write, left), || split(c1, a1, b1, write, parts - left));
}

/// A linear layer: `y (+)= x W^T` with `x` `[rows, inputs]`, `w` `[outputs, inputs]`, `y` `[rows, outputs]`.
pub fn linear(y: &mut [f32], x: &[f32], w: &[f32], inputs: usize, outputs: usize, write: Write) {
    let rows = x.len() / inputs.max(1);
    gemm(
        matrix_mut(y, rows, outputs),
        matrix(x, rows, inputs),
        matrix(w, outputs, inputs).reversed_axes(),
        write,
    );
}

/// The cotangent of a linear layer's input: `dx (+)= dy W`, shapes as in [`linear`].
pub fn linear_dx(dx: &mut [f32], dy: &[f32], w: &[f32], inputs: usize, outputs: usize, write: Write) {
    let rows = dy.len() / outputs.max(1);
    gemm(matrix_mut(dx, rows, inputs), matrix(dy, rows, outputs), matrix(w, outputs, inputs), write);
}

/// The cotangent of a linear layer's weight: `dW (+)= dy^T x`, shapes as in [`linear`].
pub fn linear_dw(dw: &mut [f32], dy: &[f32], x: &[f32], inputs: usize, outputs: usize, write: Write) {
    let rows = x.len() / inputs.max(1);
    gemm(
        matrix_mut(dw, outputs, inputs),
        matrix(dy, rows, outputs).reversed_axes(),
        matrix(x, rows, inputs),
        write,
    );
}

#[cfg(test)]
mod tests {
    use super::super::testing::{close, noise, on_threads};
    use super::*;
    use std::vec;
    use std::vec::Vec;

    /// `C = A B` in f64 from element functions.
    fn naive(
        m: usize,
        n: usize,
        k: usize,
        a: impl Fn(usize, usize) -> f32,
        b: impl Fn(usize, usize) -> f32,
    ) -> Vec<f64> {
        let element = |i: usize| (0..k).map(|l| f64::from(a(i / n, l)) * f64::from(b(l, i % n))).sum();
        (0..m * n).map(element).collect()
    }

    fn run(
        f: impl Fn(&mut [f32], &[f32], &[f32], usize, usize, Write),
        len: usize,
        a: &[f32],
        b: &[f32],
        d: (usize, usize),
    ) -> Vec<f32> {
        let mut y = vec![f32::NAN; len];
        f(&mut y, a, b, d.0, d.1, Write::Replace);
        let once = y.clone();
        f(&mut y, a, b, d.0, d.1, Write::Accumulate);
        let twice: Vec<f64> = once.iter().map(|&v| 2.0 * f64::from(v)).collect();
        close(&y, &twice, 1e-6);
        once
    }

    #[test]
    fn products_are_the_sums() {
        for rows in [1, 7, 17, 82, 113] {
            for (inputs, outputs) in [(1, 1), (5, 3), (32, 48), (128, 96), (300, 70), (1100, 40), (20, 1100)]
            {
                let x = noise(1, rows * inputs, 1.0);
                let w = noise(2, outputs * inputs, 1.0);
                let dy = noise(3, rows * outputs, 1.0);
                let d = (inputs, outputs);
                let y = run(linear, rows * outputs, &x, &w, d);
                close(
                    &y,
                    &naive(rows, outputs, inputs, |i, l| x[i * inputs + l], |l, j| w[j * inputs + l]),
                    3e-6,
                );
                let dx = run(linear_dx, rows * inputs, &dy, &w, d);
                close(
                    &dx,
                    &naive(rows, inputs, outputs, |i, l| dy[i * outputs + l], |l, j| w[l * inputs + j]),
                    3e-6,
                );
                let dw = run(linear_dw, outputs * inputs, &dy, &x, d);
                close(
                    &dw,
                    &naive(outputs, inputs, rows, |i, l| dy[l * outputs + i], |l, j| x[l * inputs + j]),
                    3e-6,
                );
            }
        }
    }

    #[test]
    fn a_row_has_the_same_bits_in_any_batch_on_any_threads() {
        for (inputs, outputs) in [(128, 1024), (512, 300), (600, 128)] {
            let x = noise(1, 656 * inputs, 1.0);
            let w = noise(2, outputs * inputs, 1.0);
            let dy = noise(3, 656 * outputs, 1.0);
            let all = |rows: usize, threads: usize| {
                on_threads(threads, || {
                    let (mut y, mut dx) = (vec![0.0; rows * outputs], vec![0.0; rows * inputs]);
                    linear(&mut y, &x[..rows * inputs], &w, inputs, outputs, Write::Replace);
                    linear_dx(&mut dx, &dy[..rows * outputs], &w, inputs, outputs, Write::Replace);
                    linear_dx(&mut dx, &dy[..rows * outputs], &w, inputs, outputs, Write::Accumulate);
                    (y, dx)
                })
            };
            let (y, dx) = all(656, 2);
            for (rows, threads) in [(1, 1), (1, 2), (7, 2), (17, 3), (82, 1), (82, 2), (656, 1), (656, 5)] {
                let (y_part, dx_part) = all(rows, threads);
                assert!(y_part == y[..rows * outputs], "y, {rows} rows, {threads} threads");
                assert!(dx_part == dx[..rows * inputs], "dx, {rows} rows, {threads} threads");
            }
        }
    }

    #[test]
    fn weight_cotangents_have_the_same_bits_on_any_threads() {
        let (dy, x) = (noise(1, 700 * 300, 1.0), noise(2, 700 * 128, 1.0));
        let dw = |threads| {
            on_threads(threads, || {
                let mut dw = vec![0.0; 300 * 128];
                linear_dw(&mut dw, &dy, &x, 128, 300, Write::Replace);
                dw
            })
        };
        assert!(dw(1) == dw(2) && dw(1) == dw(3));
    }

    #[test]
    fn the_portable_path_is_the_sum_with_the_same_bits_in_any_batch() {
        let (inputs, outputs) = (300, 70);
        let (x, w) = (noise(1, 113 * inputs, 1.0), noise(2, outputs * inputs, 1.0));
        let run = |rows: usize| {
            let mut y = vec![f32::NAN; rows * outputs];
            let w = matrix(&w, outputs, inputs).reversed_axes();
            for write in [Write::Replace, Write::Accumulate] {
                portable(
                    matrix_mut(&mut y, rows, outputs),
                    matrix(&x[..rows * inputs], rows, inputs),
                    w,
                    write,
                );
            }
            y
        };
        let all = run(113);
        let want = naive(113, outputs, inputs, |i, l| x[i * inputs + l], |l, j| w[j * inputs + l]);
        close(&all, &want.iter().map(|v| 2.0 * v).collect::<Vec<_>>(), 3e-6);
        for rows in [1, 7, 17, 82] {
            assert!(run(rows) == all[..rows * outputs], "{rows} rows");
        }
    }

    #[test]
    fn no_rows_and_no_inner_dimension() {
        let mut y = [1.0_f32; 6];
        linear(&mut y[..0], &[], &[0.5; 6], 2, 3, Write::Replace);
        linear_dw(&mut y, &[], &[], 2, 3, Write::Replace);
        assert_eq!(y, [0.0; 6]);
    }
}
