//! Our own golden files: single kernels and pure functions, on each backend.

use hrm_core::arena::Param;
use hrm_core::backend::cpu::Cpu;
use hrm_core::backend::reference::{Reference, Rounding};
use hrm_core::config::Config;
use hrm_core::halting::{
    ActStep, HaltOnQ, HaltPolicy, HaltRule, PublishedQ, QLearning, bce_with_logits, sigmoid,
};
use hrm_core::init::truncated_normal;
use hrm_core::kernels::{
    AddRmsNorm, Argmax, Attention, AttentionVjp, Embed, EmbedVjp, Kernels, Linear, LinearVjpInput,
    LinearVjpWeight, LmLoss, Region, SwiGlu, TrainKernels, Write,
};
use hrm_core::loss::LossKind;
use hrm_core::optim::{AdamAtan2, CosineSchedule, SignSgd, StepScalars};
use hrm_core::plan::Plan;
use hrm_core::rope;
use hrm_core::rope::RopeTables;
use hrm_host::golden::workbench::Workbench;
use hrm_tests::fixture::{Fixture, Tensor, assert_close};

/// Rounding of f32 over the sums of these sizes.
const BOUND: f64 = 2e-6;

/// A case of `kernels.postcard`.
struct Case<'f> {
    fixture: &'f Fixture,
    name: String,
}

impl Case<'_> {
    fn get(&self, tensor: &str) -> &Tensor {
        self.fixture.get(&format!("{}.{tensor}", self.name))
    }
    fn has(&self, tensor: &str) -> bool {
        self.fixture.tensors.contains_key(&format!("{}.{tensor}", self.name))
    }
    fn f32s(&self, tensor: &str) -> Vec<f32> {
        self.get(tensor).f32s()
    }
    fn shape(&self, tensor: &str) -> [usize; 2] {
        match *self.get(tensor).shape {
            [.., rows, cols] => [self.get(tensor).values.len() / cols.max(1) / rows * rows, cols],
            [cols] => [1, cols],
            [] => [1, 1],
        }
    }
    fn number(&self, key: &str) -> f64 {
        let value = &self.fixture.meta["cases"][&self.name][key];
        value.as_f64().unwrap_or_else(|| panic!("{}: no number {key}", self.name))
    }
    fn close(&self, tensor: &str, found: &[f32]) {
        assert_close(&format!("{}.{tensor}", self.name), found, &self.get(tensor).values, BOUND);
    }
}

