//! The emulator's own semantics: what it lets pass, and what it must notice.

use hrm_core::kernels::Write;
use hrm_cuda::emulator::{Emulator, Order};
use hrm_cuda::error::Error;
use hrm_cuda::launch::{Arg, Dtype, Gemm, Grid, Kernel, Launcher, Ptr};

const ORDERS: [Order; 3] = [Order::Forward, Order::Reverse, Order::Random(7)];

fn floats(l: &mut Emulator, values: &[f32]) -> Ptr {
    let at = l.alloc(4 * values.len()).unwrap();
    l.upload(at, &values.iter().flat_map(|x| x.to_ne_bytes()).collect::<Vec<_>>()).unwrap();
    at
}

fn read(l: &mut Emulator, at: Ptr, len: usize) -> Vec<f32> {
    let mut bytes = vec![0; 4 * len];
    l.download(at, &mut bytes).unwrap();
    bytes.chunks_exact(4).map(|x| f32::from_ne_bytes(x.try_into().unwrap())).collect()
}

fn one_block(threads: u32, shared: u32) -> Grid {
    Grid { blocks: [1, 1, 1], threads: [threads, 1, 1], shared }
}

fn run(l: &mut Emulator, name: &'static str, grid: Grid, args: &[Arg]) -> Result<(), Error> {
    l.launch(Kernel { unit: "faults", name }, grid, args)
}

/// The error's text; it must name the kernel, and hold `words`.
fn complaint(result: Result<(), Error>, kernel: &str, words: &[&str]) {
    let said = result.expect_err("nothing was noticed").to_string();
    for word in [&[kernel][..], words].concat() {
        assert!(said.contains(word), "{said:?} does not hold {word:?}");
    }
}

#[test]
fn a_barrier_orders_shared_memory_and_its_absence_shows() {
    let x: Vec<f32> = (0..96).map(|i| i as f32).collect();
    for order in ORDERS {
        let mut l = Emulator::new(order);
        let (x, y) = (floats(&mut l, &x), floats(&mut l, &[0.0]));
        for (skip, right) in [(0, true), (1, false)] {
            let args = [Arg::Ptr(x), Arg::Ptr(y), Arg::I32(skip)];
            run(&mut l, "fault_block_sum", one_block(96, 0), &args).unwrap();
            let sum = read(&mut l, y, 1)[0];
            // The reverse order happens to run the reader last.
            assert!((sum == 4560.0) == (right || order == Order::Reverse), "{order:?}: {sum}");
        }
    }
}

#[test]
fn a_barrier_does_not_wait_for_threads_that_have_exited() {
    for order in ORDERS {
        let mut l = Emulator::new(order);
        let y = floats(&mut l, &[-1.0; 64]);
        run(&mut l, "fault_early_exit", one_block(64, 0), &[Arg::Ptr(y), Arg::I32(40)]).unwrap();
        let expected: Vec<f32> = (0..64).map(|i| if i < 40 { i as f32 } else { -1.0 }).collect();
        assert_eq!(read(&mut l, y, 64), expected);
    }
}

#[test]
fn a_deadlock_is_an_error_that_says_who_waits_where() {
    for order in ORDERS {
        let mut l = Emulator::new(order);
        let y = floats(&mut l, &[0.0; 64]);
        let result = run(&mut l, "fault_deadlock", one_block(64, 0), &[Arg::Ptr(y)]);
        let words =
            ["block (0, 0, 0)", "deadlock", "32 wait at __syncthreads of faults.cu:", "__shfl_xor_sync"];
        complaint(result, "fault_deadlock", &words);
        // The launcher is as good as new.
        run(&mut l, "fault_early_exit", one_block(64, 0), &[Arg::Ptr(y), Arg::I32(64)]).unwrap();
    }
}

#[test]
fn lanes_that_meet_at_different_shuffles_are_an_error() {
    for order in ORDERS {
        let mut l = Emulator::new(order);
        let y = floats(&mut l, &[0.0; 32]);
        let result = run(&mut l, "fault_divergence", one_block(32, 0), &[Arg::Ptr(y)]);
        complaint(result, "fault_divergence", &["divergence", "thread (", "faults.cu:"]);
    }
}

#[test]
fn shared_memory_ends_where_the_launch_says() {
    let mut l = Emulator::new(Order::Forward);
    run(&mut l, "fault_shared_write", one_block(32, 4096), &[Arg::I32(5), Arg::I32(4095)]).unwrap();
    let result = run(&mut l, "fault_shared_write", one_block(32, 4096), &[Arg::I32(5), Arg::I32(4096)]);
    complaint(result, "fault_shared_write", &["thread (5, 0, 0)", "past the end", "4096 bytes"]);
}

#[test]
fn shared_memory_begins_as_nan() {
    let mut l = Emulator::new(Order::Forward);
    let y = floats(&mut l, &[0.0; 32]);
    run(&mut l, "fault_uninitialised", one_block(32, 128), &[Arg::Ptr(y)]).unwrap();
    assert!(read(&mut l, y, 32).iter().all(|x| x.is_nan()));
}

#[test]
fn writing_past_an_allocation_is_an_error() {
    let mut l = Emulator::new(Order::Forward);
    let y = floats(&mut l, &[0.0; 100]);
    let args = |first| [Arg::Ptr(y), Arg::I32(first)];
    run(&mut l, "fault_global_write", one_block(32, 0), &args(68)).unwrap();
    // The tail up to the next multiple of 256 bytes, then the guard page.
    let result = run(&mut l, "fault_global_write", one_block(32, 0), &args(69));
    complaint(result, "fault_global_write", &["past the end of an allocation of 400 bytes"]);
    let result = run(&mut l, "fault_global_write", one_block(32, 0), &args(97));
    complaint(result, "fault_global_write", &["thread (31, 0, 0)", "belongs to no allocation"]);
}

