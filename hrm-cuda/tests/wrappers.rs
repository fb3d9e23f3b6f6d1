//! Each wrapper of `kernels/mma.cuh`, and those of bf16 in `kernels/common.cuh`, against what the PTX manual says its
//! instruction does. On the emulator this tests the emulator's meaning of it; on a GPU, the inline assembly:
//! `cargo test -p hrm-cuda --test wrappers -- --ignored`.

mod common;

use common::{upload, words};
use half::bf16;
use hrm_cuda::device::Gpu;
#[cfg(feature = "emulator")]
use hrm_cuda::emulator::{Emulator, Order};
use hrm_cuda::launch::{Arg, Grid, Kernel, Launcher};

/// One warp of a kernel.
fn launch<L: Launcher>(l: &mut L, name: &'static str, args: &[Arg]) {
    let grid = Grid { blocks: [1, 1, 1], threads: [32, 1, 1], shared: 0 };
    l.launch(Kernel { unit: "wrappers", name }, grid, args).unwrap();
}

fn ldmatrix<L: Launcher>(l: &mut L) {
    // Element (i, j) of matrix m.
    let element = |m: usize, i: usize, j: usize| (1000 * m + 10 * i + j) as u16;
    let x = upload(l, (0..256).map(|at| element(at / 64, at / 8 % 8, at % 8).to_ne_bytes()));
    let y = l.alloc(512).unwrap();
    for (name, transposed) in [("wrapper_ldmatrix", false), ("wrapper_ldmatrix_transposed", true)] {
        launch(l, name, &[Arg::Ptr(y), Arg::Ptr(x)]);
        for (at, word) in words(l, y, 128).into_iter().enumerate() {
            let (lane, m) = (at / 4, at % 4);
            let (row, col) = (lane / 4, lane % 4 * 2);
            let pair = [col, col + 1]
                .map(|col| if transposed { element(m, col, row) } else { element(m, row, col) });
            let expected = u32::from(pair[0]) | u32::from(pair[1]) << 16;
            assert_eq!(word, expected, "{name}: lane {lane}, matrix {m}");
        }
    }
}

fn mma<L: Launcher>(l: &mut L) {
    // Small multiples of 1/4: the sums are exact in any order.
    let value = |i: usize| ((i * 29 % 17) as f32 - 8.0) / 4.0;
    let a = |i: usize, k: usize| value(16 * i + k);
    let b = |k: usize, j: usize| value(3 + 8 * k + j);
    let c = |i: usize, j: usize| value(7 + 8 * i + j);
    let half = |x: f32| bf16::from_f32(x).to_ne_bytes();
    let pa = upload(l, (0..256).map(|at| half(a(at / 16, at % 16))));
    let pb = upload(l, (0..128).map(|at| half(b(at / 8, at % 8))));
    let pd = upload(l, (0..128).map(|at| c(at / 8, at % 8).to_ne_bytes()));
    launch(l, "wrapper_mma", &[Arg::Ptr(pd), Arg::Ptr(pa), Arg::Ptr(pb)]);
    let d: Vec<f32> = words(l, pd, 128).into_iter().map(f32::from_bits).collect();
    let expected: Vec<f32> = (0..128)
        .map(|at| c(at / 8, at % 8) + (0..16).map(|k| a(at / 8, k) * b(k, at % 8)).sum::<f32>())
        .collect();
    assert_eq!(d, expected);
}

fn copies<L: Launcher>(l: &mut L) {
    let x = upload(l, (1..=256u32).map(u32::to_ne_bytes));
    for exist in [32, 31, 7, 0] {
        let y = l.alloc(1024).unwrap();
        launch(l, "wrapper_copy", &[Arg::Ptr(y), Arg::Ptr(x), Arg::I32(exist)]);
        let expected: Vec<u32> =
            (0..256).map(|at| if at / 4 % 32 < exist as u32 { at + 1 } else { 0 }).collect();
        assert_eq!(words(l, y, 256), expected, "of {exist} threads");
    }
}

fn exp2<L: Launcher>(l: &mut L) {
    let x: Vec<f32> = (0..30).map(|i| i as f32 * 2.3 - 60.0).chain([f32::NEG_INFINITY, -200.0]).collect();
    let from = upload(l, x.iter().map(|x| x.to_ne_bytes()));
    let y = l.alloc(128).unwrap();
    launch(l, "wrapper_exp2", &[Arg::Ptr(y), Arg::Ptr(from)]);
    for (x, y) in x.iter().zip(words(l, y, 32)) {
        let (y, expected) = (f64::from(f32::from_bits(y)), f64::from(*x).exp2());
        let bound = 2.0 * f64::from(f32::EPSILON) * expected + f64::from(f32::MIN_POSITIVE);
        assert!((y - expected).abs() <= bound, "2^{x} is {y}, not {expected}");
    }
}

