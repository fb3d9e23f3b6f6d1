//! Inference on lent memory allocates nothing, and neither does reading a bundle.

use hrm_core::backend::reference::{Borrowed, Owned, Reference, Rounding, Storage};
use hrm_core::bundle::Bundle;
use hrm_core::config::Config;
use hrm_core::halting::{ActStep, HaltOnQ, HaltPolicy};
use hrm_core::init::{initialise, reset_carry};
use hrm_core::kernels::{Memory, Region};
use hrm_core::model;
use hrm_core::plan::{Mode, Plan};
use hrm_tests::counting::Counting;
use hrm_tests::readers::seeds;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CONFIG: Config = Config {
    seq_len: 16,
    vocab_size: 7,
    num_puzzle_identifiers: 3,
    hidden_size: 32,
    num_heads: 4,
    h_layers: 2,
    l_layers: 2,
    puzzle_emb_ndim: 48,
    halt_max_steps: 8,
    ..Config::SUDOKU_EXTREME
};

/// Every ACT step of a batch, halting on Q; the predictions of the rows in `predictions`.
fn solve(arenas: Borrowed<f32>, plan: &Plan, predictions: &mut [i32]) -> Result<usize, &'static str> {
    let policy = HaltOnQ::of(&plan.config);
    let failed = |_| "the reference failed";
    let mut k = Reference::new(arenas, plan, Rounding::None).map_err(failed)?;
    reset_carry(&mut k, plan).map_err(failed)?;
    for row in 0..plan.batch as i32 {
        for cell in 0..16 {
            let at = plan.incoming.inputs.offset + (row * 16 + cell) as usize;
            k.write_ids(at, &[(row * 3 + cell) % 7]).map_err(failed)?;
        }
        k.write_ids(plan.incoming.puzzle_ids.offset + row as usize, &[row]).map_err(failed)?;
    }
    for step in 1..=plan.config.halt_max_steps {
        model::act_step(&mut k, plan).map_err(failed)?;
        let mut all = true;
        for row in 0..plan.batch {
            let mut q = [0.0; 2];
            k.read(Region::Stats, plan.q.offset + 2 * row, &mut q).map_err(failed)?;
            all &= policy.halts(&ActStep { row, step, q_halt: q[0], q_continue: q[1] });
            // Rows wait for the slowest.
            k.write_ids(plan.halted.offset + row, &[0]).map_err(failed)?;
        }
        if all {
            k.read_ids(plan.predictions.offset, predictions).map_err(failed)?;
            return Ok(step);
        }
    }
    Err("a policy must halt every row")
}

#[test]
fn inference_on_lent_memory_allocates_nothing() {
    let plan = Plan::new(&CONFIG, 3, Mode::Inference).unwrap();
    let mut maker: Reference<f32, Owned<f32>> = Reference::owned(&plan, Rounding::None).unwrap();
    initialise(&mut maker, &plan, 1).unwrap();
    let params = maker.store().params().to_vec();
    let (mut acts, mut stats) = (vec![f32::NAN; plan.acts_len], vec![f32::NAN; plan.stats_len]);
    let mut ids = vec![0; plan.ids_len];
    let mut predictions = vec![-1; 48];

    let before = Counting::calls();
    let arenas = Borrowed { params: &params, acts: &mut acts, stats: &mut stats, ids: &mut ids };
    let result = solve(arenas, &plan, &mut predictions);
    let allocated = Counting::calls() - before;

    assert_eq!(allocated, 0, "allocations in {result:?} ACT steps");
    assert_eq!(result, Ok(8), "a fresh Q head has no preference");
    assert!(predictions.iter().all(|token| (0..7).contains(token)));
    // The counter counts.
    let before = Counting::calls();
    drop(std::hint::black_box(vec![0u8; 100]));
    assert!(Counting::calls() > before);
}

#[test]
fn reading_a_bundle_allocates_nothing() {
    let bytes = seeds::of("bundle").remove(0);
    let mut damaged = bytes.clone();
    damaged[1000] ^= 1;
    let before = Counting::calls();
    let bundle = Bundle::parse(&bytes);
    let refused = Bundle::parse(&damaged).is_err();
    let sum: f64 =
        bundle.iter().flat_map(|bundle| bundle.tensors()).flat_map(|(_, w)| w.values()).map(f64::from).sum();
    let allocated = Counting::calls() - before;
    assert_eq!(allocated, 0);
    // Every element of the seed is a half.
    let elements: usize = bundle.unwrap().tensors().map(|(tensor, _)| tensor.span.len()).sum();
    assert!(refused && elements > 0 && sum == 0.5 * elements as f64, "{sum}, {elements}");
}
