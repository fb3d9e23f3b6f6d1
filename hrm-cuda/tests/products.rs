//! Products with what follows them on compute capability 9.0, and those of a narrow weight with their vjps, where the tiles
//! end: of operands whose sums are exact, against the formula.
//!
//! On a GPU: `cargo test -p hrm-cuda --test products -- --ignored`.

use half::bf16;
use hrm_cuda::device::Gpu;
#[cfg(feature = "emulator")]
use hrm_cuda::emulator::{Emulator, Order};
use hrm_cuda::launch::{Dtype, Gemm, Launcher, Ptr};
use hrm_cuda::ops::Product;
use hrm_cuda::ops::attention::{self, Attention, AttentionVjp, Rope, Shape};
use hrm_cuda::ops::elementwise;
use hrm_cuda::ops::gemm_sm90::{self, AddRmsNorm, LinearSwiGluVjp, Plus};
use hrm_cuda::ops::linear_narrow::{self, VjpInput, VjpWeight};

/// A multiple of 1/4 between -1 and 1, by a hash.
fn value(i: usize) -> f32 {
    let mixed = (i as u32 ^ 0x9e37).wrapping_mul(0x2c1b_3c6d);
    let mixed = (mixed ^ mixed >> 12).wrapping_mul(0x297a_2d39);
    ((mixed >> 15) % 9) as f32 / 4.0 - 1.0
}

fn upload<L: Launcher>(l: &mut L, values: &[f32]) -> Ptr {
    let bytes: Vec<u8> = values.iter().flat_map(|x| bf16::from_f32(*x).to_ne_bytes()).collect();
    let at = l.alloc(bytes.len()).unwrap();
    l.upload(at, &bytes).unwrap();
    at
}

fn bytes<L: Launcher>(l: &mut L, at: Ptr, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    l.download(at, &mut bytes).unwrap();
    bytes
}

fn download<L: Launcher>(l: &mut L, at: Ptr, len: usize) -> Vec<f32> {
    let bytes = bytes(l, at, 2 * len);
    bytes.as_chunks::<2>().0.iter().map(|x| bf16::from_ne_bytes(*x).to_f32()).collect()
}

/// x W^T, its operands on the machine, and what it is.
struct Case {
    product: Product,
    sums: Vec<f32>,
}

impl Case {
    fn new<L: Launcher>(l: &mut L, rows: usize, inner: usize, outer: usize) -> Self {
        let x: Vec<f32> = (0..rows * inner).map(value).collect();
        let w: Vec<f32> = (0..outer * inner).map(|i| value(i + 12345)).collect();
        let dot = |(x, w): (&[f32], &[f32])| x.iter().zip(w).map(|(x, w)| x * w).sum::<f32>();
        let pairs = x.chunks(inner).flat_map(|x| w.chunks(inner).map(move |w| (x, w)));
        let sums = pairs.map(dot).collect();
        let product = Product { x: upload(l, &x), w: upload(l, &w), rows, inner, outer };
        Self { product, sums }
    }

    fn rounded(&self) -> impl Iterator<Item = f32> {
        self.sums.iter().map(|x| bf16::from_f32(*x).to_f32())
    }
}

fn linear<L: Launcher>(l: &mut L, rows: usize, inner: usize, outer: usize) {
    let case = Case::new(l, rows, inner, outer);
    let y = l.alloc(2 * rows * outer).unwrap();
    assert!(gemm_sm90::linear(l, &case.product, y).unwrap());
    assert!(case.rounded().eq(download(l, y, rows * outer)), "[{rows}, {inner}] by [{inner}, {outer}]");
}

/// All within two units of the last place of the larger.
fn close(found: &[f32], expected: impl Iterator<Item = f32>, what: &str) {
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (found - expected).abs();
        assert!(error <= expected.abs() / 128.0 + 1e-6, "{what}: element {at} is {found}, not {expected}");
    }
}