fn each(op: &str, check: impl Fn(&Case<'_>)) {
    let fixture = Fixture::open("kernels");
    for case in fixture.cases(op) {
        check(&Case { fixture: &fixture, name: format!("{op}.{case}") });
    }
}

fn bench() -> Workbench {
    let config = Config { seq_len: 1, hidden_size: 2, num_heads: 1, ..Config::SUDOKU_EXTREME };
    Workbench::new(&config, 1, f32::NAN).unwrap()
}

fn add_rms_norm<K: TrainKernels>(make: &dyn Fn(&Plan) -> Result<K, K::Error>) {
    each("add_rms_norm", |case| {
        let [rows, cols] = case.shape("x");
        let mut b = bench();
        let (x, t) = (b.act(rows, cols, &case.f32s("x")), b.act(rows, cols, &case.f32s("residual")));
        let (y, rstd) = (b.act(rows, cols, &[]), b.stat(rows, 1, &[]));
        let (dy, ds) = (b.act(rows, cols, &case.f32s("dy")), b.act(rows, cols, &[]));
        let mut k = b.build(make).unwrap();
        k.add_rms_norm(&AddRmsNorm { y, rstd, x, t, eps: case.number("eps") }).unwrap();
        k.add_rms_norm_vjp(ds, dy, y, rstd).unwrap();
        let after = b.contents(&mut k).unwrap();
        case.close("out", after.act(y));
        case.close("d_x", after.act(ds));
        case.close("d_residual", after.act(ds));
    });
}

fn swiglu<K: TrainKernels>(make: &dyn Fn(&Plan) -> Result<K, K::Error>) {
    each("swiglu", |case| {
        let [rows, cols] = case.shape("out");
        let mut b = bench();
        let gate_up = b.act(rows, 2 * cols, &case.f32s("gate_up"));
        let (a, da) = (b.act(rows, cols, &[]), b.act(rows, cols, &case.f32s("dy")));
        let mut k = b.build(make).unwrap();
        k.swiglu(&SwiGlu { a, gate_up }).unwrap();
        k.swiglu_vjp(&SwiGlu { a: da, gate_up }).unwrap();
        let after = b.contents(&mut k).unwrap();
        case.close("out", after.act(a));
        case.close("out", after.act(da));
        case.close("d_gate_up", after.act(gate_up));
    });
}

fn linear<K: TrainKernels>(make: &dyn Fn(&Plan) -> Result<K, K::Error>) {
    each("linear", |case| {
        let ([rows, inner], [_, outer]) = (case.shape("x"), case.shape("out"));
        let mut b = bench();
        let w = b.param(outer, inner, &case.f32s("weight"));
        let (x, y) = (b.act(rows, inner, &case.f32s("x")), b.act(rows, outer, &[]));
        let (dy, dx) = (b.act(rows, outer, &case.f32s("dy")), b.act(rows, inner, &[]));
        let mut k = b.build(make).unwrap();
        k.linear(&Linear { y, x, w }).unwrap();
        k.linear_vjp_input(&LinearVjpInput { dx, dy, w, write: Write::Replace }).unwrap();
        k.linear_vjp_weight(&LinearVjpWeight { w, dy, x, write: Write::Replace }).unwrap();
        let after = b.contents(&mut k).unwrap();
        if !case.has("bias") {
            case.close("out", after.act(y));
        }
        case.close("d_x", after.act(dx));
        case.close("d_weight", after.gradient(w));
    });
}

fn rope_attention<K: TrainKernels>(make: &dyn Fn(&Plan) -> Result<K, K::Error>) {
    each("rope_attention", |case| {
        let [batch, s, d] = *case.get("out").shape else { panic!("{}", case.name) };
        let (heads, dim) = (case.number("heads") as usize, case.number("head_dim") as usize);
        let rows = batch * s;
        let mut b = bench();
        let rotary = case.fixture.meta["cases"][&case.name]["rope"] == true;
        let tables: Vec<(f32, f32)> = (0..s)
            .flat_map(|s| (0..dim / 2).map(move |i| (s, i)))
            .map(|(s, i)| rope::cos_sin(case.number("theta"), dim, s, i))
            .collect();
        let cos: Vec<f32> = tables.iter().map(|t| t.0).collect();
        let sin: Vec<f32> = tables.iter().map(|t| t.1).collect();
        let rope = RopeTables { cos: b.param(s, dim / 2, &cos), sin: b.param(s, dim / 2, &sin) };
        let qkv = b.act(rows, 3 * d, &case.f32s("qkv"));
        let (o, lse) = (b.act(rows, d, &[]), b.stat(batch * heads, s, &[]));
        let (d_o, dqkv) = (b.act(rows, d, &case.f32s("dy")), b.act(rows, 3 * d, &[]));
        let mut config = Config {
            seq_len: s,
            hidden_size: d,
            num_heads: heads,
            puzzle_emb_ndim: 0,
            ..Config::SUDOKU_EXTREME
        };
        config.vocab_size = 2;
        let mut sized = Workbench::new(&config, batch, f32::NAN).unwrap();
        std::mem::swap(&mut sized, &mut b);
        // The bench with the operands, made for a model of these sizes, so that its scratch fits.
        let plan_sizes = b.plan();
        let forward = Attention { o, lse, qkv, rope: rotary.then_some(rope), heads };
        let sized_make = |plan: &Plan| {
            let mut plan = *plan;
            plan.config = config;
            plan.batch = batch;
            plan.acts_len = plan.acts_len.max(plan_sizes.acts_len);
            plan.stats_len = plan.stats_len.max(plan_sizes.stats_len);
            make(&plan)
        };
        let mut k = sized.build(&sized_make).unwrap();
        k.rope_attention(&forward).unwrap();
        k.rope_attention_vjp(&AttentionVjp { forward, d_o, dqkv }).unwrap();
        let mut read = |region, offset, len| {
            let mut values = vec![0.0; len];
            k.read(region, offset, &mut values).unwrap();
            values
        };
        case.close("out", &read(Region::Acts, o.offset, o.len()));
        case.close("d_qkv", &read(Region::Acts, dqkv.offset, dqkv.len()));
    });
}

fn embed<K: TrainKernels>(make: &dyn Fn(&Plan) -> Result<K, K::Error>) {
    each("embed", |case| {
        let [batch, s, d] = *case.get("out").shape else { panic!("{}", case.name) };
        let ([_, seq_len], [vocab, _]) = (case.shape("ids"), case.shape("table"));
        let ndim = case.number("puzzle_emb_ndim") as usize;
        let mut b = bench();
        let tokens = b.param(vocab, d, &case.f32s("table"));
        let rows = if ndim > 0 { case.f32s("rows") } else { vec![] };
        let puzzles = b.param(if ndim > 0 { batch } else { 0 }, ndim, &rows);
        let positions: Option<Param> = case.has("pos").then(|| b.param(s, d, &case.f32s("pos")));
        let inputs = b.ids(batch, seq_len, &case.get("ids").i32s());
        let puzzle_ids = b.ids(batch, 1, &(0..batch as i32).collect::<Vec<_>>());
        let (y, dy) = (b.act(batch * s, d, &[]), b.act(batch * s, d, &case.f32s("dy")));
        let dpuzzle = b.act(batch, ndim, &[]);
        let mut k = b.build(make).unwrap();
        k.embed(&Embed { y, inputs, puzzle_ids, tokens, puzzles, positions }).unwrap();
        k.embed_vjp(&EmbedVjp { dy, dpuzzle, inputs, tokens, positions }).unwrap();
        let after = b.contents(&mut k).unwrap();
        case.close("out", after.act(y));
        case.close("d_table", after.gradient(tokens));
        if ndim > 0 {
            case.close("d_rows", after.act(dpuzzle));
        }
        if let Some(positions) = positions {
            case.close("d_pos", after.gradient(positions));
        }
    });
}

fn lm_loss<K: TrainKernels>(make: &dyn Fn(&Plan) -> Result<K, K::Error>) {
    each("lm_loss", |case| {
        let [batch, seq_len, vocab] = *case.get("logits").shape else { panic!("{}", case.name) };
        let kind = if case.name.ends_with("softmax") { LossKind::Softmax } else { LossKind::Stablemax };
        let mut b = bench();
        let logits = b.act(batch * seq_len, vocab, &case.f32s("logits"));
        let dlogits = b.act(batch * seq_len, vocab, &[]);
        let labels = b.ids(batch, seq_len, &case.get("labels").i32s());
        let (valid, correct) = (b.ids(batch, 1, &[]), b.ids(batch, 1, &[]));
        let loss = b.stat(batch, 1, &[]);
        let mut k = b.build(make).unwrap();
        k.lm_loss(&LmLoss { logits, labels, dlogits, loss, valid, correct, kind, scale: 1.0 }).unwrap();
        let after = b.contents(&mut k).unwrap();
        case.close("loss", &[after.stat(loss).iter().sum()]);
        case.close("d_logits", after.act(dlogits));
    });
}

fn argmax<K: Kernels>(make: &dyn Fn(&Plan) -> Result<K, K::Error>) {
    each("argmax", |case| {
        let [rows, vocab] = case.shape("logits");
        let mut b = bench();
        let logits = b.act(rows, vocab, &case.f32s("logits"));
        let predictions = b.ids(rows, 1, &[]);
        let mut k = b.build(make).unwrap();
        k.argmax(&Argmax { predictions, logits }).unwrap();
        assert_eq!(b.contents(&mut k).unwrap().ids(predictions), case.get("out").i32s());
    });
}

fn optimizers<K: TrainKernels>(make: &dyn Fn(&Plan) -> Result<K, K::Error>) {
    each("adam_atan2", |case| {
        let len = case.get("p0").values.len();
        let lrs = case.fixture.meta["cases"][&case.name]["lrs"].clone();
        let adam = AdamAtan2 {
            beta1: case.number("beta1"),
            beta2: case.number("beta2"),
            weight_decay: case.number("weight_decay"),
        };
        // The update takes the first parameters of the arena, whatever they are.
        let mut b = bench();
        let _ = b.param(1, len, &[]);
        let mut k = make(&b.plan()).unwrap();
        k.write(Region::Params, 0, &case.f32s("p0")).unwrap();
        for (step, lr) in (1..).zip(lrs.as_array().unwrap()) {
            k.write(Region::Gradients, 0, &case.f32s(&format!("g{step}"))).unwrap();
            let lr = lr.as_f64().unwrap();
            k.begin_step(&StepScalars { step, lr, puzzle_emb_lr: 0.0, seed: 0 }).unwrap();
            k.adam_atan2(len, &adam).unwrap();
            for (name, region) in
                [("p", Region::Params), ("m", Region::FirstMoments), ("v", Region::SecondMoments)]
            {
                let mut values = vec![0.0; len];
                k.read(region, 0, &mut values).unwrap();
                case.close(&format!("{name}{step}"), &values);
            }
        }
    });
    each("sign_sgd", |case| {
        let ([rows, cols], ids) = (case.shape("table"), case.get("ids").i32s());
        let mut b = bench();
        let table = b.param(rows, cols, &case.f32s("table"));
        let gradients = b.act(ids.len(), cols, &case.f32s("grad"));
        let ids = b.ids(ids.len(), 1, &ids);
        let mut k = b.build(make).unwrap();
        let lr = case.number("lr");
        k.begin_step(&StepScalars { step: 1, lr: 0.0, puzzle_emb_lr: lr, seed: 0 }).unwrap();
        k.sign_sgd(table, ids, gradients, &SignSgd { weight_decay: case.number("weight_decay") }).unwrap();
        case.close("out", b.contents(&mut k).unwrap().param(table));
    });
}

macro_rules! kernel_tests {
    ($($kernel:ident),*) => {
        mod reference {
            use super::*;

            $(#[test]
            fn $kernel() {
                super::$kernel(&|plan| Reference::<f32, _>::owned(plan, Rounding::None));
            })*
        }
        mod cpu {
            use super::*;

            $(#[test]
            fn $kernel() {
                super::$kernel(&|plan| Cpu::new(plan));
            })*
        }
    };
}

kernel_tests!(add_rms_norm, swiglu, linear, rope_attention, embed, lm_loss, argmax, optimizers);

#[test]
fn q_losses_and_targets() {
    each("q_loss", |case| {
        let (q, target) = (case.f32s("q"), case.f32s("target"));
        let pairs = || q.iter().zip(&target).map(|(q, t)| (f64::from(*q), f64::from(*t)));
        case.close("loss", &[pairs().map(|(q, t)| bce_with_logits(q, t)).sum::<f64>() as f32]);
        let gradient: Vec<f32> = pairs().map(|(q, t)| (sigmoid(q) - t) as f32).collect();
        case.close("d_q", &gradient);
    });
    each("q_target", |case| {
        let max = case.number("halt_max_steps") as i32;
        let (halt, cont) = (case.f32s("next_q_halt"), case.f32s("next_q_continue"));
        let targets: Vec<f32> = (case.get("steps").i32s().iter())
            .zip(halt.iter().zip(&cont))
            .map(|(steps, (h, c))| PublishedQ.target(*steps >= max, [f64::from(*h), f64::from(*c)]) as f32)
            .collect();
        case.close("out", &targets);
    });
}

#[test]
fn halting() {
    each("halt_rule", |case| {
        let max_steps = case.number("halt_max_steps") as usize;
        let (q_halt, q_continue) = (case.f32s("q_halt"), case.f32s("q_continue"));
        let (steps, least) = (case.get("steps").i32s(), case.get("min_steps").i32s());
        let halted: Vec<i32> = (0..steps.len())
            .map(|row| {
                let step = ActStep {
                    row,
                    step: steps[row] as usize,
                    q_halt: q_halt[row],
                    q_continue: q_continue[row],
                };
                i32::from(
                    HaltOnQ { max_steps, rule: HaltRule::Larger }.halts(&step) && steps[row] >= least[row],
                )
            })
            .collect();
        assert_eq!(halted, case.get("halted").i32s());
    });
}

#[test]
fn schedules_and_draws() {
    each("schedule", |case| {
        let schedule = CosineSchedule {
            warmup_steps: case.number("warmup") as u64,
            hold_steps: 0,
            total_steps: case.number("total") as u64,
            min_ratio: case.number("min_ratio"),
        };
        let lrs: Vec<f32> = (case.get("step").i32s().iter())
            .map(|step| schedule.at(*step as u64, case.number("base")) as f32)
            .collect();
        case.close("lr", &lrs);
    });
    each("trunc_normal", |case| {
        // The file's uniforms span the cut normal's share of (-1, 1).
        let within = within_two();
        let draws: Vec<f32> = (case.get("u").values.iter())
            .map(|u| truncated_normal((u / within + 1.0) / 2.0, case.number("std")) as f32)
            .collect();
        case.close("out", &draws);
    });
}

/// `erf(2 / sqrt 2)`.
fn within_two() -> f64 {
    0.954_499_736_103_641_6
}
