//! The forward kernels against the formulas of their documentation, written out once more in f64: the reference
//! judges all others, so it is not judged by itself.

use hrm_core::backend::reference::{Owned, Reference, Rounding};
use hrm_core::kernels::{Attention, Keep, Write};
use hrm_core::plan::Plan;
use hrm_host::golden::workbench::Contents;
use hrm_tests::case::{Case, Kernel, Shape};
use hrm_tests::op::{Op, Place};
use hrm_tests::suite::values;

const SHAPE: Shape = Shape { seq: 5, ndim: 9, heads: 2, head_dim: 4, wide: 7, seed: 21 };
const ROWS: [u32; 3] = [0, 1, 2];

/// What the arenas hold before and after `kernel`.
fn run(kernel: Kernel) -> (Case, Contents, Contents) {
    let case = Case::new(kernel, SHAPE, &ROWS, |x| x);
    let mut k: Reference<f64, Owned<f64>> =
        case.bench.build(&|plan: &Plan| Reference::owned(plan, Rounding::None)).unwrap();
    let before = case.bench.contents(&mut k).unwrap();
    case.ops.iter().for_each(|op| op.apply(&mut k).unwrap());
    let after = case.bench.contents(&mut k).unwrap();
    (case, before, after)
}

/// Results pass through f32 on their way here.
fn same(ours: &[f64], formula: &[f64]) {
    assert_eq!(ours.len(), formula.len());
    for (i, (a, b)) in ours.iter().zip(formula).enumerate() {
        assert!((a - b).abs() <= 2e-7 * b.abs().max(0.1), "element {i}: {a}, by the formula {b}");
    }
}

macro_rules! op {
    ($case:expr, $variant:ident) => {
        match $case.ops[0] {
            Op::$variant(op) => op,
            other => panic!("{other:?}"),
        }
    };
}

/// `1 / sqrt 2` as the published program writes it: nine digits.
#[allow(clippy::approx_constant)]
const HALF_SQRT: f64 = 0.707_106_781;

fn embedding(learned: bool) {
    let (case, before, after) = run(Kernel::Embed { learned });
    let op = op!(case, Embed);
    let (d, s, prefix) = (SHAPE.hidden(), SHAPE.positions(), 2);
    let [tokens, puzzles] = [op.tokens, op.puzzles].map(|span| values(&before, Place::Param(span)));
    let (inputs, ids) = (before.ids(op.inputs), before.ids(op.puzzle_ids));
    let mut formula = Vec::new();
    for b in 0..ROWS.len() {
        for i in 0..s {
            for c in 0..d {
                let e = if i >= prefix {
                    tokens[inputs[b * SHAPE.seq + i - prefix] as usize * d + c]
                } else if i * d + c < SHAPE.ndim {
                    puzzles[ids[b] as usize * SHAPE.ndim + i * d + c]
                } else {
                    0.0
                };
                formula.push(
                    (d as f64).sqrt()
                        * match op.positions {
                            Some(span) => HALF_SQRT * (e + values(&before, Place::Param(span))[i * d + c]),
                            None => e,
                        },
                );
            }
        }
    }
    same(&values(&after, Place::Act(op.y)), &formula);
}

#[test]
fn embed() {
    embedding(false);
    embedding(true);
}

#[test]
fn add() {
    let (case, before, after) = run(Kernel::Add);
    let Op::Add { y, a, b } = case.ops[0] else { panic!("{:?}", case.ops) };
    let [a, b] = [a, b].map(|span| values(&before, Place::Act(span)));
    let formula: Vec<_> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
    same(&values(&after, Place::Act(y)), &formula);
}

/// `x W^T` of rows of `cols`.
fn product(x: &[f64], w: &[f64], cols: usize) -> Vec<f64> {
    let rows = x.chunks_exact(cols);
    rows.flat_map(|x| w.chunks_exact(cols).map(|w| x.iter().zip(w).map(|(x, w)| x * w).sum())).collect()
}

/// The gradient of a weight that is used several times is the sum of its uses' gradients.
#[test]
fn gradients_add() {
    for write in [Write::Replace, Write::Accumulate] {
        let (case, before, after) = run(Kernel::LinearVjpWeight(write));
        let op = op!(case, LinearVjpWeight);
        let (dy, x) = (values(&before, Place::Act(op.dy)), values(&before, Place::Act(op.x)));
        let (outer, inner) = (op.dy.cols, op.x.cols);
        let mut formula = match write {
            Write::Replace => vec![0.0; outer * inner],
            Write::Accumulate => values(&before, Place::Gradient(op.w)),
        };
        for (dy, x) in dy.chunks_exact(outer).zip(x.chunks_exact(inner)) {
            for (i, sum) in formula.iter_mut().enumerate() {
                *sum += dy[i / inner] * x[i % inner];
            }
        }
        same(&values(&after, Place::Gradient(op.w)), &formula);
    }
}