fn linear_swiglu<L: Launcher>(l: &mut L, rows: usize, inner: usize, outer: usize) {
    let case = Case::new(l, rows, inner, outer);
    let width = outer / 2;
    let (a, kept) = (l.alloc(2 * rows * width).unwrap(), l.alloc(2 * rows * outer).unwrap());
    assert!(gemm_sm90::linear_swiglu(l, &case.product, a, Some(kept)).unwrap());
    let what = format!("SwiGLU of [{rows}, {inner}] by [{inner}, {outer}]");
    let gate_up: Vec<f32> = case.rounded().collect();
    assert_eq!(download(l, kept, rows * outer), gate_up, "{what}");
    let gated = gate_up.chunks(outer).flat_map(|row| {
        (0..width).map(|i| bf16::from_f32(row[i] / (1.0 + (-row[i]).exp())).to_f32() * row[width + i])
    });
    close(&download(l, a, rows * width), gated, &what);
}

/// da = dy W, rounded, and what SwiGLU's vjp makes of it: near the formula, and with the bits of the kernel that is given da.
fn linear_swiglu_vjp<L: Launcher>(l: &mut L, rows: usize, outer: usize, cols: usize) {
    let what = format!("vjp of SwiGLU with [{rows}, {outer}] by [{outer}, {cols}]");
    let dy: Vec<f32> = (0..rows * outer).map(value).collect();
    let w: Vec<f32> = (0..outer * cols).map(|i| value(i + 12345)).collect();
    let gate_up: Vec<f32> = (0..rows * 2 * cols).map(|i| 3.0 * value(i + 777)).collect();
    let (dy_at, w_at, gate_up_at) = (upload(l, &dy), upload(l, &w), upload(l, &gate_up));
    let a = l.alloc(2 * rows * cols).unwrap();
    let scratch = l.alloc(gemm_sm90::linear_swiglu_vjp_scratch(cols, outer)).unwrap();
    let op = LinearSwiGluVjp { a, gate_up: gate_up_at, dy: dy_at, w: w_at, scratch, rows, cols, outer };
    assert!(gemm_sm90::linear_swiglu_vjp(l, &op).unwrap());
    let found = [download(l, a, rows * cols), download(l, gate_up_at, rows * 2 * cols)];

    // Sums of multiples of 1/16: exact in any order.
    let mut da = vec![0.0; rows * cols];
    for (da, dy) in da.chunks_mut(cols).zip(dy.chunks(outer)) {
        for (dy, w) in dy.iter().zip(w.chunks(cols)) {
            da.iter_mut().zip(w).for_each(|(da, w)| *da += dy * w);
        }
    }
    let rounded = |x: f32| bf16::from_f32(x).to_f32();
    da.iter_mut().for_each(|x| *x = rounded(*x));
    let (mut activation, mut cotangents) = (Vec::new(), Vec::new());
    for (gate_up, da) in gate_up.chunks(2 * cols).zip(da.chunks(cols)) {
        let (gate, up) = gate_up.split_at(cols);
        let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
        let silu = |x: f32| rounded(x * sigmoid(x));
        let slope = |x: f32| sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x)));
        activation.extend(gate.iter().zip(up).map(|(x, u)| silu(*x) * u));
        cotangents.extend((0..cols).map(|i| rounded(da[i] * up[i]) * slope(gate[i])));
        cotangents.extend(gate.iter().zip(da).map(|(x, d)| d * silu(*x)));
    }
    close(&found[0], activation.into_iter(), &what);
    close(&found[1], cotangents.into_iter(), &what);

    let (da_at, gate_up_at) = (upload(l, &da), upload(l, &gate_up));
    elementwise::swiglu_vjp(l, Dtype::Bf16, da_at, gate_up_at, rows, cols).unwrap();
    let apart = [download(l, da_at, rows * cols), download(l, gate_up_at, rows * 2 * cols)];
    assert!(found == apart, "{what}: not the bits of the two kernels");
}

