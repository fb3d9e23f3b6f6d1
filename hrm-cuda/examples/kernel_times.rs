//! Times the kernels that most of a training step goes to, each alone: 400 calls one behind the other, five times over. Needs
//! a GPU of compute capability 9.0.
//!
//! ```text
//! cargo run --release -p hrm-cuda --example kernel_times [NAME]
//! ```
//!
//! With a name, only those kernels whose names have it in them: `attention`, `linear`, `token_mix`.
//!
//! Operands are random, not zeros: products of zeros take less power, and a GPU at its power limit does them faster.

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use half::bf16;
use hrm_core::kernels::{Keep, Write};
use hrm_cuda::device::Gpu;
use hrm_cuda::launch::{Dtype, Gemm, Launcher, Ptr};
use hrm_cuda::ops::Product;
use hrm_cuda::ops::attention::{self, Attention, AttentionVjp, Shape};
use hrm_cuda::ops::elementwise;
use hrm_cuda::ops::gemm_sm90::{
    AddRmsNorm, GatedOperands, GatedSizes, Linear, LinearAddRmsNorm, LinearSwiGlu, LinearSwiGluVjp, Plus,
};
use hrm_cuda::ops::token_mix::{self, TokenMix};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const NO_KERNEL: &str = "this GPU has no such kernel";
const CALLS: u32 = 400;
const ROUNDS: usize = 5;
const HEADS: usize = 8;
const HIDDEN: usize = 64 * HEADS;

/// `len` values in bf16, in triangles of three between -3 and 3 times `scale`, by xorshift.
fn random(gpu: &mut Gpu, len: usize, scale: f32) -> Outcome<Ptr> {
    let mut state = len as u64 | 1;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / 2f32.powi(23) - 1.0
    };
    let bytes: Vec<u8> = (0..len)
        .flat_map(|_| bf16::from_f32((uniform() + uniform() + uniform()) * scale).to_ne_bytes())
        .collect();
    let at = gpu.alloc(bytes.len())?;
    gpu.upload(at, &bytes)?;
    Ok(at)
}

/// Prints the median of a call, and operations of it in each second.
fn time(gpu: &mut Gpu, name: &str, operations: usize, mut call: impl FnMut(&mut Gpu) -> Outcome) -> Outcome {
    if std::env::args().nth(1).is_some_and(|part| !name.contains(&part)) {
        return Ok(());
    }
    // To wait for the device is to read from it.
    let waited = gpu.alloc(4)?;
    let mut round = |gpu: &mut Gpu| -> Outcome<f64> {
        let began = Instant::now();
        for _ in 0..CALLS {
            call(gpu)?;
        }
        gpu.download(waited, &mut [0; 4])?;
        Ok(began.elapsed().as_secs_f64() / f64::from(CALLS))
    };
    round(gpu)?;
    let mut seconds = (0..ROUNDS).map(|_| round(gpu)).collect::<Outcome<Vec<_>>>()?;
    seconds.sort_by(f64::total_cmp);
    let median = seconds[ROUNDS / 2];
    println!("{name:<36} {:8.1} us {:6.0} TFLOP/s", 1e6 * median, operations as f64 / median / 1e12);
    Ok(())
}

