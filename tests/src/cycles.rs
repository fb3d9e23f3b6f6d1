//! A forward pass against its formula, application by application.

use hrm_core::arena::Act;
use hrm_core::backend::reference::{Reference, Rounding};
use hrm_core::config::Config;
use hrm_core::init::{initialise, reset_carry};
use hrm_core::kernels::{Keep, Kernels, Memory, Region};
use hrm_core::model::{self, stack};
use hrm_core::plan::{Application, Carry, Mode, Plan, State};

use crate::forgetful::{Forgetful, forgetful};

/// One to three of each.
pub const CYCLES: [(usize, usize); 9] =
    [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3), (3, 1), (3, 2), (3, 3)];

const BATCH: usize = 2;

/// Two blocks of each level.
pub const SMALL: Config = Config {
    seq_len: 5,
    vocab_size: 7,
    num_puzzle_identifiers: 4,
    hidden_size: 32,
    num_heads: 2,
    h_layers: 2,
    l_layers: 2,
    expansion: 1.0,
    puzzle_emb_ndim: 0,
    ..Config::SUDOKU_EXTREME
};

/// One block of each level, of a width at which kernels for compute capability 9.0 form the sums themselves.
pub const WIDE: Config =
    Config { hidden_size: 256, num_heads: 4, expansion: 4.0, h_layers: 1, l_layers: 1, ..SMALL };

/// Two blocks of each level, of the published width.
pub const PUBLISHED: Config = Config { hidden_size: 512, num_heads: 8, expansion: 4.0, ..SMALL };

/// `z_l = L(z_l + (z_h + emb))`, `z_h = H(z_h + z_l)`, each sum by itself.
fn formula<K: Kernels>(k: &mut K, plan: &Plan, from: Carry, to: Carry, keep: Keep) -> Result<(), K::Error> {
    let Config { h_cycles, l_cycles, .. } = plan.config;
    let mut apps = plan.applications();
    let mut z = from;
    for _ in 0..h_cycles {
        for _ in 0..l_cycles {
            z = apply_next(k, plan, &mut apps, State::L, z, to, keep)?;
        }
        z = apply_next(k, plan, &mut apps, State::H, z, to, keep)?;
    }
    assert_eq!(apps.next(), None);
    Ok(())
}

/// The next application, which makes `state` anew, from the states `z`: the states after it.
///
/// # Errors
/// Those of the kernels.
///
/// # Panics
/// It makes another state anew, or there is none.
pub fn apply_next<K: Kernels>(
    k: &mut K,
    plan: &Plan,
    apps: &mut impl Iterator<Item = Application>,
    state: State,
    z: Carry,
    to: Carry,
    keep: Keep,
) -> Result<Carry, K::Error> {
    let app = apps.next().unwrap_or_else(|| panic!("the pass has another application"));
    assert_eq!(app.state, state);
    let slots = plan.slots(&app, keep, to);
    match state {
        State::L => {
            k.add(plan.t, z.z_h, plan.emb)?;
            k.add(slots.x(), z.z_l, plan.t)?;
        }
        State::H => k.add(slots.x(), z.z_h, z.z_l)?,
    }
    stack::forward(k, plan, &app, &slots, None)?;
    Ok(z.with(state, slots.y()))
}

/// The states after a forward pass have the bits of the formula, and so has, where activations are kept, what each
/// application with a gradient had for its input: of this model, with so many cycles of H and of L, in place and from the carry to other states. What a sum
/// does not keep is gone.
///
/// # Panics
/// They have not.
pub fn follow_the_formula<K: Kernels>(
    config: &Config,
    cycles: &[(usize, usize)],
    make: impl Fn(&Plan) -> Result<K, K::Error>,
) {
    for &(h_cycles, l_cycles) in cycles {
        let config = Config { h_cycles, l_cycles, ..*config };
        let plan = Plan::new(&config, BATCH, Mode::Training).unwrap_or_else(|error| panic!("{error}"));
        let target = plan.backward.unwrap_or_else(|| panic!("a training plan has a backward part")).target;
        has_the_bits(&plan, plan.carry, Keep::All, &make);
        has_the_bits(&plan, target, Keep::Nothing, &make);
    }
}

/// The same in tiles of rows, in place.
///
/// # Panics
/// As there.
pub fn follow_the_formula_in_tiles<K: Kernels>(
    config: &Config,
    cycles: &[(usize, usize)],
    make: impl Fn(&Plan) -> Result<K, K::Error>,
) {
    for &(h_cycles, l_cycles) in cycles {
        let config = Config { h_cycles, l_cycles, ..*config };
        let plan = Plan::tiled(&config, BATCH, 7).unwrap_or_else(|error| panic!("{error}"));
        has_the_bits(&plan, plan.carry, Keep::Nothing, &make);
    }
}

fn has_the_bits<K: Kernels>(plan: &Plan, to: Carry, keep: Keep, make: impl Fn(&Plan) -> Result<K, K::Error>) {
    let [ours, expected] = [model::recurrence::forward, formula]
        .map(|pass| states(plan, to, keep, &make, pass).unwrap_or_else(|error| panic!("{error}")));
    assert!(ours.iter().any(|bits| *bits != ours[0]), "all numbers are alike");
    let Config { h_cycles, l_cycles, .. } = plan.config;
    assert!(ours == expected, "{h_cycles} and {l_cycles} cycles, {keep:?}, tiles of {} rows", plan.tile);
}

type Pass<K> = fn(&mut Forgetful<K>, &Plan, Carry, Carry, Keep) -> Result<(), <K as Memory>::Error>;

/// Drawn in memory and written at once: an emulated machine rounds parameters each time some are written.
fn parameters(plan: &Plan) -> Vec<f32> {
    let mut values = vec![0.0; plan.params.len];
    let mut drawn =
        Reference::<f32, _>::owned(plan, Rounding::None).unwrap_or_else(|error| panic!("{error}"));
    let done = initialise(&mut drawn, plan, 3).and_then(|()| drawn.read(Region::Params, 0, &mut values));
    done.unwrap_or_else(|error| panic!("{error}"));
    values
}

/// The bits of what a pass leaves.
fn states<K: Kernels>(
    plan: &Plan,
    to: Carry,
    keep: Keep,
    make: impl Fn(&Plan) -> Result<K, K::Error>,
    pass: Pass<K>,
) -> Result<Vec<u32>, K::Error> {
    let mut k = forgetful(make(plan)?);
    k.write(Region::Params, 0, &parameters(plan))?;
    reset_carry(&mut k, plan)?;
    let tokens: Vec<i32> = (0..plan.incoming.inputs.len() as i32).map(|cell| cell * cell % 7).collect();
    k.write_ids(plan.incoming.inputs.offset, &tokens)?;
    model::refill(&mut k, plan)?;
    model::embed(&mut k, plan)?;
    pass(&mut k, plan, plan.carry, to, keep)?;
    let kept = plan.applications().filter(|app| keep == Keep::All && app.kept.is_some());
    let kept: Vec<Act> = kept.map(|app| plan.slots(&app, keep, to).x()).collect();
    let mut bits = Vec::new();
    for span in [plan.carry.z_h, plan.carry.z_l, to.z_h, to.z_l].iter().chain(&kept) {
        let mut values = vec![0.0; span.len()];
        k.read(Region::Acts, span.offset, &mut values)?;
        bits.extend(values.into_iter().map(f32::to_bits));
    }
    Ok(bits)
}
