//! Each wrapper of `kernels/hopper.cuh` against what the PTX manual says its instruction does. On the emulator this tests the
//! emulator's meaning of it; on a GPU of compute capability 9.0, the inline assembly: `cargo test -p hrm-cuda --test
//! wrappers_sm90 -- --ignored`.

mod common;

use common::{upload, words};
use half::bf16;
use hrm_cuda::launch::{Arg, Axis, Grid, Kernel, Launcher, Ptr, TensorMap};

/// Blocks of a cluster, and of the launches of clusters.
const CLUSTER: usize = 4;
const BLOCKS: usize = 2 * CLUSTER;

/// Bytes of a row of a box, 64 elements.
const ROW: usize = 128;

fn launch<L: Launcher>(
    l: &mut L,
    name: &'static str,
    blocks: usize,
    threads: u32,
    shared: usize,
    args: &[Arg],
) {
    let grid = Grid { blocks: [blocks as u32, 1, 1], threads: [threads, 1, 1], shared: shared as u32 };
    l.launch(Kernel { unit: "wrappers_sm90", name }, grid, args).unwrap();
}

fn int(x: usize) -> Arg {
    Arg::I32(x as i32)
}

/// So many words of 0.
fn zeros<L: Launcher>(l: &mut L, len: usize) -> Ptr {
    upload(l, (0..len).map(|_| [0; 4]))
}

/// A tensor map of dimensions (length, stride, box), the innermost first.
fn map_of(base: Ptr, dimensions: &[(usize, usize, usize)]) -> TensorMap {
    let mut axes = [Axis::default(); 5];
    for (axis, &(len, stride, boxed)) in axes.iter_mut().zip(dimensions) {
        *axis = Axis { len, stride, boxed };
    }
    TensorMap { base, axes }
}

// ---- Warps and parts of a block

fn uniform<L: Launcher>(l: &mut L) {
    let x = upload(l, (0..128u32).map(|t| (7 * t + 1).to_ne_bytes()));
    let y = zeros(l, 128);
    launch(l, "wrapper_uniform", 1, 128, 0, &[Arg::Ptr(y), Arg::Ptr(x)]);
    let expected: Vec<u32> = (0..128).map(|t| 7 * (t / 32 * 32) + 1).collect();
    assert_eq!(words(l, y, 128), expected);
}

fn barrier_sync<L: Launcher>(l: &mut L) {
    let x = upload(l, (1..=256u32).map(u32::to_ne_bytes));
    let y = zeros(l, 256);
    launch(l, "wrapper_barrier_sync", 1, 128, 0, &[Arg::Ptr(y), Arg::Ptr(x)]);
    let expected: Vec<u32> =
        (0..256).map(|at| if at >= 128 && at % 128 >= 64 { 0 } else { (at ^ 32) + 1 }).collect();
    assert_eq!(words(l, y, 256), expected);
}

fn setmaxnreg<L: Launcher>(l: &mut L) {
    let len = 200 * 384;
    let x = upload(l, (1..=len as u32).map(u32::to_ne_bytes));
    let y = zeros(l, len);
    launch(l, "wrapper_setmaxnreg", 1, 384, 0, &[Arg::Ptr(y), Arg::Ptr(x)]);
    let expected = (0..len).map(|at| if at % 384 < 128 && at / 384 >= 16 { 0 } else { at as u32 + 1 });
    assert!(expected.eq(words(l, y, len)));
}

// ---- Barriers in shared memory

fn phases<L: Launcher>(l: &mut L) {
    let rows = 5;
    let x = upload(l, (0..32 * rows as u32).map(u32::to_ne_bytes));
    let y = zeros(l, 32 * rows);
    launch(l, "wrapper_mbarrier", 1, 64, 128 + 16, &[Arg::Ptr(y), Arg::Ptr(x), int(rows)]);
    let expected: Vec<u32> = (0..32 * rows as u32).map(|at| at ^ 1).collect();
    assert_eq!(words(l, y, 32 * rows), expected);
}

