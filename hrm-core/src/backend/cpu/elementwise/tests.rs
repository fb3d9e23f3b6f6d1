//! Against the formulas in f64, and for equal bits.

use super::*;
use crate::backend::cpu::testing::{close, noise, on_threads};
use crate::optim::AdamAtan2;
use crate::optim::StepScalars;
use std::vec;
use std::vec::Vec;

const ROWS: [usize; 5] = [1, 7, 17, 82, 113];
const WIDTHS: [usize; 4] = [1, 15, 32, 259];

/// The factors of step `step` at rate `lr`.
fn factors(lr: f64, step: u64) -> AdamFactors<f32> {
    let optimizer = AdamAtan2 { beta1: 0.9, beta2: 0.95, weight_decay: 0.1 };
    optimizer.factors(&StepScalars { step, lr, puzzle_emb_lr: lr, seed: 0 })
}

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
        let (mut a, mut again) = (vec![f32::NAN; rows * width], da.clone());
        let mut dgate_up = gate_up.clone();
        swiglu(&mut a, &gate_up, width);
        swiglu_vjp(&mut dgate_up, &mut again, width);
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
        let s = factors(1e-2, 3);
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
    adam_atan2(&mut p, &mut m, &mut v, &[2.0, -1e-6, 0.0], &factors(1e-3, 1));
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
            let (mut rstd, mut dgate_up) = (vec![0.0; rows], gate_up.clone());
            add_rms_norm(&mut y, &mut rstd, &x, &r, width, 1e-5);
            add_rms_norm_vjp(&mut ds, &dy, &y, &rstd, width);
            a.copy_from_slice(&dy);
            swiglu_vjp(&mut dgate_up, &mut a, width);
            let (mut m, mut v) =
                (x.clone(), gate_up[..rows * width].iter().map(|v| v.abs()).collect::<Vec<_>>());
            adam_atan2(&mut p, &mut m, &mut v, &dy, &factors(1e-3, 1));
            [y, ds, a, p, rstd, dgate_up]
        })
    };
    assert!(run(1) == run(2));
}
