//! What tests of the portable backend share: bundles of fresh models, memory to lend, and the backend behind the contract
//! of training, for the suite.

use hrm_core::arena::{Act, Ids, Param, Stat};
use hrm_core::backend::Error;
use hrm_core::backend::portable::{Arenas, Lengths, Portable, Source};
use hrm_core::backend::reference::{Owned, Reference, Rounding, TrainArenas, TrainStorage};
use hrm_core::bundle::{Precision, Weights};
use hrm_core::config::Config;
use hrm_core::kernels::{
    AddRmsNorm, Advance, Argmax, Attention, AttentionVjp, Columns, Embed, EmbedVjp, Kernels, Linear,
    LinearAddRmsNorm, LinearQkv, LinearSwiGlu, LinearSwiGluVjp, LinearVjpInput, LinearVjpWeight, LmLoss,
    Memory, QHead, QLoss, Region, SwiGlu, TokenMix, TokenMixVjp, TrainKernels,
};
use hrm_core::optim::{AdamAtan2, Average, SignSgd, StepScalars};
use hrm_core::plan::{Mode, Plan};
use hrm_core::rng::{Rng, Stream};
use hrm_core::rope::RopeTables;
use hrm_core::tensors::Tensor;
use hrm_host::model_io::bundle::{self, Encoding};

/// Element `i` of `tensor` in the model of `seed`: uniform, of the deviation that a fresh weight has, also where a fresh
/// model has zeros.
fn elements(tensor: &Tensor, seed: u64, out: &mut [f32]) {
    let mut rng = Rng::new(seed, Stream::Init, tensor.span.offset as u32);
    let width = (12.0 / tensor.span.cols as f64).sqrt();
    out.iter_mut().for_each(|x| *x = ((rng.uniform() - 0.5) * width) as f32);
}

/// The bundle of a model of `config`, drawn from `seed`.
///
/// # Panics
/// There is no such model, or no room for a temporary file.
#[must_use]
pub fn bundle(config: &Config, encoding: impl Into<Encoding>, seed: u64) -> Vec<u8> {
    let plan = Plan::new(config, 1, Mode::Inference).unwrap_or_else(|error| panic!("{error}"));
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let path = dir.path().join("model.hrm");
    let fetch = |tensor: &Tensor, out: &mut [f32]| {
        elements(tensor, seed, out);
        Ok(())
    };
    bundle::write(&plan, &path, encoding, fetch).unwrap_or_else(|error| panic!("{error}"));
    std::fs::read(&path).expect("what was written")
}

/// Memory to lend, full of what is not a number.
#[derive(Clone, Debug)]
pub struct Lent {
    /// For [`Arenas::acts`].
    pub acts: Vec<f32>,
    /// For [`Arenas::stats`].
    pub stats: Vec<f32>,
    /// For [`Arenas::ids`].
    pub ids: Vec<i32>,
    /// For [`Arenas::wide`].
    pub wide: Vec<f32>,
    /// For [`Arenas::tokens`].
    pub tokens: Vec<i8>,
}

impl Lent {
    /// Memory for `plan`.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let lengths = Lengths::of(plan);
        let floats = |len| vec![f32::NAN; len];
        Self {
            acts: floats(lengths.acts),
            stats: floats(lengths.stats),
            ids: vec![-1; lengths.ids],
            wide: floats(lengths.wide),
            tokens: vec![-128; lengths.tokens],
        }
    }

    /// All of it.
    pub fn arenas(&mut self) -> Arenas<'_> {
        let Self { acts, stats, ids, wide, tokens } = self;
        Arenas { acts, stats, ids, wide, tokens }
    }
}

/// Parameters in f32, at any place.
#[derive(Clone, Copy, Debug)]
pub struct Floats<'a>(
    /// The arena of parameters.
    pub &'a [f32],
);

impl Source for Floats<'_> {
    fn tensor(&self, span: Param) -> Option<Weights<'_>> {
        Weights::new(Precision::F32, span.cols, bytemuck::cast_slice(self.0.get(span.range())?), &[])
    }

    fn rotary(&self, tables: RopeTables) -> Option<(&[f32], &[f32])> {
        Some((self.0.get(tables.cos.range())?, self.0.get(tables.sin.range())?))
    }
}