#[test]
fn linear() {
    let (case, before, after) = run(Kernel::Linear);
    let op = op!(case, Linear);
    let (x, w) = (values(&before, Place::Act(op.x)), values(&before, Place::Param(op.w)));
    same(&values(&after, Place::Act(op.y)), &product(&x, &w, op.x.cols));
}

/// Whether attention over `qkv` is by the formula what it has left in `after`.
fn attends(op: &Attention, qkv: &[f64], before: &Contents, after: &Contents) {
    let (d, s, dim, half) = (SHAPE.hidden(), SHAPE.positions(), SHAPE.head_dim, SHAPE.head_dim / 2);
    let head = |b: usize, i: usize, part: usize, h: usize| {
        let x = &qkv[(b * s + i) * 3 * d + part * d + h * dim..][..dim];
        let Some(tables) = op.rope.filter(|_| part < 2) else { return x.to_vec() };
        let [cos, sin] = [tables.cos, tables.sin].map(|span| values(before, Place::Param(span)));
        let (cos, sin) = (&cos[i * half..], &sin[i * half..]);
        let turned = |j: usize| {
            if j < half {
                x[j] * cos[j] - x[j + half] * sin[j]
            } else {
                x[j] * cos[j - half] + x[j - half] * sin[j - half]
            }
        };
        (0..dim).map(turned).collect()
    };
    let (mut o, mut lse) = (vec![0.0; ROWS.len() * s * d], Vec::new());
    for b in 0..ROWS.len() {
        for h in 0..SHAPE.heads {
            for i in 0..s {
                let q = head(b, i, 0, h);
                let score = |j| -> f64 {
                    let products = q.iter().zip(head(b, j, 1, h)).map(|(q, k)| q * k);
                    products.sum::<f64>() / (dim as f64).sqrt()
                };
                let weights: Vec<f64> = (0..s).map(|j| score(j).exp()).collect();
                let sum: f64 = weights.iter().sum();
                lse.push(sum.ln());
                for (j, weight) in weights.iter().enumerate() {
                    let out = o[(b * s + i) * d + h * dim..][..dim].iter_mut();
                    out.zip(head(b, j, 2, h)).for_each(|(o, v)| *o += weight / sum * v);
                }
            }
        }
    }
    same(&values(after, Place::Act(op.o)), &o);
    same(&values(after, Place::Stat(op.lse)), &lse);
}

#[test]
fn rope_attention() {
    for rope in [false, true] {
        let (case, before, after) = run(Kernel::Attention { rope });
        let op = op!(case, RopeAttention);
        attends(&op, &values(&before, Place::Act(op.qkv)), &before, &after);
    }
}

#[test]
fn linear_qkv() {
    let (case, before, after) = run(Kernel::LinearQkv);
    let op = op!(case, LinearQkv);
    let (x, w) = (values(&before, Place::Act(op.x)), values(&before, Place::Param(op.w)));
    attends(&op.attention, &product(&x, &w, op.x.cols), &before, &after);
}

/// `silu(gate) * up` of rows of `[gate, up]`, each of `cols`.
fn gated(gate_up: &[f64], cols: usize) -> Vec<f64> {
    let rows = gate_up.chunks_exact(2 * cols).map(|row| row.split_at(cols));
    rows.flat_map(|(g, u)| g.iter().zip(u).map(|(g, u)| g / (1.0 + (-g).exp()) * u)).collect()
}

#[test]
fn swiglu() {
    let (case, before, after) = run(Kernel::SwiGlu);
    let op = op!(case, SwiGlu);
    let gate_up = values(&before, Place::Act(op.gate_up));
    same(&values(&after, Place::Act(op.a)), &gated(&gate_up, op.a.cols));
}

#[test]
fn linear_swiglu() {
    for keep in [Keep::Nothing, Keep::All] {
        let (case, before, after) = run(Kernel::LinearSwiGlu(keep));
        let op = op!(case, LinearSwiGlu);
        let (x, w) = (values(&before, Place::Act(op.x)), values(&before, Place::Param(op.w)));
        let gate_up = product(&x, &w, op.x.cols);
        same(&values(&after, Place::Act(op.a)), &gated(&gate_up, op.a.cols));
        if keep == Keep::All {
            same(&values(&after, Place::Act(op.gate_up)), &gate_up);
        }
    }
}

/// The rows of `x + t`, each of `cols`, over their root mean square; and the reciprocals of that.
fn normed(x: &[f64], t: &[f64], cols: usize, eps: f64) -> (Vec<f64>, Vec<f64>) {
    let sums: Vec<_> = x.iter().zip(t).map(|(x, t)| x + t).collect();
    let (mut y, mut rstd) = (Vec::new(), Vec::new());
    for row in sums.chunks_exact(cols) {
        let mean = row.iter().map(|s| s * s).sum::<f64>() / row.len() as f64;
        rstd.push(1.0 / (mean + eps).sqrt());
        y.extend(row.iter().map(|s| s / (mean + eps).sqrt()));
    }
    (y, rstd)
}

