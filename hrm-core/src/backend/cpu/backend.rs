//! The CPU backend behind the kernel contract: fast kernels where the time goes, the reference's for the rest.

use rayon::current_num_threads;

use super::attention::{
    AttentionShape, Rope, attention, attention_scratch_len, attention_vjp, attention_vjp_scratch_len,
};
use super::elementwise;
use super::gemm;
use crate::arena::{Act, Ids, Param, Stat};
use crate::backend::columns;
use crate::backend::operands::{Error, at, at_mut, split};
use crate::backend::reference::averaged;
use crate::backend::reference::{Owned, Reference, Rounding, Storage, TrainArenas, TrainStorage};
use crate::kernels::{
    AddRmsNorm, Advance, Argmax, Attention, AttentionVjp, Columns, Embed, EmbedVjp, Kernels, Linear,
    LinearAddRmsNorm, LinearQkv, LinearSwiGlu, LinearSwiGluVjp, LinearVjpInput, LinearVjpWeight, LmLoss,
    Memory, QHead, QLoss, Region, SwiGlu, TokenMix, TokenMixVjp, TrainKernels, Write,
};
use crate::optim::{AdamAtan2, Average, SignSgd, StepScalars};
use crate::plan::{ElementSizes, Mode, Plan};
use crate::rope::RopeTables;

/// The multi-threaded f32 backend. It works on the threads of the current rayon pool; its results do not depend
/// on their number.
#[derive(Debug)]
pub struct Cpu {
    /// Owns the arenas and runs the kernels that take no time.
    plain: Reference<f32, Owned<f32>>,
    scalars: StepScalars,
    scratch: std::vec::Vec<f32>,
}

/// Elements of scratch beside the arenas: what attention needs for one task on each thread.
fn scratch_len(plan: &Plan) -> usize {
    let shape = AttentionShape {
        batch: plan.batch,
        seq: plan.config.positions(),
        heads: plan.config.num_heads,
        head_dim: plan.config.head_dim(),
    };
    match plan.mode {
        Mode::Inference => attention_scratch_len(&shape, current_num_threads()),
        Mode::Training => attention_scratch_len(&shape, current_num_threads())
            .max(attention_vjp_scratch_len(&shape, current_num_threads())),
    }
}

impl Cpu {
    /// A backend for `plan`, its arenas zeroed.
    ///
    /// # Errors
    /// None in practice: the arenas are made to measure.
    pub fn new(plan: &Plan) -> Result<Self, Error> {
        Ok(Self {
            plain: Reference::owned(plan, Rounding::None)?,
            scalars: StepScalars::NONE,
            scratch: std::vec![0.0; scratch_len(plan)],
        })
    }

    /// Bytes that the backend takes for `plan` on the current number of threads.
    #[must_use]
    pub fn planned_bytes(plan: &Plan) -> usize {
        plan.bytes(ElementSizes::F32).total() + 4 * scratch_len(plan)
    }

    /// Parameters, activations and statistics.
    pub(in crate::backend) fn forward(&mut self) -> (&[f32], &mut [f32], &mut [f32]) {
        let (params, acts, stats, _) = self.plain.store_mut().forward();
        (params, acts, stats)
    }

    fn arenas(&mut self) -> TrainArenas<'_, f32> {
        self.plain.store_mut().arenas()
    }
}

fn shape(op: &Attention) -> AttentionShape {
    AttentionShape { batch: op.batch(), seq: op.positions(), heads: op.heads, head_dim: op.head_dim() }
}

fn tables<'a>(params: &'a [f32], rope: Option<RopeTables>) -> Result<Option<Rope<'a>>, Error> {
    match rope {
        Some(tables) => Ok(Some(Rope { cos: at(params, tables.cos)?, sin: at(params, tables.sin)? })),
        None => Ok(None),
    }
}

impl Memory for Cpu {
    type Error = Error;

    fn read(&mut self, region: Region, offset: usize, out: &mut [f32]) -> Result<(), Error> {
        self.plain.read(region, offset, out)
    }
    fn write(&mut self, region: Region, offset: usize, values: &[f32]) -> Result<(), Error> {
        self.plain.write(region, offset, values)
    }
    fn read_ids(&mut self, offset: usize, out: &mut [i32]) -> Result<(), Error> {
        self.plain.read_ids(offset, out)
    }
    fn write_ids(&mut self, offset: usize, values: &[i32]) -> Result<(), Error> {
        self.plain.write_ids(offset, values)
    }
}