/// The products of a block's forward pass.
fn products(gpu: &mut Gpu, rows: usize) -> Outcome {
    let inner = 3 * HIDDEN;
    let (x, residual) = (random(gpu, rows * inner, 1.0)?, random(gpu, rows * HIDDEN, 1.0)?);
    let b = random(gpu, rows * HIDDEN, 1.0)?;
    let [y, kept, rstd] =
        [2 * rows * 2 * inner, 2 * rows * 2 * inner, 4 * rows].map(|bytes| gpu.alloc(bytes));
    let (y, kept) = (y?, kept?);
    let norm = AddRmsNorm { y, rstd: rstd?, x: residual, eps: 1e-5, plus: None };
    let mut each = |what: &str, inner: usize, outer: usize, run: &dyn Fn(&mut Gpu, &Product) -> Outcome| {
        let w = random(gpu, inner * outer, 0.044)?;
        let product = Product { x, w, rows, inner, outer };
        let name = format!("{what} {inner}x{outer}, {rows} rows");
        time(gpu, &name, 2 * rows * inner * outer, |gpu| run(gpu, &product))
    };
    each("linear", HIDDEN, 3 * HIDDEN, &|gpu, p| Ok(Linear::new(gpu, p)?.ok_or(NO_KERNEL)?.run(gpu, y)?))?;
    for (what, kept) in [("linear_swiglu", None), ("linear_swiglu, kept", Some(kept))] {
        each(what, HIDDEN, 2 * inner, &|gpu, p| {
            Ok(LinearSwiGlu::new(gpu, p)?.ok_or(NO_KERNEL)?.run(gpu, y, kept)?)
        })?;
    }
    let add_norm =
        |gpu: &mut Gpu, p: &Product| Ok(LinearAddRmsNorm::new(gpu, p)?.ok_or(NO_KERNEL)?.run(gpu, &norm)?);
    each("linear_add_rms_norm", HIDDEN, HIDDEN, &add_norm)?;
    each("linear_add_rms_norm", inner, HIDDEN, &add_norm)?;
    for (what, keep) in [("with its sum", Keep::All), ("its sum alone", Keep::Nothing)] {
        let norm = AddRmsNorm { plus: Some(Plus { sum: kept, b, keep }), ..norm };
        let add_norm = |gpu: &mut Gpu, p: &Product| {
            Ok(LinearAddRmsNorm::new(gpu, p)?.ok_or(NO_KERNEL)?.run(gpu, &norm)?)
        };
        each(&format!("linear_add_rms_norm, {what}"), inner, HIDDEN, &add_norm)?;
    }
    let add = |gpu: &mut Gpu| Ok(elementwise::add(gpu, Dtype::Bf16, kept, y, b, rows * HIDDEN)?);
    time(gpu, &format!("add, {rows} rows"), rows * HIDDEN, add)
}

/// The vjp of SwiGLU with the product before it, in one kernel and in two. Each call is given the cotangents that the last one
/// has left where gate and up were.
fn gated_vjp(gpu: &mut Gpu, rows: usize) -> Outcome {
    let cols = 3 * HIDDEN;
    let (dy, w) = (random(gpu, rows * HIDDEN, 1.0)?, random(gpu, HIDDEN * cols, 0.044)?);
    let (gate_up, a) = (random(gpu, rows * 2 * cols, 1.0)?, gpu.alloc(2 * rows * cols)?);
    let sizes = GatedSizes { rows, cols, outer: HIDDEN };
    let scratch = gpu.alloc(LinearSwiGluVjp::scratch(&sizes))?;
    let op = GatedOperands { a, gate_up, dy, w, scratch };
    let (name, operations) = (format!("{HIDDEN}x{cols}, {rows} rows"), 2 * rows * HIDDEN * cols);
    time(gpu, &format!("linear_swiglu_vjp {name}"), operations, |gpu| {
        Ok(LinearSwiGluVjp::new(gpu, sizes)?.ok_or(NO_KERNEL)?.run(gpu, &op)?)
    })?;
    let product = Gemm {
        m: rows,
        n: cols,
        k: HIDDEN,
        a: dy,
        b: w,
        c: a,
        transpose_a: false,
        transpose_b: false,
        write: Write::Replace,
        input: Dtype::Bf16,
        output: Dtype::Bf16,
    };
    time(gpu, &format!("its parts {name}"), operations, |gpu| {
        gpu.gemm(&product)?;
        Ok(elementwise::swiglu_vjp(gpu, Dtype::Bf16, a, gate_up, rows, cols)?)
    })
}