fn test_wait<L: Launcher>(l: &mut L) {
    let y = zeros(l, 8);
    launch(l, "wrapper_mbarrier_test_wait", 1, 32, 8, &[Arg::Ptr(y)]);
    // Parity 1 is that of the phase before the first, too.
    assert_eq!(words(l, y, 8), [0, 1, 0, 1, 1, 0, 0, 1]);
}

fn announced_bytes<L: Launcher>(l: &mut L) {
    let tensor = Tensor::new(l, 1, 16, 64);
    let y = zeros(l, 2);
    let args = [Arg::TensorMap(tensor.map_2d(16)), Arg::Ptr(y), int(16)];
    launch(l, "wrapper_mbarrier_arrive_expect_tx", 1, 32, 3 * 16 * ROW + 16, &args);
    assert_eq!(words(l, y, 2), [0, 1]);
}

// ---- The copy engine

/// `[batch, rows, cols]` on the machine, all elements different and none zero.
struct Tensor {
    base: Ptr,
    batch: usize,
    rows: usize,
    cols: usize,
}

impl Tensor {
    fn new<L: Launcher>(l: &mut L, batch: usize, rows: usize, cols: usize) -> Self {
        let base = upload(l, (0..batch * rows * cols).map(|at| Self::bits(at).to_ne_bytes()));
        Self { base, batch, rows, cols }
    }

    /// Of the element at this place in memory: a normal number.
    fn bits(at: usize) -> u16 {
        0x2000 + at as u16
    }

    /// Of the element at these coordinates; outside the tensor it is zero.
    fn element(&self, batch: isize, row: isize, col: isize) -> u16 {
        let within = |at: isize, len: usize| usize::try_from(at).ok().filter(|at| *at < len);
        let place = || {
            let row = within(batch, self.batch)? * self.rows + within(row, self.rows)?;
            Some(row * self.cols + within(col, self.cols)?)
        };
        place().map_or(0, Self::bits)
    }

    /// Boxes of `boxed` rows.
    fn map_2d(&self, boxed: usize) -> TensorMap {
        map_of(self.base, &[(self.cols, 1, 64), (self.rows, self.cols, boxed)])
    }

    fn map_3d(&self, boxed: usize) -> TensorMap {
        let &Self { base, batch, rows, cols } = self;
        map_of(base, &[(cols, 1, 64), (rows, cols, boxed), (batch, rows * cols, 1)])
    }

    /// Boxes of 64 rows, of which 8 q + 2 j + e of each 32 comes to place 8 j + 2 q + e, as those of weights.
    fn map_5d(&self) -> TensorMap {
        let &Self { base, rows, cols, .. } = self;
        let outer = [(2, cols, 2), (4, 8 * cols, 4), (4, 2 * cols, 4), (rows / 32, 32 * cols, 2)];
        map_of(base, &[&[(cols, 1, 64)], &outer[..]].concat())
    }
}

/// A box of `rows` rows as it lies in shared memory: of row r, the 16 bytes of chunk c are in place c ^ r % 8.
fn image(rows: usize, element: impl Fn(isize, isize) -> u16) -> Vec<u32> {
    let word = |at: usize| {
        let (row, place) = (at / 32, at / 4 % 8);
        let col = 8 * (place ^ (row % 8)) + at % 4 * 2;
        let pair = [col, col + 1].map(|col| u32::from(element(row as isize, col as isize)));
        pair[0] | pair[1] << 16
    };
    (0..32 * rows).map(word).collect()
}

/// The box at (batch, row, col), by the wrapper of a kernel.
fn copied<L: Launcher>(
    l: &mut L,
    name: &'static str,
    map: TensorMap,
    rows: usize,
    (batch, row, col): (isize, isize, isize),
) -> Vec<u32> {
    let y = zeros(l, 32 * rows);
    let coordinates = [batch, row, col].map(|x| Arg::I32(x as i32));
    let args = [&[Arg::TensorMap(map), Arg::Ptr(y), int(rows)], &coordinates[..]].concat();
    launch(l, name, 1, 128, rows * ROW + 16, &args);
    words(l, y, 32 * rows)
}

