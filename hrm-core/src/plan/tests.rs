//! What is alive together does not overlap.

use super::*;
use crate::kernels::Keep;

const PLAN: Plan = match Plan::new(&Config::SUDOKU_EXTREME, 384, Mode::Training) {
    Ok(plan) => plan,
    Err(_) => panic!("the published configuration has a plan"),
};

#[test]
fn the_published_model_has_the_published_size() {
    assert_eq!(PLAN.params.trained_parameters(), 27_275_266);
}

/// No two spans that are alive together overlap, and all lie within their arena.
#[test]
fn kept_slots_are_disjoint() {
    let mut spans = std::vec![PLAN.carry.z_h, PLAN.carry.z_l, PLAN.emb, PLAN.t, PLAN.logits];
    let backward = PLAN.backward.unwrap();
    // The states of the Q target's pass are spent when cotangents take their places.
    assert_eq!((backward.dy, backward.ds), (backward.target.z_h, backward.target.z_l));
    spans.extend([backward.dy, backward.ds, backward.dlogits, backward.dpuzzle]);
    // The scratch of the backward pass, which overlays that of the forward pass.
    spans.extend([backward.dqkv, backward.d_o]);
    for app in PLAN.applications().filter(|app| app.kept.is_some()) {
        let slots = PLAN.slots(&app, Keep::All, PLAN.carry);
        assert_eq!((slots.x(), slots.y()), (slots.block(0).x, PLAN.carry.get(app.state)));
        for layer in 0..4 {
            let slot = slots.block(layer);
            spans.extend([slot.x, slot.qkv, slot.o, slot.y1, slot.gate_up]);
            assert_eq!(slot.y, if layer < 3 { slots.block(layer + 1).x } else { slots.y() });
        }
    }
    spans.sort_by_key(|span| span.offset);
    for pair in spans.windows(2) {
        assert!(pair[0].range().end <= pair[1].offset, "{pair:?}");
        assert!(pair[1].offset.is_multiple_of(crate::arena::ALIGN));
    }
    assert!(spans.last().unwrap().range().end <= PLAN.acts_len);
    assert!(backward.da.range().end <= backward.target.z_h.offset);
}

#[test]
fn inference_needs_no_gradients() {
    let plan = Plan::new(&Config::SUDOKU_EXTREME, 1, Mode::Inference).unwrap();
    let bytes = plan.bytes(ElementSizes::F32);
    assert_eq!(bytes.gradients + bytes.moments, 0);
    assert!(bytes.acts < 82 * 4 * (6 * 512 + 11 + 3 * 1536 + 64));
    assert_eq!(bytes.total(), bytes.params + bytes.acts + bytes.stats + bytes.ids);
}

#[test]
fn without_tiles_all_rows_are_one_tile() {
    let plan = Plan::new(&Config::SUDOKU_EXTREME, 3, Mode::Inference).unwrap();
    assert_eq!((plan.tile, plan.branch.rows), (3 * 82, 3 * 82));
}

/// Each of `turns` is alive together with `always`, and does not overlap with it.
fn assert_disjoint_by_turns(plan: &Plan, always: &[Act], turns: &[&[Act]]) {
    for turn in turns {
        let mut spans = [always, turn].concat();
        spans.sort_by_key(|span| span.offset);
        assert!(spans.windows(2).all(|pair| pair[0].range().end <= pair[1].offset), "{spans:?}");
        assert!(spans.last().unwrap().range().end <= plan.acts_len);
    }
}

