//! Every kernel as a value, and a backend that watches each call of another one.

use super::{
    AddRmsNorm, Advance, Argmax, Attention, AttentionVjp, Columns, Embed, EmbedVjp, Kernels, Linear,
    LinearAddRmsNorm, LinearQkv, LinearSwiGlu, LinearSwiGluVjp, LinearVjpInput, LinearVjpWeight, LmLoss,
    Memory, QHead, QLoss, Region, SwiGlu, TokenMix, TokenMixVjp, TrainKernels,
};
use crate::arena::{Act, Ids, Param, Stat};
use crate::optim::{AdamAtan2, Average, SignSgd, StepScalars};

/// One call of a kernel, with its operands.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // Each is the kernel of its name.
pub enum Op {
    Embed(Embed),
    Add { y: Act, a: Act, b: Act },
    Linear(Linear),
    RopeAttention(Attention),
    LinearQkv(LinearQkv),
    Attention(Attention),
    SwiGlu(SwiGlu),
    AddRmsNorm(AddRmsNorm),
    LinearSwiGlu(LinearSwiGlu),
    LinearAddRmsNorm(LinearAddRmsNorm),
    TakeColumns(Columns),
    PutColumns(Columns),
    TokenMix(TokenMix),
    QHead(QHead),
    ResetRows { z: Act, init: Param, halted: Ids },
    ReplaceRows { current: Ids, incoming: Ids, halted: Ids },
    Argmax(Argmax),
    BeginStep(StepScalars),
    TakeFirst { y: Act, x: Act },
    EmbedVjp(EmbedVjp),
    LinearVjpInput(LinearVjpInput),
    LinearVjpWeight(LinearVjpWeight),
    RopeAttentionVjp(AttentionVjp),
    SwiGluVjp(SwiGlu),
    LinearSwiGluVjp(LinearSwiGluVjp),
    AddRmsNormVjp { ds: Act, dy: Act, y: Act, rstd: Stat },
    TokenMixVjp(TokenMixVjp),
    QHeadVjp { op: QHead, dz: Act },
    LmLoss(LmLoss),
    QLoss(QLoss),
    Advance(Advance),
    AdamAtan2 { len: usize, optimizer: AdamAtan2 },
    Average { len: usize, average: Average },
    SwapAverages { len: usize },
    SignSgd { table: Param, ids: Ids, gradients: Act, optimizer: SignSgd },
}