fn boxes_of_two_dimensions<L: Launcher>(l: &mut L) {
    let tensor = Tensor::new(l, 1, 21, 72);
    for (row, col) in [(0, 0), (5, 8), (8, 0), (-3, 0), (0, 40), (21, 0), (2, -8), (0, 72), (-16, -64)] {
        let found = copied(l, "wrapper_cp_async_bulk_tensor", tensor.map_2d(16), 16, (0, row, col));
        assert_eq!(found, image(16, |i, j| tensor.element(0, row + i, col + j)), "box at ({row}, {col})");
    }
}

/// What lies behind a sequence's last row is not the next sequence.
fn boxes_of_three_dimensions<L: Launcher>(l: &mut L) {
    let tensor = Tensor::new(l, 3, 21, 72);
    for at in [(0, 0, 0), (1, 3, 8), (1, 16, 0), (1, -2, 0), (0, 21, 0), (3, 0, 0), (-1, 0, 0)] {
        let (batch, row, col) = at;
        let found = copied(l, "wrapper_cp_async_bulk_tensor_3d", tensor.map_3d(16), 16, at);
        assert_eq!(found, image(16, |i, j| tensor.element(batch, row + i, col + j)), "box at {at:?}");
    }
}

fn boxes_of_five_dimensions<L: Launcher>(l: &mut L) {
    let tensor = Tensor::new(l, 1, 96, 72);
    for (row, col) in [(0, 0), (1, 8), (2, 0), (0, 40), (-1, 0), (3, 0)] {
        let found = copied(l, "wrapper_cp_async_bulk_tensor_5d", tensor.map_5d(), 64, (0, row, col));
        let expected = image(64, |place, j| {
            let (q, within, e) = (place / 2 % 4, place / 8 % 4, place % 2);
            tensor.element(0, (row + place / 32) * 32 + 8 * q + 2 * within + e, col + j)
        });
        assert_eq!(found, expected, "box at ({row}, {col})");
    }
}

fn multicast<L: Launcher>(l: &mut L) {
    let tensor = Tensor::new(l, 1, 21, 72);
    let words_each = 32 * 16;
    for (from, mask) in [(0, 0b1111), (1, 0b0101), (3, 0b1000), (2, 0b0010), (2, 0b1110)] {
        let y = zeros(l, BLOCKS * words_each);
        let args = [Arg::TensorMap(tensor.map_2d(16)), Arg::Ptr(y), int(16), int(8), int(from), int(mask)];
        launch(l, "wrapper_cp_async_bulk_tensor_multicast", BLOCKS, 128, 16 * ROW + 16, &args);
        for (block, found) in words(l, y, BLOCKS * words_each).chunks(words_each).enumerate() {
            let row = if mask >> (block % CLUSTER) & 1 == 1 { 8 } else { 0 };
            let expected = image(16, |i, j| tensor.element(0, row + i, j));
            assert_eq!(found, expected, "block {block}, from {from} to {mask:#06b}");
        }
    }
}

// ---- Clusters

fn ranks<L: Launcher>(l: &mut L) {
    let y = zeros(l, BLOCKS);
    launch(l, "wrapper_cluster_ctarank", BLOCKS, 128, 0, &[Arg::Ptr(y)]);
    assert_eq!(words(l, y, BLOCKS), [0, 1, 2, 3, 0, 1, 2, 3]);
}

fn cluster_barrier<L: Launcher>(l: &mut L) {
    let x = upload(l, (0..128 * BLOCKS as u32).map(u32::to_ne_bytes));
    let (places, y) = (zeros(l, 128 * BLOCKS), zeros(l, 128 * BLOCKS));
    launch(l, "wrapper_barrier_cluster", BLOCKS, 128, 0, &[Arg::Ptr(y), Arg::Ptr(places), Arg::Ptr(x)]);
    let next = |block: usize| block / CLUSTER * CLUSTER + (block + 1) % CLUSTER;
    let expected: Vec<u32> = (0..128 * BLOCKS).map(|at| (next(at / 128) * 128 + at % 128) as u32).collect();
    assert_eq!(words(l, y, 128 * BLOCKS), expected);
}