impl Kernels for Cpu {
    fn embed(&mut self, op: &Embed) -> Result<(), Error> {
        self.plain.embed(op)
    }

    fn add(&mut self, y: Act, a: Act, b: Act) -> Result<(), Error> {
        let [y, a, b] = split(self.forward().1, [y.range(), a.range(), b.range()])?;
        elementwise::add(y, a, b);
        Ok(())
    }

    fn linear(&mut self, op: &Linear) -> Result<(), Error> {
        let (params, acts, _) = self.forward();
        let w = at(params, op.w)?;
        let [y, x] = split(acts, [op.y.range(), op.x.range()])?;
        gemm::linear(y, x, w, op.x.cols, op.y.cols, Write::Replace);
        Ok(())
    }

    fn rope_attention(&mut self, op: &Attention) -> Result<(), Error> {
        let Self { plain, scratch, .. } = self;
        let (params, acts, stats, _) = plain.store_mut().forward();
        let lse = at_mut(stats, op.lse)?;
        let [o, qkv] = split(acts, [op.o.range(), op.qkv.range()])?;
        attention(o, lse, qkv, tables(params, op.rope)?, &shape(op), scratch);
        Ok(())
    }

    fn linear_qkv(&mut self, op: &LinearQkv) -> Result<(), Error> {
        op.apart(self)
    }

    fn attention(&mut self, op: &Attention) -> Result<(), Error> {
        self.rope_attention(op)
    }

    fn linear_swiglu(&mut self, op: &LinearSwiGlu) -> Result<(), Error> {
        op.apart(self)
    }

    fn linear_add_rms_norm(&mut self, op: &LinearAddRmsNorm) -> Result<(), Error> {
        op.apart(self)
    }

    fn swiglu(&mut self, op: &SwiGlu) -> Result<(), Error> {
        let [a, gate_up] = split(self.forward().1, [op.a.range(), op.gate_up.range()])?;
        elementwise::swiglu(a, gate_up, op.a.cols);
        Ok(())
    }

    fn add_rms_norm(&mut self, op: &AddRmsNorm) -> Result<(), Error> {
        let (_, acts, stats) = self.forward();
        let rstd = at_mut(stats, op.rstd)?;
        let [y, x, t] = split(acts, [op.y.range(), op.x.range(), op.t.range()])?;
        elementwise::add_rms_norm(y, rstd, x, t, op.y.cols, op.eps as f32);
        Ok(())
    }

    fn take_columns(&mut self, op: &Columns) -> Result<(), Error> {
        columns::take(self.forward().1, op)
    }

    fn put_columns(&mut self, op: &Columns) -> Result<(), Error> {
        columns::put(self.forward().1, op)
    }

    fn token_mix(&mut self, op: &TokenMix) -> Result<(), Error> {
        op.apart(self)
    }

    fn q_head(&mut self, op: &QHead) -> Result<(), Error> {
        self.plain.q_head(op)
    }

    fn reset_rows(&mut self, z: Act, init: Param, halted: Ids) -> Result<(), Error> {
        self.plain.reset_rows(z, init, halted)
    }

    fn replace_rows(&mut self, current: Ids, incoming: Ids, halted: Ids) -> Result<(), Error> {
        self.plain.replace_rows(current, incoming, halted)
    }

    fn argmax(&mut self, op: &Argmax) -> Result<(), Error> {
        self.plain.argmax(op)
    }
}

impl TrainKernels for Cpu {
    fn begin_step(&mut self, scalars: &StepScalars) -> Result<(), Error> {
        self.scalars = *scalars;
        self.plain.begin_step(scalars)
    }

    fn take_first(&mut self, y: Act, x: Act) -> Result<(), Error> {
        self.plain.take_first(y, x)
    }

    fn embed_vjp(&mut self, op: &EmbedVjp) -> Result<(), Error> {
        self.plain.embed_vjp(op)
    }

