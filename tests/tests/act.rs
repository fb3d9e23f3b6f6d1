//! Properties of ACT and of the losses over whole steps, on the reference.

use hrm_core::backend::reference::{Owned, Reference, Rounding};
use hrm_core::config::Config;
use hrm_core::halting::{ActStep, Exploring, HaltPolicy, HaltRule};
use hrm_core::init::{initialise, reset_carry};
use hrm_core::kernels::{LmLoss, Memory, Region, TrainKernels};
use hrm_core::loss::LossKind;
use hrm_core::model;
use hrm_core::model::train_step::{TrainConfig, gradients};
use hrm_core::optim::{AdamAtan2, SignSgd, StepScalars};
use hrm_core::plan::{BackwardPlan, Mode, Plan};
use hrm_core::rng::{Rng, Stream};
use hrm_host::row_metrics::{RowOutcome, trained_rows};
use proptest::prelude::*;

type K = Reference<f32, Owned<f32>>;

const CONFIG: Config = Config {
    seq_len: 5,
    vocab_size: 7,
    num_puzzle_identifiers: 4,
    hidden_size: 8,
    num_heads: 2,
    h_layers: 1,
    l_layers: 1,
    puzzle_emb_ndim: 12,
    halt_max_steps: 4,
    halt_exploration_prob: 0.0,
    ..Config::SUDOKU_EXTREME
};

const TRAIN: TrainConfig = TrainConfig {
    loss: LossKind::Stablemax,
    adam: AdamAtan2 { beta1: 0.9, beta2: 0.95, weight_decay: 0.1 },
    puzzle_emb: SignSgd { weight_decay: 0.1 },
    average: None,
    global_batch_size: 4,
};

/// One puzzle.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Row {
    inputs: [i32; 5],
    labels: [i32; 5],
    id: i32,
}

impl Row {
    fn draw(rng: &mut Rng) -> Self {
        let mut below = |n: f64| (rng.uniform() * n) as i32;
        let inputs = std::array::from_fn(|_| below(7.0));
        // One cell in four is ignored.
        let labels = std::array::from_fn(|_| if below(4.0) == 0 { -100 } else { below(7.0) });
        Self { inputs, labels, id: below(4.0) }
    }
}

struct Model {
    k: K,
    plan: Plan,
    b: BackwardPlan,
}

impl Model {
    /// A model for `batch` rows whose Q head is random, so that some rows halt and some go on.
    fn new(config: &Config, batch: usize, seed: u64) -> Self {
        let plan = Plan::new(config, batch, Mode::Training).unwrap();
        let mut k = K::owned(&plan, Rounding::None).unwrap();
        initialise(&mut k, &plan, seed).unwrap();
        let mut rng = Rng::new(seed, Stream::Puzzle, 9);
        for span in [plan.params.q_weight, plan.params.q_bias, plan.params.puzzle_emb] {
            let values: Vec<f32> = (0..span.len()).map(|_| (2.0 * rng.uniform() - 1.0) as f32).collect();
            k.write(Region::Params, span.offset, &values).unwrap();
        }
        // A carry starts as whatever was in memory; the reset must hide it.
        for span in [plan.carry.z_h, plan.carry.z_l] {
            k.write(Region::Acts, span.offset, &vec![f32::NAN; span.len()]).unwrap();
        }
        reset_carry(&mut k, &plan).unwrap();
        Self { k, plan, b: plan.backward.unwrap() }
    }

    fn offer(&mut self, rows: &[Row]) {
        let next = self.plan.incoming;
        for (i, row) in rows.iter().enumerate() {
            self.k.write_ids(next.inputs.offset + 5 * i, &row.inputs).unwrap();
            self.k.write_ids(next.labels.offset + 5 * i, &row.labels).unwrap();
            self.k.write_ids(next.puzzle_ids.offset + i, &[row.id]).unwrap();
        }
    }