/// The portable backend's forward kernels on the reference's arenas; the rest is the reference's.
#[derive(Debug)]
pub struct OnReference {
    reference: Reference<f32, Owned<f32>>,
    plan: Plan,
}

impl OnReference {
    /// A backend for `plan`.
    ///
    /// # Errors
    /// None in practice: the arenas are made to measure.
    pub fn new(plan: &Plan) -> Result<Self, Error> {
        Ok(Self { reference: Reference::owned(plan, Rounding::None)?, plan: *plan })
    }

    fn portable<T>(
        &mut self,
        call: impl FnOnce(&mut Portable<'_, Floats<'_>>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        // Cases have operands that are wider than anything in their plan.
        let (mut wide, mut tokens) = (vec![f32::NAN; 4096], vec![-128; 8 * 4096]);
        let TrainArenas { params, acts, stats, ids, .. } = self.reference.store_mut().arenas();
        let arenas = Arenas { acts, stats, ids, wide: &mut wide, tokens: &mut tokens };
        call(&mut Portable::new(&Floats(params), arenas, &self.plan)?)
    }
}

/// Hands methods on to the reference.
macro_rules! to_the_reference {
    ($(fn $name:ident($($argument:ident: $type:ty),*);)*) => {
        $(fn $name(&mut self, $($argument: $type),*) -> Result<(), Error> {
            self.reference.$name($($argument),*)
        })*
    };
}

/// Hands methods on to the portable backend.
macro_rules! to_the_portable {
    ($(fn $name:ident($($argument:ident: $type:ty),*);)*) => {
        $(fn $name(&mut self, $($argument: $type),*) -> Result<(), Error> {
            self.portable(|k| k.$name($($argument),*))
        })*
    };
}

impl Memory for OnReference {
    type Error = Error;
    to_the_reference! {
        fn read(region: Region, offset: usize, out: &mut [f32]);
        fn write(region: Region, offset: usize, values: &[f32]);
        fn read_ids(offset: usize, out: &mut [i32]);
        fn write_ids(offset: usize, values: &[i32]);
    }
}

impl Kernels for OnReference {
    to_the_portable! {
        fn embed(op: &Embed);
        fn add(y: Act, a: Act, b: Act);
        fn linear(op: &Linear);
        fn rope_attention(op: &Attention);
        fn linear_qkv(op: &LinearQkv);
        fn attention(op: &Attention);
        fn swiglu(op: &SwiGlu);
        fn add_rms_norm(op: &AddRmsNorm);
        fn linear_swiglu(op: &LinearSwiGlu);
        fn linear_add_rms_norm(op: &LinearAddRmsNorm);
        fn take_columns(op: &Columns);
        fn put_columns(op: &Columns);
        fn token_mix(op: &TokenMix);
        fn q_head(op: &QHead);
        fn reset_rows(z: Act, init: Param, halted: Ids);
        fn replace_rows(current: Ids, incoming: Ids, halted: Ids);
        fn argmax(op: &Argmax);
    }
}

impl TrainKernels for OnReference {
    to_the_reference! {
        fn begin_step(scalars: &StepScalars);
        fn take_first(y: Act, x: Act);
        fn embed_vjp(op: &EmbedVjp);
        fn linear_vjp_input(op: &LinearVjpInput);
        fn linear_vjp_weight(op: &LinearVjpWeight);
        fn rope_attention_vjp(op: &AttentionVjp);
        fn swiglu_vjp(op: &SwiGlu);
        fn linear_swiglu_vjp(op: &LinearSwiGluVjp);
        fn add_rms_norm_vjp(ds: Act, dy: Act, y: Act, rstd: Stat);
        fn token_mix_vjp(op: &TokenMixVjp);
        fn q_head_vjp(op: &QHead, dz: Act);
        fn lm_loss(op: &LmLoss);
        fn q_loss(op: &QLoss);
        fn advance(op: &Advance);
        fn adam_atan2(len: usize, optimizer: &AdamAtan2);
        fn average(len: usize, average: &Average);
        fn swap_averages(len: usize);
        fn sign_sgd(table: Param, ids: Ids, gradients: Act, optimizer: &SignSgd);
    }
}
