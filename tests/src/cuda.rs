//! What the CUDA backend promises beyond its kernels, on any launcher: the emulator and a GPU pass the same tests.

use hrm_core::backend::reference::{Owned, Reference, Rounding};
use hrm_core::config::Config;
use hrm_core::init::{initialise, reset_carry};
use hrm_core::kernels::{Memory, Region, TrainKernels};
use hrm_core::model;
use hrm_core::model::train_step::{gradients, update};
use hrm_core::optim::StepScalars;
use hrm_core::plan::{BackwardPlan, Mode, Plan};
use hrm_core::rng::{Rng, Stream};
use hrm_cuda::backend::{Cuda, Precision};
use hrm_cuda::error::Error;
use hrm_cuda::launch::Queue;
use hrm_cuda::ops::fault::Fault;

use crate::target::{BATCH, TRAIN};

/// Small, but with a prefix, two heads on tensor cores, halting and exploring rows.
const CONFIG: Config = Config {
    seq_len: 9,
    vocab_size: 7,
    num_puzzle_identifiers: 4,
    hidden_size: 64,
    num_heads: 2,
    h_layers: 1,
    l_layers: 1,
    puzzle_emb_ndim: 96,
    halt_max_steps: 3,
    halt_exploration_prob: 0.3,
    ..Config::SUDOKU_EXTREME
};

fn plan(mode: Mode) -> Plan {
    Plan::new(&CONFIG, BATCH, mode).unwrap_or_else(|error| panic!("{error}"))
}

/// Both precisions.
pub const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::Bf16];

/// A model in training on some backend.
struct Session<K> {
    k: K,
    plan: Plan,
    b: BackwardPlan,
}

impl<K: TrainKernels> Session<K> {
    /// A fresh model.
    fn new(k: K) -> Self {
        let mut session = Self::empty(k);
        let (k, plan) = (&mut session.k, &session.plan);
        initialise(k, plan, 1).and_then(|()| reset_carry(k, plan)).unwrap_or_else(|error| panic!("{error}"));
        session
    }

    fn empty(k: K) -> Self {
        let plan = plan(Mode::Training);
        let b = plan.backward.unwrap_or_else(|| panic!("a training plan has a backward part"));
        Self { k, plan, b }
    }

    /// Writes the rows and the scalars of step `step`.
    fn prepare(&mut self, step: u64) -> Result<(), K::Error> {
        let mut rng = Rng::new(step, Stream::Puzzle, 0);
        let mut below =
            |count: usize, n: f64| -> Vec<i32> { (0..count).map(|_| (rng.uniform() * n) as i32).collect() };
        let rows = self.plan.incoming;
        self.k.write_ids(rows.inputs.offset, &below(rows.inputs.len(), 7.0))?;
        self.k.write_ids(rows.labels.offset, &below(rows.labels.len(), 7.0))?;
        self.k.write_ids(rows.puzzle_ids.offset, &below(rows.puzzle_ids.len(), 4.0))?;
        self.k.begin_step(&StepScalars { step, lr: 1e-3, puzzle_emb_lr: 1e-2, seed: 7 })
    }

    fn step(&mut self, step: u64) -> Result<(), K::Error> {
        self.prepare(step)?;
        gradients(&mut self.k, &self.plan, &self.b, &TRAIN)?;
        update(&mut self.k, &self.plan, &self.b, &TRAIN)
    }

    /// Everything that training carries from one step to the next.
    fn state(&mut self) -> State {
        let trained = self.plan.params.trained;
        let regions = [
            (Region::Params, self.plan.params.len),
            (Region::FirstMoments, trained),
            (Region::SecondMoments, trained),
            (Region::Acts, self.plan.acts_len),
            (Region::Stats, self.plan.stats_len),
        ];
        let floats = regions.map(|(region, len)| {
            let mut values = vec![0.0; len];
            self.k.read(region, 0, &mut values).unwrap_or_else(|error| panic!("{error}"));
            (region, values)
        });
        let mut ids = vec![0; self.plan.ids_len];
        self.k.read_ids(0, &mut ids).unwrap_or_else(|error| panic!("{error}"));
        State { floats: floats.into(), ids }
    }