fn exchange<L: Launcher>(l: &mut L) {
    let len = 128 * BLOCKS;
    let x = upload(l, (0..len).map(|at| (at as f32).to_ne_bytes()));
    let (ended, y) = (zeros(l, BLOCKS), zeros(l, len));
    launch(l, "wrapper_st_async", BLOCKS, 128, 512 + 8, &[Arg::Ptr(y), Arg::Ptr(ended), Arg::Ptr(x)]);
    assert_eq!(words(l, ended, BLOCKS), [0; BLOCKS]);
    let found: Vec<f32> = words(l, y, len).into_iter().map(f32::from_bits).collect();
    let origin = |at: usize| {
        let (block, place, lane) = (at / 128, at / 32 % 4, at % 32);
        (block / CLUSTER * CLUSTER + place) * 128 + block % CLUSTER * 32 + lane
    };
    let expected: Vec<f32> = (0..len).map(|at| origin(at) as f32).collect();
    assert_eq!(found, expected);
}

fn arrivals_from_other_blocks<L: Launcher>(l: &mut L) {
    let ended = zeros(l, 2 * BLOCKS);
    launch(l, "wrapper_mbarrier_arrive_cluster", BLOCKS, 128, 8, &[Arg::Ptr(ended)]);
    assert_eq!(words(l, ended, 2 * BLOCKS), [[0, 1]; BLOCKS].concat());
}

// ---- Tensor cores

/// A matrix of multiples of 1/4 between -2 and 2: sums of 64 products are exact in any order.
#[derive(Clone, Copy)]
struct Matrix {
    first: usize,
    cols: usize,
}

impl Matrix {
    fn at(self, row: usize, col: usize) -> f32 {
        ((self.first + row * self.cols + col) * 7919 % 1013 % 17) as f32 / 4.0 - 2.0
    }

    fn all(self, rows: usize) -> impl Iterator<Item = f32> {
        (0..rows * self.cols).map(move |at| self.at(at / self.cols, at % self.cols))
    }

    fn upload_bf16<L: Launcher>(self, l: &mut L, rows: usize) -> Ptr {
        upload(l, self.all(rows).map(|x| bf16::from_f32(x).to_ne_bytes()))
    }

    /// One box of all rows.
    fn map<L: Launcher>(self, l: &mut L, rows: usize) -> Arg {
        let base = self.upload_bf16(l, rows);
        Arg::TensorMap(map_of(base, &[(self.cols, 1, 64), (rows, self.cols, rows)]))
    }
}

/// What a kernel makes of d `[rows, cols]`, and what it should: d, if that is added, and the sum of `term` over so many.
fn sums<L: Launcher>(
    l: &mut L,
    (rows, cols): (usize, usize),
    accumulate: bool,
    terms: usize,
    term: impl Fn(usize, usize, usize) -> f32,
    run: impl FnOnce(&mut L, Ptr),
) -> [Vec<f32>; 2] {
    let c = Matrix { first: 7, cols };
    let d = upload(l, c.all(rows).map(f32::to_ne_bytes));
    run(l, d);
    let sum = |i: usize, j: usize| (0..terms).map(|k| term(i, j, k)).sum::<f32>();
    let expected = (0..rows * cols).map(|at| (at / cols, at % cols));
    let expected = expected.map(|(i, j)| if accumulate { c.at(i, j) } else { 0.0 } + sum(i, j)).collect();
    [words(l, d, rows * cols).into_iter().map(f32::from_bits).collect(), expected]
}

const A: Matrix = Matrix { first: 0, cols: 64 };
const B: Matrix = Matrix { first: 5000, cols: 64 };
/// From registers.
const FRAGMENT: Matrix = Matrix { first: 300, cols: 16 };

/// Bytes of a tile of 64 rows with its barrier, up to where another may begin.
const TILE: usize = 64 * ROW + 1024;

/// All columns of the tiles, 16 at a time, added to what is there or not.
const STEPS: [(usize, bool); 5] = [(0, false), (1, false), (2, true), (3, false), (0, true)];

