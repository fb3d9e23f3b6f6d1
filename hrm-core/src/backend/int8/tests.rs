//! The bits are those of the portable backend: every kernel, and whole ACT steps.

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::Int8;
use crate::arena::{Act, Param};
use crate::backend::cpu::testing::{noise, on_threads};
use crate::backend::portable::{Arenas, Lengths, Portable, Source};
use crate::bundle::{Precision, Weights};
use crate::config::{Config, PosEncodings};
use crate::init;
use crate::kernels::{
    AddRmsNorm, Argmax, Attention, Embed, Keep, Kernels, Linear, LinearAddRmsNorm, LinearSwiGlu, Memory,
    QHead, Region, SwiGlu,
};
use crate::model;
use crate::plan::{Mode, Plan, State};
use crate::quantize;
use crate::rope::RopeTables;
use crate::tensors::TensorName;

/// A model in memory: weights of blocks as integers, the rest as f32.
struct Model {
    params: Vec<f32>,
    bytes: Vec<u8>,
    integers: Vec<(Param, Vec<u8>, Vec<u8>)>,
}

impl Model {
    fn new(plan: &Plan) -> Self {
        let mut memory = Int8::new(plan).unwrap();
        init::write_constants(&mut memory, plan).unwrap();
        let mut params = vec![0.0; plan.params.len];
        memory.read(Region::Params, 0, &mut params).unwrap();
        let mut integers = Vec::new();
        for tensor in plan.params.tensors() {
            let place = tensor.span;
            let scale = 1.7 / (place.cols as f32).sqrt();
            params[place.range()].copy_from_slice(&noise(place.offset as u64, place.len(), scale));
            if matches!(tensor.name, TensorName::Block(..)) {
                let (mut elements, mut scales) = (Vec::new(), Vec::new());
                for row in params[place.range()].chunks_exact(place.cols) {
                    let mut q = vec![0; place.cols];
                    scales.extend(quantize::row(row, &mut q).to_le_bytes());
                    elements.extend(q.iter().map(|&q| q as u8));
                }
                integers.push((place, elements, scales));
            }
        }
        let bytes = params.iter().flat_map(|x| x.to_le_bytes()).collect();
        Self { params, bytes, integers }
    }
}

impl Source for Model {
    fn tensor(&self, span: Param) -> Option<Weights<'_>> {
        match self.integers.iter().find(|(place, ..)| *place == span) {
            Some((_, elements, scales)) => Weights::new(Precision::Int8, span.cols, elements, scales),
            None => {
                let range = span.range();
                let bytes = self.bytes.get(4 * range.start..4 * range.end)?;
                Weights::new(Precision::F32, span.cols, bytes, &[])
            }
        }
    }

    fn rotary(&self, tables: RopeTables) -> Option<(&[f32], &[f32])> {
        Some((self.params.get(tables.cos.range())?, self.params.get(tables.sin.range())?))
    }
}

/// What the portable backend works in.
struct Lent {
    acts: Vec<f32>,
    stats: Vec<f32>,
    ids: Vec<i32>,
    wide: Vec<f32>,
    tokens: Vec<i8>,
}

impl Lent {
    fn new(plan: &Plan) -> Self {
        let lengths = Lengths::of(plan);
        Self {
            acts: vec![0.0; lengths.acts],
            stats: vec![0.0; lengths.stats],
            ids: vec![0; lengths.ids],
            wide: vec![0.0; lengths.wide],
            tokens: vec![0; lengths.tokens],
        }
    }

    fn arenas(&mut self) -> Arenas<'_> {
        let Self { acts, stats, ids, wide, tokens } = self;
        Arenas { acts, stats, ids, wide, tokens }
    }
}

fn ours(plan: &Plan, model: &Model) -> Int8 {
    let mut ours = Int8::new(plan).unwrap();
    ours.write(Region::Params, 0, &model.params).unwrap();
    ours
}

fn bits<K: Memory<Error: core::fmt::Debug>>(
    k: &mut K,
    region: Region,
    offset: usize,
    len: usize,
) -> Vec<u32> {
    let mut values = vec![0.0; len];
    k.read(region, offset, &mut values).unwrap();
    values.iter().map(|x| x.to_bits()).collect()
}

fn config() -> impl Strategy<Value = Config> {
    let sizes = (1usize..20, 2usize..12, 1usize..4, 1usize..10, 1usize..3, 1usize..3);
    (sizes, prop::bool::ANY, 0usize..40, 1usize..3).prop_map(|(sizes, rope, puzzle_emb_ndim, expansion)| {
        let (seq_len, vocab_size, num_heads, eighths, h_layers, l_layers) = sizes;
        Config {
            seq_len,
            vocab_size,
            hidden_size: num_heads * eighths * 8,
            num_heads,
            h_layers,
            l_layers,
            h_cycles: 2,
            l_cycles: 1,
            num_puzzle_identifiers: 3,
            puzzle_emb_ndim,
            expansion: expansion as f64 * 1.3,
            pos_encodings: if rope { PosEncodings::Rope } else { PosEncodings::Learned },
            ..Config::SUDOKU_EXTREME
        }
    })
}