    fn restore(&mut self, state: &State) -> Result<(), K::Error> {
        for (region, values) in &state.floats {
            self.k.write(*region, 0, values)?;
        }
        self.k.write_ids(0, &state.ids)
    }

    fn losses(&mut self) -> Vec<f32> {
        let mut values = Vec::new();
        for span in [self.b.lm_loss, self.b.q_losses] {
            let mut part = vec![0.0; span.len()];
            self.k.read(Region::Stats, span.offset, &mut part).unwrap_or_else(|error| panic!("{error}"));
            values.extend(part);
        }
        values
    }
}

#[derive(Debug, PartialEq)]
struct State {
    floats: Vec<(Region, Vec<f32>)>,
    ids: Vec<i32>,
}

impl State {
    fn assert_same_bits(&self, other: &Self) {
        for ((region, ours), (_, theirs)) in self.floats.iter().zip(&other.floats) {
            let differs = ours.iter().zip(theirs).position(|(a, b)| a.to_bits() != b.to_bits());
            assert_eq!(differs, None, "first element of {region:?} that differs");
        }
        assert_eq!(self.ids, other.ids, "integers");
    }
}

/// Five steps give the losses of the reference in the same precision, and the same rows halt.
///
/// # Panics
/// They do not.
pub fn training_agrees_with_the_reference<L: Queue>(make: impl Fn() -> Result<L, Error>) {
    for precision in PRECISIONS {
        let (rounding, bound) = match precision {
            Precision::F32 => (Rounding::None, 1e-5),
            // A few roundings to 8 bits, through 6 passes of two norms each.
            Precision::Bf16 => (Rounding::Bf16, 2e-2),
        };
        let mut ours = Session::new(backend(&make, precision));
        let plain: Reference<f32, Owned<f32>> = Reference::owned(&ours.plan, rounding).unwrap();
        let mut plain = Session::new(plain);
        for step in 1..=5 {
            ours.step(step).unwrap_or_else(|error| panic!("{error}"));
            plain.step(step).unwrap_or_else(|error| panic!("{error}"));
            let (found, expected) = (ours.losses(), plain.losses());
            let largest = expected.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
            for (found, expected) in found.iter().zip(&expected) {
                let error = (found - expected).abs() / largest;
                assert!(error <= bound, "{precision:?}, step {step}: {found}, expected {expected}");
            }
            assert_eq!(flags(&mut ours), flags(&mut plain), "{precision:?}, step {step}: halted rows");
        }
    }
}

fn flags<K: TrainKernels>(session: &mut Session<K>) -> Vec<i32> {
    let mut flags = vec![0; session.plan.halted.len()];
    let at = session.plan.halted.offset;
    session.k.read_ids(at, &mut flags).unwrap_or_else(|error| panic!("{error}"));
    flags
}

fn backend<L: Queue>(make: &impl Fn() -> Result<L, Error>, precision: Precision) -> Cuda<L> {
    let launcher = make().unwrap_or_else(|error| panic!("{error}"));
    Cuda::new(launcher, &plan(Mode::Training), precision).unwrap_or_else(|error| panic!("{error}"))
}

