//! Attention against the reference: at most twice the error of its plain loops in the same precision, both against f64,
//! plus a few units in the last place; and the same bits in every run, on the emulator in every order of threads.
//!
//! On a GPU: `cargo test -p hrm-cuda --test attention -- --ignored`.

use half::bf16;
use hrm_core::arena::{Act, Param, Span, Stat};
use hrm_core::backend::reference::{BorrowedMut, Reference, Rounding};
use hrm_core::config::Config;
use hrm_core::kernels::{Attention, AttentionVjp, Kernels, TrainKernels};
use hrm_core::plan::{Mode, Plan};
use hrm_core::rng::{Rng, Stream};
use hrm_core::rope;
use hrm_core::rope::RopeTables;
use hrm_core::scalar::Scalar;
use hrm_cuda::device::Gpu;
#[cfg(feature = "emulator")]
use hrm_cuda::emulator::{Emulator, Order};
use hrm_cuda::launch::{Dtype, Launcher, Ptr};
use hrm_cuda::ops::attention;

#[derive(Clone, Copy, Debug)]
struct Case {
    batch: usize,
    positions: usize,
    heads: usize,
    head_dim: usize,
    rope: bool,
    dtype: Dtype,
    /// Whether queries and keys point away from each other, so that all scores are far below 0.
    opposed: bool,
}

/// The operands, as f32, rounded to the type of activations.
struct Operands {
    qkv: Vec<f32>,
    d_o: Vec<f32>,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

/// Results.
struct Results<T> {
    o: Vec<T>,
    lse: Vec<T>,
    dqkv: Vec<T>,
}

impl Case {
    fn rows(&self) -> usize {
        self.batch * self.positions
    }

    fn width(&self) -> usize {
        self.heads * self.head_dim
    }

    fn operands(&self) -> Operands {
        let draw = |lane: u32, len: usize| -> Vec<f32> {
            let mut rng = Rng::new(11, Stream::Puzzle, lane);
            (0..len).map(|_| (4.0 * rng.uniform() - 2.0) as f32).collect()
        };
        let rounded = |mut values: Vec<f32>| {
            if self.dtype == Dtype::Bf16 {
                values.iter_mut().for_each(|x| *x = bf16::from_f32(*x).to_f32());
            }
            values
        };
        let half = self.head_dim / 2;
        let table = |part: fn((f32, f32)) -> f32| -> Vec<f32> {
            let angle = |i| part(rope::cos_sin(100.0, self.head_dim, i / half, i % half));
            (0..if self.rope { self.positions * half } else { 0 }).map(angle).collect()
        };
        let mut qkv = draw(1, self.rows() * 3 * self.width());
        if self.opposed {
            for row in qkv.chunks_exact_mut(3 * self.width()) {
                let (queries, rest) = row.split_at_mut(self.width());
                queries.iter_mut().for_each(|x| *x = 4.0 + x.abs());
                rest[..self.width()].iter_mut().for_each(|x| *x = -4.0 - x.abs());
            }
        }
        Operands {
            qkv: rounded(qkv),
            d_o: rounded(draw(2, self.rows() * self.width())),
            cos: table(|pair| pair.0),
            sin: table(|pair| pair.1),
        }
    }

    /// What the reference makes of it, in numbers `T`.
    fn reference<T: Scalar>(&self, rounding: Rounding) -> Results<T> {
        let operands = self.operands();
        let (rows, d) = (self.rows(), self.width());
        let wide = |values: &[f32]| values.iter().map(|x| T::from_f32(*x)).collect::<Vec<T>>();
        let table = operands.cos.len();
        let mut params = wide(&[&operands.cos[..], &operands.sin].concat());
        let mut acts = wide(&[&operands.qkv[..], &operands.d_o].concat());
        acts.resize(8 * rows * d, T::ZERO);
        let mut stats = vec![T::ZERO; rows * self.heads];
        let act = |at: usize, cols: usize| Act::new(at * rows * d, rows, cols);
        let (qkv, d_o, o, dqkv) = (act(0, 3 * d), act(3, d), act(4, d), act(5, 3 * d));
        let lse = Stat::new(0, self.batch * self.heads, self.positions);
        let half = self.head_dim / 2;
        let tables = RopeTables {
            cos: Param::new(0, self.positions, half),
            sin: Param::new(table, self.positions, half),
        };
        let forward = Attention { o, lse, qkv, rope: self.rope.then_some(tables), heads: self.heads };
        // The arenas are made for these operands, not for a model.
        let mut plan = Plan::new(&Config::SUDOKU_EXTREME, 1, Mode::Training).unwrap();
        (plan.params.len, plan.acts_len, plan.stats_len, plan.ids_len) =
            (params.len(), acts.len(), stats.len(), 0);
        let store = BorrowedMut {
            params: &mut params,
            gradients: &mut [],
            first: &mut [],
            second: &mut [],
            averages: &mut [],
            acts: &mut acts,
            stats: &mut stats,
            ids: &mut [],
        };
        let mut k = Reference::new(store, &plan, rounding).unwrap();
        k.rope_attention(&forward).unwrap();
        k.rope_attention_vjp(&AttentionVjp { forward, d_o, dqkv }).unwrap();
        fn part<T: Scalar, A>(values: &[T], span: Span<A>) -> Vec<T> {
            values[span.range()].to_vec()
        }
        Results { o: part(&acts, o), lse: part(&stats, lse), dqkv: part(&acts, dqkv) }
    }