fn products_of_tiles<L: Launcher>(l: &mut L) {
    for (name, n) in [
        ("wrapper_wgmma_m64n16k16", 16),
        ("wrapper_wgmma_m64n64k16", 64),
        ("wrapper_wgmma_m64n128k16", 128),
        ("wrapper_wgmma_m64n256k16", 256),
    ] {
        let (a, b) = (A.map(l, 64), B.map(l, n));
        for (step, accumulate) in STEPS {
            let term = |i, j, k| A.at(i, 16 * step + k) * B.at(j, 16 * step + k);
            let [found, expected] = sums(l, (64, n), accumulate, 16, term, |l, d| {
                let args = [a, b, Arg::Ptr(d), int(step), int(accumulate.into())];
                launch(l, name, 1, 128, TILE + n * ROW + 8, &args);
            });
            assert_eq!(found, expected, "{name}: step {step}, accumulate {accumulate}");
        }
    }
}

fn products_from_registers<L: Launcher>(l: &mut L) {
    for (name, n) in [
        ("wrapper_wgmma_m64n64k16_registers", 64),
        ("wrapper_wgmma_m64n104k16_registers", 104),
        ("wrapper_wgmma_m64n128k16_registers", 128),
    ] {
        let (a, b) = (FRAGMENT.upload_bf16(l, 64), B.map(l, n));
        for (step, accumulate) in STEPS {
            let term = |i, j, k| FRAGMENT.at(i, k) * B.at(j, 16 * step + k);
            let [found, expected] = sums(l, (64, n), accumulate, 16, term, |l, d| {
                let args = [b, Arg::Ptr(a), Arg::Ptr(d), int(step), int(accumulate.into())];
                launch(l, name, 1, 128, n * ROW + 1024, &args);
            });
            assert_eq!(found, expected, "{name}: step {step}, accumulate {accumulate}");
        }
    }
}

fn products_with_rows<L: Launcher>(l: &mut L) {
    let (a, b) = (FRAGMENT.upload_bf16(l, 64), B.map(l, 64));
    for row in (0..=48).step_by(8) {
        let term = |i, j, k| FRAGMENT.at(i, k) * B.at(row + k, j);
        let [found, expected] = sums(l, (64, 64), true, 16, term, |l, d| {
            let args = [b, Arg::Ptr(a), Arg::Ptr(d), int(row)];
            launch(l, "wrapper_wgmma_m64n64k16_transposed", 1, 128, TILE, &args);
        });
        assert_eq!(found, expected, "from row {row} on");
    }
}

fn products_in_two_groups<L: Launcher>(l: &mut L) {
    let (a, b) = (A.map(l, 64), B.map(l, 64));
    let term = |i: usize, j, k| if i < 64 { A.at(i, k) * B.at(j, k) } else { B.at(i - 64, k) * A.at(j, k) };
    let [found, expected] = sums(l, (128, 64), true, 64, term, |l, d| {
        launch(l, "wrapper_wgmma_wait_group", 1, 128, 2 * TILE, &[a, b, Arg::Ptr(d)]);
    });
    assert_eq!(found, expected);
}

/// Makes tests of the functions: on the emulator, in several orders of threads, and on a GPU.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        #[cfg(feature = "emulator")]
        mod on_the_emulator {
            use hrm_cuda::emulator::{Emulator, Order};

            $(#[test]
            fn $name() {
                for order in [Order::Forward, Order::Reverse, Order::Random(5), Order::Random(6)] {
                    super::$name(&mut Emulator::hopper(order));
                }
            })*
        }

        mod on_a_gpu {
            use hrm_cuda::device::Gpu;

            $(#[test]
            #[ignore = "needs an NVIDIA GPU of compute capability 9.0"]
            fn $name() {
                let mut l = Gpu::new(0).unwrap();
                if l.device().capability == (9, 0) {
                    super::$name(&mut l);
                } else {
                    println!("this GPU has another compute capability: nothing to test");
                }
            })*
        }
    };
}

tests! {
    uniform,
    barrier_sync,
    setmaxnreg,
    phases,
    test_wait,
    announced_bytes,
    boxes_of_two_dimensions,
    boxes_of_three_dimensions,
    boxes_of_five_dimensions,
    multicast,
    ranks,
    cluster_barrier,
    exchange,
    arrivals_from_other_blocks,
    products_of_tiles,
    products_from_registers,
    products_with_rows,
    products_in_two_groups,
}
