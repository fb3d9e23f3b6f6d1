//! Our own golden files: three tiny models, every tensor of them, on each backend.

use hrm_core::backend::cpu::Cpu;
use hrm_core::backend::reference::{Reference, Rounding};
use hrm_core::config::Config;
use hrm_core::init;
use hrm_core::kernels::{Region, TrainKernels};
use hrm_core::loss::LossKind;
use hrm_core::model;
use hrm_core::model::train_step::{TrainConfig, train_step};
use hrm_core::optim::{AdamAtan2, SignSgd, StepScalars};
use hrm_core::plan::{Mode, Plan};
use hrm_core::tensors::Tensor as Stored;
use hrm_host::row_metrics::{MetricSums, trained_rows};
use hrm_tests::fixture::{Fixture, assert_close};

/// What the golden numbers' README asks of f32.
const STATE: f64 = 1e-5;
const GRADIENT: f64 = 2e-5;
const PARAMETER: f64 = 2e-5;

/// A backend with a fixture's model in it.
struct Session<'f, K> {
    k: K,
    plan: Plan,
    fixture: &'f Fixture,
}

impl<'f, K: TrainKernels> Session<'f, K> {
    fn new(fixture: &'f Fixture, make: impl Fn(&Plan) -> K) -> Self {
        let config: Config = serde_json::from_value(fixture.meta["config"].clone()).unwrap();
        let batch = fixture.meta["config"]["batch_size"].as_u64().unwrap() as usize;
        let plan = Plan::new(&config, batch, Mode::Training).unwrap();
        let mut k = make(&plan);
        for tensor in plan.params.tensors() {
            let values = fixture.get(&name(&tensor)).f32s();
            assert_eq!(values.len(), tensor.span.len());
            k.write(Region::Params, tensor.span.offset, &values).unwrap();
        }
        init::write_constants(&mut k, &plan).unwrap();
        init::reset_carry(&mut k, &plan).unwrap();
        Self { k, plan, fixture }
    }

    fn read(&mut self, region: Region, offset: usize, len: usize) -> Vec<f32> {
        let mut values = vec![0.0; len];
        self.k.read(region, offset, &mut values).unwrap();
        values
    }

    fn ids(&mut self, offset: usize, len: usize) -> Vec<i32> {
        let mut values = vec![0; len];
        self.k.read_ids(offset, &mut values).unwrap();
        values
    }

    fn write_batch(&mut self, prefix: &str) {
        let rows = self.plan.incoming;
        for (field, span) in
            [("inputs", rows.inputs), ("labels", rows.labels), ("puzzle_identifiers", rows.puzzle_ids)]
        {
            let values = self.fixture.get(&format!("{prefix}batch.{field}")).i32s();
            self.k.write_ids(span.offset, &values).unwrap();
        }
    }

    fn close(&self, name: &str, found: &[f32], bound: f64) {
        let what = format!("{} {name}", self.fixture.name);
        assert_close(&what, found, &self.fixture.get(name).values, bound);
    }

    /// States, logits and Q values after a step.
    fn check_step(&mut self, prefix: &str) {
        let plan = self.plan;
        for (field, span) in [("z_H", plan.carry.z_h), ("z_L", plan.carry.z_l)] {
            let found = self.read(Region::Acts, span.offset, span.len());
            self.close(&format!("{prefix}carry.{field}"), &found, STATE);
        }
        let (vocab, positions) = (plan.config.vocab_size, plan.config.positions());
        let logits = self.read(Region::Acts, plan.logits.offset, plan.logits.len());
        let first = plan.config.prefix_len() * vocab;
        let cells: Vec<f32> =
            logits.chunks(positions * vocab).flat_map(|row| row[first..].iter().copied()).collect();
        self.close(&format!("{prefix}out.logits"), &cells, STATE);
        let q = self.read(Region::Stats, plan.q.offset, plan.q.len());
        for (i, field) in ["q_halt_logits", "q_continue_logits"].into_iter().enumerate() {
            let found: Vec<f32> = q.iter().skip(i).step_by(2).copied().collect();
            self.close(&format!("{prefix}out.{field}"), &found, STATE);
        }
    }

    /// The puzzles in the rows, which must be equal.
    fn check_rows(&mut self, prefix: &str) {
        let rows = self.plan.current;
        for (field, span) in
            [("inputs", rows.inputs), ("labels", rows.labels), ("puzzle_identifiers", rows.puzzle_ids)]
        {
            let name = format!("{prefix}carry.current_data.{field}");
            assert_eq!(self.ids(span.offset, span.len()), self.fixture.get(&name).i32s(), "{name}");
        }
    }
}

fn name(tensor: &Stored) -> String {
    format!("model.inner.{}", tensor.name)
}