    /// What the kernels make of it.
    fn run<L: Launcher>(&self, l: &mut L) -> Results<f32> {
        let operands = self.operands();
        let (rows, d) = (self.rows(), self.width());
        let shape = attention::Shape {
            batch: self.batch,
            positions: self.positions,
            heads: self.heads,
            head_dim: self.head_dim,
        };
        let qkv = upload(l, &operands.qkv, self.dtype);
        let d_o = upload(l, &operands.d_o, self.dtype);
        let cos = upload(l, &operands.cos, Dtype::F32);
        let sin = upload(l, &operands.sin, Dtype::F32);
        let mut result = |len: usize, dtype: Dtype| l.alloc(len * dtype.bytes()).unwrap();
        let (o, dqkv) = (result(rows * d, self.dtype), result(rows * 3 * d, self.dtype));
        let lse = result(rows * self.heads, Dtype::F32);
        let scratch = l.alloc(attention::rope_attention_vjp_scratch(&shape)).unwrap();
        let rope = self.rope.then_some(attention::Rope { cos, sin });
        let forward = attention::Attention { o, lse, qkv, rope, shape };
        attention::rope_attention(l, self.dtype, &forward).unwrap();
        let vjp = attention::AttentionVjp { forward, d_o, dqkv, scratch };
        attention::rope_attention_vjp(l, self.dtype, &vjp).unwrap();
        Results {
            o: download(l, o, rows * d, self.dtype),
            lse: download(l, lse, rows * self.heads, Dtype::F32),
            dqkv: download(l, dqkv, rows * 3 * d, self.dtype),
        }
    }

