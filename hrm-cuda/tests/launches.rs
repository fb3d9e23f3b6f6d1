//! Each launch sees what those before it have written, and overwrites nothing that they still read: chains of launches, one by
//! one and recorded, whose numbers are exact. On a GPU of compute capability 9.0 they overlap: `cargo test -p hrm-cuda --test
//! launches -- --ignored`.

use half::bf16;
use hrm_cuda::device::Gpu;
#[cfg(feature = "emulator")]
use hrm_cuda::emulator::{Emulator, Order};
use hrm_cuda::error::Error;
use hrm_cuda::launch::{Dtype, Launcher, Ptr, Queue};
use hrm_cuda::ops::Product;
use hrm_cuda::ops::elementwise::add;
use hrm_cuda::ops::gemm_sm90;
use hrm_cuda::ops::optimizer::round_parameters;

fn upload<L: Launcher, const N: usize>(l: &mut L, elements: impl Iterator<Item = [u8; N]>) -> Ptr {
    let bytes: Vec<u8> = elements.flatten().collect();
    let at = l.alloc(bytes.len()).unwrap();
    l.upload(at, &bytes).unwrap();
    at
}

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
        let mut bytes = vec![0; 4 * left];
        l.download(arrays[links % 2], &mut bytes).unwrap();
        let found = bytes.as_chunks::<4>().0.iter().map(|x| f32::from_ne_bytes(*x));
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
    if !gemm_sm90::linear(l, &product(arrays[0]), arrays[1]).unwrap() {
        return;
    }
    let chain = |l: &mut L| {
        (0..links).try_for_each(|i| {
            if i % 2 == 0 {
                round_parameters(l, w, weights[i / 2 % 2], COLS * COLS)?;
            }
            gemm_sm90::linear(l, &product(arrays[i % 2]), arrays[(i + 1) % 2]).map(drop)
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

#[cfg(feature = "emulator")]
#[test]
fn on_the_emulator() {
    let mut l = Emulator::hopper(Order::Random(3));
    sums(&mut l, 5, 100);
    products(&mut l, 3, 130);
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
    }
}
