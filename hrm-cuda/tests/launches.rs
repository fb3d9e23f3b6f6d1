//! Each launch sees what those before it have written, and overwrites nothing that they still read: chains of launches, one by
//! one and recorded, whose numbers are exact. On a GPU of compute capability 9.0 they overlap: `cargo test -p hrm-cuda --test
//! launches -- --ignored`.

mod common;

use common::{upload, words};
use half::bf16;
use hrm_cuda::device::Gpu;
#[cfg(feature = "emulator")]
use hrm_cuda::emulator::{Emulator, Order};
use hrm_cuda::error::Error;
use hrm_cuda::launch::{Dtype, Launcher, Ptr, Queue};
use hrm_cuda::ops::Product;
use hrm_cuda::ops::elementwise::add;
use hrm_cuda::ops::gemm_sm90::{GatedOperands, GatedSizes, Linear, LinearSwiGluVjp};
use hrm_cuda::ops::optimizer::round_parameters;

fn floats<L: Launcher>(l: &mut L, values: impl Iterator<Item = f32>) -> Ptr {
    upload(l, values.map(f32::to_ne_bytes))
}

/// Runs a chain as it is, then once more as a recording.
fn both_ways<L: Queue>(
    l: &mut L,
    chain: impl Fn(&mut L) -> Result<(), Error>,
    begin: impl Fn(&mut L),
    check: impl Fn(&mut L),
) {
    begin(l);
    chain(l).unwrap();
    check(l);
    l.record().unwrap();
    chain(l).unwrap();
    let recording = l.finish().unwrap();
    for _ in 0..3 {
        begin(l);
        l.replay(recording).unwrap();
        check(l);
    }
}

/// Elements by which each sum moves: what a block reads, blocks far away have written.
const MOVE: usize = 4096;

/// Two arrays take turns: each is the other, moved, plus 1. So the first element after `links` sums is
/// `x[links * MOVE] + links`.
fn sums<L: Queue>(l: &mut L, links: usize, left: usize) {
    let all = left + links * MOVE;
    let first = |i: usize| (i % 1021) as f32;
    let arrays = [floats(l, (0..all).map(first)), floats(l, (0..all).map(|_| 0.0))];
    let ones = floats(l, (0..all).map(|_| 1.0));
    let chain = |l: &mut L| {
        (0..links).try_for_each(|i| {
            let (from, to) = (arrays[i % 2], arrays[(i + 1) % 2]);
            add(l, Dtype::F32, to, from.offset(4 * MOVE), ones, all - (i + 1) * MOVE)
        })
    };
    let begin = |l: &mut L| {
        let bytes: Vec<u8> = (0..all).flat_map(|i| first(i).to_ne_bytes()).collect();
        l.upload(arrays[0], &bytes).unwrap();
    };
    let check = |l: &mut L| {
        let found = words(l, arrays[links % 2], left).into_iter().map(f32::from_bits);
        assert!(found.eq((0..left).map(|i| first(i + links * MOVE) + links as f32)), "{links} sums");
    };
    both_ways(l, chain, begin, check);
}

/// Columns of the matrices in [`products`].
const COLS: usize = 512;

/// Two matrices take turns: each is the other times a weight that moves the columns. It is written before every second
/// product, and moves them by 1 or by 3 in turn.
fn products<L: Queue>(l: &mut L, links: usize, rows: usize) {
    let element = |row: usize, col: usize| bf16::from_f32(((row * 7 + col) % 251) as f32);
    let start: Vec<u8> = (0..rows * COLS).flat_map(|i| element(i / COLS, i % COLS).to_ne_bytes()).collect();
    let arrays = [0, 1].map(|_| l.alloc(start.len()).unwrap());
    let weights = [1, 3].map(|by| {
        floats(l, (0..COLS * COLS).map(|i| f32::from(u8::from((i / COLS + by) % COLS == i % COLS))))
    });
    let w = l.alloc(2 * COLS * COLS).unwrap();
    let product = |x| Product { x, w, rows, inner: COLS, outer: COLS };
    l.upload(arrays[0], &start).unwrap();
    l.fill(w, 0, 2 * COLS * COLS).unwrap();
    let kernels = arrays.map(|x| Linear::new(l, &product(x)).unwrap());
    let [Some(first), Some(second)] = kernels else { return };
    let kernels = [first, second];
    let chain = |l: &mut L| {
        (0..links).try_for_each(|i| {
            if i % 2 == 0 {
                round_parameters(l, w, weights[i / 2 % 2], COLS * COLS)?;
            }
            kernels[i % 2].run(l, arrays[(i + 1) % 2])
        })
    };
    let begin = |l: &mut L| l.upload(arrays[0], &start).unwrap();
    let check = |l: &mut L| {
        let mut bytes = vec![0; start.len()];
        l.download(arrays[links % 2], &mut bytes).unwrap();
        let found = bytes.as_chunks::<2>().0.iter().map(|x| bf16::from_ne_bytes(*x));
        let moved: usize = (0..links).map(|i| [1, 3][i / 2 % 2]).sum();
        let expected = (0..rows * COLS).map(|i| element(i / COLS, (i % COLS + moved) % COLS));
        assert!(found.eq(expected), "{links} products");
    };
    both_ways(l, chain, begin, check);
}