/// Attention without rotation, and its vjp.
fn attention(gpu: &mut Gpu, batch: usize, positions: usize) -> Outcome {
    let rows = batch * positions;
    let shape = Shape { batch, positions, heads: HEADS, head_dim: 64 };
    let (qkv, d_o) = (random(gpu, rows * 3 * HIDDEN, 1.0)?, random(gpu, rows * HIDDEN, 1.0)?);
    let (o, dqkv) = (gpu.alloc(2 * rows * HIDDEN)?, gpu.alloc(2 * rows * 3 * HIDDEN)?);
    let (lse, scratch) =
        (gpu.alloc(4 * rows * HEADS)?, gpu.alloc(attention::rope_attention_vjp_scratch(&shape))?);
    let forward = Attention { o, lse, qkv, rope: None, shape };
    let vjp = AttentionVjp { forward, d_o, dqkv, scratch };
    // Of one product of the scores' size.
    let product = 2 * rows * positions * HIDDEN;
    let of = format!("{batch} x {positions} positions");
    time(gpu, &format!("attention, {of}"), 2 * product, |gpu| {
        Ok(attention::attention(gpu, Dtype::Bf16, &forward)?)
    })?;
    time(gpu, &format!("attention_vjp, {of}"), 5 * product, |gpu| {
        Ok(attention::rope_attention_vjp(gpu, Dtype::Bf16, &vjp)?)
    })
}

/// Cells mixed by a SwiGLU over positions, its vjp, and the products that the vjp ends in.
fn tokens(gpu: &mut Gpu, batch: usize) -> Outcome {
    let (positions, inter) = (97, 512);
    let sizes = token_mix::Sizes { batch, positions, width: HIDDEN, inter };
    let (len, rows) = (batch * positions * HIDDEN, batch * HIDDEN);
    let (x, dy) = (random(gpu, len, 1.0)?, random(gpu, len, 1.0)?);
    let (gate_up, down) = (random(gpu, 2 * inter * positions, 0.1)?, random(gpu, inter * positions, 0.044)?);
    let (a, gates) = (random(gpu, rows * inter, 1.0)?, random(gpu, rows * 2 * inter, 1.0)?);
    let mut new = |bytes| gpu.alloc(bytes);
    let (y, dx, rstd) = (new(2 * len)?, new(2 * len)?, new(4 * rows)?);
    let scratch = new(TokenMix::vjp_scratch(&sizes))?;
    let (d_gate_up, d_down) = (new(8 * inter * positions)?, new(4 * inter * positions)?);
    let forward = token_mix::Forward { y, rstd, x, gate_up, down, eps: 1e-5, scratch };
    let kernels = TokenMix::new(gpu, sizes)?.ok_or(NO_KERNEL)?;
    let product = 2 * rows * positions * inter;
    let of = format!("{batch} x {positions} positions");
    time(gpu, &format!("token_mix, {of}"), 3 * product, |gpu| Ok(kernels.forward(gpu, &forward)?))?;
    let vjp =
        token_mix::Vjp { forward, dy, dx, a, gate_up: gates, d_gate_up, d_down, write: Write::Accumulate };
    time(gpu, &format!("token_mix_vjp, {of}"), 8 * product, |gpu| Ok(kernels.vjp(gpu, &vjp)?))?;
    // As wide as the kernel leaves them.
    let wide = random(gpu, rows * 112, 1.0)?;
    let [one, two] = [(gates, 2 * inter, wide, 112), (wide, 112, a, inter)].map(|(a, m, b, n)| Gemm {
        m,
        n,
        k: rows,
        a,
        b,
        c: scratch,
        transpose_a: true,
        transpose_b: false,
        write: Write::Replace,
        input: Dtype::Bf16,
        output: Dtype::F32,
    });
    time(gpu, &format!("gradients of token_mix, {of}"), 3 * product, |gpu| {
        gpu.gemm(&one)?;
        Ok(gpu.gemm(&two)?)
    })
}

fn all() -> Outcome {
    let mut gpu = Gpu::new(0)?;
    tokens(&mut gpu, 768)?;
    for (batch, positions) in [(384, 82), (64, 901)] {
        attention(&mut gpu, batch, positions)?;
        products(&mut gpu, batch * positions)?;
        gated_vjp(&mut gpu, batch * positions)?;
    }
    Ok(())
}

fn main() -> ExitCode {
    match all() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kernel_times: {error}");
            ExitCode::FAILURE
        }
    }
}