impl Op {
    /// The name of the kernel's method.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Embed(_) => "embed",
            Self::Add { .. } => "add",
            Self::Linear(_) => "linear",
            Self::RopeAttention(_) => "rope_attention",
            Self::LinearQkv(_) => "linear_qkv",
            Self::Attention(_) => "attention",
            Self::SwiGlu(_) => "swiglu",
            Self::AddRmsNorm(_) => "add_rms_norm",
            Self::LinearSwiGlu(_) => "linear_swiglu",
            Self::LinearAddRmsNorm(_) => "linear_add_rms_norm",
            Self::TakeColumns(_) => "take_columns",
            Self::PutColumns(_) => "put_columns",
            Self::TokenMix(_) => "token_mix",
            Self::QHead(_) => "q_head",
            Self::ResetRows { .. } => "reset_rows",
            Self::ReplaceRows { .. } => "replace_rows",
            Self::Argmax(_) => "argmax",
            Self::BeginStep(_) => "begin_step",
            Self::TakeFirst { .. } => "take_first",
            Self::EmbedVjp(_) => "embed_vjp",
            Self::LinearVjpInput(_) => "linear_vjp_input",
            Self::LinearVjpWeight(_) => "linear_vjp_weight",
            Self::RopeAttentionVjp(_) => "rope_attention_vjp",
            Self::SwiGluVjp(_) => "swiglu_vjp",
            Self::LinearSwiGluVjp(_) => "linear_swiglu_vjp",
            Self::AddRmsNormVjp { .. } => "add_rms_norm_vjp",
            Self::TokenMixVjp(_) => "token_mix_vjp",
            Self::QHeadVjp { .. } => "q_head_vjp",
            Self::LmLoss(_) => "lm_loss",
            Self::QLoss(_) => "q_loss",
            Self::Advance(_) => "advance",
            Self::AdamAtan2 { .. } => "adam_atan2",
            Self::Average { .. } => "average",
            Self::SwapAverages { .. } => "swap_averages",
            Self::SignSgd { .. } => "sign_sgd",
        }
    }

    /// Runs the kernel.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn apply<K: TrainKernels + ?Sized>(&self, k: &mut K) -> Result<(), K::Error> {
        match *self {
            Self::Embed(ref op) => k.embed(op),
            Self::Add { y, a, b } => k.add(y, a, b),
            Self::Linear(ref op) => k.linear(op),
            Self::RopeAttention(ref op) => k.rope_attention(op),
            Self::LinearQkv(ref op) => k.linear_qkv(op),
            Self::Attention(ref op) => k.attention(op),
            Self::SwiGlu(ref op) => k.swiglu(op),
            Self::AddRmsNorm(ref op) => k.add_rms_norm(op),
            Self::LinearSwiGlu(ref op) => k.linear_swiglu(op),
            Self::LinearAddRmsNorm(ref op) => k.linear_add_rms_norm(op),
            Self::TakeColumns(ref op) => k.take_columns(op),
            Self::PutColumns(ref op) => k.put_columns(op),
            Self::TokenMix(ref op) => k.token_mix(op),
            Self::QHead(ref op) => k.q_head(op),
            Self::ResetRows { z, init, halted } => k.reset_rows(z, init, halted),
            Self::ReplaceRows { current, incoming, halted } => k.replace_rows(current, incoming, halted),
            Self::Argmax(ref op) => k.argmax(op),
            Self::BeginStep(ref op) => k.begin_step(op),
            Self::TakeFirst { y, x } => k.take_first(y, x),
            Self::EmbedVjp(ref op) => k.embed_vjp(op),
            Self::LinearVjpInput(ref op) => k.linear_vjp_input(op),
            Self::LinearVjpWeight(ref op) => k.linear_vjp_weight(op),
            Self::RopeAttentionVjp(ref op) => k.rope_attention_vjp(op),
            Self::SwiGluVjp(ref op) => k.swiglu_vjp(op),
            Self::LinearSwiGluVjp(ref op) => k.linear_swiglu_vjp(op),
            Self::AddRmsNormVjp { ds, dy, y, rstd } => k.add_rms_norm_vjp(ds, dy, y, rstd),
            Self::TokenMixVjp(ref op) => k.token_mix_vjp(op),
            Self::QHeadVjp { ref op, dz } => k.q_head_vjp(op, dz),
            Self::LmLoss(ref op) => k.lm_loss(op),
            Self::QLoss(ref op) => k.q_loss(op),
            Self::Advance(ref op) => k.advance(op),
            Self::AdamAtan2 { len, ref optimizer } => k.adam_atan2(len, optimizer),
            Self::Average { len, ref average } => k.average(len, average),
            Self::SwapAverages { len } => k.swap_averages(len),
            Self::SignSgd { table, ids, gradients, ref optimizer } => {
                k.sign_sgd(table, ids, gradients, optimizer)
            }
        }
    }
}

/// Watches the kernels of a backend `K`.
pub trait Observer<K: Memory> {
    /// Runs `run` on `k`, which is the kernel `op`, and whatever is to be done before and after it.
    ///
    /// # Errors
    /// Those of the kernel, and of what is done with `k` besides.
    fn around(
        &mut self,
        k: &mut K,
        op: Op,
        run: impl FnOnce(&mut K) -> Result<(), K::Error>,
    ) -> Result<(), K::Error>;
}

/// The backend `K`, each kernel of which goes through an [`Observer`].
#[derive(Debug)]
pub struct Observed<K, O> {
    /// Who does the work.
    pub backend: K,
    /// Who watches.
    pub observer: O,
}

impl<K: Memory, O> Memory for Observed<K, O> {
    type Error = K::Error;

    fn read(&mut self, region: Region, offset: usize, out: &mut [f32]) -> Result<(), K::Error> {
        self.backend.read(region, offset, out)
    }
    fn write(&mut self, region: Region, offset: usize, values: &[f32]) -> Result<(), K::Error> {
        self.backend.write(region, offset, values)
    }
    fn read_ids(&mut self, offset: usize, out: &mut [i32]) -> Result<(), K::Error> {
        self.backend.read_ids(offset, out)
    }
    fn write_ids(&mut self, offset: usize, values: &[i32]) -> Result<(), K::Error> {
        self.backend.write_ids(offset, values)
    }
}

