//! What is for compute capability 9.0a on the emulator: mistakes with barriers in shared memory, the copy engine, products
//! of a warpgroup and clusters, each planted in a kernel of `emulator/faults_sm90.cu`.

use half::bf16;
use hrm_cuda::emulator::{Emulator, Order};
use hrm_cuda::error::Error;
use hrm_cuda::launch::{Arg, Axis, Grid, Kernel, Launcher, Ptr, TensorMap};

const ORDERS: [Order; 3] = [Order::Forward, Order::Reverse, Order::Random(7)];
const TILES: usize = 3;
/// The last tile lacks 2 of its 64 rows.
const ROWS: usize = 64 * TILES - 2;

// The twin of `Mistake` in the kernel's source.
const NONE: i32 = 0;
const NO_WAIT: i32 = 1;
const WRONG_PARITY: i32 = 2;
const EARLY_RELEASE: i32 = 3;
const TOO_MANY_BYTES: i32 = 4;
const TOO_FEW_BYTES: i32 = 5;
const NO_COMMIT: i32 = 6;
const NO_WAIT_FOR_PRODUCTS: i32 = 7;
const TWO_INITS: i32 = 8;
const NO_INIT: i32 = 9;
const TOO_MANY_ARRIVALS: i32 = 10;
const ACCUMULATOR_TOUCHED: i32 = 11;
const REGISTERS_TOUCHED: i32 = 12;
const BARRIER_OVERWRITTEN: i32 = 13;
const STARTED_ONLY: i32 = 14;
const ODD_COLUMN: i32 = 15;

/// Element (row, col) of the tensor; what a box has after its last row is 0.
fn element(row: usize, col: usize) -> f32 {
    if row < ROWS { ((row * 29 + col * 31 + row * col * 7) % 17) as f32 / 4.0 - 2.0 } else { 0.0 }
}

fn floats(l: &mut Emulator, at: Ptr, len: usize) -> Vec<f32> {
    let mut bytes = vec![0; 4 * len];
    l.download(at, &mut bytes).unwrap();
    bytes.as_chunks::<4>().0.iter().map(|x| f32::from_ne_bytes(*x)).collect()
}

/// What the kernel makes of the tiles. All terms are multiples of 1/16: the sums are exact.
fn tiles(order: Order, tiles: usize, mistake: i32) -> Result<Vec<f32>, Error> {
    let mut l = Emulator::hopper(order);
    let x = (0..64 * ROWS).flat_map(|at| bf16::from_f32(element(at / 64, at % 64)).to_ne_bytes());
    let (base, y) = (l.alloc(128 * ROWS)?, l.alloc(4 * 64 * 64)?);
    l.upload(base, &x.collect::<Vec<_>>())?;
    let axis = |len, stride| Axis { len, stride, boxed: 64 };
    let none = Axis::default();
    let map = TensorMap { base, axes: [axis(64, 1), axis(ROWS, 64), none, none, none] };
    let grid = Grid { blocks: [1, 1, 1], threads: [256, 1, 1], shared: 8192 + 16 };
    let args = [Arg::TensorMap(map), Arg::Ptr(y), Arg::I32(tiles as i32), Arg::I32(mistake)];
    l.launch(Kernel { unit: "faults_sm90", name: "fault_tiles" }, grid, &args)?;
    Ok(floats(&mut l, y, 64 * 64))
}

fn expected(tiles: usize) -> Vec<f32> {
    let term = |t: usize, i: usize, j: usize| {
        (0..64).map(|k| (element(64 * t + i, k) + 2.0) * element(64 * t + j, k)).sum::<f32>()
    };
    (0..64 * 64).map(|at| (0..tiles).map(|t| term(t, at / 64, at % 64)).sum()).collect()
}

#[test]
fn tiles_are_what_the_formula_says() {
    for order in ORDERS {
        assert_eq!(tiles(order, TILES, NONE).unwrap(), expected(TILES), "{order:?}");
    }
}

#[test]
fn a_mistake_is_an_error_that_says_which() {
    let changed = "operands of wgmma changed before their group was waited for";
    let said = [
        (EARLY_RELEASE, changed),
        (REGISTERS_TOUCHED, changed),
        (TOO_MANY_BYTES, "deadlock"),
        (
            TOO_MANY_BYTES,
            "at byte 8192 of block (0, 0, 0) for parity 0 (0 of 1 arrivals and 16 bytes missing)",
        ),
        (TOO_FEW_BYTES, "the barrier at byte 8192 of shared memory: 16 bytes came that nobody announced"),
        (NO_COMMIT, "wgmma under way that nobody waited for"),
        (NO_WAIT_FOR_PRODUCTS, "wgmma under way that nobody waited for"),
        (TWO_INITS, "mbarrier.init of the barrier at byte 8192 for a second time"),
        (NO_INIT, "at byte 8192 of shared memory, where no barrier was initialised"),
        (ACCUMULATOR_TOUCHED, "an accumulator of wgmma was written to before its group was waited for"),
        (BARRIER_OVERWRITTEN, "at byte 8192 of shared memory: the barrier was written over"),
        (ODD_COLUMN, "a copy from column 4, which is no multiple of 16 bytes"),
    ];
    for (mistake, words) in said {
        for order in ORDERS {
            let error = tiles(order, TILES, mistake).expect_err("nothing was noticed").to_string();
            assert!(
                error.contains("fault_tiles") && error.contains(words),
                "{error:?} does not hold {words:?}"
            );
        }
    }
}

/// What the consequence is depends on who comes first; it is never the right result.
#[test]
fn waits_and_arrivals_that_are_wrong_show() {
    for mistake in [NO_WAIT, WRONG_PARITY, TOO_MANY_ARRIVALS] {
        for order in ORDERS {
            let result = tiles(order, TILES, mistake);
            assert!(result != Ok(expected(TILES)), "mistake {mistake}, {order:?}");
        }
    }
}

/// Also when its copy has started long ago.
#[test]
fn a_tile_is_not_there_before_it_is_waited_for() {
    for order in ORDERS {
        assert!(tiles(order, 1, STARTED_ONLY) != Ok(expected(1)), "{order:?}");
    }
}

/// What two blocks have of each other.
fn exchange(order: Order, blocks: u32, early: i32, leave: i32) -> Result<Vec<f32>, Error> {
    let mut l = Emulator::hopper(order);
    let y = l.alloc(8)?;
    let grid = Grid { blocks: [blocks, 1, 1], threads: [32, 1, 1], shared: 16 };
    let args = [Arg::Ptr(y), Arg::I32(early), Arg::I32(leave)];
    l.launch(Kernel { unit: "faults_sm90", name: "fault_exchange" }, grid, &args)?;
    Ok(floats(&mut l, y, 2))
}

#[test]
fn blocks_of_a_cluster_reach_each_other() {
    for order in ORDERS {
        assert_eq!(exchange(order, 2, 0, 0).unwrap(), [1.0, 0.0]);
        assert!(exchange(order, 2, 1, 0).unwrap().iter().any(|x| x.is_nan()), "{order:?}");
        let gone = exchange(order, 2, 0, 1).unwrap_err().to_string();
        let words = ["block that has exited", "in flight that nobody waited for"];
        assert!(words.iter().any(|words| gone.contains(words)), "{gone}");
        let odd = exchange(order, 3, 0, 0).unwrap_err().to_string();
        assert!(odd.contains("clusters of 2 blocks"), "{odd}");
    }
}