fn compare<A, B>(a: &mut A, b: &mut B, plan: &Plan, spans: &[Act], what: &str)
where
    A: Memory<Error: core::fmt::Debug>,
    B: Memory<Error: core::fmt::Debug>,
{
    for span in spans {
        let (a, b) =
            (bits(a, Region::Acts, span.offset, span.len()), bits(b, Region::Acts, span.offset, span.len()));
        assert!(a == b, "{what}, {span:?}, {:?}", plan.config);
    }
    let stats = (bits(a, Region::Stats, 0, plan.stats_len), bits(b, Region::Stats, 0, plan.stats_len));
    assert!(stats.0 == stats.1, "{what}, statistics, {:?}", plan.config);
    let mut ids = [vec![0; plan.ids_len], vec![0; plan.ids_len]];
    a.read_ids(0, &mut ids[0]).unwrap();
    b.read_ids(0, &mut ids[1]).unwrap();
    assert!(ids[0] == ids[1], "{what}, integers, {:?}", plan.config);
}

/// Random puzzles for the rows, all of which await one.
fn feed<K: Memory<Error: core::fmt::Debug>>(k: &mut K, plan: &Plan) {
    let draw = |span: crate::arena::Ids, below: usize| -> Vec<i32> {
        noise(span.offset as u64, span.len(), 1e6).iter().map(|x| x.abs() as i32 % below as i32).collect()
    };
    for rows in [plan.current, plan.incoming] {
        k.write_ids(rows.inputs.offset, &draw(rows.inputs, plan.config.vocab_size)).unwrap();
        k.write_ids(rows.puzzle_ids.offset, &draw(rows.puzzle_ids, 3)).unwrap();
    }
    k.write_ids(plan.halted.offset, &vec![1; plan.batch]).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn act_steps_have_the_portable_bits(config in config(), batch in 1usize..4) {
        let plan = Plan::new(&config, batch, Mode::Inference).unwrap();
        let model = Model::new(&plan);
        let mut lent = Lent::new(&plan);
        let mut theirs = Portable::new(&model, lent.arenas(), &plan).unwrap();
        let mut ours: Vec<(usize, Int8)> = [1, 2].map(|threads| (threads, ours(&plan, &model))).into();
        feed(&mut theirs, &plan);
        ours.iter_mut().for_each(|(_, ours)| feed(ours, &plan));
        for step in 0..3 {
            model::act_step(&mut theirs, &plan).unwrap();
            for (threads, ours) in &mut ours {
                on_threads(*threads, || model::act_step(ours, &plan)).unwrap();
                let spans = [plan.carry.z_h, plan.carry.z_l, plan.logits, plan.emb];
                compare(ours, &mut theirs, &plan, &spans, &std::format!("step {step}, {threads} threads"));
                // The last row goes on.
                ours.write_ids(plan.halted.offset + batch - 1, &[0]).unwrap();
            }
            theirs.write_ids(plan.halted.offset + batch - 1, &[0]).unwrap();
        }
    }

    #[test]
    fn every_kernel_has_the_portable_bits(config in config(), batch in 1usize..4) {
        let plan = Plan::new(&config, batch, Mode::Inference).unwrap();
        let model = Model::new(&plan);
        let mut lent = Lent::new(&plan);
        let mut theirs = Portable::new(&model, lent.arenas(), &plan).unwrap();
        let mut ours = ours(&plan, &model);
        feed(&mut theirs, &plan);
        feed(&mut ours, &plan);
        let (acts, stats) = (noise(1, plan.acts_len, 2.0), noise(2, plan.stats_len, 1.0));
        for (region, values) in [(Region::Acts, &acts), (Region::Stats, &stats)] {
            theirs.write(region, 0, values).unwrap();
            ours.write(region, 0, values).unwrap();
        }
        each(&mut ours, &mut theirs, &plan);
    }
}

/// Calls `$call` on both backends and compares what it wrote to.
macro_rules! both {
    ($ours:ident, $theirs:ident, $plan:ident, [$($span:expr),*], |$k:ident| $call:expr) => {{
        {
            let $k = &mut *$ours;
            $call.unwrap();
        }
        {
            let $k = &mut *$theirs;
            $call.unwrap();
        }
        compare($ours, $theirs, $plan, &[$($span),*], stringify!($call));
    }};
}