impl<K: Kernels, O: Observer<K>> Kernels for Observed<K, O> {
    fn embed(&mut self, op: &Embed) -> Result<(), K::Error> {
        self.observer.around(&mut self.backend, Op::Embed(*op), |k| k.embed(op))
    }
    fn add(&mut self, y: Act, a: Act, b: Act) -> Result<(), K::Error> {
        let call = Op::Add { y, a, b };
        self.observer.around(&mut self.backend, call, |k| k.add(y, a, b))
    }
    fn linear(&mut self, op: &Linear) -> Result<(), K::Error> {
        self.observer.around(&mut self.backend, Op::Linear(*op), |k| k.linear(op))
    }
    fn rope_attention(&mut self, op: &Attention) -> Result<(), K::Error> {
        self.observer.around(&mut self.backend, Op::RopeAttention(*op), |k| k.rope_attention(op))
    }
    fn linear_qkv(&mut self, op: &LinearQkv) -> Result<(), K::Error> {
        self.observer.around(&mut self.backend, Op::LinearQkv(*op), |k| k.linear_qkv(op))
    }
    fn attention(&mut self, op: &Attention) -> Result<(), K::Error> {
        self.observer.around(&mut self.backend, Op::Attention(*op), |k| k.attention(op))
    }
    fn swiglu(&mut self, op: &SwiGlu) -> Result<(), K::Error> {
        self.observer.around(&mut self.backend, Op::SwiGlu(*op), |k| k.swiglu(op))
    }
    fn add_rms_norm(&mut self, op: &AddRmsNorm) -> Result<(), K::Error> {
        self.observer.around(&mut self.backend, Op::AddRmsNorm(*op), |k| k.add_rms_norm(op))
    }
    fn linear_swiglu(&mut self, op: &LinearSwiGlu) -> Result<(), K::Error> {
        self.observer.around(&mut self.backend, Op::LinearSwiGlu(*op), |k| k.linear_swiglu(op))
    }
    fn linear_add_rms_norm(&mut self, op: &LinearAddRmsNorm) -> Result<(), K::Error> {
        self.observer.around(&mut self.backend, Op::LinearAddRmsNorm(*op), |k| k.linear_add_rms_norm(op))
    }
    fn take_columns(&mut self, op: &Columns) -> Result<(), K::Error> {
        self.observer.around(&mut self.backend, Op::TakeColumns(*op), |k| k.take_columns(op))
    }
    fn put_columns(&mut self, op: &Columns) -> Result<(), K::Error> {
        self.observer.around(&mut self.backend, Op::PutColumns(*op), |k| k.put_columns(op))
    }
    fn token_mix(&mut self, op: &TokenMix) -> Result<(), K::Error> {
        self.observer.around(&mut self.backend, Op::TokenMix(*op), |k| k.token_mix(op))
    }
    fn q_head(&mut self, op: &QHead) -> Result<(), K::Error> {
        self.observer.around(&mut self.backend, Op::QHead(*op), |k| k.q_head(op))
    }
    fn reset_rows(&mut self, z: Act, init: Param, halted: Ids) -> Result<(), K::Error> {
        let call = Op::ResetRows { z, init, halted };
        self.observer.around(&mut self.backend, call, |k| k.reset_rows(z, init, halted))
    }
    fn replace_rows(&mut self, current: Ids, incoming: Ids, halted: Ids) -> Result<(), K::Error> {
        let call = Op::ReplaceRows { current, incoming, halted };
        self.observer.around(&mut self.backend, call, |k| k.replace_rows(current, incoming, halted))
    }
    fn argmax(&mut self, op: &Argmax) -> Result<(), K::Error> {
        self.observer.around(&mut self.backend, Op::Argmax(*op), |k| k.argmax(op))
    }
    fn poll(&mut self) {
        self.backend.poll();
    }
}

