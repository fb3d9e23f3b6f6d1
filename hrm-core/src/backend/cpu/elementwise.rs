//! Kernels that read and write each element a few times: addition, RMS normalisation, SwiGLU, AdamATan2.
//!
//! They run at the speed of memory. Sums use [`LANES`] running totals that are added as a tree, so their bits are
//! the same on every instruction set; rows are independent of each other.

use super::math::{atan2_right, exp, sigmoid};
use super::par::{rows_per_task, vectorized};
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
    let mut x = [[0.0_f32; LANES]; 3];
    let mut y = [[0.0_f32; LANES]; M];
    let mut first = 0;
    while first < n {
        let len = LANES.min(n - first);
        for (x, input) in x.iter_mut().zip(inputs) {
            if len == LANES {
                x.copy_from_slice(&input[first..first + LANES]);
            } else {
                x[..len].copy_from_slice(&input[first..n]);
            }
        }
        for l in 0..LANES {
            let result = f([x[0][l], x[1][l], x[2][l]]);
            for (y, result) in y.iter_mut().zip(result) {
                y[l] = result;
            }
        }
        for (y, output) in y.iter().zip(&mut outputs) {
            if len == LANES {
                output[first..first + LANES].copy_from_slice(y);
            } else {
                output[first..n].copy_from_slice(&y[..len]);
            }
        }
        first += LANES;
    }
}

/// The vjp of [`swiglu`]: `dgate_up` from `gate_up` and `da`, and `a` once more, so that the forward pass need not keep it.
///
/// `dgate = da up s (1 + gate (1 - s))`, `dup = da gate s`, with `s = sigmoid(gate)`.
pub fn swiglu_vjp(dgate_up: &mut [f32], a: &mut [f32], gate_up: &[f32], da: &[f32], inter: usize) {
    assert!(
        inter > 0
            && a.len().is_multiple_of(inter)
            && da.len() == a.len()
            && gate_up.len() == 2 * a.len()
            && dgate_up.len() == gate_up.len(),
        "swiglu_vjp: dgate_up {}, a {}, gate_up {}, da {}, inter {inter}",
        dgate_up.len(),
        a.len(),
        gate_up.len(),
        da.len()
    );
    let part = |dgate_up: &mut [f32], a: &mut [f32], gate_up: &[f32], da: &[f32]| {
        vectorized(
            #[inline(always)]
            || {
                let outputs = dgate_up.chunks_exact_mut(2 * inter).zip(a.chunks_exact_mut(inter));
                let inputs = gate_up.chunks_exact(2 * inter).zip(da.chunks_exact(inter));
                for ((dgate_up, a), (gate_up, da)) in outputs.zip(inputs) {
                    swiglu_vjp_row(dgate_up, a, gate_up, da);
                }
            },
        );
    };
    let rows = a.len() / inter;
    let task = rows_per_task(rows, 2 * inter);
    if task >= rows {
        return part(dgate_up, a, gate_up, da);
    }
    dgate_up
        .par_chunks_mut(task * 2 * inter)
        .zip(a.par_chunks_mut(task * inter))
        .zip(gate_up.par_chunks(task * 2 * inter).zip(da.par_chunks(task * inter)))
        .for_each(|((dgate_up, a), (gate_up, da))| part(dgate_up, a, gate_up, da));
}

#[inline(always)]
fn swiglu_vjp_row(dgate_up: &mut [f32], a: &mut [f32], gate_up: &[f32], da: &[f32]) {
    let (gate, up) = gate_up.split_at(a.len());
    let (dgate, dup) = dgate_up.split_at_mut(a.len());
    map_blocks([gate, up, da], [dgate, dup, a], |[g, u, da]| {
        let s = sigmoid(g);
        let silu = g * s;
        [da * u * (s * (1.0 + g * (1.0 - s))), da * silu, silu * u]
    });
}

/// The scalars of one AdamATan2 step, formed in f64 and rounded to f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamAtan2 {
    /// `1 - beta1`: how far `m` moves towards the gradient.
    pub m_rate: f32,
    /// `1 - beta2`: how far `v` moves towards the squared gradient.
    pub v_rate: f32,
    /// `1 - lr * weight_decay`: what the parameter keeps before the update.
    pub keep: f32,
    /// `lr / (1 - beta1^t)`: the length of the step.
    pub step: f32,
    /// `sqrt(1 - beta2^t)`: the bias correction of `sqrt(v)`.
    pub v_correction: f32,
}

