//! The portable backend: the conformance suite, products of integers against f64, and the same bits whatever batch and
//! tile.

use hrm_core::arena::{Act, Param};
use hrm_core::backend::Error;
use hrm_core::backend::portable::{Lengths, Portable, Source, TENSORS, Table};
use hrm_core::backend::reference::{Reference, Rounding};
use hrm_core::bundle::{Bundle, Precision, Weights};
use hrm_core::config::{Config, PosEncodings};
use hrm_core::init::{reset_carry, write_constants};
use hrm_core::kernels::{Kernels, Linear, Memory, Region};
use hrm_core::model;
use hrm_core::plan::{Mode, Plan};
use hrm_core::quantize;
use hrm_core::rng::{Rng, Stream};
use hrm_core::rope::RopeTables;
use hrm_host::model_io::bundle::Encoding;
use hrm_host::numbers;
use hrm_tests::portable::{Lent, OnReference, bundle};
use hrm_tests::suite::Subject;

struct PortableSubject;

impl Subject for PortableSubject {
    type Backend = OnReference;
    const ROUNDING: Rounding = Rounding::None;

    fn backend(plan: &Plan) -> Result<OnReference, String> {
        OnReference::new(plan).map_err(|error| error.to_string())
    }
}

hrm_tests::conformance!(forward PortableSubject, cases: 12);

/// 18 positions, one and a half of them the puzzle's.
const CONFIG: Config = Config {
    seq_len: 16,
    vocab_size: 6,
    num_puzzle_identifiers: 3,
    hidden_size: 32,
    num_heads: 4,
    h_layers: 2,
    l_layers: 2,
    puzzle_emb_ndim: 48,
    halt_max_steps: 4,
    ..Config::SUDOKU_EXTREME
};

const ENCODINGS: [Encoding; 4] = [
    Encoding::Float(numbers::Precision::F32),
    Encoding::Float(numbers::Precision::Bf16),
    Encoding::Float(numbers::Precision::F16),
    Encoding::Int8,
];

/// The tokens of the puzzle of `row`.
fn puzzle(row: usize) -> impl Iterator<Item = i32> {
    (0..16).map(move |cell| ((cell + 3) * (cell + 2 * row) % 6) as i32)
}

/// The bits of logits, Q values and predictions of each row after two ACT steps on puzzles `first..`.
fn solve<K: Kernels>(plan: &Plan, k: &mut K, first: usize) -> Result<Vec<Vec<u32>>, K::Error> {
    reset_carry(k, plan)?;
    for row in 0..plan.batch {
        let tokens: Vec<i32> = puzzle(first + row).collect();
        k.write_ids(plan.incoming.inputs.offset + row * 16, &tokens)?;
        k.write_ids(plan.incoming.puzzle_ids.offset + row, &[(first + row) as i32 % 3])?;
    }
    let mut rows = vec![Vec::new(); plan.batch];
    for _ in 0..2 {
        model::act_step(k, plan)?;
        for (row, bits) in rows.iter_mut().enumerate() {
            let (mut logits, mut q) = (vec![0.0; plan.logits.len() / plan.batch], [0.0; 2]);
            k.read(Region::Acts, plan.logits.offset + row * logits.len(), &mut logits)?;
            k.read(Region::Stats, plan.q.offset + 2 * row, &mut q)?;
            let mut predictions = [0; 16];
            k.read_ids(plan.predictions.offset + 16 * row, &mut predictions)?;
            bits.extend(logits.iter().chain(&q).map(|x| x.to_bits()));
            bits.extend(predictions.map(|id| id as u32));
        }
        k.write_ids(plan.halted.offset, &vec![0; plan.batch])?;
    }
    Ok(rows)
}

fn portable(plan: &Plan, bytes: &[u8], first: usize) -> Vec<Vec<u32>> {
    let mut rotary = vec![f32::NAN; Lengths::of(plan).rotary];
    let table = Table::new(&Bundle::parse(bytes).unwrap(), plan, &mut rotary).unwrap();
    let mut lent = Lent::new(plan);
    solve(plan, &mut Portable::new(&table, lent.arenas(), plan).unwrap(), first).unwrap()
}