/// What is alive together does not overlap: in attention, and around each of the products after it. The states, and
/// what is added to L's input, are alive throughout. So at a width of SwiGLU that is less than half of the state's.
#[test]
fn the_shared_slot_shares_memory_by_turns() {
    let narrow = Config { hidden_size: 1024, puzzle_emb_ndim: 0, expansion: 0.1, ..Config::SUDOKU_EXTREME };
    for (config, mode) in [
        (Config::SUDOKU_EXTREME, Mode::Inference),
        (Config::SUDOKU_EXTREME, Mode::Training),
        (narrow, Mode::Training),
    ] {
        let plan = Plan::new(&config, 2, mode).unwrap();
        assert!(!plan.blocks_overwrite_t());
        let slot = shared_slot(&plan);
        let always = [plan.carry.z_h, plan.carry.z_l, plan.emb, plan.t, slot.x, plan.logits];
        let turns: [&[Act]; 4] = [
            &[slot.qkv, slot.o],
            &[slot.o, plan.branch, slot.y1],
            &[slot.y1, slot.gate_up, plan.a],
            &[slot.y1, plan.branch, plan.a],
        ];
        assert_disjoint_by_turns(&plan, &always, &turns);
    }
}

/// Nor do the leading positions, for which there is no memory of their own: with what they are taken from, and around each
/// of the products behind attention. So where each sequence has no other position.
#[test]
fn leading_positions_share_memory_by_turns() {
    let alone = Config { seq_len: 1, puzzle_emb_ndim: 0, ..Config::SUDOKU_EXTREME };
    for config in [Config::SUDOKU_EXTREME, alone] {
        let plan = Plan::new(&config, 3, Mode::Training).unwrap();
        let backward = plan.backward.unwrap();
        let whole = shared_slot(&plan);
        let leading = backward.leading;
        assert_eq!((leading.x, leading.x.rows, leading.x.cols), (leading.y, 3, 512));
        let always = [plan.carry.z_h, plan.carry.z_l, plan.emb, plan.logits, leading.x];
        let turns: [&[Act]; 4] = [
            &[whole.x, whole.o, leading.o],
            &[leading.o, plan.branch, leading.y1],
            &[leading.y1, leading.gate_up, plan.a],
            &[leading.y1, plan.branch, plan.a],
        ];
        assert_disjoint_by_turns(&plan, &always, &turns);
    }
}

/// What is alive together does not overlap: between blocks, in attention, and in the second half of a block.
#[test]
fn tiles_share_memory_by_turns() {
    let config = Config { hidden_size: 128, num_heads: 4, puzzle_emb_ndim: 128, ..Config::SUDOKU_EXTREME };
    for tile in [1, 7, 16, 82, 1000] {
        let plan = Plan::tiled(&config, 1, tile).unwrap();
        assert_eq!(plan.tile, tile.min(82));
        let slot = shared_slot(&plan);
        assert!(plan.blocks_overwrite_t());
        let always = [plan.carry.z_h, plan.carry.z_l, plan.emb, slot.x];
        let turns: [&[Act]; 4] = [
            &[plan.t],
            &[plan.logits],
            &[slot.qkv, slot.o],
            &[slot.o, slot.y1, plan.branch, slot.gate_up, plan.a],
        ];
        assert_disjoint_by_turns(&plan, &always, &turns);
    }
    // Four states, attention output, queries, keys and values: 16 rows of the rest fit over them.
    let small = Plan::tiled(&config, 1, 8).unwrap();
    assert_eq!(small.acts_len, 82 * 128 * 8);
    assert_eq!(Plan::tiled(&config, 1, 0), Err(PlanError::EmptyTile));
}

#[test]
fn absurd_sizes_are_an_error() {
    let config = Config { seq_len: 1 << 24, hidden_size: 1 << 16, ..Config::SUDOKU_EXTREME };
    assert_eq!(Plan::new(&config, usize::MAX / 2, Mode::Training), Err(PlanError::TooLarge));
    assert_eq!(Plan::new(&Config::SUDOKU_EXTREME, 0, Mode::Training), Err(PlanError::EmptyBatch));
}

/// The slot of a pass that keeps nothing.
fn shared_slot(plan: &Plan) -> BlockSlot {
    let first = plan.applications().next().unwrap();
    plan.slots(&first, Keep::Nothing, plan.carry).block(0)
}
