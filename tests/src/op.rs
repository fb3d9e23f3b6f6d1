//! Every kernel as a value, so that one case can be run on any backend.

use hrm_core::arena::{Act, Ids, Param, Stat};
use hrm_core::kernels::{
    AddRmsNorm, Advance, Argmax, Attention, AttentionVjp, Embed, EmbedVjp, Linear, LinearAddRmsNorm,
    LinearQkv, LinearSwiGlu, LinearSwiGluVjp, LmLoss, QHead, QLoss, StepScalars, SwiGlu, TrainKernels,
};
use hrm_core::optim::{AdamAtan2, SignSgd};

/// One call of a kernel.
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
    QHead(QHead),
    ResetRows { z: Act, init: Param, halted: Ids },
    ReplaceRows { current: Ids, incoming: Ids, halted: Ids },
    Argmax(Argmax),
    TakeFirst { y: Act, x: Act },
    EmbedVjp(EmbedVjp),
    LinearVjpInput { dx: Act, dy: Act, w: Param, accumulate: bool },
    LinearVjpWeight { w: Param, dy: Act, x: Act },
    RopeAttentionVjp(AttentionVjp),
    SwiGluVjp(SwiGlu),
    LinearSwiGluVjp(LinearSwiGluVjp),
    AddRmsNormVjp { ds: Act, dy: Act, y: Act, rstd: Stat },
    QHeadVjp { op: QHead, dz: Act },
    LmLoss(LmLoss),
    QLoss(QLoss),
    Advance(Advance),
    BeginStep(StepScalars),
    AdamAtan2 { len: usize, optimizer: AdamAtan2 },
    SignSgd { table: Param, ids: Ids, gradients: Act, optimizer: SignSgd },
}

impl Op {
    /// Runs the kernel.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn apply<K: TrainKernels>(&self, k: &mut K) -> Result<(), K::Error> {
        match self {
            Self::Embed(op) => k.embed(op),
            Self::Add { y, a, b } => k.add(*y, *a, *b),
            Self::Linear(op) => k.linear(op),
            Self::RopeAttention(op) => k.rope_attention(op),
            Self::LinearQkv(op) => k.linear_qkv(op),
            Self::Attention(op) => k.attention(op),
            Self::SwiGlu(op) => k.swiglu(op),
            Self::AddRmsNorm(op) => k.add_rms_norm(op),
            Self::LinearSwiGlu(op) => k.linear_swiglu(op),
            Self::LinearAddRmsNorm(op) => k.linear_add_rms_norm(op),
            Self::QHead(op) => k.q_head(op),
            Self::ResetRows { z, init, halted } => k.reset_rows(*z, *init, *halted),
            Self::ReplaceRows { current, incoming, halted } => k.replace_rows(*current, *incoming, *halted),
            Self::Argmax(op) => k.argmax(op),
            Self::TakeFirst { y, x } => k.take_first(*y, *x),
            Self::EmbedVjp(op) => k.embed_vjp(op),
            Self::LinearVjpInput { dx, dy, w, accumulate } => k.linear_vjp_input(*dx, *dy, *w, *accumulate),
            Self::LinearVjpWeight { w, dy, x } => k.linear_vjp_weight(*w, *dy, *x),
            Self::RopeAttentionVjp(op) => k.rope_attention_vjp(op),
            Self::SwiGluVjp(op) => k.swiglu_vjp(op),
            Self::LinearSwiGluVjp(op) => k.linear_swiglu_vjp(op),
            Self::AddRmsNormVjp { ds, dy, y, rstd } => k.add_rms_norm_vjp(*ds, *dy, *y, *rstd),
            Self::QHeadVjp { op, dz } => k.q_head_vjp(op, *dz),
            Self::LmLoss(op) => k.lm_loss(op),
            Self::QLoss(op) => k.q_loss(op),
            Self::Advance(op) => k.advance(op),
            Self::BeginStep(scalars) => k.begin_step(scalars),
            Self::AdamAtan2 { len, optimizer } => k.adam_atan2(*len, optimizer),
            Self::SignSgd { table, ids, gradients, optimizer } => {
                k.sign_sgd(*table, *ids, *gradients, optimizer)
            }
        }
    }
}

/// A place in an arena that a kernel reads or writes.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)] // Each is the arena of its name.
pub enum Place {
    Act(Act),
    Stat(Stat),
    Param(Param),
    Gradient(Param),
    FirstMoment(Param),
    SecondMoment(Param),
    Ids(Ids),
}
