//! The suite: what every kernel of every backend must do.
//!
//! * accuracy: at most twice the error of the plain loops of the reference in the same precision, both against
//!   f64 on the same operands, plus a few units in the last place of the result's magnitude;
//! * writing: every element of a result is written, and nothing else is touched;
//! * determinism: the same call gives the same bits;
//! * independence: a row gives the same bits alone and in a batch.

use std::fmt;

use hrm_core::backend::reference::{Reference, Rounding};
use hrm_core::kernels::{Keep, TrainKernels, Write};
use hrm_core::plan::Plan;
use hrm_host::golden::workbench::Contents;
use proptest::prelude::{ProptestConfig, Strategy, prop};
use proptest::test_runner::{TestError, TestRunner};

use crate::case::{Case, Kernel, Shape, UNWRITTEN};
use crate::op::Place;

/// A backend under test.
pub trait Subject {
    /// The backend.
    type Backend: TrainKernels;
    /// Its precision: where the plain implementation that it is compared with rounds.
    const ROUNDING: Rounding;

    /// Makes one.
    ///
    /// # Errors
    /// What the backend says.
    fn backend(plan: &Plan) -> Result<Self::Backend, String>;
}

/// Units in the last place that are granted beyond twice the plain implementation's error.
const ULPS: f64 = 4.0;

/// One rounding of a number near 1.
fn unit(rounding: Rounding) -> f64 {
    match rounding {
        Rounding::None => f64::from(f32::EPSILON),
        Rounding::Bf16 => 2.0f64.powi(-8),
    }
}

fn round(rounding: Rounding) -> fn(f32) -> f32 {
    match rounding {
        Rounding::None => |x| x,
        Rounding::Bf16 => |x| half::bf16::from_f32(x).to_f32(),
    }
}

/// The elements of a place, integers widened.
#[must_use]
pub fn values(contents: &Contents, place: Place) -> Vec<f64> {
    let wide = |values: &[f32]| values.iter().map(|x| f64::from(*x)).collect();
    match place {
        Place::Act(span) => wide(contents.act(span)),
        Place::Stat(span) => wide(contents.stat(span)),
        Place::Param(span) => wide(contents.param(span)),
        Place::Gradient(span) => wide(contents.gradient(span)),
        Place::FirstMoment(span) => wide(&contents.first[span.range()]),
        Place::SecondMoment(span) => wide(&contents.second[span.range()]),
        Place::Ids(span) => contents.ids(span).iter().map(|x| f64::from(*x)).collect(),
    }
}

/// Sets every element of a place to 0.
fn blank(contents: &mut Contents, place: Place) {
    match place {
        Place::Act(span) => contents.acts[span.range()].fill(0.0),
        Place::Stat(span) => contents.stats[span.range()].fill(0.0),
        Place::Param(span) => contents.params[span.range()].fill(0.0),
        Place::Gradient(span) => contents.gradients[span.range()].fill(0.0),
        Place::FirstMoment(span) => contents.first[span.range()].fill(0.0),
        Place::SecondMoment(span) => contents.second[span.range()].fill(0.0),
        Place::Ids(span) => contents.ids[span.range()].fill(0),
    }
}

/// All bits of all arenas.
fn bits(contents: &Contents) -> Vec<u32> {
    let Contents { params, gradients, first, second, acts, stats, ids } = contents;
    let floats = [params, gradients, first, second, acts, stats].into_iter().flatten().map(|x| x.to_bits());
    floats.chain(ids.iter().map(|id| *id as u32)).collect()
}

/// What the arenas hold before and after a case.
struct Run {
    before: Contents,
    after: Contents,
}

fn run<K: TrainKernels, E: fmt::Display>(
    case: &Case,
    make: &dyn Fn(&Plan) -> Result<K, E>,
) -> Result<Run, String> {
    let mut k = case.bench.build(make)?;
    let before = case.bench.contents(&mut k)?;
    for op in &case.ops {
        op.apply(&mut k).map_err(|error| format!("{op:?}: {error}"))?;
    }
    Ok(Run { before, after: case.bench.contents(&mut k)? })
}

/// Checks one kernel at one shape.
///
/// # Errors
/// What it did wrong.
pub fn check<S: Subject>(kernel: Kernel, shape: Shape, batch: u32) -> Result<(), String> {
    let rows: Vec<u32> = (0..batch).collect();
    let case = Case::new(kernel, shape, &rows, round(S::ROUNDING));
    let ours = run(&case, &S::backend)?;
    accuracy::<S>(&case, &ours)?;
    writing(&case, &ours)?;
    let again = run(&case, &S::backend)?;
    if bits(&ours.after) != bits(&again.after) {
        return Err("the same call gives other bits".into());
    }
    if kernel.is_by_row() {
        independence::<S>(kernel, shape, &case, &ours)?;
    }
    Ok(())
}

