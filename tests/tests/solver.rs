//! The solver: what a microcontroller runs, against the model run step by step on other backends.

use hrm_core::backend::portable::{Lengths, Portable, Table};
use hrm_core::backend::reference::{Reference, Rounding};
use hrm_core::bundle::Bundle;
use hrm_core::config::{Config, PosEncodings};
use hrm_core::halting::{ActStep, AlwaysMax, FixedSteps, HaltOnQ, HaltPolicy, HaltRule};
use hrm_core::init::{reset_carry, write_constants};
use hrm_core::kernels::{Kernels, Memory, Region};
use hrm_core::model;
use hrm_core::plan::{Mode, Plan};
use hrm_core::solver::{Solver, SolverError, Step, scratch_bytes};
use hrm_host::model_io::bundle::Encoding;
use hrm_host::numbers::Precision;
use hrm_tests::counting::Counting;
use hrm_tests::portable::{Lent, bundle};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CONFIG: Config = Config {
    seq_len: 16,
    vocab_size: 6,
    num_puzzle_identifiers: 3,
    hidden_size: 32,
    num_heads: 4,
    h_layers: 1,
    l_layers: 2,
    h_cycles: 2,
    l_cycles: 3,
    puzzle_emb_ndim: 48,
    halt_max_steps: 4,
    ..Config::SUDOKU_EXTREME
};

const N: usize = scratch_bytes(&CONFIG);

const PUZZLES: [[u8; 16]; 2] =
    [[1, 3, 1, 5, 5, 1, 1, 1, 1, 1, 4, 1, 2, 1, 1, 3], [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 0, 1, 2, 3]];

/// What a step shows: step, predictions, bits of the Q values.
type Shown = (usize, Vec<i32>, [u32; 2]);

fn shown(step: &Step<'_>) -> Shown {
    let trace = step.trace();
    (trace.step, trace.predictions.to_vec(), [trace.q_halt.to_bits(), trace.q_continue.to_bits()])
}

/// Every step of a solver on a puzzle.
fn solve(
    solver: &mut Solver<'_>,
    puzzle: &[u8],
    policy: &mut dyn HaltPolicy,
) -> Result<Vec<Shown>, SolverError> {
    solver.start(puzzle, 2)?;
    let mut steps = Vec::new();
    loop {
        let step = solver.step(policy)?;
        steps.push(shown(&step));
        if let Step::Halted(_) = step {
            return Ok(steps);
        }
    }
}

/// The same by the model's functions.
fn by_hand<K: Kernels>(
    plan: &Plan,
    k: &mut K,
    puzzle: &[u8],
    policy: &dyn HaltPolicy,
) -> Result<Vec<Shown>, K::Error> {
    reset_carry(k, plan)?;
    k.write_ids(plan.incoming.inputs.offset, &puzzle.iter().map(|&x| i32::from(x)).collect::<Vec<_>>())?;
    k.write_ids(plan.incoming.puzzle_ids.offset, &[2])?;
    let mut steps = Vec::new();
    for step in 1.. {
        model::act_step(k, plan)?;
        k.write_ids(plan.halted.offset, &[0])?;
        let (mut predictions, mut q) = (vec![0; 16], [0.0; 2]);
        k.read_ids(plan.predictions.offset, &mut predictions)?;
        k.read(Region::Stats, plan.q.offset, &mut q)?;
        steps.push((step, predictions, q.map(f32::to_bits)));
        if policy.halts(&ActStep { row: 0, step, q_halt: q[0], q_continue: q[1] }) {
            break;
        }
    }
    Ok(steps)
}

#[test]
fn a_solver_does_what_the_model_does() {
    for encoding in [Encoding::Float(Precision::F32), Encoding::Float(Precision::F16), Encoding::Int8] {
        let bytes = bundle(&CONFIG, encoding, 11);
        let parsed = Bundle::parse(&bytes).unwrap();
        let plan = Plan::new(&CONFIG, 1, Mode::Inference).unwrap();
        let mut rotary = vec![0.0; Lengths::of(&plan).rotary];
        let table = Table::new(&parsed, &plan, &mut rotary).unwrap();
        let mut reference: Reference<f32, _> = Reference::owned(&plan, Rounding::None).unwrap();
        for (tensor, weights) in parsed.tensors() {
            let values: Vec<f32> = weights.values().collect();
            reference.write(Region::Params, tensor.span.offset, &values).unwrap();
        }
        write_constants(&mut reference, &plan).unwrap();
        let mut ram = [0xff; N];
        let mut solver = Solver::new(parsed, &mut ram).unwrap();
        for puzzle in [0, 1, 0].map(|i| &PUZZLES[i]) {
            let mut policy = AlwaysMax { max_steps: 4 };
            let steps = solve(&mut solver, puzzle, &mut policy).unwrap();
            assert_eq!(steps.len(), 4);
            let mut lent = Lent::new(&plan);
            let mut portable = Portable::new(&table, lent.arenas(), &plan).unwrap();
            assert_eq!(steps, by_hand(&plan, &mut portable, puzzle, &policy).unwrap(), "{encoding:?}");

            // The reference sums in another order, and does not quantise tokens: that grows from step to step, so of integers
            // the first is compared.
            let (bound, compared) = if encoding == Encoding::Int8 { (0.2, 1) } else { (1e-4, 4) };
            let expected = by_hand(&plan, &mut reference, puzzle, &policy).unwrap();
            for ((_, ours, q), (_, theirs, q_reference)) in steps.iter().zip(&expected).take(compared) {
                for (a, b) in q.iter().zip(q_reference) {
                    let (a, b) = (f32::from_bits(*a), f32::from_bits(*b));
                    assert!((a - b).abs() <= bound, "{encoding:?}: Q {a}, reference {b}");
                }
                assert!(encoding == Encoding::Int8 || ours == theirs, "{encoding:?}");
            }
        }
    }
}