fn linear_add_rms_norm<L: Launcher>(l: &mut L, rows: usize, inner: usize, outer: usize) {
    let case = Case::new(l, rows, inner, outer);
    let residual: Vec<f32> = (0..rows * outer).map(|i| value(i + 777)).collect();
    let x = upload(l, &residual);
    let (y, rstd) = (l.alloc(2 * rows * outer).unwrap(), l.alloc(4 * rows).unwrap());
    let op = AddRmsNorm { y, rstd, x, eps: 1e-5, plus: None };
    assert!(gemm_sm90::linear_add_rms_norm(l, &case.product, &op).unwrap());
    let sums: Vec<f32> = case.sums.iter().zip(&residual).map(|(sum, r)| sum + r).collect();
    let normed = sums.chunks(outer).flat_map(|row| {
        let mean = row.iter().map(|x| x * x).sum::<f32>() / outer as f32;
        row.iter().map(move |x| x / (mean + 1e-5).sqrt())
    });
    let what = format!("norm of [{rows}, {inner}] by [{inner}, {outer}]");
    let found = download(l, y, rows * outer);
    close(&found, normed, &what);

    // With a sum: the bits of the two kernels. A result that is not kept is not written where weights are streamed.
    let b: Vec<f32> = (0..rows * outer).map(|i| value(i + 4321)).collect();
    let (b, expected) = (upload(l, &b), l.alloc(2 * rows * outer).unwrap());
    elementwise::add(l, Dtype::Bf16, expected, y, b, rows * outer).unwrap();
    let expected = download(l, expected, rows * outer);
    for keep in [true, false] {
        let (y, sum, rstd_too) = (upload(l, &residual), upload(l, &residual), l.alloc(4 * rows).unwrap());
        let op = AddRmsNorm { y, rstd: rstd_too, plus: Some(Plus { sum, b, keep }), ..op };
        assert!(gemm_sm90::linear_add_rms_norm(l, &case.product, &op).unwrap());
        assert!(download(l, sum, rows * outer) == expected, "sum with the {what}, {keep}");
        if keep || inner > 512 {
            assert!(download(l, y, rows * outer) == *if keep { &found } else { &residual }, "{what}, {keep}");
        }
        let [ours, alone] = [rstd_too, rstd].map(|at| bytes(l, at, 4 * rows));
        assert!(ours == alone, "{what}: rstd, {keep}");
    }
}

/// y = x W^T of a narrow weight, then dx = dy W, alone and added to dx, and dW = dy^T x.
fn linear_narrow<L: Launcher>(l: &mut L, rows: usize, inner: usize, outer: usize) {
    let what = format!("[{rows}, {inner}] by [{inner}, {outer}]");
    let case = Case::new(l, rows, inner, outer);
    let Product { x, w, .. } = case.product;
    let y = l.alloc(2 * rows * outer).unwrap();
    assert!(linear_narrow::linear(l, &case.product, y).unwrap());
    assert!(case.rounded().eq(download(l, y, rows * outer)), "{what}");

    let of = |len: usize, seed: usize| -> Vec<f32> { (0..len).map(|i| value(i + seed)).collect() };
    let (cotangent, before) = (of(rows * outer, 555), of(rows * inner, 777));
    let (x_values, w_values) = (of(rows * inner, 0), of(outer * inner, 12345));
    let dy = upload(l, &cotangent);
    for accumulate in [false, true] {
        let dx = upload(l, &before);
        let op = VjpInput { dx, dy, w, rows, inner, outer, accumulate };
        assert!(linear_narrow::vjp_input(l, &op).unwrap());
        let element = |at: usize| {
            let (row, col) = (at / inner, at % inner);
            let terms = (0..outer).map(|i| cotangent[row * outer + i] * w_values[i * inner + col]);
            bf16::from_f32(if accumulate { before[at] } else { 0.0 } + terms.sum::<f32>()).to_f32()
        };
        let expected = (0..rows * inner).map(element);
        assert!(expected.eq(download(l, dx, rows * inner)), "vjp by input, {what}, {accumulate}");
    }

    let dw = l.alloc(4 * outer * inner).unwrap();
    let scratch = l.alloc(linear_narrow::vjp_weight_scratch(rows, inner, outer)).unwrap();
    let op = VjpWeight { dw, dy, x, scratch, rows, inner, outer };
    assert!(linear_narrow::vjp_weight(l, &op).unwrap());
    let bytes = bytes(l, dw, 4 * outer * inner);
    let found = bytes.as_chunks::<4>().0.iter().map(|x| f32::from_ne_bytes(*x));
    let mut expected = vec![0.0; outer * inner];
    for (dy, x) in cotangent.chunks(outer).zip(x_values.chunks(inner)) {
        for (sums, dy) in expected.chunks_mut(inner).zip(dy) {
            sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += dy * x);
        }
    }
    assert!(found.eq(expected), "vjp by weight, {what}");
}

