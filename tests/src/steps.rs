//! What the two ways of taking training steps owe each other, on any launcher.

use hrm_core::config::Config;
use hrm_core::init::{initialise, reset_carry};
use hrm_core::kernels::{Memory, Region};
use hrm_core::loss::LossKind;
use hrm_core::model::train_step::TrainConfig;
use hrm_core::optim::{AdamAtan2, SignSgd, StepScalars};
use hrm_core::plan::{Mode, Plan};
use hrm_core::rng::{Rng, Stream};
use hrm_cuda::backend::{Cuda, Precision};
use hrm_cuda::error::Error;
use hrm_cuda::launch::Queue;
use hrm_host::train::steps::{Immediate, Incoming, Recorded, StepEnd, TrainSteps};

const BATCH: usize = 3;
const CONFIG: Config = Config {
    seq_len: 5,
    vocab_size: 7,
    num_puzzle_identifiers: 4,
    hidden_size: 32,
    num_heads: 2,
    h_layers: 1,
    l_layers: 1,
    puzzle_emb_ndim: 32,
    halt_max_steps: 3,
    halt_exploration_prob: 0.3,
    ..Config::SUDOKU_EXTREME
};

/// A fresh model with a way to take its steps.
struct Run<L: Queue, S> {
    k: Cuda<L>,
    plan: Plan,
    steps: S,
}

impl<L: Queue, S: TrainSteps<Cuda<L>>> Run<L, S> {
    fn new(launcher: L, spoil: impl Fn(&mut Cuda<L>, &Plan) -> Result<(), Error>) -> Result<Self, Error> {
        let plan = Plan::new(&CONFIG, BATCH, Mode::Training).unwrap_or_else(|error| panic!("{error}"));
        let b = plan.backward.unwrap_or_else(|| panic!("a training plan has a backward part"));
        let mut k = Cuda::rehearsed(launcher, &plan, Precision::F32)?;
        initialise(&mut k, &plan, 1)?;
        reset_carry(&mut k, &plan)?;
        spoil(&mut k, &plan)?;
        let train = TrainConfig {
            loss: LossKind::Stablemax,
            adam: AdamAtan2 { beta1: 0.9, beta2: 0.95, weight_decay: 0.1 },
            puzzle_emb: SignSgd { weight_decay: 0.1 },
            average: None,
            global_batch_size: BATCH,
        };
        let steps = S::new(&mut k, &plan, &b, &train)?;
        Ok(Self { k, plan, steps })
    }

    fn start(&mut self, step: u64) -> Result<(), Error> {
        let mut rng = Rng::new(step, Stream::Puzzle, 0);
        let mut below = |len: usize, n: u32| -> Vec<i32> { (0..len).map(|_| rng.below(n) as i32).collect() };
        let rows = self.plan.incoming;
        let (inputs, labels) = (below(rows.inputs.len(), 7), below(rows.labels.len(), 7));
        let puzzle_ids = below(BATCH, 4);
        let batch = Incoming { inputs: &inputs, labels: &labels, puzzle_ids: &puzzle_ids };
        let scalars = StepScalars { step, lr: 1e-3, puzzle_emb_lr: 1e-2, seed: 7 };
        self.steps.start(&mut self.k, batch, &scalars)
    }

    /// The ends of `count` steps, as many under way as there may be.
    fn take(&mut self, count: u64) -> Result<Vec<StepEnd>, Error> {
        let (mut started, mut ends) = (0, Vec::new());
        while (ends.len() as u64) < count {
            if started < count && started - (ends.len() as u64) < S::MOST as u64 {
                started += 1;
                self.start(started)?;
            } else if let Some(end) = self.steps.finish(&mut self.k, true)? {
                ends.push(end);
            }
        }
        assert_eq!(self.steps.finish(&mut self.k, true)?, None, "nothing is left");
        Ok(ends)
    }

    fn parameters(&mut self) -> Result<Vec<u32>, Error> {
        let mut values = vec![0.0; self.plan.params.len];
        self.k.read(Region::Params, 0, &mut values)?;
        Ok(values.into_iter().map(f32::to_bits).collect())
    }
}

/// Steps under way have the metrics and leave the bits of steps that are taken one by one.
///
/// # Errors
/// The launcher fails.
///
/// # Panics
/// They do not.
pub fn steps_under_way_equal_steps_one_by_one<L: Queue>(
    make: impl Fn() -> Result<L, Error>,
) -> Result<(), Error> {
    let mut one_by_one = Run::<L, Immediate>::new(make()?, |_, _| Ok(()))?;
    let mut under_way = Run::<L, Recorded>::new(make()?, |_, _| Ok(()))?;
    let ends = one_by_one.take(7)?;
    assert!(ends.iter().all(|end| matches!(end, StepEnd::Done(rows) if rows.len() == BATCH)));
    assert_eq!(under_way.take(7)?, ends);
    assert_eq!(under_way.parameters()?, one_by_one.parameters()?);
    Ok(())
}

/// A value that is not finite ends the step and all that were started behind it, none of which changes a parameter;
/// then the arenas can be read.
///
/// # Errors
/// The launcher fails.
///
/// # Panics
/// It does not.
pub fn what_is_not_finite_changes_nothing<L: Queue>(
    make: impl Fn() -> Result<L, Error>,
) -> Result<(), Error> {
    let mut run = Run::<L, Recorded>::new(make()?, |k, plan| {
        k.write(Region::Params, plan.params.lm_head.offset, &[f32::NAN])
    })?;
    let before = run.parameters()?;
    for step in 1..=3 {
        run.start(step)?;
    }
    assert_eq!(run.steps.finish(&mut run.k, true)?, Some(StepEnd::NotFinite));
    assert_eq!(run.steps.finish(&mut run.k, true)?, None);
    assert_eq!(run.parameters()?, before);
    Ok(())
}
