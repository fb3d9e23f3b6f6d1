//! The golden cases: every kernel at odd sizes, with weights of every precision, judged by `Reference<f64>`.
//!
//! Where weights are integers the portable backend rounds the tokens that they multiply to 8 bits as well. That is what
//! it is asked to do: so the reference multiplies the rounded tokens.

use std::error::Error;

use firmware::case::{Case, Ints, Kernel, Matrix};
use firmware::placed::{self, Placed};
use firmware::self_test::LEAST;
use half::{bf16, f16};
use hrm_core::backend::reference::{Reference, Rounding};
use hrm_core::bundle::Precision;
use hrm_core::kernels::{Memory, Region};
use hrm_core::quantize;
use hrm_core::rng::{Rng, Stream};
use hrm_core::rope;

/// Rounding of f32 over the sums of these sizes.
const BOUND: f32 = 2e-6;
const EPS: f64 = 1e-5;

/// Bytes that live as long as the program, which makes a few and ends.
fn kept(bytes: Vec<u8>) -> &'static [u8] {
    Vec::leak(bytes)
}

fn ints(values: &[i32]) -> Ints<'static> {
    kept(values.iter().flat_map(|x| x.to_le_bytes()).collect())
}

/// Draws operands.
struct Draw(Rng);

impl Draw {
    /// Numbers between -1 and 1.
    fn numbers(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| (2.0 * self.0.uniform() - 1.0) as f32).collect()
    }

    /// A matrix of activations.
    fn acts(&mut self, rows: usize, cols: usize) -> Matrix<'static> {
        acts(rows, &self.numbers(rows * cols))
    }

    /// A matrix of weights.
    fn weights(&mut self, precision: Precision, rows: usize, cols: usize) -> Matrix<'static> {
        let numbers = self.numbers(rows * cols);
        let (mut elements, mut scales) = (Vec::new(), Vec::new());
        for row in numbers.chunks(cols) {
            match precision {
                Precision::F32 => elements.extend(row.iter().flat_map(|x| x.to_le_bytes())),
                Precision::Bf16 => elements.extend(row.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes())),
                Precision::F16 => elements.extend(row.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes())),
                Precision::Int8 => {
                    let mut q = vec![0; cols];
                    scales.extend(quantize::row(row, &mut q).to_le_bytes());
                    elements.extend(q.iter().map(|q| *q as u8));
                }
            }
        }
        Matrix {
            rows: rows as u32,
            cols: cols as u32,
            precision: precision.id(),
            elements: kept(elements),
            scales: kept(scales),
        }
    }
}

fn acts(rows: usize, numbers: &[f32]) -> Matrix<'static> {
    Matrix {
        rows: rows as u32,
        cols: (numbers.len() / rows) as u32,
        precision: Precision::F32.id(),
        elements: kept(numbers.iter().flat_map(|x| x.to_le_bytes()).collect()),
        scales: &[],
    }
}

/// Tokens as they are after they were rounded to 8 bits, if `w` is of integers.
fn as_multiplied(x: Matrix<'static>, w: &Matrix<'_>) -> Matrix<'static> {
    let values: Vec<f32> = x.weights().into_iter().flat_map(|x| x.values()).collect();
    if w.precision != Precision::Int8.id() {
        return x;
    }
    let rounded: Vec<f32> = values
        .chunks(x.cols as usize)
        .flat_map(|row| {
            let mut q = vec![0; row.len()];
            let scale = quantize::row(row, &mut q);
            q.into_iter().map(move |q| f32::from(q) * scale)
        })
        .collect();
    acts(x.rows as usize, &rounded)
}