/// Rows that end at, before and after tiles of 16 and of 128 rows, columns likewise; one chunk of rows and several, and more
/// rows than chunks of the least size have.
fn narrow<L: Launcher>(l: &mut L) {
    for (rows, inner, outer) in [
        (1, 64, 1),
        (15, 128, 11),
        (16, 64, 6),
        (17, 512, 11),
        (130, 192, 32),
        (259, 64, 17),
        (128, 1024, 32),
        (33_001, 64, 2),
    ] {
        linear_narrow(l, rows, inner, outer);
    }
    // What is not done there: too many columns, of an odd number, or more than shared memory holds.
    for (inner, outer) in [(64, 33), (96, 11), (2048, 32)] {
        let product = Product { x: Ptr(0), w: Ptr(0), rows: 1, inner, outer };
        assert!(!linear_narrow::linear(l, &product, Ptr(0)).unwrap());
    }
}

/// How queries, keys and values come about.
#[derive(Clone, Copy, Debug)]
enum Qkv {
    /// By one kernel, which rotates.
    Rotated,
    /// By a product, and rotated in place.
    InPlace,
    /// By the machine's general product, and rotated by attention.
    Plain,
}

/// Bits of qkv, of what attention makes of it, and of their cotangents.
fn qkv<L: Launcher>(l: &mut L, way: Qkv, shape: Shape) -> [Vec<u8>; 4] {
    let Shape { batch, positions, heads, .. } = shape;
    let (rows, width) = (batch * positions, 64 * heads);
    let product = Case::new(l, rows, width, 3 * width).product;
    let d_o: Vec<f32> = (0..rows * width).map(|i| value(i + 4321)).collect();
    let d_o = upload(l, &d_o);
    let mut table = |part: fn(f32) -> f32| {
        let angles = (0..positions * 32).map(|i| part((i / 32 + 1) as f32 * 0.7 / (i % 32 + 1) as f32));
        let bytes: Vec<u8> = angles.flat_map(f32::to_ne_bytes).collect();
        let at = l.alloc(bytes.len()).unwrap();
        l.upload(at, &bytes).unwrap();
        at
    };
    let rope = Rope { cos: table(f32::cos), sin: table(f32::sin) };
    let sizes = [6 * rows * width, 2 * rows * width, 4 * rows * heads, 6 * rows * width];
    let [qkv, o, lse, dqkv] = sizes.map(|bytes| l.alloc(bytes).unwrap());
    let scratch = l.alloc(attention::rope_attention_vjp_scratch(&shape)).unwrap();
    let forward = Attention { o, lse, qkv, rope: Some(rope), shape };
    match way {
        Qkv::Rotated => {
            assert!(gemm_sm90::linear_rope(l, &product, qkv, rope, positions).unwrap());
            attention::attention(l, Dtype::Bf16, &forward).unwrap();
        }
        Qkv::InPlace => {
            assert!(gemm_sm90::linear(l, &product, qkv).unwrap());
            attention::rope_attention(l, Dtype::Bf16, &forward).unwrap();
        }
        Qkv::Plain => {
            let Product { x: a, w: b, rows: m, inner: k, outer: n } = product;
            let (transpose_a, transpose_b, accumulate) = (false, true, false);
            let (input, output) = (Dtype::Bf16, Dtype::Bf16);
            l.gemm(&Gemm { m, n, k, a, b, c: qkv, transpose_a, transpose_b, accumulate, input, output })
                .unwrap();
            attention::rope_attention(l, Dtype::Bf16, &forward).unwrap();
        }
    }
    attention::rope_attention_vjp(l, Dtype::Bf16, &AttentionVjp { forward, d_o, dqkv, scratch }).unwrap();
    let mut at = [qkv, o, lse, dqkv].into_iter();
    sizes.map(|bytes| {
        let mut found = vec![0; bytes];
        l.download(at.next().unwrap(), &mut found).unwrap();
        found
    })
}

/// `[batch, positions, heads]`: clusters of 1 and of 2 blocks, the last rows of a tile missing, sequences that end within a
/// tile, short ones and long ones.
const SEQUENCES: [[usize; 3]; 5] = [[3, 82, 2], [1, 5, 4], [5, 27, 6], [2, 150, 2], [1, 129, 4]];

