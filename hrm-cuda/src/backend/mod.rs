//! The backend: arenas in a launcher's memory, and each kernel of the contract as a call of a launch site in
//! [`ops`](crate::ops).
//!
//! # Memory
//!
//! Parameters, gradients, moments and statistics are f32, activations of the working precision. In bf16 the trained
//! parameters have a copy in bf16 beside, at the same offsets, which linear layers, embeddings and heads read; the
//! optimizer writes both. [`Cuda::planned_bytes`] is what all of it takes, to the byte.
//!
//! # Faults
//!
//! A kernel that meets a token outside its table, or a loss that is no number, sets a word in device memory and goes
//! on. While it is set the optimizers change nothing. Whatever waits for the device looks at the word, returns it as
//! [`Error::Fault`] and clears it; [`Cuda::collect`] returns it too, but leaves it for those who wait, because steps
//! that were launched since must not change anything either.

mod forward;
mod memory;
mod queue;
mod train;

use hrm_core::arena::{Act, Ids, Param, Stat};
use hrm_core::plan::{Mode, Plan};

use crate::arena::{Arena, Size};
use crate::error::Error;
use crate::launch::{Dtype, Launcher, Ptr};
use crate::ops::{attention, embedding, fault, gemm_sm90, linear_narrow, scalars, token_mix};

pub use queue::{Fetched, Values};

/// Precision of activations, and of weights where they are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// IEEE binary32, without TF32 anywhere: agrees with the f32 reference.
    F32,
    /// bfloat16, sums in f32.
    Bf16,
}

impl Precision {
    const fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::Bf16 => Dtype::Bf16,
        }
    }
}

/// The backend on a launcher. See the [module](self).
#[derive(Debug)]
pub struct Cuda<L: Launcher> {
    launcher: L,
    dtype: Dtype,
    params: Arena,
    /// The trained parameters in bf16; empty in f32.
    shadow: Arena,
    gradients: Arena,
    first: Arena,
    second: Arena,
    /// Averages of the trained parameters; empty if the plan has none.
    averages: Arena,
    acts: Arena,
    stats: Arena,
    ids: Arena,
    /// What kernels need for the time of a call.
    scratch: Arena,
    /// The fault word, and behind it the scalars of a step.
    control: Arena,
    bytes: usize,
}

/// The arenas of a plan, in the order of the fields of [`Cuda`].
fn sizes(plan: &Plan, precision: Precision) -> [Size; 11] {
    let size = |name, len, element| Size { name, len, element };
    let trained = if plan.mode == Mode::Training { plan.params.trained } else { 0 };
    let copied = if precision == Precision::Bf16 { plan.params.trained } else { 0 };
    [
        size("parameters", plan.params.len, 4),
        size("parameters in bf16", copied, 2),
        size("gradients", trained, 4),
        size("first moments", trained, 4),
        size("second moments", trained, 4),
        size("averages", if plan.averages { trained } else { 0 }, 4),
        size("activations", plan.acts_len, precision.dtype().bytes()),
        size("statistics", plan.stats_len, 4),
        size("integers", plan.ids_len, 4),
        size("scratch", scratch_bytes(plan), 1),
        size("control words", fault::BYTES + scalars::BYTES, 1),
    ]
}

/// Bytes of scratch for the kernel that needs most.
fn scratch_bytes(plan: &Plan) -> usize {
    let config = &plan.config;
    let sizes = embedding::Sizes {
        batch: plan.batch,
        seq_len: config.seq_len,
        hidden: config.hidden_size,
        vocab: config.vocab_size,
        ndim: config.puzzle_emb_ndim,
        prefix: config.prefix_len(),
    };
    let mixer = token_mix::Sizes {
        batch: plan.batch,
        positions: config.positions(),
        width: config.hidden_size,
        inter: config.token_inter_size(),
    };
    match plan.mode {
        Mode::Inference if config.mlp_t => token_mix::TokenMix::scratch(&mixer),
        Mode::Inference => 0,
        Mode::Training => {
            let shape = attention::Shape {
                batch: plan.batch,
                positions: config.positions(),
                heads: config.num_heads,
                head_dim: config.head_dim(),
            };
            let rows = plan.batch * config.positions();
            let (inner, outer) = (config.hidden_size, config.vocab_size);
            let head = linear_narrow::VjpWeight::new(linear_narrow::Sizes { rows, inner, outer })
                .map_or(0, |kernel| kernel.scratch());
            let (cols, outer) = (config.inter_size(), config.hidden_size);
            let block = gemm_sm90::LinearSwiGluVjp::scratch(&gemm_sm90::GatedSizes { rows, cols, outer });
            let embedding = embedding::embed_vjp_scratch(&sizes);
            let mixed = if config.mlp_t {
                token_mix::TokenMix::vjp_scratch(&mixer)
            } else {
                attention::rope_attention_vjp_scratch(&shape)
            };
            embedding.max(mixed).max(head).max(block)
        }
    }
}