fn accuracy<S: Subject>(case: &Case, ours: &Run) -> Result<(), String> {
    let exact = run(case, &|plan: &Plan| Reference::<f64, _>::owned(plan, Rounding::None))?;
    let plain = run(case, &|plan: &Plan| Reference::<f32, _>::owned(plan, S::ROUNDING))?;
    for &place in &case.outputs {
        let [ours, plain, exact] = [&ours.after, &plain.after, &exact.after].map(|run| values(run, place));
        let worst = |values: &[f64]| {
            let errors = values.iter().zip(&exact).map(|(a, b)| (a - b).abs());
            errors.fold(0.0f64, |worst, e| if e.is_nan() { f64::INFINITY } else { worst.max(e) })
        };
        let magnitude = exact.iter().fold(case.magnitude, |largest, x| largest.max(x.abs()));
        let (error, plain) = (worst(&ours), worst(&plain));
        let bound = 2.0 * plain + ULPS * unit(S::ROUNDING) * magnitude;
        if error > bound {
            return Err(format!("{place:?}: error {error:e}, bound {bound:e} (plain {plain:e})"));
        }
    }
    Ok(())
}

fn writing(case: &Case, run: &Run) -> Result<(), String> {
    for &place in &case.outputs {
        let left = |x: &f64| x.is_nan() || *x == f64::from(UNWRITTEN);
        if let Some(at) = values(&run.after, place).iter().position(left) {
            return Err(format!("{place:?}: element {at} is not written"));
        }
    }
    let (mut before, mut after) = (run.before.clone(), run.after.clone());
    for &place in case.outputs.iter().chain(&case.scratch) {
        blank(&mut before, place);
        blank(&mut after, place);
    }
    let touched = bits(&before).iter().zip(&bits(&after)).position(|(a, b)| a != b);
    touched.map_or(Ok(()), |at| Err(format!("element {at} of the arenas is touched, which is no operand")))
}

fn independence<S: Subject>(kernel: Kernel, shape: Shape, case: &Case, batch: &Run) -> Result<(), String> {
    let rows = case.rows;
    for row in 0..rows {
        let alone = Case::new(kernel, shape, &[row as u32], round(S::ROUNDING));
        let run = run(&alone, &S::backend)?;
        for (&place, &whole) in alone.outputs.iter().zip(&case.outputs) {
            let (alone, whole) = (values(&run.after, place), values(&batch.after, whole));
            let part = &whole[row * alone.len()..][..alone.len()];
            if alone.iter().zip(part).any(|(a, b)| a.to_bits() != b.to_bits()) {
                return Err(format!("{place:?}: row {row} has other bits alone than in a batch of {rows}"));
            }
        }
    }
    Ok(())
}

/// Sizes at and around block edges: odd ones, and those that vectors and registers are made for.
fn shapes(kernel: Kernel) -> impl Strategy<Value = (Shape, u32)> {
    let qkv = matches!(kernel, Kernel::LinearQkv | Kernel::LinearQkvVjp);
    let attention = qkv || matches!(kernel, Kernel::Attention { .. } | Kernel::AttentionVjp { .. });
    let rope =
        qkv || matches!(kernel, Kernel::Attention { rope: true } | Kernel::AttentionVjp { rope: true });
    let widths: &[usize] = match (attention, rope) {
        (true, true) => &[2, 6, 64],
        (true, false) => &[1, 7, 64],
        _ => &[1, 7, 82, 113, 128, 256, 512, 520],
    };
    let heads = if attention { 1..=3usize } else { 1..=1 };
    (
        prop::sample::select(&[1, 7, 82, 113][..]),
        // No prefix, half a position, exactly one, more than one.
        prop::sample::select(&[0, 1, 2, 3][..]),
        heads,
        prop::sample::select(widths),
        prop::sample::select(&[1, 7, 82, 113, 128][..]),
        1..=3u32,
        proptest::num::u64::ANY,
    )
        .prop_map(|(seq, prefix, heads, head_dim, wide, batch, seed)| {
            let d = heads * head_dim;
            let ndim = [0, d.div_ceil(2), d, d + d.div_ceil(2)][prefix];
            (Shape { seq, ndim, heads, head_dim, wide, seed }, batch)
        })
}

/// Checks one kernel at `cases` random shapes.
///
/// # Panics
/// It did something wrong; the message has the smallest shape at which it does.
pub fn sweep<S: Subject>(kernel: Kernel, cases: u32) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let result = TestRunner::new_with_rng(
        config,
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    )
    .run(&shapes(kernel), |(shape, batch)| {
        check::<S>(kernel, shape, batch).map_err(proptest::test_runner::TestCaseError::fail)
    });
    match result {
        Ok(()) => {}
        Err(TestError::Fail(reason, (shape, batch))) => {
            panic!("{kernel:?} at {shape:?}, batch {batch}: {reason}")
        }
        Err(TestError::Abort(reason)) => panic!("{kernel:?}: {reason}"),
    }
}