    fn step(&mut self, rows: &[Row], step: u64) -> Vec<RowOutcome> {
        self.offer(rows);
        self.k.begin_step(&StepScalars { step, lr: 0.0, puzzle_emb_lr: 0.01, seed: 3 }).unwrap();
        gradients(&mut self.k, &self.plan, &self.b, &TRAIN).unwrap();
        trained_rows(&mut self.k, &self.plan, &self.b).unwrap()
    }

    fn ids(&mut self, offset: usize, len: usize) -> Vec<i32> {
        let mut values = vec![0; len];
        self.k.read_ids(offset, &mut values).unwrap();
        values
    }

    fn current(&mut self) -> Vec<Row> {
        let (now, batch) = (self.plan.current, self.plan.batch);
        let (inputs, labels) =
            (self.ids(now.inputs.offset, 5 * batch), self.ids(now.labels.offset, 5 * batch));
        let ids = self.ids(now.puzzle_ids.offset, batch);
        let rows = inputs.chunks_exact(5).zip(labels.chunks_exact(5)).zip(ids);
        rows.map(|((inputs, labels), id)| Row {
            inputs: inputs.try_into().unwrap(),
            labels: labels.try_into().unwrap(),
            id,
        })
        .collect()
    }

    /// The bits of a state or of the logits, by row.
    fn bits(&mut self, span: hrm_core::arena::Act) -> Vec<Vec<u32>> {
        let mut values = vec![0.0; span.len()];
        self.k.read(Region::Acts, span.offset, &mut values).unwrap();
        let rows = values.chunks_exact(span.len() / self.plan.batch);
        rows.map(|row| row.iter().map(|x| x.to_bits()).collect()).collect()
    }
}