/// A policy that halts after the given number of steps, whatever the Q values, and notes what it was shown.
struct Noting(usize, std::cell::RefCell<Vec<ActStep>>);

impl HaltPolicy for Noting {
    fn halts(&self, step: &ActStep) -> bool {
        self.1.borrow_mut().push(*step);
        step.step >= self.0
    }
}

#[test]
fn the_policy_decides() {
    let bytes = bundle(&CONFIG, Encoding::Int8, 11);
    let mut ram = vec![0; N];
    let mut solver = Solver::new(Bundle::parse(&bytes).unwrap(), &mut ram).unwrap();
    for steps in [1, 3, 7] {
        assert_eq!(solve(&mut solver, &PUZZLES[0], &mut FixedSteps(steps)).unwrap().len(), steps);
        let mut noting = Noting(steps, Default::default());
        let ours = solve(&mut solver, &PUZZLES[0], &mut noting).unwrap();
        let noted = noting.1.into_inner();
        let bits = noted.iter().map(|s| (s.step, [s.q_halt.to_bits(), s.q_continue.to_bits()]));
        assert!(ours.into_iter().map(|(step, _, q)| (step, q)).eq(bits));
    }
    // The Q values of every step say where a policy that asks them halts.
    let all = solve(&mut solver, &PUZZLES[1], &mut AlwaysMax { max_steps: 6 }).unwrap();
    let wants = |(_, _, q): &Shown| f32::from_bits(q[0]) > f32::from_bits(q[1]);
    let expected = all.iter().position(wants).map_or(6, |i| i + 1);
    assert_eq!(
        solve(&mut solver, &PUZZLES[1], &mut HaltOnQ { max_steps: 6, rule: HaltRule::Larger }).unwrap().len(),
        expected
    );
}

#[test]
fn the_hook_is_called_after_every_block() {
    let bytes = bundle(&CONFIG, Encoding::Int8, 1);
    let mut ram = vec![0; N];
    let mut solver = Solver::new(Bundle::parse(&bytes).unwrap(), &mut ram).unwrap();
    let mut silent = Vec::new();
    for polled in [false, true] {
        solver.start(&PUZZLES[0], 0).unwrap();
        for _ in 0..3 {
            let (mut calls, mut policy) = (0, AlwaysMax { max_steps: 4 });
            if polled {
                let step = solver.step_polled(&mut policy, &mut || calls += 1).unwrap();
                assert_eq!(shown(&step), silent.remove(0), "a hook changes nothing");
                assert_eq!(calls, 2 * (3 * 2 + 1));
            } else {
                silent.push(shown(&solver.step(&mut policy).unwrap()));
            }
        }
    }
}

#[test]
fn memory_is_known_and_enough_at_any_alignment() {
    let bytes = bundle(&CONFIG, Encoding::Int8, 1);
    let parsed = Bundle::parse(&bytes).unwrap();
    let mut expected = None;
    let mut room = vec![0xa5; N + 17];
    for start in 0..17 {
        let ram = &mut room[start..start + N];
        let steps = solve(&mut Solver::new(parsed, ram).unwrap(), &PUZZLES[0], &mut FixedSteps(2)).unwrap();
        assert_eq!(*expected.get_or_insert_with(|| steps.clone()), steps);
        let error = Solver::new(parsed, &mut room[start..start + N - 1]).map(|_| ()).unwrap_err();
        assert_eq!(error, SolverError::Ram { given: N - 1, needed: N });
        assert!(error.to_string().contains(&N.to_string()));
    }
    // Nothing beyond the memory is touched.
    let mut room = vec![0xa5; N + 64];
    solve(&mut Solver::new(parsed, &mut room[32..32 + N]).unwrap(), &PUZZLES[0], &mut FixedSteps(2)).unwrap();
    assert!(room[..32].iter().chain(&room[32 + N..]).all(|&byte| byte == 0xa5));
    // A bundle itself may lie anywhere.
    for start in 0..5 {
        let moved = [&vec![0; start], &bytes[..]].concat();
        let mut ram = vec![0; N];
        let mut solver = Solver::new(Bundle::parse(&moved[start..]).unwrap(), &mut ram).unwrap();
        assert_eq!(Some(solve(&mut solver, &PUZZLES[0], &mut FixedSteps(2)).unwrap()), expected);
    }
}