/// A step that was recorded and is replayed gives the bits of one that is launched, kernel by kernel.
///
/// # Panics
/// It does not.
pub fn a_replayed_step_equals_a_launched_one<L: Queue>(
    make: impl Fn() -> Result<L, Error>,
) -> Result<(), Error> {
    for precision in PRECISIONS {
        let mut launched = Session::new(backend(&make, precision));
        let rehearsed = Cuda::rehearsed(make()?, &plan(Mode::Training), precision)?;
        let mut replayed = Session::new(rehearsed);
        let (plan, b) = (replayed.plan, replayed.b);
        let recording = replayed.k.record(|k| {
            gradients(k, &plan, &b, &TRAIN)?;
            k.check_finite(&b)?;
            update(k, &plan, &b, &TRAIN)
        })?;
        for step in 1..=4 {
            launched.step(step)?;
            replayed.prepare(step)?;
            replayed.k.replay(recording)?;
        }
        launched.state().assert_same_bits(&replayed.state());
        let flags = flags(&mut replayed);
        let fetched = replayed.k.fetch(&[b.lm_loss, b.q_losses], &[plan.halted])?;
        let values = replayed.k.collect(fetched)?;
        assert_eq!(values.stats, replayed.losses());
        assert_eq!(values.ids, flags);
    }
    Ok(())
}

/// Two steps, a new backend that is given what the first one holds, and two more: the bits of four steps.
///
/// # Panics
/// They are not.
pub fn a_resumed_run_equals_an_uninterrupted_one<L: Queue>(
    make: impl Fn() -> Result<L, Error>,
) -> Result<(), Error> {
    for precision in PRECISIONS {
        let mut whole = Session::new(backend(&make, precision));
        (1..=4).try_for_each(|step| whole.step(step))?;
        let mut first = Session::new(backend(&make, precision));
        (1..=2).try_for_each(|step| first.step(step))?;
        let saved = first.state();
        drop(first);
        let rehearsed = Cuda::rehearsed(make()?, &plan(Mode::Training), precision)?;
        let mut second = Session::empty(rehearsed);
        second.restore(&saved)?;
        second.state().assert_same_bits(&saved);
        (3..=4).try_for_each(|step| second.step(step))?;
        whole.state().assert_same_bits(&second.state());
    }
    Ok(())
}

/// A token outside its table and a loss that is no number are errors that name them, and change no parameter.
///
/// # Panics
/// They are not, or they do.
pub fn faults_are_reported_and_change_nothing<L: Queue>(
    make: impl Fn() -> Result<L, Error>,
) -> Result<(), Error> {
    for precision in PRECISIONS {
        let mut session = Session::new(backend(&make, precision));
        session.step(1)?;
        let before = session.state();

        session.prepare(2)?;
        session.k.write_ids(session.plan.incoming.inputs.offset, &[77])?;
        session.k.write_ids(session.plan.halted.offset, &[1; BATCH])?;
        gradients(&mut session.k, &session.plan, &session.b, &TRAIN)?;
        update(&mut session.k, &session.plan, &session.b, &TRAIN)?;
        assert_eq!(session.k.wait(), Err(Error::Fault(Fault::Token(77))));
        assert_eq!(session.k.wait(), Ok(()), "a fault is reported once");
        assert_eq!(session.state().floats[..3], before.floats[..3]);

        session.prepare(3)?;
        session.k.write_ids(session.plan.halted.offset, &[1; BATCH])?;
        let spoilt = session.plan.params.lm_head.offset;
        session.k.write(Region::Params, spoilt, &[f32::NAN])?;
        let before = session.state();
        gradients(&mut session.k, &session.plan, &session.b, &TRAIN)?;
        session.k.check_finite(&session.b)?;
        update(&mut session.k, &session.plan, &session.b, &TRAIN)?;
        let fetched = session.k.fetch(&[session.b.lm_loss], &[])?;
        assert_eq!(session.k.collect(fetched), Err(Error::Fault(Fault::NotFinite)));
        assert_eq!(session.k.wait(), Err(Error::Fault(Fault::NotFinite)));
        let bits = |state: &State| -> Vec<u32> {
            state.floats[..3].iter().flat_map(|(_, values)| values).map(|x| x.to_bits()).collect()
        };
        assert_eq!(bits(&session.state()), bits(&before));
    }
    Ok(())
}