/// Checks attention, or its vjp, at 901 positions, the longest that HRM was published with.
///
/// # Panics
/// It did something wrong.
pub fn long<S: Subject>(kernel: Kernel) {
    let shape = Shape { seq: 901, ndim: 0, heads: 2, head_dim: 6, wide: 1, seed: 901 };
    check::<S>(kernel, shape, 1).unwrap_or_else(|error| panic!("{kernel:?}: {error}"));
}

/// Checks products, alone and with what follows them, at the widths that tiles of matrix units like: of the hidden
/// state 128, 256 and 512, of the other side more and less than stays in fast memory. Rows end within a tile.
///
/// # Panics
/// It did something wrong.
pub fn products_at_widths_of_tiles<S: Subject>() {
    for (heads, wide) in [(2, 64), (2, 384), (4, 128), (4, 576), (8, 128), (8, 576)] {
        products::<S>(heads, wide, 3);
    }
}

/// The same with rows enough for several tiles in each part of a GPU, and for a change from one set of weights to the next.
///
/// # Panics
/// It did something wrong.
pub fn products_of_many_rows<S: Subject>() {
    products::<S>(2, 512, 120);
}

fn products<S: Subject>(heads: usize, wide: usize, batch: u32) {
    let kernels = [
        Kernel::Linear,
        Kernel::LinearSwiGlu(Keep::Nothing),
        Kernel::LinearSwiGlu(Keep::All),
        Kernel::LinearAddRmsNorm,
        Kernel::LinearAddRmsNormPlus(Keep::Nothing),
        Kernel::LinearAddRmsNormPlus(Keep::All),
        Kernel::LinearSwiGluVjp,
    ];
    all_of::<S>(&kernels, heads, wide, batch);
}

/// Checks products of few columns, as of the vocabulary head, and their vjps: rows of an odd number of bytes.
///
/// # Panics
/// It did something wrong.
pub fn products_of_few_columns<S: Subject>() {
    let kernels = [
        Kernel::Linear,
        Kernel::LinearVjpInput(Write::Replace),
        Kernel::LinearVjpInput(Write::Accumulate),
        Kernel::LinearVjpWeight(Write::Replace),
        Kernel::LinearVjpWeight(Write::Accumulate),
    ];
    for (heads, wide) in [(8, 11), (2, 6), (1, 1), (3, 32)] {
        all_of::<S>(&kernels, heads, wide, 4);
    }
}

fn all_of<S: Subject>(kernels: &[Kernel], heads: usize, wide: usize, batch: u32) {
    let shape = Shape { seq: 43, ndim: 0, heads, head_dim: 64, wide, seed: 90 };
    for &kernel in kernels {
        check::<S>(kernel, shape, batch).unwrap_or_else(|error| panic!("{kernel:?} at {shape:?}: {error}"));
    }
}

/// Checks queries, keys and values from their product on, with attention and its vjp: heads of 64, widths that tiles of matrix
/// units like and two that they do not, short and long sequences.
///
/// # Panics
/// It did something wrong.
pub fn qkv_at_widths_of_tiles<S: Subject>() {
    for (heads, seq, batch) in [
        (2, 82, 3),
        (4, 5, 2),
        (2, 150, 2),
        (2, 130, 2),
        (2, 193, 1),
        (2, 140, 1),
        (8, 97, 1),
        (3, 21, 2),
        (10, 5, 1),
    ] {
        let shape = Shape { seq, ndim: 0, heads, head_dim: 64, wide: 1, seed: 91 };
        for kernel in [Kernel::LinearQkv, Kernel::LinearQkvVjp] {
            check::<S>(kernel, shape, batch)
                .unwrap_or_else(|error| panic!("{kernel:?} at {shape:?}: {error}"));
        }
    }
}

/// Checks attention and its vjp with heads of 64, at lengths that end at, before and after tiles of 64 and 192 rows, at 901,
/// and with more heads than a GPU works on at once.
///
/// # Panics
/// It did something wrong.
pub fn attention_at_lengths_of_tiles<S: Subject>() {
    let lengths = [(97, 1, 1), (128, 2, 1), (191, 1, 2), (193, 2, 2), (384, 1, 1), (901, 2, 1), (129, 3, 60)];
    for (seq, heads, batch) in lengths {
        let shape = Shape { seq, ndim: 0, heads, head_dim: 64, wide: 1, seed: 64 };
        for kernel in [Kernel::Attention { rope: true }, Kernel::AttentionVjp { rope: true }] {
            check::<S>(kernel, shape, batch)
                .unwrap_or_else(|error| panic!("{kernel:?} at {shape:?}: {error}"));
        }
    }
}

