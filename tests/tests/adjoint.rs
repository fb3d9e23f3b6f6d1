//! Every vjp against its forward kernel, and the gradients of the whole model against its loss: by finite
//! differences in f64 and the adjoint identity `<J v, u> = <v, J^T u>`.

use hrm_core::backend::reference::{Owned, Reference, Rounding, Storage};
use hrm_core::config::{Config, GradientSpan, PosEncodings, Stacks};
use hrm_core::init::{initialise, reset_carry};
use hrm_core::kernels::{Keep, LmLoss, Memory, QLoss, TrainKernels, Write};
use hrm_core::loss::LossKind;
use hrm_core::model;
use hrm_core::model::train_step::{TrainConfig, gradients};
use hrm_core::optim::{AdamAtan2, SignSgd};
use hrm_core::plan::{Application, BackwardPlan, Mode, Plan};
use hrm_core::rng::{Rng, Stream};
use hrm_core::tensors::{Tensor, TensorName};
use hrm_tests::case::{Case, Cotangent, Kernel, Shape};
use hrm_tests::cycles::apply_next;
use hrm_tests::op::{Op, Place};

type F64 = Reference<f64, Owned<f64>>;

/// Half the distance of a central difference.
const H: f64 = 1e-5;

fn at(k: &mut F64, place: Place) -> &mut [f64] {
    let store = k.store_mut();
    match place {
        Place::Act(span) => &mut store.forward().1[span.range()],
        Place::Stat(span) => &mut store.forward().2[span.range()],
        Place::Param(span) => &mut store.params_mut().unwrap()[span.range()],
        Place::Gradient(span) => {
            let [gradients, ..] = store.training().unwrap();
            &mut gradients[span.range()]
        }
        other => panic!("{other:?} is not differentiated"),
    }
}

fn apply(k: &mut F64, ops: &[Op]) {
    ops.iter().for_each(|op| op.apply(k).unwrap());
}

fn random(rng: &mut Rng, len: usize) -> Vec<f64> {
    (0..len).map(|_| 2.0 * rng.uniform() - 1.0).collect()
}

/// The dot product, and the sum of its terms' magnitudes.
fn dot(a: &[f64], b: &[f64]) -> (f64, f64) {
    let terms = a.iter().zip(b).map(|(a, b)| a * b);
    terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()))
}

fn agree(what: &str, a: (f64, f64), b: (f64, f64)) {
    let bound = 1e-6 * a.1.max(b.1) + 1e-9;
    assert!((a.0 - b.0).abs() <= bound, "{what}: finite differences {}, vjp {}, bound {bound:e}", a.0, b.0);
}

/// One kernel at one shape: for each operand, a random direction and single elements.
fn adjoint(kernel: Kernel, shape: Shape, batch: u32) {
    let rows: Vec<u32> = (0..batch).collect();
    let case = Case::new(kernel, shape, &rows, |x| x);
    let build =
        || -> F64 { case.bench.build(&|plan: &Plan| Reference::owned(plan, Rounding::None)).unwrap() };
    let adjoint = case.adjoint.as_ref().unwrap();
    let mut rng = Rng::new(shape.seed, Stream::Puzzle, u32::MAX);

    let mut k = build();
    apply(&mut k, &adjoint.forward);
    let mut cotangents = Vec::new();
    for &(output, cotangent) in &adjoint.outputs {
        let len = at(&mut k, output).len();
        cotangents.push(match cotangent {
            Cotangent::Fixed(value) => vec![value; len],
            Cotangent::At(_) => random(&mut rng, len),
        });
    }
    adjoint.zeroed.iter().for_each(|place| at(&mut k, *place).fill(0.0));
    for ((_, cotangent), u) in adjoint.outputs.iter().zip(&cotangents) {
        if let Cotangent::At(place) = cotangent {
            at(&mut k, *place).copy_from_slice(u);
        }
    }
    apply(&mut k, &adjoint.backward);

    for &(input, cotangent) in &adjoint.inputs {
        let transposed = at(&mut k, cotangent).to_vec();
        let len = transposed.len();
        let unit = |i: usize| (0..len).map(|j| f64::from(u8::from(i == j))).collect::<Vec<_>>();
        let mut directions = vec![random(&mut rng, len)];
        directions.extend((0..3).map(|_| unit((rng.uniform() * len as f64) as usize)));
        for v in directions {
            let moved = |by: f64| -> Vec<Vec<f64>> {
                let mut k = build();
                at(&mut k, input).iter_mut().zip(&v).for_each(|(x, v)| *x += by * v);
                apply(&mut k, &adjoint.forward);
                adjoint.outputs.iter().map(|(output, _)| at(&mut k, *output).to_vec()).collect()
            };
            let mut forward = (0.0, 0.0);
            for ((up, down), u) in moved(H).iter().zip(&moved(-H)).zip(&cotangents) {
                let jv: Vec<f64> = up.iter().zip(down).map(|(a, b)| (a - b) / (2.0 * H)).collect();
                let (sum, size) = dot(&jv, u);
                forward = (forward.0 + sum, forward.1 + size);
            }
            agree(&format!("{kernel:?} {shape:?} by {input:?}"), forward, dot(&transposed, &v));
        }
    }
}