fn evaluation<K: TrainKernels>(fixture: &Fixture, make: impl Fn(&Plan) -> K) {
    let mut session = Session::new(fixture, make);
    let plan = session.plan;
    session.write_batch("eval.");
    for step in 1..=3 {
        let prefix = format!("eval.s{step}.");
        model::act_step(&mut session.k, &plan).unwrap();
        session.check_step(&prefix);
        session.check_rows(&prefix);
        // The published evaluation: nobody halts before the maximum.
        let steps = fixture.get(&format!("{prefix}carry.steps")).i32s();
        let halted = fixture.get(&format!("{prefix}carry.halted")).i32s();
        let expected: Vec<i32> =
            steps.iter().map(|s| i32::from(*s >= plan.config.halt_max_steps as i32)).collect();
        assert_eq!(halted, expected);
        session.k.write_ids(plan.halted.offset, &halted).unwrap();
    }
}

fn training<K: TrainKernels>(fixture: &Fixture, make: impl Fn(&Plan) -> K) {
    let mut session = Session::new(fixture, make);
    let plan = session.plan;
    let backward = plan.backward.unwrap();
    let hyper = |key: &str| fixture.meta["hyper"][key].as_f64().unwrap();
    let train = TrainConfig {
        loss: if fixture.meta["loss"] == "softmax" { LossKind::Softmax } else { LossKind::Stablemax },
        adam: AdamAtan2 { beta1: hyper("beta1"), beta2: hyper("beta2"), weight_decay: hyper("weight_decay") },
        puzzle_emb: SignSgd { weight_decay: hyper("puzzle_emb_weight_decay") },
        average: None,
        global_batch_size: hyper("global_batch_size") as usize,
    };
    for step in 1..=3 {
        let prefix = format!("train.s{step}.");
        session.write_batch(&prefix);
        let scalars = StepScalars { step, lr: hyper("lr"), puzzle_emb_lr: hyper("puzzle_emb_lr"), seed: 0 };
        train_step(&mut session.k, &plan, &backward, &train, &scalars).unwrap();
        session.check_step(&prefix);
        session.check_rows(&prefix);
        for (field, span) in [("steps", plan.steps), ("halted", plan.halted)] {
            let name = format!("{prefix}carry.{field}");
            assert_eq!(session.ids(span.offset, span.len()), fixture.get(&name).i32s(), "{name}");
        }
        let mut sums = MetricSums::default();
        sums.extend(trained_rows(&mut session.k, &plan, &backward).unwrap());
        session.close(&format!("{prefix}loss"), &[sums.loss() as f32], STATE);
        for (metric, value) in sums.named() {
            let name = format!("{prefix}metric.{metric}");
            if fixture.tensors.contains_key(&name) {
                session.close(&name, &[value as f32], STATE);
            }
        }
        let mut seen = 0;
        for tensor in plan.params.tensors() {
            for (part, region, bound) in [
                ("grad", Region::Gradients, GRADIENT),
                ("param", Region::Params, PARAMETER),
                ("exp_avg", Region::FirstMoments, GRADIENT),
                ("exp_avg_sq", Region::SecondMoments, GRADIENT),
            ] {
                let name = format!("{prefix}{part}.{}", name(&tensor));
                if fixture.tensors.contains_key(&name) {
                    let found = session.read(region, tensor.span.offset, tensor.span.len());
                    session.close(&name, &found, bound);
                    seen += 1;
                }
            }
        }
        assert!(seen >= 10, "{prefix}: only {seen} tensors");
        if !plan.params.puzzle_emb.is_empty() {
            let span = backward.dpuzzle;
            let found = session.read(Region::Acts, span.offset, span.len());
            session.close(&format!("{prefix}grad.local_weights"), &found, GRADIENT);
        }
    }
}

macro_rules! model_tests {
    ($($fixture:ident),*) => {$(
        mod $fixture {
            use super::*;

            fn fixture() -> Fixture {
                Fixture::open(stringify!($fixture))
            }

            #[test]
            fn reference() {
                let make = |plan: &Plan| Reference::<f32, _>::owned(plan, Rounding::None).unwrap();
                evaluation(&fixture(), make);
                training(&fixture(), make);
            }

            #[test]
            fn reference_f64() {
                let make = |plan: &Plan| Reference::<f64, _>::owned(plan, Rounding::None).unwrap();
                evaluation(&fixture(), make);
                training(&fixture(), make);
            }

            #[test]
            fn cpu() {
                let make = |plan: &Plan| Cpu::new(plan).unwrap();
                evaluation(&fixture(), make);
                training(&fixture(), make);
            }
        }
    )*};
}

model_tests!(tiny_rope, tiny_learned, tiny_no_puzzle);