    /// Runs on each launcher, and holds the results against the reference and against each other.
    fn check<L: Launcher>(&self, launchers: &mut [L]) {
        let rounding = if self.dtype == Dtype::F32 { Rounding::None } else { Rounding::Bf16 };
        let unit = if self.dtype == Dtype::F32 { f64::from(f32::EPSILON) } else { 2.0f64.powi(-8) };
        let exact = self.reference::<f64>(Rounding::None);
        let plain = self.reference::<f32>(rounding);
        let mut first: Option<Vec<u32>> = None;
        for (number, l) in launchers.iter_mut().enumerate() {
            let ours = self.run(l);
            let bits: Vec<u32> =
                [&ours.o[..], &ours.lse, &ours.dqkv].concat().iter().map(|x| x.to_bits()).collect();
            let sets = [
                ("o", &ours.o, &plain.o, &exact.o),
                ("lse", &ours.lse, &plain.lse, &exact.lse),
                ("dqkv", &ours.dqkv, &plain.dqkv, &exact.dqkv),
            ];
            for (name, ours, plain, exact) in sets {
                let worst = |values: &[f32]| {
                    let errors = values.iter().zip(exact).map(|(a, b)| (f64::from(*a) - b).abs());
                    errors.fold(0.0f64, |worst, e| if e.is_nan() { f64::INFINITY } else { worst.max(e) })
                };
                let magnitude = exact.iter().fold(1.0f64, |largest, x| largest.max(x.abs()));
                let (error, plain) = (worst(ours), worst(plain));
                let bound = 2.0 * plain + 4.0 * unit * magnitude;
                assert!(
                    error <= bound,
                    "{self:?}, run {number}: {name} is off by {error:e}, bound {bound:e}"
                );
            }
            assert_eq!(*first.get_or_insert(bits.clone()), bits, "{self:?}: other bits in run {number}");
        }
    }
}

fn upload<L: Launcher>(l: &mut L, values: &[f32], dtype: Dtype) -> Ptr {
    let bytes: Vec<u8> = match dtype {
        Dtype::F32 => values.iter().flat_map(|x| x.to_ne_bytes()).collect(),
        Dtype::Bf16 => values.iter().flat_map(|x| bf16::from_f32(*x).to_ne_bytes()).collect(),
    };
    let at = l.alloc(bytes.len()).unwrap();
    l.upload(at, &bytes).unwrap();
    at
}

fn download<L: Launcher>(l: &mut L, at: Ptr, len: usize, dtype: Dtype) -> Vec<f32> {
    let mut bytes = vec![0; len * dtype.bytes()];
    l.download(at, &mut bytes).unwrap();
    match dtype {
        Dtype::F32 => bytes.chunks_exact(4).map(|x| f32::from_ne_bytes(x.try_into().unwrap())).collect(),
        Dtype::Bf16 => {
            bytes.chunks_exact(2).map(|x| bf16::from_ne_bytes(x.try_into().unwrap()).to_f32()).collect()
        }
    }
}

/// Lengths at and around the edges of tiles, for one width of a head.
fn sweep<L: Launcher>(l: &mut [L], dtype: Dtype, head_dim: usize, rope: bool, lengths: &[usize]) {
    for &positions in lengths {
        Case { batch: 2, positions, heads: 2, head_dim, rope, dtype, opposed: false }.check(l);
    }
}

/// Scores of which only the differences can be exponentiated: `exp(-lse)` is infinite.
fn scores_far_below_zero<L: Launcher>(l: &mut [L], lengths: &[usize]) {
    for &positions in lengths {
        let dtype = Dtype::Bf16;
        let case = Case { batch: 2, positions, heads: 2, head_dim: 64, rope: false, dtype, opposed: true };
        let largest = case.reference::<f64>(Rounding::None).lse.into_iter().fold(f64::MIN, f64::max);
        assert!((-largest).exp() > f64::from(f32::MAX));
        case.check(l);
    }
}

fn short_sequences<L: Launcher>(l: &mut [L]) {
    for head_dim in [32, 64] {
        sweep(l, Dtype::Bf16, head_dim, true, &[1, 7, 16, 17, 82, 96]);
        sweep(l, Dtype::Bf16, head_dim, false, &[31, 82]);
    }
    sweep(l, Dtype::Bf16, 32, true, &[97, 113, 128]);
}

fn long_sequences<L: Launcher>(l: &mut [L]) {
    sweep(l, Dtype::Bf16, 64, true, &[97, 113, 128, 200]);
    sweep(l, Dtype::Bf16, 32, true, &[129, 200]);
    sweep(l, Dtype::Bf16, 64, false, &[113]);
}

fn wide_heads<L: Launcher>(l: &mut [L]) {
    sweep(l, Dtype::Bf16, 128, true, &[1, 7, 33, 82, 113, 200]);
    sweep(l, Dtype::Bf16, 128, false, &[64]);
}

fn any_width_in_bf16<L: Launcher>(l: &mut [L]) {
    for head_dim in [2, 6, 40] {
        sweep(l, Dtype::Bf16, head_dim, true, &[1, 7, 82]);
    }
    for head_dim in [1, 7] {
        sweep(l, Dtype::Bf16, head_dim, false, &[1, 33]);
    }
}

fn everything_in_f32<L: Launcher>(l: &mut [L]) {
    for head_dim in [2, 6, 32, 64, 128] {
        sweep(l, Dtype::F32, head_dim, true, &[1, 7, 82]);
    }
    sweep(l, Dtype::F32, 32, true, &[113]);
    for head_dim in [1, 7] {
        sweep(l, Dtype::F32, head_dim, false, &[1, 33]);
    }
}

#[cfg(feature = "emulator")]
mod on_the_emulator {
    use super::*;

    fn in_all_orders() -> [Emulator; 3] {
        [Order::Forward, Order::Reverse, Order::Random(1)].map(Emulator::new)
    }

    #[test]
    fn short_sequences() {
        super::short_sequences(&mut in_all_orders());
    }

    #[test]
    fn long_sequences() {
        super::long_sequences(&mut in_all_orders());
    }

    #[test]
    fn long_sequences_on_compute_capability_9() {
        let orders = [Order::Forward, Order::Reverse, Order::Random(1), Order::Random(3)];
        let mut l = orders.map(Emulator::hopper);
        // Few rows after whole tiles, just too many for few, and both sides of half a tile of keys.
        sweep(&mut l, Dtype::Bf16, 64, true, &[97, 128, 130, 136, 137, 144, 145, 150, 193, 258, 330, 450]);
        sweep(&mut l, Dtype::Bf16, 64, false, &[113]);
        super::scores_far_below_zero(&mut l, &[130, 144]);
    }

    #[test]
    fn wide_heads() {
        super::wide_heads(&mut in_all_orders());
    }

    #[test]
    fn scores_far_below_zero() {
        super::scores_far_below_zero(&mut in_all_orders(), &[7, 113]);
    }

    #[test]
    fn any_width_in_bf16() {
        super::any_width_in_bf16(&mut in_all_orders());
    }

    #[test]
    fn everything_in_f32() {
        super::everything_in_f32(&mut in_all_orders());
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn on_a_gpu() {
    let mut l = [(); 2].map(|()| Gpu::new(0).unwrap());
    short_sequences(&mut l);
    long_sequences(&mut l);
    wide_heads(&mut l);
    scores_far_below_zero(&mut l, &[7, 113, 130, 144]);
    any_width_in_bf16(&mut l);
    everything_in_f32(&mut l);
    sweep(&mut l, Dtype::Bf16, 64, true, &[136, 137, 144, 145, 193, 258, 450, 901]);
}