#[test]
fn the_same_bits_whatever_batch_and_tile() {
    for encoding in ENCODINGS {
        let bytes = bundle(&CONFIG, encoding, 5);
        let alone = Plan::new(&CONFIG, 1, Mode::Inference).unwrap();
        let expected: Vec<_> = (0..3).flat_map(|row| portable(&alone, &bytes, row)).collect();
        assert!(expected[0] != expected[1], "puzzles can be told apart");
        for batch in [1, 2, 3] {
            let whole = Plan::new(&CONFIG, batch, Mode::Inference).unwrap();
            let tiled = [1, 7, 16, whole.rows()].map(|tile| Plan::tiled(&CONFIG, batch, tile).unwrap());
            for plan in tiled.iter().chain([&whole]) {
                let rows = portable(plan, &bytes, 0);
                assert!(rows == expected[..batch], "{encoding:?}, batch {batch}, tile {}", plan.tile);
            }
        }
    }
}

/// A reference with the weights of a bundle, as they are after rounding.
fn reference(plan: &Plan, bytes: &[u8]) -> Reference<f32, hrm_core::backend::reference::Owned<f32>> {
    let mut reference = Reference::owned(plan, Rounding::None).unwrap();
    for (tensor, weights) in Bundle::parse(bytes).unwrap().tensors() {
        let values: Vec<f32> = weights.values().collect();
        reference.write(Region::Params, tensor.span.offset, &values).unwrap();
    }
    write_constants(&mut reference, plan).unwrap();
    reference
}

fn floats(bits: &[u32]) -> Vec<f64> {
    bits[..18 * 6 + 2].iter().map(|&bits| f64::from(f32::from_bits(bits))).collect()
}

/// Logits and Q values of one ACT step agree with the reference's on the same weights: to the rounding of f32 over 12
/// blocks for floating-point weights; for integers, whose tokens are rounded to 127 steps as well, to what that error of
/// 1 / 254 of a row's largest number, about 1% of its deviation, becomes when it enters by 4 products in each of 12 blocks
/// (as the root of their number: 7%).
#[test]
fn a_step_agrees_with_the_reference() {
    for learned in [false, true] {
        let pos_encodings = if learned { PosEncodings::Learned } else { PosEncodings::Rope };
        let config = Config { pos_encodings, ..CONFIG };
        for encoding in ENCODINGS {
            let bytes = bundle(&config, encoding, 7);
            let plan = Plan::new(&config, 1, Mode::Inference).unwrap();
            let ours = floats(&portable(&plan, &bytes, 1)[0]);
            let expected = floats(&solve(&plan, &mut reference(&plan, &bytes), 1).unwrap()[0]);
            let square = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
            let error = square(&mut ours.iter().zip(&expected).map(|(a, b)| a - b));
            let size = square(&mut expected.iter().copied());
            let bound = if encoding == Encoding::Int8 { 0.07 } else { 1e-5 };
            assert!(error <= bound * size, "{encoding:?}: {error} of {size}");
            assert!(error > 0.0, "another order of sums gives other bits");
        }
    }
}

/// A weight of integers at a place.
struct Integers {
    span: Param,
    elements: Vec<u8>,
    scales: Vec<u8>,
}

impl Source for Integers {
    fn tensor(&self, span: Param) -> Option<Weights<'_>> {
        let weights = Weights::new(Precision::Int8, self.span.cols, &self.elements, &self.scales)?;
        (span == self.span).then_some(weights)
    }

    fn rotary(&self, _: RopeTables) -> Option<(&[f32], &[f32])> {
        None
    }
}