    fn linear_vjp_input(&mut self, op: &LinearVjpInput) -> Result<(), Error> {
        let (params, acts, _) = self.forward();
        let w = at(params, op.w)?;
        let [dx, dy] = split(acts, [op.dx.range(), op.dy.range()])?;
        gemm::linear_dx(dx, dy, w, op.dx.cols, op.dy.cols, op.write);
        Ok(())
    }

    fn linear_vjp_weight(&mut self, op: &LinearVjpWeight) -> Result<(), Error> {
        let TrainArenas { gradients, acts, .. } = self.arenas();
        let (dw, dy, x) = (at_mut(gradients, op.w)?, at(acts, op.dy)?, at(acts, op.x)?);
        gemm::linear_dw(dw, dy, x, op.x.cols, op.dy.cols, op.write);
        Ok(())
    }

    fn rope_attention_vjp(&mut self, op: &AttentionVjp) -> Result<(), Error> {
        let Self { plain, scratch, .. } = self;
        let (params, acts, stats, _) = plain.store_mut().forward();
        let forward = &op.forward;
        let lse = at(stats, forward.lse)?;
        let [dqkv, qkv, o, d_o] =
            split(acts, [op.dqkv.range(), forward.qkv.range(), forward.o.range(), op.d_o.range()])?;
        attention_vjp(dqkv, d_o, qkv, o, lse, tables(params, forward.rope)?, &shape(forward), scratch);
        Ok(())
    }

    fn swiglu_vjp(&mut self, op: &SwiGlu) -> Result<(), Error> {
        let [a, gate_up] = split(self.forward().1, [op.a.range(), op.gate_up.range()])?;
        elementwise::swiglu_vjp(gate_up, a, op.a.cols);
        Ok(())
    }

    fn linear_swiglu_vjp(&mut self, op: &LinearSwiGluVjp) -> Result<(), Error> {
        op.apart(self)
    }

    fn add_rms_norm_vjp(&mut self, ds: Act, dy: Act, y: Act, rstd: Stat) -> Result<(), Error> {
        let (_, acts, stats) = self.forward();
        let rstd = at(stats, rstd)?;
        let hidden = ds.cols;
        let [ds, dy, y] = split(acts, [ds.range(), dy.range(), y.range()])?;
        elementwise::add_rms_norm_vjp(ds, dy, y, rstd, hidden);
        Ok(())
    }

    fn token_mix_vjp(&mut self, op: &TokenMixVjp) -> Result<(), Error> {
        op.apart(self)
    }

    fn q_head_vjp(&mut self, op: &QHead, dz: Act) -> Result<(), Error> {
        self.plain.q_head_vjp(op, dz)
    }

    fn lm_loss(&mut self, op: &LmLoss) -> Result<(), Error> {
        self.plain.lm_loss(op)
    }

    fn q_loss(&mut self, op: &QLoss) -> Result<(), Error> {
        self.plain.q_loss(op)
    }

    fn advance(&mut self, op: &Advance) -> Result<(), Error> {
        self.plain.advance(op)
    }

    fn adam_atan2(&mut self, len: usize, optimizer: &AdamAtan2) -> Result<(), Error> {
        let factors = optimizer.factors(&self.scalars);
        let TrainArenas { params, gradients, first, second, .. } = self.arenas();
        let prefix = 0..len;
        let (Some(p), Some(g), Some(m), Some(v)) = (
            params.get_mut(prefix.clone()),
            gradients.get(prefix.clone()),
            first.get_mut(prefix.clone()),
            second.get_mut(prefix),
        ) else {
            return Err(Error::Span);
        };
        elementwise::adam_atan2(p, m, v, g, &factors);
        Ok(())
    }

    fn average(&mut self, len: usize, average: &Average) -> Result<(), Error> {
        let mut arenas = self.arenas();
        let (params, averages) = averaged(len, &mut arenas)?;
        elementwise::average(averages, params, average);
        Ok(())
    }

    fn swap_averages(&mut self, len: usize) -> Result<(), Error> {
        self.plain.swap_averages(len)
    }

    fn sign_sgd(&mut self, table: Param, ids: Ids, gradients: Act, optimizer: &SignSgd) -> Result<(), Error> {
        self.plain.sign_sgd(table, ids, gradients, optimizer)
    }
}
