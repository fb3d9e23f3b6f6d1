//! A block's second half in tiles of rows: the same bits whatever the tile, in less memory.

use hrm_core::backend::cpu::Cpu;
use hrm_core::backend::reference::{Reference, Rounding};
use hrm_core::config::Config;
use hrm_core::init::{initialise, reset_carry};
use hrm_core::kernels::{Kernels, Region};
use hrm_core::model;
use hrm_core::plan::{Mode, Plan};

/// 18 positions: no multiple of any tile but 1.
const CONFIG: Config = Config {
    seq_len: 16,
    vocab_size: 6,
    num_puzzle_identifiers: 3,
    hidden_size: 32,
    num_heads: 4,
    h_layers: 2,
    l_layers: 2,
    puzzle_emb_ndim: 48,
    ..Config::SUDOKU_EXTREME
};

/// The bits of two ACT steps of a fresh model: logits and Q values of each, and the predictions.
fn solve<K: Kernels>(plan: &Plan, k: &mut K) -> Result<Vec<u32>, K::Error> {
    initialise(k, plan, 3)?;
    reset_carry(k, plan)?;
    let tokens: Vec<i32> = (0..16 * plan.batch as i32).map(|cell| cell * cell % 6).collect();
    k.write_ids(plan.incoming.inputs.offset, &tokens)?;
    k.write_ids(plan.incoming.puzzle_ids.offset, &vec![2; plan.batch])?;
    let mut bits = Vec::new();
    for _ in 0..2 {
        model::act_step(k, plan)?;
        let mut logits = vec![0.0; plan.logits.len()];
        k.read(Region::Acts, plan.logits.offset, &mut logits)?;
        let mut q = vec![0.0; plan.q.len()];
        k.read(Region::Stats, plan.q.offset, &mut q)?;
        let mut predictions = vec![0; plan.predictions.len()];
        k.read_ids(plan.predictions.offset, &mut predictions)?;
        bits.extend(logits.iter().chain(&q).map(|x| x.to_bits()));
        bits.extend(predictions.iter().map(|&id| id as u32));
        k.write_ids(plan.halted.offset, &vec![0; plan.batch])?;
    }
    Ok(bits)
}

fn same_bits<K: Kernels>(make: impl Fn(&Plan) -> Result<K, K::Error>) -> Result<(), K::Error> {
    for (batch, mlp_t) in [(1, false), (2, false), (1, true), (2, true)] {
        let config = Config { mlp_t, ..CONFIG };
        let whole = Plan::new(&config, batch, Mode::Inference).unwrap();
        let expected = solve(&whole, &mut make(&whole)?)?;
        assert!(expected.iter().any(|&bits| bits != expected[0]));
        for tile in [1, 7, 16, whole.rows()] {
            let plan = Plan::tiled(&config, batch, tile).unwrap();
            assert!(tile > 7 || plan.acts_len < whole.acts_len);
            assert!(solve(&plan, &mut make(&plan)?)? == expected, "batch {batch}, {mlp_t}, tile {tile}");
        }
    }
    Ok(())
}

#[test]
fn the_reference_gives_the_same_bits_whatever_the_tile() {
    same_bits(|plan| Reference::<f32, _>::owned(plan, Rounding::None)).unwrap();
    same_bits(|plan| Reference::<f32, _>::owned(plan, Rounding::Bf16)).unwrap();
}

#[test]
fn the_cpu_gives_the_same_bits_whatever_the_tile() {
    same_bits(Cpu::new).unwrap();
}