/// The whole suite as tests of the module in which it is called, for a [`Subject`]; with a reason to ignore them
/// unless they are asked for. `forward` before the subject leaves out what only training needs.
#[macro_export]
macro_rules! conformance {
    (forward $subject:ty, cases: $cases:literal $(, ignore: $why:literal)?) => {
        $crate::conformance!(@ $subject, $cases, [$(#[ignore = $why])?],
            embed: Embed { learned: false },
            embed_learned: Embed { learned: true },
            add: Add,
            linear: Linear,
            attention: Attention { rope: false },
            rope_attention: Attention { rope: true },
            linear_qkv: LinearQkv,
            swiglu: SwiGlu,
            add_rms_norm: AddRmsNorm,
            linear_swiglu: LinearSwiGlu(::hrm_core::kernels::Keep::Nothing),
            linear_swiglu_kept: LinearSwiGlu(::hrm_core::kernels::Keep::All),
            linear_add_rms_norm: LinearAddRmsNorm,
            linear_add_rms_norm_plus: LinearAddRmsNormPlus(::hrm_core::kernels::Keep::Nothing),
            linear_add_rms_norm_plus_kept: LinearAddRmsNormPlus(::hrm_core::kernels::Keep::All),
            take_columns: TakeColumns,
            put_columns: PutColumns,
            token_mix: TokenMix,
            q_head: QHead,
            reset_rows: ResetRows,
            replace_rows: ReplaceRows,
            argmax: Argmax,
        );

        #[test]
        $(#[ignore = $why])?
        fn attention_at_901_positions() {
            $crate::suite::long::<$subject>($crate::case::Kernel::Attention { rope: true });
        }
    };
    ($subject:ty, cases: $cases:literal $(, ignore: $why:literal)?) => {
        $crate::conformance!(forward $subject, cases: $cases $(, ignore: $why)?);
        $crate::conformance!(@ $subject, $cases, [$(#[ignore = $why])?],
            take_first: TakeFirst,
            embed_vjp: EmbedVjp { learned: false },
            embed_learned_vjp: EmbedVjp { learned: true },
            linear_vjp_input: LinearVjpInput(::hrm_core::kernels::Write::Replace),
            linear_vjp_input_accumulated: LinearVjpInput(::hrm_core::kernels::Write::Accumulate),
            linear_vjp_weight: LinearVjpWeight(::hrm_core::kernels::Write::Replace),
            linear_vjp_weight_accumulated: LinearVjpWeight(::hrm_core::kernels::Write::Accumulate),
            attention_vjp: AttentionVjp { rope: false },
            rope_attention_vjp: AttentionVjp { rope: true },
            linear_qkv_vjp: LinearQkvVjp,
            swiglu_vjp: SwiGluVjp,
            linear_swiglu_vjp: LinearSwiGluVjp,
            add_rms_norm_vjp: AddRmsNormVjp,
            token_mix_vjp: TokenMixVjp(::hrm_core::kernels::Write::Replace),
            token_mix_vjp_accumulated: TokenMixVjp(::hrm_core::kernels::Write::Accumulate),
            q_head_vjp: QHeadVjp,
            lm_loss_stablemax: LmLoss(hrm_core::loss::LossKind::Stablemax),
            lm_loss_softmax: LmLoss(hrm_core::loss::LossKind::Softmax),
            q_loss: QLoss { next: true },
            q_loss_of_the_only_step: QLoss { next: false },
            advance: Advance(::hrm_core::halting::HaltRule::Larger),
            advance_by_the_sign: Advance(::hrm_core::halting::HaltRule::Positive),
            adam_atan2: AdamAtan2,
            average: Average,
            sign_sgd: SignSgd,
        );

        #[test]
        $(#[ignore = $why])?
        fn attention_vjp_at_901_positions() {
            $crate::suite::long::<$subject>($crate::case::Kernel::AttentionVjp { rope: true });
        }
    };
    (@ $subject:ty, $cases:literal, $ignore:tt, $($name:ident: $kernel:ident $({ $($field:ident: $value:literal),* })? $(($kind:expr))?,)*) => {
        $(
            $crate::conformance! { # $ignore
                fn $name() {
                    let kernel = $crate::case::Kernel::$kernel $({ $($field: $value),* })? $(($kind))?;
                    $crate::suite::sweep::<$subject>(kernel, $cases);
                }
            }
        )*
    };
    (# [$($attribute:tt)*] $function:item) => {
        #[test]
        $($attribute)*
        $function
    };
}