impl AdamAtan2 {
    /// The scalars of step `t` (the first is 1).
    #[must_use]
    pub fn new(lr: f64, weight_decay: f64, beta1: f64, beta2: f64, t: u64) -> Self {
        let t = t as f64;
        Self {
            m_rate: (1.0 - beta1) as f32,
            v_rate: (1.0 - beta2) as f32,
            keep: (1.0 - lr * weight_decay) as f32,
            step: (lr / (1.0 - beta1.powf(t))) as f32,
            v_correction: (1.0 - beta2.powf(t)).sqrt() as f32,
        }
    }
}

/// One AdamATan2 step of the parameters `p` with moments `m`, `v` and gradient `g`, all of one length:
/// `m = lerp(m, g, 1-beta1)`, `v = lerp(v, g^2, 1-beta2)`,
/// `p = p keep - step atan2(m, sqrt(v) / v_correction)`.
///
/// The two interpolations are fused multiply-adds, as in the published kernel.
pub fn adam_atan2(p: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32], scalars: &AdamAtan2) {
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
            || adam_atan2_part(p, m, v, g, scalars),
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
fn adam_atan2_part(p: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32], scalars: &AdamAtan2) {
    let AdamAtan2 { m_rate, v_rate, keep, step, v_correction } = *scalars;
    for ((p, m), (v, &g)) in p.iter_mut().zip(m).zip(v.iter_mut().zip(g)) {
        *m = m_rate.mul_add(g - *m, *m);
        *v = v_rate.mul_add(g.mul_add(g, -*v), *v);
        *p = *p * keep - step * atan2_right(*m, v.sqrt() / v_correction);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{close, noise, on_threads};
    use super::*;
    use std::vec;
    use std::vec::Vec;

    const ROWS: [usize; 5] = [1, 7, 17, 82, 113];
    const WIDTHS: [usize; 4] = [1, 15, 32, 259];

    fn cases() -> impl Iterator<Item = (usize, usize)> {
        ROWS.into_iter().flat_map(|rows| WIDTHS.into_iter().map(move |width| (rows, width)))
    }

    #[test]
    fn sums_are_sums() {
        for len in [0, 1, 7, 40_003] {
            let (a, b) = (noise(1, len, 1.0), noise(2, len, 1.0));
            let mut y = vec![0.0; len];
            add(&mut y, &a, &b);
            assert!(y.iter().zip(a.iter().zip(&b)).all(|(y, (a, b))| *y == a + b));
            add_assign(&mut y, &a);
            assert!(y.iter().zip(a.iter().zip(&b)).all(|(y, (a, b))| *y == a + b + a));
        }
    }

    /// `y`, `rstd` and, for the cotangent `dy`, `ds` of the norm in f64.
    fn naive_norm(x: &[f32], r: &[f32], dy: &[f32], width: usize, eps: f32) -> [Vec<f64>; 3] {
        let mut out = [const { Vec::new() }; 3];
        for ((x, r), dy) in x.chunks(width).zip(r.chunks(width)).zip(dy.chunks(width)) {
            let s: Vec<f64> = x.iter().zip(r).map(|(&x, &r)| f64::from(x) + f64::from(r)).collect();
            let n = width as f64;
            let rstd = 1.0 / (s.iter().map(|s| s * s).sum::<f64>() / n + f64::from(eps)).sqrt();
            // d/ds of rstd(s) s, written out: rstd dy - s rstd^3 sum(s dy) / n.
            let dot: f64 = s.iter().zip(dy).map(|(s, &dy)| s * f64::from(dy)).sum();
            out[0].extend(s.iter().map(|s| s * rstd));
            out[1].push(rstd);
            out[2].extend(s.iter().zip(dy).map(|(s, &dy)| rstd * f64::from(dy) - s * rstd.powi(3) * dot / n));
        }
        out
    }

    #[test]
    fn norm_and_its_vjp_are_the_formulas() {
        for (rows, width) in cases() {
            let [x, r, dy] = [1, 2, 3].map(|seed| noise(seed, rows * width, 2.0));
            let [mut y, mut ds] = [vec![f32::NAN; rows * width], vec![f32::NAN; rows * width]];
            let mut rstd = vec![f32::NAN; rows];
            add_rms_norm(&mut y, &mut rstd, &x, &r, width, 1e-5);
            add_rms_norm_vjp(&mut ds, &dy, &y, &rstd, width);
            let [want_y, want_rstd, want_ds] = naive_norm(&x, &r, &dy, width, 1e-5);
            close(&y, &want_y, 5e-7);
            close(&rstd, &want_rstd, 5e-7);
            if width > 1 {
                close(&ds, &want_ds, 1e-6);
            }
        }
    }

    #[test]
    fn swiglu_and_its_vjp_are_the_formulas() {
        for (rows, width) in cases() {
            let gate_up = noise(1, rows * 2 * width, 9.0);
            let da = noise(2, rows * width, 1.0);
            let [mut a, mut again] = [vec![f32::NAN; rows * width], vec![f32::NAN; rows * width]];
            let mut dgate_up = vec![f32::NAN; rows * 2 * width];
            swiglu(&mut a, &gate_up, width);
            swiglu_vjp(&mut dgate_up, &mut again, &gate_up, &da, width);
            assert!(a == again);
            let value = |g: f64, u: f64| g / (1.0 + (-g).exp()) * u;
            let (mut want, mut want_d) = (Vec::new(), Vec::new());
            for (gate_up, da) in gate_up.chunks(2 * width).zip(da.chunks(width)) {
                let at = |j: usize| (f64::from(gate_up[j]), f64::from(gate_up[width + j]), f64::from(da[j]));
                let h = 1e-5;
                want.extend((0..width).map(|j| value(at(j).0, at(j).1)));
                let slope = |(g, u, d): (f64, f64, f64)| (value(g + h, u) - value(g - h, u)) / (2.0 * h) * d;
                want_d.extend((0..width).map(|j| slope(at(j))));
                want_d.extend((0..width).map(|j| value(at(j).0, 1.0) * at(j).2));
            }
            close(&a, &want, 4e-7);
            close(&dgate_up, &want_d, 1e-6);
        }
    }

    #[test]
    fn adam_atan2_is_the_formula() {
        for len in [1, 7, 82, 40_003] {
            let [mut p, mut m, g] = [1, 2, 3].map(|seed| noise(seed, len, 1.0));
            let mut v: Vec<f32> = noise(4, len, 1.0).iter().map(|v| v.abs()).collect();
            let s = AdamAtan2::new(1e-2, 0.1, 0.9, 0.95, 3);
            let (p0, m0, v0) = (p.clone(), m.clone(), v.clone());
            adam_atan2(&mut p, &mut m, &mut v, &g, &s);
            let mut want = [const { Vec::new() }; 3];
            for i in 0..len {
                let [p, m, v, g] = [p0[i], m0[i], v0[i], g[i]].map(f64::from);
                let m = m + 0.1 * (g - m);
                let v = v + 0.05 * (g * g - v);
                let root = v.sqrt() / (1.0 - 0.95_f64.powi(3)).sqrt();
                want[0].push(p * (1.0 - 1e-3) - 1e-2 / (1.0 - 0.9_f64.powi(3)) * m.atan2(root));
                want[1].push(m);
                want[2].push(v);
            }
            close(&p, &want[0], 2e-7);
            close(&m, &want[1], 2e-7);
            close(&v, &want[2], 2e-7);
        }
    }

    #[test]
    fn first_step_is_the_sign() {
        let [mut p, mut m, mut v] = [[0.0_f32; 3]; 3];
        adam_atan2(&mut p, &mut m, &mut v, &[2.0, -1e-6, 0.0], &AdamAtan2::new(1e-3, 0.1, 0.9, 0.95, 1));
        close(&p, &[-0.996_687e-3, 0.996_687e-3, 0.0], 1e-5);
    }

    #[test]
    fn bits_do_not_depend_on_threads() {
        let (rows, width) = (700, 259);
        let [x, r, dy] = [1, 2, 3].map(|seed| noise(seed, rows * width, 2.0));
        let gate_up = noise(4, rows * 2 * width, 2.0);
        let run = |threads| {
            on_threads(threads, || {
                let [mut y, mut ds, mut a, mut p] =
                    [const { Vec::new() }; 4].map(|_: Vec<f32>| vec![0.0; rows * width]);
                let (mut rstd, mut dgate_up) = (vec![0.0; rows], vec![0.0; 2 * rows * width]);
                add_rms_norm(&mut y, &mut rstd, &x, &r, width, 1e-5);
                add_rms_norm_vjp(&mut ds, &dy, &y, &rstd, width);
                swiglu_vjp(&mut dgate_up, &mut a, &gate_up, &dy, width);
                let (mut m, mut v) =
                    (x.clone(), gate_up[..rows * width].iter().map(|v| v.abs()).collect::<Vec<_>>());
                adam_atan2(&mut p, &mut m, &mut v, &dy, &AdamAtan2::new(1e-3, 0.1, 0.9, 0.95, 1));
                [y, ds, a, p, rstd, dgate_up]
            })
        };
        assert!(run(1) == run(2));
    }
}