fn reciprocal<L: Launcher>(l: &mut L) {
    let x: Vec<f32> = (0..31).map(|i| (i as f32 * 2.7 - 40.0).exp2()).chain([f32::INFINITY]).collect();
    let from = upload(l, x.iter().map(|x| x.to_ne_bytes()));
    let y = l.alloc(128).unwrap();
    launch(l, "wrapper_reciprocal", &[Arg::Ptr(y), Arg::Ptr(from)]);
    for (x, y) in x.iter().zip(words(l, y, 32)) {
        let (y, expected) = (f64::from(f32::from_bits(y)), f64::from(*x).recip());
        assert!((y - expected).abs() <= f64::from(f32::EPSILON) * expected, "1 / {x} is {y}, not {expected}");
    }
}

fn rounding<L: Launcher>(l: &mut L) {
    let ties = [0x3f80_8000, 0x3f81_8000, 0x3f80_7fff, 0x3f80_8001, 0xbf80_8000, 0x7f7f_ffff, 0x0000_8000, 0];
    let x: Vec<f32> =
        ties.map(f32::from_bits).into_iter().chain((0..24).map(|i| i as f32 * 0.37 - 4.0)).collect();
    let from = upload(l, x.iter().map(|x| x.to_ne_bytes()));
    let y = l.alloc(256).unwrap();
    launch(l, "wrapper_bf16", &[Arg::Ptr(y), Arg::Ptr(from)]);
    let bits = |x: f32| u32::from(bf16::from_f32(x).to_bits());
    let expected: Vec<u32> = (0..32).flat_map(|t| [bits(x[t]) | bits(x[t ^ 1]) << 16, bits(x[t])]).collect();
    assert_eq!(words(l, y, 64), expected);
}

fn pairs<L: Launcher>(l: &mut L) {
    // Ties, sums that cancel, the smallest and what is beyond the largest; then signs and exponents that differ.
    let some = [(0x3f80, 0x3b80), (0x3f81, 0x3b80), (0x3f80, 0xbf80), (0x0001, 0x0001), (0x7f7f, 0x7f7f)];
    // Products that are ties, below the smallest normal number, zeros of either sign.
    let more = [(0x3f81, 0x3fc0), (0x3f83, 0x3fc0), (0x1f81, 0x1f80), (0x8000, 0x3f80), (0x0000, 0xbf80)];
    let other = (0..54u16).map(|i| (0x3f80 + 37 * i, 0xbe00 + 0x101 * i % 0x400 - ((i % 2) << 15)));
    let pairs: Vec<(u16, u16)> = some.into_iter().chain(more).chain(other).collect();
    let [a, b] = [0, 1].map(|i| upload(l, pairs.iter().map(|pair| [pair.0, pair.1][i].to_ne_bytes())));
    let y = l.alloc(256).unwrap();
    launch(l, "wrapper_bf16_pairs", &[Arg::Ptr(y), Arg::Ptr(a), Arg::Ptr(b)]);
    let found = words(l, y, 64);
    for (at, (a, b)) in pairs.iter().enumerate() {
        // Exact in f64.
        let [x, z] = [a, b].map(|bits| bf16::from_bits(*bits).to_f64());
        for (i, (what, exact)) in [("product", x * z), ("sum", x + z)].into_iter().enumerate() {
            let own = (found[at / 2 * 2 + i] >> (at % 2 * 16)) as u16;
            let expected = bf16::from_f64(exact).to_bits();
            assert_eq!(own, expected, "{what} of {a:#x} and {b:#x}: {own:#x}, not {expected:#x}");
        }
    }
}

fn all<L: Launcher>(l: &mut L) {
    ldmatrix(l);
    mma(l);
    copies(l);
    exp2(l);
    reciprocal(l);
    rounding(l);
    pairs(l);
}

#[cfg(feature = "emulator")]
#[test]
fn on_the_emulator() {
    for order in [Order::Forward, Order::Reverse, Order::Random(5)] {
        all(&mut Emulator::new(order));
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn on_a_gpu() {
    all(&mut Gpu::new(0).unwrap());
}