/// `y = x W^T` in f64 on the same integers differs by the quantisation of the tokens alone: each number of a token is off by
/// half its scale at most, so y is off by half the token's scale times the sum of the row's magnitudes, and by the rounding
/// of the two multiplications after the exact sum.
#[test]
fn products_of_integers_are_within_the_error_of_their_tokens() {
    let mut rng = Rng::new(9, Stream::Puzzle, 0);
    let mut uniform = |scale: f64| ((rng.uniform() - 0.5) * 2.0 * scale) as f32;
    for inner in [1, 7, 15, 16, 17, 33, 113, 128, 520] {
        for (n, out) in [(1, 1), (7, 3), (8, 16), (9, 17), (25, 5)] {
            let x: Vec<f32> =
                (0..n * inner).map(|i| uniform(10f64.powi((i / inner % 7) as i32 - 3))).collect();
            let (mut elements, mut scales) = (Vec::new(), Vec::new());
            for row in 0..out {
                let row: Vec<f32> =
                    (0..inner).map(|_| uniform(if row % 4 == 3 { 0.0 } else { 0.3 })).collect();
                let mut q = vec![0; inner];
                scales.extend(quantize::row(&row, &mut q).to_le_bytes());
                elements.extend(q.iter().map(|&q| q as u8));
            }
            let source = Integers { span: Param::new(0, out, inner), elements, scales };
            let weights = source.tensor(source.span).unwrap();
            let w: Vec<f64> = weights.values().map(f64::from).collect();
            let config = Config { hidden_size: 520, num_heads: 4, ..Config::SUDOKU_EXTREME };
            let plan = Plan::new(&config, 1, Mode::Inference).unwrap();
            let mut lent = Lent::new(&plan);
            let op = Linear { y: Act::new(16, n, out), x: Act::new(16 + n * out, n, inner), w: source.span };
            {
                let mut k = Portable::new(&source, lent.arenas(), &plan).unwrap();
                k.write(Region::Acts, op.x.offset, &x).unwrap();
                k.linear(&op).unwrap();
            }
            let y = &lent.acts[op.y.range()];
            for (i, x) in x.chunks_exact(inner).enumerate() {
                let scale = f64::from(x.iter().fold(0.0f32, |max, x| max.max(x.abs())) / 127.0);
                for (o, w) in w.chunks_exact(inner).enumerate() {
                    let exact: f64 = x.iter().zip(w).map(|(&x, w)| f64::from(x) * w).sum();
                    let magnitudes: f64 = w.iter().map(|w| w.abs()).sum();
                    let bound = (0.5 + 1e-4) * scale * magnitudes + 3.0 * 2f64.powi(-24) * exact.abs();
                    let ours = f64::from(y[i * out + o]);
                    assert!(
                        (ours - exact).abs() <= bound,
                        "{n} x {inner} -> {out}: {ours}, {exact}, {bound}"
                    );
                }
            }
            assert!(lent.acts[..16].iter().chain(&lent.acts[op.x.range().end..]).all(|x| x.is_nan()));
        }
    }
}

/// The integers' sum is what it is, so the whole product is known to the bit.
#[test]
fn a_product_of_integers_has_the_promised_bits() {
    let (x, w) = ([0.5f32, -1.27, 0.013, 0.0], [0.3f32, 0.11, -0.9, 0.7]);
    let (mut x_q, mut w_q) = ([0; 4], [0; 4]);
    let (x_scale, w_scale) = (quantize::row(&x, &mut x_q), quantize::row(&w, &mut w_q));
    let sum: i32 = x_q.iter().zip(&w_q).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum();
    let elements = w_q.iter().map(|&q| q as u8).collect();
    let source = Integers { span: Param::new(64, 1, 4), elements, scales: w_scale.to_le_bytes().to_vec() };
    let plan = Plan::new(&CONFIG, 1, Mode::Inference).unwrap();
    let mut lent = Lent::new(&plan);
    let mut k = Portable::new(&source, lent.arenas(), &plan).unwrap();
    k.write(Region::Acts, 16, &x).unwrap();
    k.linear(&Linear { y: Act::new(0, 1, 1), x: Act::new(16, 1, 4), w: source.span }).unwrap();
    let mut y = [0.0];
    k.read(Region::Acts, 0, &mut y).unwrap();
    assert_eq!(y[0].to_bits(), (sum as f32 * (w_scale * x_scale)).to_bits());
}

/// A token that is not finite makes its row not a number, and no other.
#[test]
fn what_is_not_finite_stays_in_its_row() {
    let bytes = bundle(&CONFIG, Encoding::Int8, 1);
    let plan = Plan::new(&CONFIG, 1, Mode::Inference).unwrap();
    let mut rotary = vec![0.0; Lengths::of(&plan).rotary];
    let table = Table::new(&Bundle::parse(&bytes).unwrap(), &plan, &mut rotary).unwrap();
    let mut lent = Lent::new(&plan);
    let mut k = Portable::new(&table, lent.arenas(), &plan).unwrap();
    let w = plan.params.stack(hrm_core::plan::State::H).block(1).weights()[0].1;
    let (x, y) = (Act::new(0, 3, 32), Act::new(96, 3, 96));
    for (position, odd) in [1.0, f32::INFINITY, 1.0].into_iter().enumerate() {
        k.write(Region::Acts, 32 * position, &[[1.0; 31].as_slice(), &[odd]].concat()).unwrap();
    }
    k.linear(&Linear { y, x, w }).unwrap();
    let rows = &lent.acts[y.range()];
    assert!(rows[96..192].iter().all(|y| y.is_nan()));
    assert!(rows[..96].iter().chain(&rows[192..]).all(|y| y.is_finite()));
    assert_eq!(rows[..96], rows[192..]);
}