#[test]
fn no_memory_is_enough_for_what_is_no_model() {
    assert_eq!(scratch_bytes(&Config { num_heads: 0, ..CONFIG }), usize::MAX);
    assert_eq!(scratch_bytes(&Config { hidden_size: 0, ..CONFIG }), usize::MAX);
    let nine = Config { hidden_size: 128, num_heads: 4, puzzle_emb_ndim: 128, ..Config::SUDOKU_EXTREME };
    assert!((330_000..400_000).contains(&scratch_bytes(&nine)), "{}", scratch_bytes(&nine));
}

#[test]
fn what_is_wrong_is_named() {
    let bytes = bundle(&CONFIG, Encoding::Int8, 1);
    let mut ram = vec![0; N];
    let mut solver = Solver::new(Bundle::parse(&bytes).unwrap(), &mut ram).unwrap();
    let mut policy = FixedSteps(2);
    assert_eq!(solver.step(&mut policy), Err(SolverError::NoPuzzle));
    let wrong = [
        (solver.start(&PUZZLES[0][1..], 0), SolverError::Cells { given: 15, expected: 16 }),
        (solver.start(&[0; 17], 0), SolverError::Cells { given: 17, expected: 16 }),
        (solver.start(&[6; 16], 0), SolverError::Token { cell: 0, given: 6, tokens: 6 }),
        (solver.start(&PUZZLES[0], 3), SolverError::Identifier { given: 3, identifiers: 3 }),
        (
            solver.start(&PUZZLES[0], usize::MAX),
            SolverError::Identifier { given: usize::MAX, identifiers: 3 },
        ),
    ];
    for (result, error) in wrong {
        assert_eq!(result, Err(error));
        assert!(!error.to_string().is_empty());
    }
    assert_eq!(solver.step(&mut policy), Err(SolverError::NoPuzzle), "a puzzle that is refused is none");
    assert_eq!(solve(&mut solver, &PUZZLES[0], &mut policy).unwrap().len(), 2);
    assert_eq!(solver.step(&mut policy), Err(SolverError::NoPuzzle), "it has halted");

    let deep =
        Config { h_layers: 9, l_layers: 8, hidden_size: 4, num_heads: 1, puzzle_emb_ndim: 0, ..CONFIG };
    let bytes = bundle(&deep, Encoding::Int8, 1);
    let mut ram = vec![0; scratch_bytes(&deep)];
    let error = Solver::new(Bundle::parse(&bytes).unwrap(), &mut ram).map(|_| ()).unwrap_err();
    assert!(matches!(error, SolverError::Tensors(_)) && error.to_string().contains("74 tensors"), "{error}");
}

#[test]
fn models_of_all_kinds_are_solved() {
    let learned = PosEncodings::Learned;
    for config in [
        Config { puzzle_emb_ndim: 0, ..CONFIG },
        Config { pos_encodings: learned, num_heads: 32, ..CONFIG },
        Config { hidden_size: 7, num_heads: 1, pos_encodings: learned, puzzle_emb_ndim: 3, ..CONFIG },
        Config { vocab_size: 700, ..CONFIG },
        Config { expansion: 0.1, h_layers: 8, l_layers: 8, ..CONFIG },
    ] {
        for encoding in [Encoding::Float(Precision::Bf16), Encoding::Int8] {
            let bytes = bundle(&config, encoding, 1);
            let mut ram = vec![0xff; scratch_bytes(&config)];
            let mut solver = Solver::new(Bundle::parse(&bytes).unwrap(), &mut ram).unwrap();
            let steps = solve(&mut solver, &PUZZLES[0], &mut FixedSteps(2)).unwrap();
            assert!(
                steps.iter().all(|(_, _, q)| q.iter().all(|&q| f32::from_bits(q).is_finite())),
                "{config:?}"
            );
        }
    }
}

#[test]
fn nothing_is_allocated() {
    let bytes = bundle(&CONFIG, Encoding::Int8, 1);
    let mut ram = vec![0; N];
    let mut run = || -> Result<usize, SolverError> {
        let bundle = Bundle::parse(&bytes).map_err(|_| SolverError::NoPuzzle)?;
        let mut solver = Solver::new(bundle, &mut ram)?;
        solver.start(&PUZZLES[0], 1)?;
        let mut polls = 0;
        while let Step::Running(_) =
            solver.step_polled(&mut AlwaysMax { max_steps: 3 }, &mut || polls += 1)?
        {}
        Ok(polls)
    };
    let before = Counting::calls();
    let polls = run();
    let allocated = Counting::calls() - before;
    assert_eq!((polls, allocated), (Ok(3 * 14), 0));
}
