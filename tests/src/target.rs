//! The Q target: what comes of a pass that finishes the first position of each sequence alone.

use hrm_core::config::Config;
use hrm_core::init::{initialise, reset_carry};
use hrm_core::kernels::{Keep, Region, TrainKernels};
use hrm_core::loss::LossKind;
use hrm_core::model;
use hrm_core::model::train_step::{TrainConfig, train_step};
use hrm_core::optim::{AdamAtan2, SignSgd, StepScalars};
use hrm_core::plan::{BackwardPlan, Mode, Plan};
use hrm_core::rng::{Rng, Stream};

/// Rows of a small batch.
pub(crate) const BATCH: usize = 3;

/// A recipe for small models.
pub(crate) const TRAIN: TrainConfig = TrainConfig {
    loss: LossKind::Stablemax,
    adam: AdamAtan2 { beta1: 0.9, beta2: 0.95, weight_decay: 0.1 },
    puzzle_emb: SignSgd { weight_decay: 0.1 },
    average: None,
    global_batch_size: BATCH,
};

/// Two blocks of H and a prefix of one position and a half; one block and no prefix; sequences of one position.
const CONFIGS: [Config; 3] = [
    Config { seq_len: 9, h_layers: 2, puzzle_emb_ndim: 192, ..SMALL },
    Config { seq_len: 20, h_layers: 1, puzzle_emb_ndim: 0, h_cycles: 1, ..SMALL },
    Config { seq_len: 1, h_layers: 1, puzzle_emb_ndim: 0, ..SMALL },
];
const SMALL: Config = Config {
    vocab_size: 7,
    num_puzzle_identifiers: 4,
    hidden_size: 128,
    num_heads: 2,
    expansion: 1.0,
    l_layers: 1,
    l_cycles: 1,
    halt_max_steps: 3,
    ..Config::SUDOKU_EXTREME
};

/// In two steps of training the Q values of the next step have the bits of those of a whole forward pass.
///
/// # Panics
/// They have not.
pub fn has_the_bits_of_a_whole_pass<K: TrainKernels>(make: impl Fn(&Plan) -> Result<K, K::Error>) {
    for config in &CONFIGS {
        let plan = Plan::new(config, BATCH, Mode::Training).unwrap_or_else(|error| panic!("{error}"));
        let [short, whole] = q_values(&plan, &make).unwrap_or_else(|error| panic!("{error}"));
        assert!(short.iter().any(|bits| *bits != short[0]), "all values are alike: {short:?}");
        assert_eq!(short, whole, "{config:?}");
    }
}

/// The bits of the Q values of the next step, as two training steps find them, and as whole passes do.
fn q_values<K: TrainKernels>(
    plan: &Plan,
    make: impl Fn(&Plan) -> Result<K, K::Error>,
) -> Result<[Vec<u32>; 2], K::Error> {
    let b = plan.backward.unwrap_or_else(|| panic!("a training plan has a backward part"));
    let mut k = make(plan)?;
    initialise(&mut k, plan, 1)?;
    reset_carry(&mut k, plan)?;
    let mut rng = Rng::new(5, Stream::Puzzle, 0);
    // A fresh Q head is zero.
    let weights: Vec<f32> = (0..plan.params.q_weight.len()).map(|_| rng.uniform() as f32 - 0.5).collect();
    k.write(Region::Params, plan.params.q_weight.offset, &weights)?;
    let mut bits = [Vec::new(), Vec::new()];
    for step in 1..=2 {
        let rows = plan.incoming;
        for (span, below) in [(rows.inputs, 7.0), (rows.labels, 7.0), (rows.puzzle_ids, 4.0)] {
            let values: Vec<i32> = (0..span.len()).map(|_| (rng.uniform() * below) as i32).collect();
            k.write_ids(span.offset, &values)?;
        }
        // Parameters stay what they are.
        train_step(&mut k, plan, &b, &TRAIN, &StepScalars { step, lr: 0.0, puzzle_emb_lr: 0.0, seed: 7 })?;
        bits[0].extend(next_q(&mut k, &b)?);
        model::recurrence::forward(&mut k, plan, plan.carry, b.target, Keep::Nothing)?;
        model::q_head(&mut k, plan, b.target.z_h, b.next_q)?;
        bits[1].extend(next_q(&mut k, &b)?);
    }
    Ok(bits)
}

fn next_q<K: TrainKernels>(k: &mut K, b: &BackwardPlan) -> Result<Vec<u32>, K::Error> {
    let mut values = vec![0.0; b.next_q.len()];
    k.read(Region::Stats, b.next_q.offset, &mut values)?;
    Ok(values.into_iter().map(f32::to_bits).collect())
}