/// What is written is read, rounded where it is kept in bf16; memory is what was planned; what lies outside an
/// arena is an error.
///
/// # Panics
/// They are not.
pub fn memory_is_as_planned<L: Queue>(make: impl Fn() -> Result<L, Error>) -> Result<(), Error> {
    for (precision, mode) in PRECISIONS.into_iter().flat_map(|p| [(p, Mode::Inference), (p, Mode::Training)])
    {
        let plan = plan(mode);
        let mut k = Cuda::new(make()?, &plan, precision)?;
        assert_eq!(k.bytes(), Cuda::<L>::planned_bytes(&plan, precision));
        let trained = if mode == Mode::Training { plan.params.trained } else { 0 };
        let regions = [
            (Region::Params, plan.params.len),
            (Region::Gradients, trained),
            (Region::FirstMoments, trained),
            (Region::SecondMoments, trained),
            (Region::Acts, plan.acts_len),
            (Region::Stats, plan.stats_len),
        ];
        for (region, len) in regions {
            let values: Vec<f32> = (0..len).map(|i| 1.0 + i as f32 / 1000.0).collect();
            let mut found = vec![f32::NAN; len];
            k.read(region, 0, &mut found)?;
            assert!(found.iter().all(|x| *x == 0.0), "{region:?} begins zeroed");
            k.write(region, 0, &values)?;
            k.read(region, 0, &mut found)?;
            let rounded = |x: &f32| half::bf16::from_f32(*x).to_f32();
            let expected = match (region, precision) {
                (Region::Acts, Precision::Bf16) => values.iter().map(rounded).collect(),
                _ => values,
            };
            assert_eq!(found, expected, "{region:?}");
            let end = Error::OutOfRange { region, end: len + 1, len };
            assert_eq!(k.write(region, len, &[0.0]), Err(end.clone()));
            assert_eq!(k.read(region, len, &mut [0.0]), Err(end));
        }
        let end = Error::OutOfRange { region: Region::Ids, end: plan.ids_len + 1, len: plan.ids_len };
        assert_eq!(k.write_ids(plan.ids_len, &[0]), Err(end.clone()));
        assert_eq!(k.read_ids(plan.ids_len, &mut [0]), Err(end));
        // Operands are checked too, before anything runs.
        let beyond = hrm_core::arena::Act::new(plan.acts_len, 1, 16);
        let error = hrm_core::kernels::Kernels::add(&mut k, beyond, plan.emb, plan.t).unwrap_err();
        assert!(matches!(error, Error::Operand(_)), "{error}");
    }
    Ok(())
}

/// An ACT step of inference gives the predictions of the reference.
///
/// # Panics
/// It does not.
pub fn inference_agrees_with_the_reference<L: Queue>(
    make: impl Fn() -> Result<L, Error>,
) -> Result<(), Error> {
    let plan = plan(Mode::Inference);
    let mut ours = Cuda::rehearsed(make()?, &plan, Precision::F32)?;
    let mut plain: Reference<f32, Owned<f32>> = Reference::owned(&plan, Rounding::None).unwrap();
    let found = predictions(&mut ours, &plan)?;
    assert_eq!(found, predictions(&mut plain, &plan).unwrap());
    Ok(())
}

fn predictions<K: TrainKernels>(k: &mut K, plan: &Plan) -> Result<Vec<i32>, K::Error> {
    initialise(k, plan, 1)?;
    reset_carry(k, plan)?;
    let inputs: Vec<i32> = (0..plan.incoming.inputs.len()).map(|i| (i * i % 7) as i32).collect();
    k.write_ids(plan.incoming.inputs.offset, &inputs)?;
    for _ in 0..2 {
        model::act_step(k, plan)?;
        k.write_ids(plan.halted.offset, &[0; BATCH])?;
    }
    let mut predictions = vec![-1; plan.predictions.len()];
    k.read_ids(plan.predictions.offset, &mut predictions)?;
    Ok(predictions)
}