/// Rotated as they are written, queries and keys have the bits that they have when they are rotated in place; and so has all
/// that follows.
fn rotated<L: Launcher>(l: &mut L, check: impl Fn(Shape, &[Vec<u8>; 4])) {
    for [batch, positions, heads] in SEQUENCES {
        let shape = Shape { batch, positions, heads, head_dim: 64 };
        let bits = qkv(l, Qkv::Rotated, shape);
        assert!(bits == qkv(l, Qkv::InPlace, shape), "{shape:?}");
        check(shape, &bits);
    }
}

/// Clusters of 1 and of 2 blocks; one tile, and several that change from one set of weights to the next; a last set of
/// which a cluster has one tile only.
fn resident<L: Launcher>(l: &mut L) {
    for (rows, inner, outer) in
        [(1, 64, 128), (130, 128, 384), (64, 128, 384), (300, 512, 256), (520, 64, 512), (700, 128, 768)]
    {
        linear(l, rows, inner, outer);
        linear_swiglu(l, rows, inner, outer);
    }
}

/// Clusters of 1 and of 2 blocks with each number of steps that there is, groups of columns with one row and with several
/// tiles, the last rows of a tile missing.
fn gated<L: Launcher>(l: &mut L) {
    for (rows, outer, cols) in
        [(1, 64, 128), (130, 128, 384), (300, 512, 256), (129, 192, 128), (520, 64, 512), (700, 128, 768)]
    {
        linear_swiglu_vjp(l, rows, outer, cols);
    }
    // What is not done there: columns that are no tiles, and weights that shared memory does not hold.
    for (outer, cols) in [(64, 192), (96, 128), (576, 128)] {
        let [a, gate_up, dy, w, scratch] = [Ptr(0); 5];
        let op = LinearSwiGluVjp { a, gate_up, dy, w, scratch, rows: 1, cols, outer };
        assert!(!gemm_sm90::linear_swiglu_vjp(l, &op).unwrap());
    }
}

/// Clusters of 1, 2 and 4 blocks, which exchange sums, with weights that stay and that come with the rows.
fn norms<L: Launcher>(l: &mut L) {
    for (rows, inner, outer) in [
        (1, 512, 128),
        (130, 128, 128),
        (300, 64, 256),
        (1800, 64, 512),
        (1, 576, 512),
        (200, 576, 256),
        (700, 576, 512),
    ] {
        linear_add_rms_norm(l, rows, inner, outer);
    }
}

#[cfg(feature = "emulator")]
mod on_the_emulator {
    use super::*;

    fn in_all_orders(check: impl Fn(&mut Emulator)) {
        for order in [Order::Forward, Order::Reverse, Order::Random(3)] {
            check(&mut Emulator::hopper(order));
        }
    }

    #[test]
    fn resident() {
        in_all_orders(super::resident);
    }

    #[test]
    fn narrow() {
        in_all_orders(super::narrow);
    }

    #[test]
    fn gated() {
        in_all_orders(super::gated);
    }

    #[test]
    fn norms() {
        in_all_orders(super::norms);
    }

    #[test]
    fn rotated() {
        // Short sequences are worked on by the same kernel there, which rotates itself.
        let plain = |shape: Shape, bits: &[Vec<u8>; 4]| {
            if shape.positions <= 96 {
                let plain = qkv(&mut Emulator::new(Order::Forward), Qkv::Plain, shape);
                assert!(bits[0] != plain[0] && bits[1..] == plain[1..], "{shape:?}");
            }
        };
        in_all_orders(|l| super::rotated(l, plain));
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU of compute capability 9.0"]
fn on_a_gpu() {
    let mut l = Gpu::new(0).unwrap();
    if l.device().capability != (9, 0) {
        println!("this GPU has another compute capability: nothing to test");
        return;
    }
    resident(&mut l);
    gated(&mut l);
    // So many that each warpgroup has several tiles of each group.
    linear_swiglu_vjp(&mut l, 40_000, 512, 512);
    norms(&mut l);
    // So many that each warpgroup exchanges sums more than twice.
    linear_add_rms_norm(&mut l, 40_000, 64, 512);
    linear_add_rms_norm(&mut l, 40_000, 576, 512);
    rotated(&mut l, |_, _| ());
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn narrow_on_a_gpu() {
    narrow(&mut Gpu::new(0).unwrap());
}
