//! Against the formulas in f64, and for equal bits.

use super::*;
use crate::backend::cpu::testing::{close, noise, on_threads};
use std::vec;
use std::vec::Vec;

/// The formula in f64: `o` and `lse`.
fn naive(qkv: &[f64], table: Option<(&[f64], &[f64])>, shape: &AttentionShape) -> (Vec<f64>, Vec<f64>) {
    let AttentionShape { batch, seq, heads, head_dim: d } = *shape;
    let at = |b: usize, i: usize, part: usize, h: usize, j: usize| {
        let x = |j: usize| qkv[(((b * seq + i) * 3 + part) * heads + h) * d + j];
        let Some((cos, sin)) = table.filter(|_| part < 2) else { return x(j) };
        let half = d / 2;
        let (c, s) = (cos[i * half + j % half], sin[i * half + j % half]);
        if j < half { x(j) * c - x(j + half) * s } else { x(j) * c + x(j - half) * s }
    };
    let (mut o, mut lse) = (vec![0.0; batch * seq * heads * d], vec![0.0; batch * heads * seq]);
    for b in 0..batch {
        for h in 0..heads {
            let rows: Vec<Vec<Vec<f64>>> = (0..3)
                .map(|part| (0..seq).map(|i| (0..d).map(|j| at(b, i, part, h, j)).collect()).collect())
                .collect();
            for i in 0..seq {
                let score = |k: usize| -> f64 {
                    rows[0][i].iter().zip(&rows[1][k]).map(|(a, b)| a * b).sum::<f64>() / (d as f64).sqrt()
                };
                let scores: Vec<f64> = (0..seq).map(score).collect();
                let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = scores.iter().map(|s| (s - max).exp()).sum();
                lse[(b * heads + h) * seq + i] = max + sum.ln();
                for k in 0..seq {
                    let p = (scores[k] - max).exp() / sum;
                    for j in 0..d {
                        o[((b * seq + i) * heads + h) * d + j] += p * rows[2][k][j];
                    }
                }
            }
        }
    }
    (o, lse)
}

fn table(seq: usize, half: usize) -> (Vec<f32>, Vec<f32>) {
    let angle = |i: usize| ((i / half) as f64) * 10000_f64.powf(-((i % half) as f64) / half as f64);
    (
        (0..seq * half).map(|i| angle(i).cos() as f32).collect(),
        (0..seq * half).map(|i| angle(i).sin() as f32).collect(),
    )
}

fn up(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&v| f64::from(v)).collect()
}

fn run(qkv: &[f32], rope: Option<Rope>, shape: &AttentionShape, tasks: usize) -> (Vec<f32>, Vec<f32>) {
    let mut o = vec![f32::NAN; qkv.len() / 3];
    let mut lse = vec![f32::NAN; shape.batch * shape.heads * shape.seq];
    let mut scratch = vec![f32::NAN; attention_scratch_len(shape, tasks)];
    attention(&mut o, &mut lse, qkv, rope, shape, &mut scratch);
    (o, lse)
}

fn run_vjp(d_o: &[f32], qkv: &[f32], rope: Option<Rope>, shape: &AttentionShape, tasks: usize) -> Vec<f32> {
    let (o, lse) = run(qkv, rope, shape, tasks);
    let mut dqkv = vec![f32::NAN; qkv.len()];
    let mut scratch = vec![f32::NAN; attention_vjp_scratch_len(shape, tasks)];
    attention_vjp(&mut dqkv, d_o, qkv, &o, &lse, rope, shape, &mut scratch);
    dqkv
}

const SHAPES: [(usize, usize, usize, usize); 6] =
    [(1, 1, 1, 2), (2, 7, 3, 8), (3, 17, 2, 16), (1, 82, 2, 64), (1, 113, 3, 32), (2, 200, 1, 6)];

#[test]
fn forward_is_the_formula() {
    for (batch, seq, heads, head_dim) in SHAPES {
        let shape = AttentionShape { batch, seq, heads, head_dim };
        let qkv = noise(1, batch * seq * 3 * shape.hidden(), 2.0);
        let (cos, sin) = table(seq, head_dim / 2);
        for rope in [None, Some(Rope { cos: &cos, sin: &sin })] {
            let (o, lse) = run(&qkv, rope, &shape, 3);
            let (cos, sin) = (up(&cos), up(&sin));
            let (want_o, want_lse) = naive(&up(&qkv), rope.map(|_| (&*cos, &*sin)), &shape);
            close(&o, &want_o, 2e-6);
            close(&lse, &want_lse, 2e-6);
        }
    }
}

#[test]
fn vjp_is_the_derivative() {
    for (batch, seq, heads, head_dim) in SHAPES {
        let shape = AttentionShape { batch, seq, heads, head_dim };
        let qkv = noise(2, batch * seq * 3 * shape.hidden(), 1.5);
        let d_o = noise(3, qkv.len() / 3, 1.0);
        let (cos, sin) = table(seq, head_dim / 2);
        for rope in [None, Some(Rope { cos: &cos, sin: &sin })] {
            let dqkv = run_vjp(&d_o, &qkv, rope, &shape, 2);
            let (cos, sin) = (up(&cos), up(&sin));
            let value = |x: &[f64]| -> f64 {
                let (o, _) = naive(x, rope.map(|_| (&*cos, &*sin)), &shape);
                o.iter().zip(&d_o).map(|(o, &d)| o * f64::from(d)).sum()
            };
            // Along directions: a random one through everything, and one element of each of q, k and v.
            let mut directions = vec![up(&noise(4, qkv.len(), 1.0))];
            for part in 0..3 {
                let mut unit = vec![0.0; qkv.len()];
                unit[((seq - 1) * 3 + part) * shape.hidden() + head_dim - 1] = 1.0;
                directions.push(unit);
            }
            for direction in directions {
                let h = 1e-5;
                let moved = |h: f64| -> Vec<f64> {
                    qkv.iter().zip(&direction).map(|(&x, d)| f64::from(x) + h * d).collect()
                };
                let want = (value(&moved(h)) - value(&moved(-h))) / (2.0 * h);
                let got: f64 = dqkv.iter().zip(&direction).map(|(&g, d)| f64::from(g) * d).sum();
                assert!((got - want).abs() <= 2e-5 * (1.0 + want.abs()), "{shape:?}: {got} for {want}");
            }
        }
    }
}

#[test]
fn bits_depend_on_neither_threads_nor_batch() {
    let shape = AttentionShape { batch: 5, seq: 113, heads: 3, head_dim: 16 };
    let qkv = noise(5, 5 * 113 * 3 * 48, 1.0);
    let d_o = noise(6, 5 * 113 * 48, 1.0);
    let all = |shape: &AttentionShape, qkv: &[f32], d_o: &[f32], threads: usize| {
        on_threads(threads, || (run(qkv, None, shape, threads), run_vjp(d_o, qkv, None, shape, threads)))
    };
    let two = all(&shape, &qkv, &d_o, 2);
    assert!(two == all(&shape, &qkv, &d_o, 1));
    let row = 113 * 48;
    let one = all(&AttentionShape { batch: 1, ..shape }, &qkv[9 * row..12 * row], &d_o[3 * row..4 * row], 2);
    assert!(one.0.0 == two.0.0[3 * row..4 * row]);
    assert!(one.1 == two.1[9 * row..12 * row]);
}