#[test]
fn what_does_not_fit_is_an_error() {
    let bytes = bundle(&CONFIG, Encoding::Int8, 1);
    let parsed = Bundle::parse(&bytes).unwrap();
    let plan = Plan::new(&CONFIG, 1, Mode::Inference).unwrap();
    let mut rotary = vec![0.0; Lengths::of(&plan).rotary];
    let table = Table::new(&parsed, &plan, &mut rotary).unwrap();
    let lent = Lent::new(&plan);
    let short = |shorten: fn(&mut Lent)| {
        let mut lent = lent.clone();
        shorten(&mut lent);
        Portable::new(&table, lent.arenas(), &plan).map(|_| ()).unwrap_err()
    };
    let Lengths { acts, stats, ids, wide, tokens, .. } = Lengths::of(&plan);
    let small = |region, needed| Error::TooSmall { region, given: needed - 1, needed };
    assert_eq!(
        short(|lent| {
            lent.acts.pop();
        }),
        small(Region::Acts, acts)
    );
    assert_eq!(
        short(|lent| {
            lent.stats.pop();
        }),
        small(Region::Stats, stats)
    );
    assert_eq!(
        short(|lent| {
            lent.ids.pop();
        }),
        small(Region::Ids, ids)
    );
    assert_eq!(
        short(|lent| {
            lent.wide.pop();
        }),
        Error::Scratch { given: wide - 1, needed: wide }
    );
    assert_eq!(
        short(|lent| {
            lent.tokens.pop();
        }),
        Error::Scratch { given: tokens - 1, needed: tokens }
    );

    let mut lent = lent.clone();
    let mut k = Portable::new(&table, lent.arenas(), &plan).unwrap();
    let qkv = plan.params.stack(hrm_core::plan::State::H).block(0).weights()[0].1;
    let op = Linear { y: Act::new(0, 1, 96), x: Act::new(96, 1, 32), w: qkv };
    for w in
        [Param::new(qkv.offset + 1, 96, 32), Param::new(qkv.offset, 95, 32), Param::new(qkv.offset, 32, 96)]
    {
        assert_eq!(k.linear(&Linear { w, ..op }), Err(Error::Span), "no tensor is there");
    }
    for y in [Act::new(acts, 1, 96), Act::new(96, 1, 96)] {
        assert_eq!(k.linear(&Linear { y, ..op }), Err(Error::Span));
    }
    assert_eq!(k.write(Region::Params, 0, &[0.0]), Err(Error::ReadOnly));
    assert!(matches!(k.read(Region::Params, 0, &mut [0.0]), Err(Error::OutOfRange { .. })));
    assert!(matches!(k.write(Region::Acts, acts, &[0.0]), Err(Error::OutOfRange { .. })));
    assert!(matches!(k.read_ids(usize::MAX, &mut [0]), Err(Error::OutOfRange { .. })));
    reset_carry(&mut k, &plan).unwrap();
    k.write_ids(plan.incoming.inputs.offset, &[0; 16]).unwrap();
    k.write_ids(plan.incoming.puzzle_ids.offset, &[0]).unwrap();
    k.write_ids(plan.incoming.inputs.offset + 5, &[6]).unwrap();
    assert_eq!(model::act_step(&mut k, &plan), Err(Error::Id { what: "token", given: 6, rows: 6 }));

    let config =
        Config { h_layers: 9, l_layers: 8, hidden_size: 4, num_heads: 1, puzzle_emb_ndim: 0, ..CONFIG };
    let bytes = bundle(&config, Encoding::Int8, 1);
    let plan = Plan::new(&config, 1, Mode::Inference).unwrap();
    let error = Table::new(&Bundle::parse(&bytes).unwrap(), &plan, &mut []).unwrap_err();
    assert_eq!(error.given, 6 + 17 * 4);
    assert!(error.given > TENSORS && error.to_string().contains("16 layers"));
}