fn rows(seed: u64, count: usize) -> Vec<Row> {
    let mut rng = Rng::new(seed, Stream::Puzzle, 1);
    (0..count).map(|_| Row::draw(&mut rng)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn permuting_rows_permutes_results(seed: u64, order in Just([0usize, 1, 2, 3]).prop_shuffle()) {
        let (mut a, mut b) = (Model::new(&CONFIG, 4, seed), Model::new(&CONFIG, 4, seed));
        for step in 0..6 {
            let rows = rows(seed ^ step, 4);
            let permuted = order.map(|i| rows[i]);
            let (plain, shuffled) = (a.step(&rows, step), b.step(&permuted, step));
            for (to, &from) in order.iter().enumerate() {
                prop_assert_eq!(shuffled[to], plain[from]);
            }
            for span in [a.plan.carry.z_h, a.plan.carry.z_l, a.plan.logits, a.b.dlogits, a.b.dpuzzle] {
                let (plain, shuffled) = (a.bits(span), b.bits(span));
                for (to, &from) in order.iter().enumerate() {
                    prop_assert_eq!(&shuffled[to], &plain[from]);
                }
            }
        }
    }

    /// A wholly ignored row, as batches are filled up with, changes nothing for the others.
    #[test]
    fn padding_changes_nothing_for_others(seed: u64) {
        let pad = Row { inputs: [0; 5], labels: [-100; 5], id: 0 };
        let (mut alone, mut padded) = (Model::new(&CONFIG, 2, seed), Model::new(&CONFIG, 3, seed));
        for step in 0..6 {
            let mut rows = rows(seed ^ step, 2);
            let outcomes = alone.step(&rows, step);
            rows.push(pad);
            let with_pad = padded.step(&rows, step);
            prop_assert_eq!(&outcomes[..], &with_pad[..2]);
            prop_assert_eq!((with_pad[2].valid, with_pad[2].correct, with_pad[2].lm_loss), (0, 0, 0.0));
            let (alone, padded) = (alone.bits(alone.plan.logits), padded.bits(padded.plan.logits));
            prop_assert_eq!(&alone[..], &padded[..2]);
        }
    }

    /// Steps, halting and data against the rule written out for one row after the other.
    #[test]
    fn steps_and_halting_are_booked(seed: u64, exploration in 0.0..1.0f64) {
        let config = Config { halt_exploration_prob: exploration, ..CONFIG };
        let mut model = Model::new(&config, 4, seed);
        let mut expected: Vec<(bool, i32, Row)> = rows(seed, 4).into_iter().map(|row| (true, 0, row)).collect();
        for step in 1..=12 {
            let rows = rows(seed.wrapping_add(step), 4);
            let outcomes = model.step(&rows, step);
            for (i, (row, outcome)) in expected.iter_mut().zip(&outcomes).enumerate() {
                if row.0 {
                    *row = (false, 0, rows[i]);
                }
                row.1 += 1;
                let mut q = [0.0; 2];
                model.k.read(Region::Stats, model.plan.q.offset + 2 * i, &mut q).unwrap();
                let policy = Exploring { max_steps: 4, rule: HaltRule::Larger, exploration, seed: 3, train_step: step };
                let act = ActStep { row: i, step: row.1 as usize, q_halt: q[0], q_continue: q[1] };
                row.0 = row.1 >= 4 || (q[0] > q[1] && row.1 as usize >= policy.min_steps(i));
                prop_assert_eq!(row.0, policy.halts(&act));
                prop_assert_eq!((outcome.halted, outcome.steps), (row.0, row.1));
            }
            let data: Vec<Row> = expected.iter().map(|row| row.2).collect();
            prop_assert_eq!(model.current(), data);
        }
    }
}

/// A halted row starts from the initial states on its incoming puzzle: it gives the bits of a fresh model, and
/// the rows beside it go on.
#[test]
fn a_halted_row_starts_afresh() {
    let (old, new) = (rows(1, 3), rows(2, 3));
    let mut model = Model::new(&CONFIG, 3, 5);
    model.offer(&old);
    model::act_step(&mut model.k, &model.plan).unwrap();
    model.k.write_ids(model.plan.halted.offset, &[0, 1, 0]).unwrap();
    model.offer(&new);
    let before = model.bits(model.plan.carry.z_h);
    model::refill(&mut model.k, &model.plan).unwrap();
    let after = model.bits(model.plan.carry.z_h);
    assert_eq!((&after[0], &after[2]), (&before[0], &before[2]));
    let mut init = vec![0.0; 8];
    model.k.read(Region::Params, model.plan.params.h_init.offset, &mut init).unwrap();
    assert!(
        after[1].chunks_exact(8).all(|position| position.iter().zip(&init).all(|(a, b)| *a == b.to_bits()))
    );
    assert_eq!(model.current(), [old[0], new[1], old[2]]);

    model::act_step(&mut model.k, &model.plan).unwrap();
    let mut fresh = Model::new(&CONFIG, 3, 5);
    fresh.offer(&new);
    model::act_step(&mut fresh.k, &fresh.plan).unwrap();
    for span in [model.plan.carry.z_h, model.plan.carry.z_l, model.plan.logits] {
        assert_eq!(model.bits(span)[1], fresh.bits(span)[1]);
        assert_ne!(model.bits(span)[0], fresh.bits(span)[0]);
    }
}

/// Whatever the logits of an ignored cell: no loss, no gradient, and nothing changes elsewhere. Label 0 is a
/// label like any other.
#[test]
fn ignored_cells_have_no_loss_and_no_gradient() {
    let labels = [3, -100, 0, 6, -1];
    let Model { mut k, plan, b } = Model::new(&Config { puzzle_emb_ndim: 0, ..CONFIG }, 1, 7);
    k.write_ids(plan.current.labels.offset, &labels).unwrap();
    let mut run = |kind, other: f32| {
        let mut logits: Vec<f32> = (0..35).map(|i| (i as f32 * 0.7).sin()).collect();
        for cell in [1, 4] {
            logits[7 * cell..][..7].iter_mut().for_each(|x| *x = other * *x + other);
        }
        k.write(Region::Acts, plan.logits.offset, &logits).unwrap();
        let (logits, labels, dlogits, loss) = (plan.logits, plan.current.labels, b.dlogits, b.lm_loss);
        let (valid, correct) = (b.valid, b.correct);
        k.lm_loss(&LmLoss { logits, labels, dlogits, loss, valid, correct, kind, scale: 1.0 }).unwrap();
        let (mut d, mut sum, mut count) = (vec![0.0; 35], [0.0], [0]);
        k.read(Region::Acts, dlogits.offset, &mut d).unwrap();
        k.read(Region::Stats, loss.offset, &mut sum).unwrap();
        k.read_ids(valid.offset, &mut count).unwrap();
        (d, sum[0], count[0])
    };
    for kind in [LossKind::Stablemax, LossKind::Softmax] {
        let (d, loss, valid) = run(kind, 1.0);
        assert_eq!(valid, 3);
        assert!(loss > 0.0);
        for (cell, d) in d.chunks_exact(7).enumerate() {
            assert_eq!(d.iter().all(|x| *x == 0.0), labels[cell] < 0, "cell {cell}");
        }
        assert_eq!(run(kind, 50.0), (d, loss, valid));
    }
}

/// The gradients of a puzzle that stands in several rows are summed before their sign is taken.
#[test]
fn duplicate_puzzles_are_summed() {
    let mut model = Model::new(&CONFIG, 4, 11);
    let (plan, table) = (model.plan, model.plan.params.puzzle_emb);
    let mut before = vec![0.0; table.len()];
    model.k.read(Region::Params, table.offset, &mut before).unwrap();
    // Rows 0, 2 and 3 are the same puzzle: the sign of the sum is not that of any one of them alone.
    model.k.write_ids(plan.current.puzzle_ids.offset, &[1, 3, 1, 1]).unwrap();
    let gradients = [[1.0f32; 12], [-2.0; 12], [1.0; 12], [-3.0; 12]].concat();
    model.k.write(Region::Acts, model.b.dpuzzle.offset, &gradients).unwrap();
    model.k.begin_step(&StepScalars { step: 1, lr: 0.0, puzzle_emb_lr: 0.01, seed: 0 }).unwrap();
    model.k.sign_sgd(table, plan.current.puzzle_ids, model.b.dpuzzle, &TRAIN.puzzle_emb).unwrap();
    let mut after = vec![0.0; table.len()];
    model.k.read(Region::Params, table.offset, &mut after).unwrap();
    for (i, (before, after)) in before.iter().zip(&after).enumerate() {
        let expected = match i / 12 {
            // Both gradients are negative: the sum of row 1's is -1.
            1 | 3 => before * (1.0 - 0.01 * 0.1) + 0.01,
            _ => *before,
        };
        assert!((after - expected).abs() < 1e-6, "{i}: {after}, expected {expected}");
    }
}

/// A row that halts gives its place to another puzzle in the next step of inference as well.
#[test]
fn inference_refills() {
    let plan = Plan::new(&CONFIG, 1, Mode::Inference).unwrap();
    let mut k = K::owned(&plan, Rounding::None).unwrap();
    initialise(&mut k, &plan, 3).unwrap();
    reset_carry(&mut k, &plan).unwrap();
    let mut solve = |inputs: [i32; 5]| {
        k.write_ids(plan.incoming.inputs.offset, &inputs).unwrap();
        k.write_ids(plan.incoming.puzzle_ids.offset, &[1]).unwrap();
        model::act_step(&mut k, &plan).unwrap();
        let mut logits = vec![0.0; plan.logits.len()];
        k.read(Region::Acts, plan.logits.offset, &mut logits).unwrap();
        logits
    };
    let first = solve([1, 2, 3, 4, 5]);
    assert_ne!(solve([5, 4, 3, 2, 1]), first);
    assert_eq!(solve([1, 2, 3, 4, 5]), first);
}