/// The kernel as the reference is to do it.
fn as_judged(kernel: Kernel<'static>) -> Kernel<'static> {
    match kernel {
        Kernel::Linear { x, w } => Kernel::Linear { x: as_multiplied(x, &w), w },
        Kernel::LinearSwiGlu { x, w } => Kernel::LinearSwiGlu { x: as_multiplied(x, &w), w },
        Kernel::LinearAddRmsNorm { x, inner, w, eps } => {
            Kernel::LinearAddRmsNorm { x, inner: as_multiplied(inner, &w), w, eps }
        }
        other => other,
    }
}

/// What must come of a kernel.
fn judge(kernel: Kernel<'static>) -> Result<Vec<f32>, Box<dyn Error>> {
    let placed = Placed::new(&as_judged(kernel)).ok_or("the sizes of the operands do not agree")?;
    let [params, acts, stats, ids] = placed.lengths;
    let mut plan = LEAST;
    (plan.params.len, plan.acts_len, plan.stats_len, plan.ids_len) = (params, acts, stats, ids);
    let mut k = Reference::<f64, _>::owned(&plan, Rounding::None)?;
    for (span, weights) in &placed.params {
        placed::write(&mut k, Region::Params, span.offset, *weights)?;
    }
    if let Some(rotary) = placed.rotary {
        let half = rotary.tables.cos.cols;
        for i in 0..rotary.tables.cos.len() {
            let (cos, sin) = rope::cos_sin(rotary.theta, 2 * half, i / half, i % half);
            k.write(Region::Params, rotary.tables.cos.offset + i, &[cos])?;
            k.write(Region::Params, rotary.tables.sin.offset + i, &[sin])?;
        }
    }
    placed.write(&mut k)?;
    placed.apply(&mut k)?;
    let mut result = Vec::new();
    placed.read(&mut k, |x| result.push(x))?;
    Ok(result)
}

/// Every case's kernel, under its name.
fn kernels() -> Vec<(String, Kernel<'static>)> {
    let mut draw = Draw(Rng::new(5, Stream::Init, 0));
    let mut all: Vec<(String, Kernel<'static>)> = Vec::new();
    for precision in [Precision::F32, Precision::Bf16, Precision::F16] {
        let (inputs, puzzle) = (ints(&[3, 0, 6, 6, 1]), ints(&[1]));
        let tokens = draw.weights(precision, 7, 6);
        let prefix = Kernel::Embed {
            inputs,
            puzzle,
            tokens,
            puzzles: Some(draw.weights(precision, 2, 9)),
            positions: None,
        };
        all.push((format!("embed.prefix.{}", precision.name()), prefix));
        let positions = Some(draw.weights(precision, 5, 6));
        let learned = Kernel::Embed { inputs, puzzle: ints(&[0]), tokens, puzzles: None, positions };
        all.push((format!("embed.learned.{}", precision.name()), learned));
    }
    all.push(("add".into(), Kernel::Add { a: draw.acts(3, 7), b: draw.acts(3, 7) }));
    for precision in [Precision::F32, Precision::Bf16, Precision::F16, Precision::Int8] {
        let name = precision.name();
        for (rows, cols, out) in [(1, 1, 1), (3, 37, 5), (9, 35, 3)] {
            let kernel = Kernel::Linear { x: draw.acts(rows, cols), w: draw.weights(precision, out, cols) };
            all.push((format!("linear.{rows}x{cols}x{out}.{name}"), kernel));
        }
        let kernel = Kernel::LinearSwiGlu { x: draw.acts(5, 33), w: draw.weights(precision, 22, 33) };
        all.push((format!("linear_swiglu.{name}"), kernel));
        let (x, inner, w) = (draw.acts(5, 21), draw.acts(5, 50), draw.weights(precision, 21, 50));
        all.push((format!("linear_add_rms_norm.{name}"), Kernel::LinearAddRmsNorm { x, inner, w, eps: EPS }));
        if precision != Precision::Int8 {
            let (w, bias) = (draw.weights(precision, 2, 19), draw.weights(precision, 1, 2));
            all.push((format!("q_head.{name}"), Kernel::QHead { z: draw.acts(6, 19), batch: 2, w, bias }));
            let (z, init) = (draw.acts(6, 9), draw.weights(precision, 1, 9));
            all.push((format!("reset_rows.{name}"), Kernel::ResetRows { z, init, halted: ints(&[0, 1]) }));
        }
    }
    for (theta, heads, dim) in [(Some(10_000.0), 2, 6), (None, 1, 5)] {
        let name = if theta.is_some() { "rope_attention" } else { "attention" };
        let qkv = draw.numbers(2 * 17 * 3 * heads * dim).iter().map(|x| 3.0 * x).collect::<Vec<_>>();
        let kernel = Kernel::RopeAttention { qkv: acts(2 * 17, &qkv), batch: 2, heads: heads as u32, theta };
        all.push((name.into(), kernel));
    }
    let gate_up: Vec<f32> = draw.numbers(3 * 38).iter().map(|x| 12.0 * x).collect();
    all.push(("swiglu".into(), Kernel::SwiGlu { gate_up: acts(3, &gate_up) }));
    all.push((
        "add_rms_norm".into(),
        Kernel::AddRmsNorm { x: draw.acts(4, 37), t: draw.acts(4, 37), eps: EPS },
    ));
    let (current, incoming) = (ints(&[1, 2, 3, 4, 5, 6]), ints(&[7, 8, 9, 10, 11, 12]));
    all.push(("replace_rows".into(), Kernel::ReplaceRows { current, incoming, halted: ints(&[1, 0]) }));
    // Coarse, so that some are equal: the first of equals counts. The first row is a prefix.
    let logits: Vec<f32> = draw.numbers(6 * 4).iter().map(|x| (2.0 * x).round()).collect();
    all.push(("argmax".into(), Kernel::Argmax { logits: acts(6, &logits), cells: 5 }));
    all
}

/// The golden cases, encoded.
///
/// # Errors
/// A case does not fit together.
pub fn cases() -> Result<Vec<u8>, Box<dyn Error>> {
    let mut bytes = Vec::new();
    for (name, kernel) in kernels() {
        let expected = judge(kernel).map_err(|error| format!("{name}: {error}"))?;
        let expected = kept(expected.iter().flat_map(|x| x.to_le_bytes()).collect());
        bytes.extend(postcard::to_stdvec(&Case { name: &name, kernel, expected, bound: BOUND })?);
    }
    Ok(bytes)
}