#[test]
fn a_copy_lands_when_it_is_waited_for() {
    let x: Vec<f32> = (0..128).map(|i| i as f32).collect();
    for order in ORDERS {
        let mut l = Emulator::new(order);
        let (from, y) = (floats(&mut l, &x), floats(&mut l, &[0.0; 128]));
        let args = |early| [Arg::Ptr(from), Arg::Ptr(y), Arg::I32(early)];
        run(&mut l, "fault_copy", one_block(32, 512), &args(0)).unwrap();
        assert_eq!(read(&mut l, y, 128), x);
        run(&mut l, "fault_copy", one_block(32, 512), &args(1)).unwrap();
        assert!(read(&mut l, y, 128).iter().all(|x| x.is_nan()), "{order:?}");
        let short = run(&mut l, "fault_copy", one_block(32, 511), &args(0));
        complaint(short, "fault_copy", &["thread (31, 0, 0)", "cp.async outside shared memory"]);
    }
}

#[test]
fn arguments_are_held_to_the_parameters() {
    let mut l = Emulator::new(Order::Forward);
    let y = floats(&mut l, &[0.0; 32]);
    let result = run(&mut l, "fault_early_exit", one_block(32, 0), &[Arg::Ptr(y), Arg::F32(1.0)]);
    complaint(result, "fault_early_exit", &["parameters are pi", "arguments pf"]);
    let result = run(&mut l, "fault_early_exit", one_block(1056, 0), &[Arg::Ptr(y), Arg::I32(1)]);
    complaint(result, "fault_early_exit", &["1056"]);
    complaint(run(&mut l, "nowhere", one_block(32, 0), &[]), "nowhere", &["no kernel"]);
}

#[test]
fn threads_run_in_the_order_asked_for() {
    let ran = |order| {
        let mut l = Emulator::new(order);
        let counter = floats(&mut l, &[0.0]);
        let y = floats(&mut l, &[0.0; 96]);
        run(&mut l, "fault_order", one_block(96, 0), &[Arg::Ptr(y), Arg::Ptr(counter)]).unwrap();
        read(&mut l, y, 96).iter().map(|x| x.to_bits()).collect::<Vec<_>>()
    };
    assert_eq!(ran(Order::Forward), (0..96).collect::<Vec<_>>());
    assert_eq!(ran(Order::Reverse), (0..96).rev().collect::<Vec<_>>());
    assert_eq!(ran(Order::Random(3)), ran(Order::Random(3)));
    assert_ne!(ran(Order::Random(3)), ran(Order::Random(4)));
    let mut sorted = ran(Order::Random(3));
    sorted.sort_unstable();
    assert_eq!(sorted, ran(Order::Forward));
}

#[test]
fn memory_is_what_was_asked_for() {
    let mut l = Emulator::new(Order::Forward);
    let at = l.alloc(100).unwrap();
    assert_eq!(at.0 % 256, 0);
    assert!(read(&mut l, at, 25).iter().all(|x| x.is_nan()));
    l.fill(at, 0, 100).unwrap();
    assert_eq!(read(&mut l, at, 25), [0.0; 25]);
    let outside = l.upload(at.offset(1), &[0; 100]).unwrap_err().to_string();
    assert!(outside.contains("lie in no allocation"), "{outside}");
    assert!(l.alloc(usize::MAX - 5000).is_err());
}

#[test]
fn a_product_is_its_sums() {
    let (m, n, k) = (3, 5, 7);
    let value = |i: usize| ((i * 37 % 23) as f32 - 11.0) / 8.0;
    for case in 0..16 {
        let (transpose_a, transpose_b) = (case & 1 != 0, case & 2 != 0);
        let (write, wide) = (if case & 4 != 0 { Write::Accumulate } else { Write::Replace }, case & 8 != 0);
        let input = if wide { Dtype::F32 } else { Dtype::Bf16 };
        let a = |i: usize, l: usize| value(if transpose_a { l * m + i } else { i * k + l });
        let b = |l: usize, j: usize| value(1 + if transpose_b { j * k + l } else { l * n + j });
        let mut l = Emulator::new(Order::Forward);
        let mut operand = |first: usize, len: usize| {
            let values = (first..first + len).map(value);
            let bytes: Vec<u8> = match input {
                Dtype::F32 => values.flat_map(f32::to_ne_bytes).collect(),
                Dtype::Bf16 => values.flat_map(|x| half::bf16::from_f32(x).to_ne_bytes()).collect(),
            };
            let at = l.alloc(bytes.len()).unwrap();
            l.upload(at, &bytes).unwrap();
            at
        };
        let (pa, pb) = (operand(0, m * k), operand(1, k * n));
        let c = floats(&mut l, &vec![100.0; m * n]);
        let product =
            Gemm { m, n, k, a: pa, b: pb, c, transpose_a, transpose_b, write, input, output: Dtype::F32 };
        l.gemm(&product).unwrap();
        let base = if write == Write::Accumulate { 100.0 } else { 0.0 };
        // All terms are multiples of 1/64: the sums are exact.
        let expected: Vec<f32> =
            (0..m * n).map(|at| base + (0..k).map(|l| a(at / n, l) * b(l, at % n)).sum::<f32>()).collect();
        assert_eq!(read(&mut l, c, m * n), expected, "{product:?}");
    }
}