/// Vjps of SwiGLU, each of a product with a weight `[512, 256]` that moves the columns by 1 or by 3 in turn, and is copied to
/// the same place every time. Gates are 64, whose sigmoid is 1, and ups 1: the cotangents of both are what the columns come
/// to and 64 times that, and as one matrix the next product's. Whether there is such a kernel.
fn copies<L: Queue>(l: &mut L, links: usize, rows: usize) -> bool {
    let half = COLS / 2;
    let bytes_of = |element: &dyn Fn(usize, usize) -> f32| -> Vec<u8> {
        (0..rows * COLS).flat_map(|i| bf16::from_f32(element(i / COLS, i % COLS)).to_ne_bytes()).collect()
    };
    let first = |row: usize, col: usize| ((row * 7 + col) % 251) as f32;
    let start = bytes_of(&first);
    let gates = bytes_of(&|_, col| if col < half { 64.0 } else { 1.0 });
    let arrays: Vec<Ptr> = (0..=links).map(|_| l.alloc(start.len()).unwrap()).collect();
    let weights = [1, 3].map(|by| {
        let one = |i: usize| bf16::from_f32(f32::from(u8::from((i % half + by) % COLS == i / half)));
        upload(l, (0..COLS * half).map(|i| one(i).to_ne_bytes()))
    });
    let a = l.alloc(start.len() / 2).unwrap();
    let sizes = GatedSizes { rows, cols: half, outer: COLS };
    let scratch = l.alloc(LinearSwiGluVjp::scratch(&sizes)).unwrap();
    let op =
        |i: usize| GatedOperands { a, gate_up: arrays[i + 1], dy: arrays[i], w: weights[i % 2], scratch };
    let begin = |l: &mut L| {
        l.upload(arrays[0], &start).unwrap();
        arrays[1..].iter().for_each(|at| l.upload(*at, &gates).unwrap());
    };
    let Some(kernel) = LinearSwiGluVjp::new(l, sizes).unwrap() else { return false };
    let chain = |l: &mut L| (0..links).try_for_each(|i| kernel.run(l, &op(i)));
    // Where a column comes from, and times what.
    let origin = |col: usize| {
        (0..links).rev().fold((col, 1.0), |(col, factor), i| {
            let from = (col % half + [1, 3][i % 2]) % COLS;
            (from, if col < half { factor } else { 64.0 * factor })
        })
    };
    let expected = bytes_of(&|row, col| {
        let (from, factor) = origin(col);
        factor * first(row, from)
    });
    let check = |l: &mut L| {
        let mut found = vec![0; start.len()];
        l.download(arrays[links], &mut found).unwrap();
        assert!(found == expected, "{links} copies");
    };
    both_ways(l, chain, begin, check);
    true
}

#[cfg(feature = "emulator")]
#[test]
fn on_the_emulator() {
    let mut l = Emulator::hopper(Order::Random(3));
    sums(&mut l, 5, 100);
    products(&mut l, 3, 130);
    assert!(copies(&mut l, 3, 130));
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn on_a_gpu() {
    let mut l = Gpu::new(0).unwrap();
    for left in [1000, 100_000, 4_000_000] {
        sums(&mut l, 100, left);
    }
    for rows in [128, 5000, 40_000] {
        products(&mut l, 31, rows);
        // Elsewhere than on compute capability 9.0 there is none.
        let _: bool = copies(&mut l, 7, rows);
    }
}