fn all_shapes(kernel: Kernel) {
    let shape = Shape { seq: 7, ndim: 9, heads: 1, head_dim: 6, wide: 7, seed: 3 };
    adjoint(kernel, shape, 3);
    adjoint(kernel, Shape { seq: 1, ndim: 0, heads: 3, head_dim: 2, wide: 1, seed: 4 }, 1);
    adjoint(kernel, Shape { seq: 82, heads: 2, head_dim: 4, wide: 11, ..shape }, 2);
}

macro_rules! adjoint_tests {
    ($($name:ident: $kernel:expr,)*) => {
        $(#[test] fn $name() { all_shapes($kernel); })*
    };
}

adjoint_tests! {
    embed: Kernel::EmbedVjp { learned: false },
    embed_learned: Kernel::EmbedVjp { learned: true },
    linear_by_input: Kernel::LinearVjpInput(Write::Replace),
    linear_by_input_accumulated: Kernel::LinearVjpInput(Write::Accumulate),
    linear_by_weight: Kernel::LinearVjpWeight(Write::Replace),
    linear_by_weight_accumulated: Kernel::LinearVjpWeight(Write::Accumulate),
    attention: Kernel::AttentionVjp { rope: false },
    rope_attention: Kernel::AttentionVjp { rope: true },
    swiglu: Kernel::SwiGluVjp,
    linear_swiglu: Kernel::LinearSwiGluVjp,
    add_rms_norm: Kernel::AddRmsNormVjp,
    q_head: Kernel::QHeadVjp,
    lm_loss_stablemax: Kernel::LmLoss(LossKind::Stablemax),
    lm_loss_softmax: Kernel::LmLoss(LossKind::Softmax),
    q_loss: Kernel::QLoss { next: true },
    q_loss_of_the_only_step: Kernel::QLoss { next: false },
}

/// The accumulating vjp adds to what is there.
#[test]
fn accumulation_adds() {
    let shape = Shape { seq: 7, ndim: 0, heads: 1, head_dim: 6, wide: 7, seed: 3 };
    let case = Case::new(Kernel::LinearVjpInput(Write::Accumulate), shape, &[0, 1], |x| x);
    let place = case.outputs[0];
    let run = |zero: bool| {
        let mut k: F64 = case.bench.build(&|plan: &Plan| Reference::owned(plan, Rounding::None)).unwrap();
        let before = at(&mut k, place).to_vec();
        if zero {
            at(&mut k, place).fill(0.0);
        }
        apply(&mut k, &case.ops);
        (before, at(&mut k, place).to_vec())
    };
    let ((before, sum), (_, alone)) = (run(false), run(true));
    for ((before, alone), sum) in before.iter().zip(&alone).zip(&sum) {
        assert!((before + alone - sum).abs() < 1e-12);
    }
}

/// SwiGLU's vjp leaves the activation, recomputed, where its cotangent was.
#[test]
fn swiglu_is_recomputed() {
    let shape = Shape { seq: 7, ndim: 0, heads: 1, head_dim: 6, wide: 7, seed: 3 };
    let case = Case::new(Kernel::SwiGluVjp, shape, &[0, 1], |x| x);
    let adjoint = case.adjoint.unwrap();
    let result = |ops: &[Op]| {
        let mut k: F64 = case.bench.build(&|plan: &Plan| Reference::owned(plan, Rounding::None)).unwrap();
        apply(&mut k, ops);
        at(&mut k, adjoint.outputs[0].0).to_vec()
    };
    for (a, b) in result(&adjoint.forward).iter().zip(&result(&adjoint.backward)) {
        assert!((a - b).abs() < 1e-14);
    }
}

/// A model in f64 with a batch in it.
struct Model {
    k: F64,
    plan: Plan,
    b: BackwardPlan,
    train: TrainConfig,
}

const CONFIG: Config = Config {
    seq_len: 5,
    vocab_size: 7,
    num_puzzle_identifiers: 4,
    hidden_size: 8,
    num_heads: 2,
    h_layers: 2,
    l_layers: 2,
    puzzle_emb_ndim: 12,
    halt_max_steps: 4,
    halt_exploration_prob: 0.0,
    ..Config::SUDOKU_EXTREME
};

impl Model {
    fn new(config: &Config, loss: LossKind) -> Self {
        Self::with(Plan::new(config, 3, Mode::Training).unwrap(), loss)
    }

    fn with(plan: Plan, loss: LossKind) -> Self {
        let mut k = F64::owned(&plan, Rounding::None).unwrap();
        initialise(&mut k, &plan, 5).unwrap();
        reset_carry(&mut k, &plan).unwrap();
        let mut rng = Rng::new(8, Stream::Puzzle, 0);
        for span in [plan.params.q_weight, plan.params.q_bias, plan.params.puzzle_emb] {
            at(&mut k, Place::Param(span)).copy_from_slice(&random(&mut rng, span.len()));
        }
        let mut ids = |offset, values: &[i32]| k.write_ids(offset, values).unwrap();
        ids(plan.incoming.inputs.offset, &[1, 2, 3, 4, 5, 6, 0, 1, 1, 2, 3, 3, 3, 0, 6]);
        // The second row has one label, the third none.
        let none = -100;
        let labels = [2, 1, none, 4, 6, none, none, 3, none, none, none, none, none, none, none];
        ids(plan.incoming.labels.offset, &labels);
        ids(plan.incoming.puzzle_ids.offset, &[2, 0, 2]);
        let adam = AdamAtan2 { beta1: 0.9, beta2: 0.95, weight_decay: 0.1 };
        let train = TrainConfig {
            loss,
            adam,
            puzzle_emb: SignSgd { weight_decay: 0.1 },
            average: None,
            global_batch_size: 5,
        };
        Self { k, plan, b: plan.backward.unwrap(), train }
    }

    /// The states before the first application with a gradient, as the first step reaches them.
    fn before_the_gradient(config: &Config, loss: LossKind) -> [Vec<f64>; 2] {
        let Self { mut k, plan, .. } = Self::new(config, loss);
        model::refill(&mut k, &plan).unwrap();
        model::embed(&mut k, &plan).unwrap();
        apply_all(&mut k, &plan, |app| app.kept.is_none());
        [plan.carry.z_h, plan.carry.z_l].map(|z| at(&mut k, Place::Act(z)).to_vec())
    }

    /// The loss of the applications with a gradient from the states `from`, the Q target held.
    fn loss(&mut self, from: &[Vec<f64>; 2]) -> f64 {
        let Self { k, plan, b, train } = self;
        let scale = 1.0 / train.global_batch_size as f64;
        at(k, Place::Act(plan.carry.z_h)).copy_from_slice(&from[0]);
        at(k, Place::Act(plan.carry.z_l)).copy_from_slice(&from[1]);
        model::embed(k, plan).unwrap();
        apply_all(k, plan, |app| app.kept.is_some());
        model::lm_head(k, plan).unwrap();
        model::q_head(k, plan, plan.carry.z_h, plan.q).unwrap();
        k.lm_loss(&LmLoss {
            logits: plan.logits,
            labels: plan.current.labels,
            dlogits: b.dlogits,
            loss: b.lm_loss,
            valid: b.valid,
            correct: b.correct,
            kind: train.loss,
            scale,
        })
        .unwrap();
        k.q_loss(&QLoss {
            q: plan.q,
            next_q: (plan.config.halt_max_steps > 1 && !plan.config.no_act_continue).then_some(b.next_q),
            dq: b.dq,
            losses: b.q_losses,
            steps: plan.steps,
            valid: b.valid,
            correct: b.correct,
            max_steps: plan.config.halt_max_steps,
            scale,
        })
        .unwrap();
        let lm: f64 = at(k, Place::Stat(b.lm_loss)).iter().sum();
        let q: f64 = at(k, Place::Stat(b.q_losses)).iter().sum();
        scale * (lm + 0.5 * q)
    }
}

/// The applications that are `wanted`, in place, each sum by itself.
fn apply_all(k: &mut F64, plan: &Plan, wanted: fn(&Application) -> bool) {
    for app in plan.applications().filter(wanted) {
        let (z, mut one) = (plan.carry, std::iter::once(app));
        apply_next(k, plan, &mut one, app.state, z, z, Keep::Nothing).unwrap();
    }
}

/// The gradient of every tensor along a random direction, against the loss of the applications that have one with the states
/// before them held.
fn whole_model(config: &Config, loss: LossKind) {
    let from = Model::before_the_gradient(config, loss);
    let mut model = Model::new(config, loss);
    gradients(&mut model.k, &model.plan, &model.b, &model.train).unwrap();
    let plan = model.plan;
    let mut ids = vec![0; plan.batch];
    model.k.read_ids(plan.current.puzzle_ids.offset, &mut ids).unwrap();
    let ndim = plan.params.puzzle_emb.cols;
    let rows = at(&mut model.k, Place::Act(model.b.dpuzzle)).to_vec();
    let mut rng = Rng::new(9, Stream::Puzzle, 0);
    let mut tensors = 0;
    for tensor in plan.params.tensors() {
        let gradient = match tensor.name {
            TensorName::HInit | TensorName::LInit => continue,
            TensorName::PuzzleEmb => {
                let mut gradient = vec![0.0; tensor.span.len()];
                for (id, row) in ids.iter().zip(rows.chunks_exact(ndim)) {
                    gradient[*id as usize * ndim..].iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
                }
                gradient
            }
            _ => at(&mut model.k, Place::Gradient(tensor.span)).to_vec(),
        };
        tensors += 1;
        let v = random(&mut rng, tensor.span.len());
        let here = at(&mut model.k, Place::Param(tensor.span)).to_vec();
        let mut loss_at = |by: f64| {
            let moved = at(&mut model.k, Place::Param(tensor.span)).iter_mut().zip(here.iter().zip(&v));
            moved.for_each(|(x, (here, v))| *x = here + by * v);
            model.loss(&from)
        };
        let slope = (loss_at(H) - loss_at(-H)) / (2.0 * H);
        loss_at(0.0);
        let (sum, size) = dot(&gradient, &v);
        assert!(sum != 0.0, "{}: no gradient", tensor.name);
        agree(&tensor.name.to_string(), (slope, size), (sum, size));
    }
    let layers: usize = plan.params.stacks().map(|stack| stack.layers).sum();
    assert!(tensors >= 4 + 4 * layers);
}

#[test]
fn one_cycle_without_a_target() {
    for loss in [LossKind::Stablemax, LossKind::Softmax] {
        whole_model(&Config { h_cycles: 1, l_cycles: 1, halt_max_steps: 1, ..CONFIG }, loss);
    }
}

#[test]
fn one_step_gradient_over_cycles() {
    for (h_cycles, l_cycles) in [(2, 2), (1, 3), (3, 1)] {
        whole_model(&Config { h_cycles, l_cycles, ..CONFIG }, LossKind::Stablemax);
    }
}

#[test]
fn learned_positions_and_no_prefix() {
    let learned = Config { pos_encodings: PosEncodings::Learned, ..CONFIG };
    whole_model(&learned, LossKind::Softmax);
    whole_model(&Config { puzzle_emb_ndim: 0, ..learned }, LossKind::Stablemax);
    whole_model(&Config { puzzle_emb_ndim: 0, h_layers: 1, l_layers: 3, ..CONFIG }, LossKind::Softmax);
}

#[test]
fn rows_and_columns_of_a_grid() {
    let grid = Config { seq_len: 4, num_heads: 1, pos_encodings: PosEncodings::Rope2d, ..CONFIG };
    whole_model(&grid, LossKind::Stablemax);
}

/// Through any number of applications, of two stacks or of one, up to the whole pass.
#[test]
fn gradients_through_more_than_a_cycle() {
    for (h_cycles, l_cycles) in [(2, 2), (3, 1), (1, 4)] {
        for n in 3..=h_cycles * (l_cycles + 1) {
            let config = Config { h_cycles, l_cycles, gradient: GradientSpan::Applications(n), ..CONFIG };
            whole_model(&config, LossKind::Stablemax);
            whole_model(&Config { stacks: Stacks::Shared, l_layers: 1, ..config }, LossKind::Softmax);
        }
    }
}

#[test]
fn the_tiny_recursive_model() {
    let trm = Config {
        stacks: Stacks::Shared,
        gradient: GradientSpan::Cycle,
        h_layers: 0,
        l_cycles: 3,
        puzzle_emb_len: 3,
        no_act_continue: true,
        ..CONFIG
    };
    let tokens = Config { mlp_t: true, pos_encodings: PosEncodings::None, ..trm };
    for config in [trm, tokens, Config { no_act_continue: false, ..tokens }] {
        whole_model(&config, LossKind::Stablemax);
    }
    // A SwiGLU over positions in HRM.
    whole_model(&Config { mlp_t: true, ..CONFIG }, LossKind::Softmax);
}

/// Activations that are computed again have the bits of those that are kept, and so have the gradients.
#[test]
fn recomputed_gradients_have_the_same_bits() {
    let spans = [GradientSpan::Applications(2), GradientSpan::Cycle, GradientSpan::Applications(5)];
    for (gradient, mlp_t) in spans.into_iter().flat_map(|gradient| [(gradient, false), (gradient, true)]) {
        for stacks in [Stacks::Separate, Stacks::Shared] {
            let config = Config { gradient, mlp_t, stacks, h_layers: 1, ..CONFIG };
            let bits = |plan: Plan| {
                let mut model = Model::with(plan, LossKind::Stablemax);
                gradients(&mut model.k, &plan, &model.b, &model.train).unwrap();
                let mut all = at(&mut model.k, Place::Act(model.b.dpuzzle)).to_vec();
                for tensor in plan.params.tensors().filter(Tensor::is_trained) {
                    all.extend_from_slice(at(&mut model.k, Place::Gradient(tensor.span)));
                }
                all.into_iter().map(f64::to_bits).collect::<Vec<_>>()
            };
            let kept = Plan::new(&config, 3, Mode::Training).unwrap();
            let again = Plan::recomputing(&config, 3).unwrap();
            assert!(again.acts_len < kept.acts_len);
            assert!(bits(kept) == bits(again), "{config:?}");
        }
    }
}