impl<K: TrainKernels, O: Observer<K>> TrainKernels for Observed<K, O> {
    fn begin_step(&mut self, op: &StepScalars) -> Result<(), K::Error> {
        self.observer.around(&mut self.backend, Op::BeginStep(*op), |k| k.begin_step(op))
    }
    fn take_first(&mut self, y: Act, x: Act) -> Result<(), K::Error> {
        let call = Op::TakeFirst { y, x };
        self.observer.around(&mut self.backend, call, |k| k.take_first(y, x))
    }
    fn embed_vjp(&mut self, op: &EmbedVjp) -> Result<(), K::Error> {
        self.observer.around(&mut self.backend, Op::EmbedVjp(*op), |k| k.embed_vjp(op))
    }
    fn linear_vjp_input(&mut self, op: &LinearVjpInput) -> Result<(), K::Error> {
        self.observer.around(&mut self.backend, Op::LinearVjpInput(*op), |k| k.linear_vjp_input(op))
    }
    fn linear_vjp_weight(&mut self, op: &LinearVjpWeight) -> Result<(), K::Error> {
        self.observer.around(&mut self.backend, Op::LinearVjpWeight(*op), |k| k.linear_vjp_weight(op))
    }
    fn rope_attention_vjp(&mut self, op: &AttentionVjp) -> Result<(), K::Error> {
        self.observer.around(&mut self.backend, Op::RopeAttentionVjp(*op), |k| k.rope_attention_vjp(op))
    }
    fn swiglu_vjp(&mut self, op: &SwiGlu) -> Result<(), K::Error> {
        self.observer.around(&mut self.backend, Op::SwiGluVjp(*op), |k| k.swiglu_vjp(op))
    }
    fn linear_swiglu_vjp(&mut self, op: &LinearSwiGluVjp) -> Result<(), K::Error> {
        self.observer.around(&mut self.backend, Op::LinearSwiGluVjp(*op), |k| k.linear_swiglu_vjp(op))
    }
    fn add_rms_norm_vjp(&mut self, ds: Act, dy: Act, y: Act, rstd: Stat) -> Result<(), K::Error> {
        let call = Op::AddRmsNormVjp { ds, dy, y, rstd };
        self.observer.around(&mut self.backend, call, |k| k.add_rms_norm_vjp(ds, dy, y, rstd))
    }
    fn token_mix_vjp(&mut self, op: &TokenMixVjp) -> Result<(), K::Error> {
        self.observer.around(&mut self.backend, Op::TokenMixVjp(*op), |k| k.token_mix_vjp(op))
    }
    fn q_head_vjp(&mut self, op: &QHead, dz: Act) -> Result<(), K::Error> {
        let call = Op::QHeadVjp { op: *op, dz };
        self.observer.around(&mut self.backend, call, |k| k.q_head_vjp(op, dz))
    }
    fn lm_loss(&mut self, op: &LmLoss) -> Result<(), K::Error> {
        self.observer.around(&mut self.backend, Op::LmLoss(*op), |k| k.lm_loss(op))
    }
    fn q_loss(&mut self, op: &QLoss) -> Result<(), K::Error> {
        self.observer.around(&mut self.backend, Op::QLoss(*op), |k| k.q_loss(op))
    }
    fn advance(&mut self, op: &Advance) -> Result<(), K::Error> {
        self.observer.around(&mut self.backend, Op::Advance(*op), |k| k.advance(op))
    }
    fn adam_atan2(&mut self, len: usize, optimizer: &AdamAtan2) -> Result<(), K::Error> {
        let call = Op::AdamAtan2 { len, optimizer: *optimizer };
        self.observer.around(&mut self.backend, call, |k| k.adam_atan2(len, optimizer))
    }
    fn average(&mut self, len: usize, average: &Average) -> Result<(), K::Error> {
        let call = Op::Average { len, average: *average };
        self.observer.around(&mut self.backend, call, |k| k.average(len, average))
    }
    fn swap_averages(&mut self, len: usize) -> Result<(), K::Error> {
        self.observer.around(&mut self.backend, Op::SwapAverages { len }, |k| k.swap_averages(len))
    }
    fn sign_sgd(
        &mut self,
        table: Param,
        ids: Ids,
        gradients: Act,
        optimizer: &SignSgd,
    ) -> Result<(), K::Error> {
        let call = Op::SignSgd { table, ids, gradients, optimizer: *optimizer };
        self.observer.around(&mut self.backend, call, |k| k.sign_sgd(table, ids, gradients, optimizer))
    }
}
