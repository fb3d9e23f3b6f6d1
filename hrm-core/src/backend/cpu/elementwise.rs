//! Kernels that read and write each element a few times: addition, RMS normalisation, SwiGLU, AdamATan2.
//!
//! They run at the speed of memory. Sums use [`LANES`] running totals that are added as a tree, so their bits are
//! the same on every instruction set; rows are independent of each other.

use super::par::{rows_per_task, vectorized};
use crate::backend::math::{atan2_right, exp, sigmoid};
use crate::optim::{AdamFactors, Average};
use rayon::prelude::*;

/// Running totals of every sum in this module.
pub const LANES: usize = 16;

/// `sum_i f(a_i, b_i)` over [`LANES`] totals, added as a tree.
#[inline(always)]
pub(super) fn sum2(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for l in 0..LANES {
            lanes[l] += f(a[l], b[l]);
        }
    }
    for (l, (&a, &b)) in a_rest.iter().zip(b_rest).enumerate() {
        lanes[l] += f(a, b);
    }
    tree(lanes, |a, b| a + b)
}

#[inline(always)]
fn tree(mut lanes: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for l in 0..width {
            lanes[l] = f(lanes[l], lanes[l + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// Replaces `x` by `e^(x - max x)`; returns the largest element and the sum of the results.
#[inline(always)]
pub(super) fn exp_row(x: &mut [f32]) -> (f32, f32) {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (blocks, rest) = x.as_chunks::<LANES>();
    for block in blocks {
        for l in 0..LANES {
            lanes[l] = if block[l] > lanes[l] { block[l] } else { lanes[l] };
        }
    }
    for (l, &v) in rest.iter().enumerate() {
        lanes[l] = if v > lanes[l] { v } else { lanes[l] };
    }
    let max = tree(lanes, |a, b| if b > a { b } else { a });
    for v in x.iter_mut() {
        *v = exp(*v - max);
    }
    (max, sum2(x, x, |a, _| a))
}

/// `y = a + b`, all of one length.
pub fn add(y: &mut [f32], a: &[f32], b: &[f32]) {
    assert!(y.len() == a.len() && y.len() == b.len(), "add: {} = {} + {}", y.len(), a.len(), b.len());
    #[inline(always)]
    fn part(y: &mut [f32], a: &[f32], b: &[f32]) {
        for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
            *y = a + b;
        }
    }
    let task = rows_per_task(y.len(), 1);
    if task >= y.len() {
        return vectorized(
            #[inline(always)]
            || part(y, a, b),
        );
    }
    y.par_chunks_mut(task).zip(a.par_chunks(task)).zip(b.par_chunks(task)).for_each(|((y, a), b)| {
        vectorized(
            #[inline(always)]
            || part(y, a, b),
        )
    });
}

/// `y += a`, of one length.
pub fn add_assign(y: &mut [f32], a: &[f32]) {
    assert_eq!(y.len(), a.len(), "add_assign");
    #[inline(always)]
    fn part(y: &mut [f32], a: &[f32]) {
        for (y, &a) in y.iter_mut().zip(a) {
            *y += a;
        }
    }
    let task = rows_per_task(y.len(), 1);
    if task >= y.len() {
        return vectorized(
            #[inline(always)]
            || part(y, a),
        );
    }
    y.par_chunks_mut(task).zip(a.par_chunks(task)).for_each(|(y, a)| {
        vectorized(
            #[inline(always)]
            || part(y, a),
        )
    });
}

/// Post-norm of a residual: `s = x + r`, `rstd = 1/sqrt(mean(s^2) + eps)`, `y = s rstd`, per row of `hidden`.
///
/// `x`, `r`, `y` are `[rows, hidden]`; `rstd` is `[rows]` and is what [`add_rms_norm_vjp`] needs beside `y`.
pub fn add_rms_norm(y: &mut [f32], rstd: &mut [f32], x: &[f32], r: &[f32], hidden: usize, eps: f32) {
    let rows = rstd.len();
    assert!(
        hidden > 0 && y.len() == rows * hidden && x.len() == y.len() && r.len() == y.len(),
        "add_rms_norm: y {}, x {}, r {}, for {rows} rows of {hidden}",
        y.len(),
        x.len(),
        r.len()
    );
    let part = |y: &mut [f32], rstd: &mut [f32], x: &[f32], r: &[f32]| {
        vectorized(
            #[inline(always)]
            || {
                let rows = y
                    .chunks_exact_mut(hidden)
                    .zip(rstd)
                    .zip(x.chunks_exact(hidden).zip(r.chunks_exact(hidden)));
                for ((y, rstd), (x, r)) in rows {
                    add_rms_norm_row(y, rstd, x, r, eps);
                }
            },
        );
    };
    let task = rows_per_task(rows, hidden);
    if task >= rows {
        return part(y, rstd, x, r);
    }
    y.par_chunks_mut(task * hidden)
        .zip(rstd.par_chunks_mut(task))
        .zip(x.par_chunks(task * hidden).zip(r.par_chunks(task * hidden)))
        .for_each(|((y, rstd), (x, r))| part(y, rstd, x, r));
}

#[inline(always)]
fn add_rms_norm_row(y: &mut [f32], rstd: &mut f32, x: &[f32], r: &[f32], eps: f32) {
    for ((y, &x), &r) in y.iter_mut().zip(x).zip(r) {
        *y = x + r;
    }
    let mean_square = sum2(y, y, |a, b| a * b) / y.len() as f32;
    let scale = 1.0 / (mean_square + eps).sqrt();
    *rstd = scale;
    for y in y {
        *y *= scale;
    }
}

/// The vjp of [`add_rms_norm`]: `ds = rstd (dy - y mean(dy y))`, the cotangent of both `x` and `r`.
pub fn add_rms_norm_vjp(ds: &mut [f32], dy: &[f32], y: &[f32], rstd: &[f32], hidden: usize) {
    let rows = rstd.len();
    assert!(
        hidden > 0 && ds.len() == rows * hidden && dy.len() == ds.len() && y.len() == ds.len(),
        "add_rms_norm_vjp: ds {}, dy {}, y {}, for {rows} rows of {hidden}",
        ds.len(),
        dy.len(),
        y.len()
    );
    let part = |ds: &mut [f32], dy: &[f32], y: &[f32], rstd: &[f32]| {
        vectorized(
            #[inline(always)]
            || {
                let rows = ds
                    .chunks_exact_mut(hidden)
                    .zip(rstd)
                    .zip(dy.chunks_exact(hidden).zip(y.chunks_exact(hidden)));
                for ((ds, &rstd), (dy, y)) in rows {
                    add_rms_norm_vjp_row(ds, dy, y, rstd);
                }
            },
        );
    };
    let task = rows_per_task(rows, hidden);
    if task >= rows {
        return part(ds, dy, y, rstd);
    }
    ds.par_chunks_mut(task * hidden)
        .zip(rstd.par_chunks(task))
        .zip(dy.par_chunks(task * hidden).zip(y.par_chunks(task * hidden)))
        .for_each(|((ds, rstd), (dy, y))| part(ds, dy, y, rstd));
}

#[inline(always)]
fn add_rms_norm_vjp_row(ds: &mut [f32], dy: &[f32], y: &[f32], rstd: f32) {
    let mean = sum2(dy, y, |a, b| a * b) / y.len() as f32;
    for ((ds, &dy), &y) in ds.iter_mut().zip(dy).zip(y) {
        *ds = rstd * (dy - y * mean);
    }
}

/// SwiGLU: `a = silu(gate) up` with `silu(g) = g sigmoid(g)`.
///
/// `gate_up` is `[rows, 2 inter]`, the gate in the first half of each row; `a` is `[rows, inter]`.
pub fn swiglu(a: &mut [f32], gate_up: &[f32], inter: usize) {
    assert!(
        inter > 0 && a.len().is_multiple_of(inter) && gate_up.len() == 2 * a.len(),
        "swiglu: a {}, gate_up {}, inter {inter}",
        a.len(),
        gate_up.len()
    );
    let part = |a: &mut [f32], gate_up: &[f32]| {
        vectorized(
            #[inline(always)]
            || {
                for (a, gate_up) in a.chunks_exact_mut(inter).zip(gate_up.chunks_exact(2 * inter)) {
                    swiglu_row(a, gate_up);
                }
            },
        );
    };
    let rows = a.len() / inter;
    let task = rows_per_task(rows, inter);
    if task >= rows {
        return part(a, gate_up);
    }
    a.par_chunks_mut(task * inter)
        .zip(gate_up.par_chunks(task * 2 * inter))
        .for_each(|(a, gate_up)| part(a, gate_up));
}

#[inline(always)]
fn swiglu_row(a: &mut [f32], gate_up: &[f32]) {
    let (gate, up) = gate_up.split_at(a.len());
    map_blocks([gate, up, up], [a], |[g, u, _]| [g * sigmoid(g) * u]);
}

/// `outputs = f(inputs)` element by element, all of one length.
///
/// Blocks pass through local arrays, which tells the compiler that no output is an input.
#[inline(always)]
fn map_blocks<const M: usize>(
    inputs: [&[f32]; 3],
    mut outputs: [&mut [f32]; M],
    f: impl Fn([f32; 3]) -> [f32; M],
) {
    let n = outputs[0].len();
    let inputs = inputs.map(|input| &input[..n]);
    let full = n - n % LANES;
    let mut x = [[0.0_f32; LANES]; 3];
    let mut y = [[0.0_f32; LANES]; M];
    for first in (0..full).step_by(LANES) {
        for (x, input) in x.iter_mut().zip(inputs) {
            if let Some(block) = input[first..].first_chunk() {
                *x = *block;
            }
        }
        for l in 0..LANES {
            let result = f([x[0][l], x[1][l], x[2][l]]);
            for (y, result) in y.iter_mut().zip(result) {
                y[l] = result;
            }
        }
        for (y, output) in y.iter().zip(&mut outputs) {
            if let Some(block) = output[first..].first_chunk_mut() {
                *block = *y;
            }
        }
    }
    for i in full..n {
        let result = f(inputs.map(|input| input[i]));
        for (output, result) in outputs.iter_mut().zip(result) {
            output[i] = result;
        }
    }
}

/// The vjp of [`swiglu`], in place: `gate_up` becomes its cotangent, and `a`, which holds that of the activation,
/// becomes the activation once more, so that the forward pass need not keep it.
///
/// `dgate = da up s (1 + gate (1 - s))`, `dup = da gate s`, with `s = sigmoid(gate)`.
pub fn swiglu_vjp(gate_up: &mut [f32], a: &mut [f32], inter: usize) {
    assert!(
        inter > 0 && a.len().is_multiple_of(inter) && gate_up.len() == 2 * a.len(),
        "swiglu_vjp: gate_up {}, a {}, inter {inter}",
        gate_up.len(),
        a.len(),
    );
    let part = |gate_up: &mut [f32], a: &mut [f32]| {
        vectorized(
            #[inline(always)]
            || {
                for (gate_up, a) in gate_up.chunks_exact_mut(2 * inter).zip(a.chunks_exact_mut(inter)) {
                    swiglu_vjp_row(gate_up, a);
                }
            },
        );
    };
    let rows = a.len() / inter;
    let task = rows_per_task(rows, 2 * inter);
    if task >= rows {
        return part(gate_up, a);
    }
    gate_up
        .par_chunks_mut(task * 2 * inter)
        .zip(a.par_chunks_mut(task * inter))
        .for_each(|(gate_up, a)| part(gate_up, a));
}

#[inline(always)]
fn swiglu_vjp_row(gate_up: &mut [f32], a: &mut [f32]) {
    let (gate, up) = gate_up.split_at_mut(a.len());
    map_in_place([gate, up, a], |[g, u, da]| {
        let s = sigmoid(g);
        let silu = g * s;
        [da * u * (s * (1.0 + g * (1.0 - s))), da * silu, silu * u]
    });
}

/// `slices = f(slices)` element by element, all of one length, by blocks as in [`map_blocks`].
#[inline(always)]
fn map_in_place<const N: usize>(mut slices: [&mut [f32]; N], f: impl Fn([f32; N]) -> [f32; N]) {
    let n = slices[0].len();
    let full = n - n % LANES;
    let mut x = [[0.0_f32; LANES]; N];
    for first in (0..full).step_by(LANES) {
        for (x, slice) in x.iter_mut().zip(&slices) {
            if let Some(block) = slice[first..].first_chunk() {
                *x = *block;
            }
        }
        for l in 0..LANES {
            let result = f(core::array::from_fn(|i| x[i][l]));
            for (x, result) in x.iter_mut().zip(result) {
                x[l] = result;
            }
        }
        for (x, slice) in x.iter().zip(&mut slices) {
            if let Some(block) = slice[first..].first_chunk_mut() {
                *block = *x;
            }
        }
    }
    for i in full..n {
        let result = f(core::array::from_fn(|j| slices[j][i]));
        for (slice, result) in slices.iter_mut().zip(result) {
            slice[i] = result;
        }
    }
}

/// One AdamATan2 step of the parameters `p` with moments `m`, `v` and gradient `g`, all of one length:
/// `m = lerp(m, g, 1-beta1)`, `v = lerp(v, g^2, 1-beta2)`,
/// `p = p decay - step atan2(m, sqrt(v) / correction)`.
///
/// The two interpolations are fused multiply-adds, as in the published kernel.
pub fn adam_atan2(p: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32], factors: &AdamFactors<f32>) {
    assert!(
        p.len() == m.len() && p.len() == v.len() && p.len() == g.len(),
        "adam_atan2: p {}, m {}, v {}, g {}",
        p.len(),
        m.len(),
        v.len(),
        g.len()
    );
    let part = |p: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32]| {
        vectorized(
            #[inline(always)]
            || adam_atan2_part(p, m, v, g, factors),
        );
    };
    let task = rows_per_task(p.len(), 1);
    if task >= p.len() {
        return part(p, m, v, g);
    }
    p.par_chunks_mut(task)
        .zip(m.par_chunks_mut(task))
        .zip(v.par_chunks_mut(task).zip(g.par_chunks(task)))
        .for_each(|((p, m), (v, g))| part(p, m, v, g));
}

#[inline(always)]
fn adam_atan2_part(p: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32], factors: &AdamFactors<f32>) {
    let AdamFactors { rate1, rate2, decay, step, correction } = *factors;
    for ((p, m), (v, &g)) in p.iter_mut().zip(m).zip(v.iter_mut().zip(g)) {
        *m = rate1.mul_add(g - *m, *m);
        *v = rate2.mul_add(g.mul_add(g, -*v), *v);
        *p = *p * decay - step * atan2_right(*m, v.sqrt() / correction);
    }
}

/// The averages `a` after a step that has led to `p`: see [`Average`].
pub fn average(a: &mut [f32], p: &[f32], average: &Average) {
    let part = |a: &mut [f32], p: &[f32]| {
        a.iter_mut().zip(p).for_each(|(a, p)| *a = average.update(*a, *p));
    };
    let task = rows_per_task(p.len(), 1);
    if task >= p.len() {
        return part(a, p);
    }
    a.par_chunks_mut(task).zip(p.par_chunks(task)).for_each(|(a, p)| part(a, p));
}

#[cfg(test)]
mod tests;