fn each(ours: &mut Int8, theirs: &mut Portable<'_, Model>, plan: &Plan) {
    let (p, z) = (&plan.params, &plan.carry);
    let first = plan.applications().next().unwrap();
    let slot = plan.slots(&first, Keep::Nothing, *z).block(0);
    let w = p.stack(State::L).block(0);
    let (eps, rope, heads) = (plan.config.rms_norm_eps, p.rope, plan.config.num_heads);
    let (t, a, gate_up) = (plan.t, plan.a, slot.gate_up);
    let [(_, qkv), ..] = w.weights();
    // A tile has fewer rows than a block.
    let rows = t.rows;
    let of = |span: Act| Act::new(span.offset, rows, span.cols);
    let stat = |span: crate::arena::Stat| crate::arena::Stat::new(span.offset, rows, span.cols);
    let embed = Embed {
        y: plan.emb,
        inputs: plan.current.inputs,
        puzzle_ids: plan.current.puzzle_ids,
        tokens: p.embed_tokens,
        puzzles: p.puzzle_emb,
        positions: p.embed_pos,
    };
    both!(ours, theirs, plan, [plan.emb], |k| k.embed(&embed));
    both!(ours, theirs, plan, [slot.x], |k| k.add(slot.x, z.z_h, plan.emb));
    both!(ours, theirs, plan, [slot.qkv], |k| k.linear(&Linear { y: slot.qkv, x: slot.x, w: qkv }));
    let attention = Attention { o: slot.o, lse: slot.lse, qkv: slot.qkv, rope, heads };
    both!(ours, theirs, plan, [slot.o], |k| k.rope_attention(&attention));
    both!(ours, theirs, plan, [gate_up], |k| k.linear(&Linear { y: gate_up, x: of(slot.x), w: w.gate_up }));
    both!(ours, theirs, plan, [a], |k| k.swiglu(&SwiGlu { a, gate_up }));
    let norm = AddRmsNorm { y: of(slot.y1), rstd: stat(slot.rstd1), x: of(slot.x), t, eps };
    both!(ours, theirs, plan, [of(slot.y1)], |k| k.add_rms_norm(&norm));
    let fused = LinearSwiGlu { a, gate_up, keep: Keep::Nothing, x: of(slot.x), w: w.gate_up };
    both!(ours, theirs, plan, [a], |k| k.linear_swiglu(&fused));
    let (y, rstd, x) = (of(slot.y1), stat(slot.rstd1), of(slot.x));
    let fused = LinearAddRmsNorm { y, rstd, x, t, inner: a, w: w.down, eps, plus: None };
    both!(ours, theirs, plan, [y], |k| k.linear_add_rms_norm(&fused));
    both!(ours, theirs, plan, [plan.logits], |k| k.linear(&Linear {
        y: plan.logits,
        x: z.z_h,
        w: p.lm_head
    }));
    let head = QHead { q: plan.q, z: z.z_h, w: p.q_weight, bias: p.q_bias };
    both!(ours, theirs, plan, [], |k| k.q_head(&head));
    let argmax = Argmax { predictions: plan.predictions, logits: plan.logits };
    both!(ours, theirs, plan, [], |k| k.argmax(&argmax));
    both!(ours, theirs, plan, [z.z_h], |k| k.reset_rows(z.z_h, p.h_init, plan.halted));
    both!(ours, theirs, plan, [], |k| k.replace_rows(plan.current.inputs, plan.incoming.inputs, plan.halted));
}

/// Integers that are handed over are used as they are, also where their scale is not what their numbers come to; numbers
/// that are written later count again.
#[test]
fn integers_are_taken_and_given_up() {
    let config =
        Config { seq_len: 3, hidden_size: 16, num_heads: 2, puzzle_emb_ndim: 0, ..Config::SUDOKU_EXTREME };
    let plan = Plan::new(&config, 1, Mode::Inference).unwrap();
    let model = Model::new(&plan);
    let mut ours = ours(&plan, &model);
    let place = plan.params.stack(State::H).block(0).weights()[1].1;
    let x = noise(5, plan.carry.z_h.len(), 1.0);
    ours.write(Region::Acts, plan.carry.z_h.offset, &x).unwrap();
    let product = |ours: &mut Int8| {
        ours.linear(&Linear { y: plan.emb, x: plan.carry.z_h, w: place }).unwrap();
        bits(ours, Region::Acts, plan.emb.offset, plan.emb.len())
    };
    let before = product(&mut ours);
    ours.write_integers(place, &vec![3; place.len()], &vec![0.5; place.rows]).unwrap();
    let mut q = vec![0; place.cols];
    let scale = quantize::row(&x[..place.cols], &mut q);
    let sum = q.iter().map(|&q| 3 * i32::from(q)).sum();
    assert_eq!(product(&mut ours)[0], quantize::product(sum, 0.5, scale).to_bits());
    ours.write(Region::Params, place.offset, &model.params[place.range()][..1]).unwrap();
    assert_eq!(product(&mut ours), before);
    assert!(ours.write_integers(plan.params.lm_head, &[], &[]).is_err());
    assert!(ours.write_integers(place, &[1], &vec![0.5; place.rows]).is_err());
}