impl<L: Launcher> Cuda<L> {
    /// A backend for `plan`, its arenas zeroed.
    ///
    /// # Errors
    /// The device's memory is too small, or the device fails.
    pub fn new(mut launcher: L, plan: &Plan, precision: Precision) -> Result<Self, Error> {
        let sizes = sizes(plan, precision);
        let bytes = sizes.iter().map(Size::bytes).sum();
        launcher.room_for(bytes)?;
        let mut arena = |size| Arena::new(&mut launcher, size);
        let [params, shadow, gradients, first, second, averages, acts, stats, ids, scratch, control] = sizes;
        Ok(Self {
            dtype: precision.dtype(),
            params: arena(params)?,
            shadow: arena(shadow)?,
            gradients: arena(gradients)?,
            first: arena(first)?,
            second: arena(second)?,
            averages: arena(averages)?,
            acts: arena(acts)?,
            stats: arena(stats)?,
            ids: arena(ids)?,
            scratch: arena(scratch)?,
            control: arena(control)?,
            bytes: bytes + L::OWN_BYTES,
            launcher,
        })
    }

    /// Bytes of device memory that a backend for `plan` takes, with what its launcher needs.
    #[must_use]
    pub fn planned_bytes(plan: &Plan, precision: Precision) -> usize {
        sizes(plan, precision).iter().map(Size::bytes).sum::<usize>() + L::OWN_BYTES
    }

    /// Bytes of device memory that this backend has taken, with what its launcher needs.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The launcher.
    pub fn launcher(&mut self) -> &mut L {
        &mut self.launcher
    }

    /// Zeroes all arenas.
    fn clear(&mut self) -> Result<(), Error> {
        let arenas = [
            &self.params,
            &self.shadow,
            &self.gradients,
            &self.first,
            &self.second,
            &self.averages,
            &self.acts,
            &self.stats,
            &self.ids,
            &self.scratch,
            &self.control,
        ];
        arenas.into_iter().try_for_each(|arena| arena.clear(&mut self.launcher))
    }

    fn act(&self, span: Act) -> Result<Ptr, Error> {
        self.acts.at(span)
    }

    fn stat(&self, span: Stat) -> Result<Ptr, Error> {
        self.stats.at(span)
    }

    fn ids(&self, span: Ids) -> Result<Ptr, Error> {
        self.ids.at(span)
    }

    /// A parameter in f32.
    fn master(&self, span: Param) -> Result<Ptr, Error> {
        self.params.at(span)
    }

    /// A trained parameter in the working precision.
    fn weight(&self, span: Param) -> Result<Ptr, Error> {
        match self.dtype {
            Dtype::F32 => self.params.at(span),
            Dtype::Bf16 => self.shadow.at(span),
        }
    }

    fn gradient(&self, span: Param) -> Result<Ptr, Error> {
        self.gradients.at(span)
    }

    fn fault(&self) -> Ptr {
        self.control.base()
    }

    fn scalars(&self) -> Ptr {
        self.control.base().offset(fault::BYTES)
    }

    /// Scratch for a kernel that needs `bytes`.
    fn scratch(&self, kernel: &str, bytes: usize) -> Result<Ptr, Error> {
        self.scratch.window(0, bytes).ok_or_else(|| {
            Error::Operand(format!(
                "{kernel} needs {bytes} bytes of scratch for these operands, the plan has {}",
                self.scratch.len()
            ))
        })
    }
}

/// Asks that operands fit together: of each, what it is, what was given, and what the others make of it.
fn fit(kernel: &str, sizes: &[(&str, usize, usize)]) -> Result<(), Error> {
    match sizes.iter().find(|(_, given, expected)| given != expected) {
        None => Ok(()),
        Some((what, given, expected)) => {
            Err(Error::Operand(format!("{kernel}: {what} is {given}, expected {expected}")))
        }
    }
}