#[test]
fn add_rms_norm() {
    let (case, before, after) = run(Kernel::AddRmsNorm);
    let op = op!(case, AddRmsNorm);
    let [x, t] = [op.x, op.t].map(|span| values(&before, Place::Act(span)));
    let (y, rstd) = normed(&x, &t, op.y.cols, op.eps);
    same(&values(&after, Place::Act(op.y)), &y);
    same(&values(&after, Place::Stat(op.rstd)), &rstd);
}

#[test]
fn linear_add_rms_norm() {
    let (case, before, after) = run(Kernel::LinearAddRmsNorm);
    let op = op!(case, LinearAddRmsNorm);
    let [x, inner] = [op.x, op.inner].map(|span| values(&before, Place::Act(span)));
    let t = product(&inner, &values(&before, Place::Param(op.w)), op.inner.cols);
    let (y, rstd) = normed(&x, &t, op.y.cols, op.eps);
    same(&values(&after, Place::Act(op.y)), &y);
    same(&values(&after, Place::Stat(op.rstd)), &rstd);
}

#[test]
fn linear_add_rms_norm_plus() {
    let (case, before, after) = run(Kernel::LinearAddRmsNormPlus(Keep::All));
    let op = op!(case, LinearAddRmsNorm);
    let plus = op.plus.unwrap();
    let [x, inner, b] = [op.x, op.inner, plus.b].map(|span| values(&before, Place::Act(span)));
    let t = product(&inner, &values(&before, Place::Param(op.w)), op.inner.cols);
    let (y, rstd) = normed(&x, &t, op.y.cols, op.eps);
    let sum: Vec<_> = y.iter().zip(&b).map(|(y, b)| y + b).collect();
    same(&values(&after, Place::Act(op.y)), &y);
    same(&values(&after, Place::Act(plus.sum)), &sum);
    same(&values(&after, Place::Stat(op.rstd)), &rstd);
}

#[test]
fn q_head() {
    let (case, before, after) = run(Kernel::QHead);
    let op = op!(case, QHead);
    let z = values(&before, Place::Act(op.z));
    let [w, bias] = [op.w, op.bias].map(|span| values(&before, Place::Param(span)));
    let mut formula = Vec::new();
    for b in 0..ROWS.len() {
        let first = &z[b * SHAPE.positions() * op.z.cols..][..op.z.cols];
        for (w, bias) in w.chunks_exact(op.z.cols).zip(&bias) {
            formula.push(first.iter().zip(w).map(|(z, w)| z * w).sum::<f64>() + bias);
        }
    }
    same(&values(&after, Place::Stat(op.q)), &formula);
}

#[test]
fn take_first() {
    let (case, before, after) = run(Kernel::TakeFirst);
    let Op::TakeFirst { y, x } = case.ops[0] else { panic!("{:?}", case.ops) };
    let from = values(&before, Place::Act(x));
    let sequence = SHAPE.positions() * x.cols;
    let formula: Vec<_> = (0..y.len()).map(|i| from[i / x.cols * sequence + i % x.cols]).collect();
    same(&values(&after, Place::Act(y)), &formula);
}

#[test]
fn rows_are_reset_and_replaced_where_halted() {
    let (case, before, after) = run(Kernel::ResetRows);
    let Op::ResetRows { z, init, halted } = case.ops[0] else { panic!("{:?}", case.ops) };
    let (old, init) = (values(&before, Place::Act(z)), values(&before, Place::Param(init)));
    let flags = before.ids(halted);
    assert!(flags.contains(&0) && flags.contains(&1), "both cases must occur: {flags:?}");
    let row = SHAPE.positions() * z.cols;
    let formula: Vec<_> =
        (0..old.len()).map(|i| if flags[i / row] != 0 { init[i % z.cols] } else { old[i] }).collect();
    same(&values(&after, Place::Act(z)), &formula);

    let (case, before, after) = run(Kernel::ReplaceRows);
    let Op::ReplaceRows { current, incoming, halted } = case.ops[0] else { panic!("{:?}", case.ops) };
    let flags = before.ids(halted);
    assert!(flags.contains(&0) && flags.contains(&1), "both cases must occur: {flags:?}");
    let pick = |i: usize| if flags[i / SHAPE.seq] != 0 { incoming } else { current };
    let formula: Vec<_> = (0..current.len()).map(|i| before.ids(pick(i))[i]).collect();
    assert_eq!(after.ids(current), formula);
}

#[test]
fn argmax() {
    let (case, before, after) = run(Kernel::Argmax);
    let op = op!(case, Argmax);
    let logits = values(&before, Place::Act(op.logits));
    let rows = logits.chunks_exact(SHAPE.positions() * op.logits.cols);
    let cells = rows.flat_map(|row| row.chunks_exact(op.logits.cols).skip(SHAPE.positions() - SHAPE.seq));
    let best = |cell: &[f64]| (0..cell.len()).rev().max_by(|a, b| cell[*a].total_cmp(&cell[*b])).unwrap();
    let formula: Vec<_> = cells.map(|cell| best(cell) as i32).collect();
    assert_eq!(after.ids(op.predictions), formula);
}
