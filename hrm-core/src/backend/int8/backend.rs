//! The backend behind the kernel contract.

use std::vec::Vec;

use super::attention::{Sizes, attention};
use super::floats;
use super::product::{self, Path};
use super::tokens::Tokens;
use super::weights::Packed;
use crate::arena::{Act, Ids, Param};
use crate::backend::columns;
use crate::backend::cpu::elementwise;
use crate::backend::operands::{Error, at, at_mut, split};
use crate::backend::portable::sums;
use crate::backend::reference::{Owned, Reference, Rounding, Storage};
use crate::kernels::{
    AddRmsNorm, Argmax, Attention, Columns, Embed, Kernels, Linear, LinearAddRmsNorm, LinearQkv,
    LinearSwiGlu, Memory, QHead, Region, SwiGlu, TokenMix, TokenScratch,
};
use crate::plan::{ElementSizes, Plan};
use crate::quantize;

/// The multi-threaded backend with linear layers of blocks in 8-bit integers. It is for inference, works on the threads
/// of the current rayon pool, and its results do not depend on their number: they are those of
/// [`Portable`](crate::backend::portable::Portable) on a bundle of the same integers.
///
/// Weights are quantised when they are first used after [`Memory::write`] changed them; those that are integers already are
/// taken as they are by [`write_integers`](Self::write_integers).
#[derive(Debug)]
pub struct Int8 {
    /// Owns the arenas and runs the kernels that take no time.
    plain: Reference<f32, Owned<f32>>,
    /// In the order of their places.
    weights: Vec<Weight>,
    tokens: Tokens,
    /// Of attention.
    scratch: Vec<f32>,
    path: Path,
}

/// A weight of a block.
#[derive(Debug)]
struct Weight {
    place: Param,
    packed: Packed,
    /// Whether the numbers at its place were written after it was packed.
    stale: bool,
}

/// The weights of all blocks, in the order of their places.
fn places(plan: &Plan) -> Vec<Param> {
    let blocks = plan.params.stacks().flat_map(|stack| stack.blocks());
    let mut places: Vec<Param> = blocks.flat_map(|block| block.weights().map(|(_, place)| place)).collect();
    places.sort_unstable_by_key(|place| place.offset);
    places
}

impl Int8 {
    /// A backend for `plan`, its arenas zeroed.
    ///
    /// # Errors
    /// None in practice: the arenas are made to measure.
    pub fn new(plan: &Plan) -> Result<Self, Error> {
        let weight =
            |place: Param| Weight { place, packed: Packed::new(place.rows, place.cols), stale: true };
        Ok(Self {
            plain: Reference::owned(plan, Rounding::None)?,
            weights: places(plan).into_iter().map(weight).collect(),
            tokens: Tokens::default(),
            scratch: Vec::new(),
            path: Path::best(),
        })
    }

    /// Bytes that the backend takes for `plan`.
    #[must_use]
    pub fn planned_bytes(plan: &Plan) -> usize {
        let packed: usize = places(plan).iter().map(|place| Packed::bytes(place.rows, place.cols)).sum();
        let config = &plan.config;
        let (positions, heads, dim) = (config.positions(), config.num_heads, config.head_dim());
        let scratch = Sizes { batch: plan.batch, positions, heads, dim }.scratch_len() * size_of::<f32>();
        let channels = Tokens::bytes(plan.rows(), config.inter_size().max(config.hidden_size));
        let of_columns =
            |scratch: TokenScratch| Tokens::bytes(scratch.x.rows, scratch.x.cols.max(scratch.a.cols));
        let columns = plan.tokens.map_or(0, of_columns);
        let tokens = channels.max(columns);
        plan.bytes(ElementSizes::F32).total() + packed + scratch + tokens
    }

    /// Makes `integers` `[rows, cols]` times a scale for each row the weight at `place`, instead of what its numbers in
    /// [`Region::Params`] come to.
    ///
    /// # Errors
    /// There is no weight of a block at `place`, or the lengths are not its own.
    pub fn write_integers(&mut self, place: Param, integers: &[i8], scales: &[f32]) -> Result<(), Error> {
        let weight = self.weights.iter_mut().find(|weight| weight.place == place).ok_or(Error::Span)?;
        if integers.len() != place.len() || scales.len() != place.rows {
            return Err(Error::Span);
        }
        let rows = integers.chunks_exact(place.cols).zip(scales);
        rows.enumerate().for_each(|(row, (integers, scale))| weight.packed.set_row(row, integers, *scale));
        weight.stale = false;
        Ok(())
    }
}

impl Weight {
    /// Quantises the numbers at its place in `params`.
    fn refresh(&mut self, params: &[f32]) -> Result<(), Error> {
        let mut integers = std::vec![0; self.place.cols];
        for (row, numbers) in at(params, self.place)?.chunks_exact(self.place.cols).enumerate() {
            let scale = quantize::row(numbers, &mut integers);
            self.packed.set_row(row, &integers, scale);
        }
        self.stale = false;
        Ok(())
    }
}

impl Memory for Int8 {
    type Error = Error;

    fn read(&mut self, region: Region, offset: usize, out: &mut [f32]) -> Result<(), Error> {
        self.plain.read(region, offset, out)
    }
    fn write(&mut self, region: Region, offset: usize, values: &[f32]) -> Result<(), Error> {
        self.plain.write(region, offset, values)?;
        if region == Region::Params {
            let end = offset + values.len();
            let touched = |place: Param| place.range().start < end && offset < place.range().end;
            self.weights.iter_mut().for_each(|weight| weight.stale |= touched(weight.place));
        }
        Ok(())
    }
    fn read_ids(&mut self, offset: usize, out: &mut [i32]) -> Result<(), Error> {
        self.plain.read_ids(offset, out)
    }
    fn write_ids(&mut self, offset: usize, values: &[i32]) -> Result<(), Error> {
        self.plain.write_ids(offset, values)
    }
}

impl Kernels for Int8 {
    fn embed(&mut self, op: &Embed) -> Result<(), Error> {
        self.plain.embed(op)
    }

    fn add(&mut self, y: Act, a: Act, b: Act) -> Result<(), Error> {
        let (_, acts, ..) = self.plain.store_mut().forward();
        let [y, a, b] = split(acts, [y.range(), a.range(), b.range()])?;
        elementwise::add(y, a, b);
        Ok(())
    }

    fn linear(&mut self, op: &Linear) -> Result<(), Error> {
        let (params, acts, ..) = self.plain.store_mut().forward();
        let [y, x] = split(acts, [op.y.range(), op.x.range()])?;
        let (inputs, outputs) = (op.w.cols, op.w.rows);
        let sizes = [op.x.cols, op.y.cols, op.y.rows];
        if op.w.is_empty() || sizes != [inputs, outputs, op.x.rows] {
            return Err(Error::Span);
        }
        let found = self.weights.binary_search_by_key(&op.w.offset, |weight| weight.place.offset);
        let Some(weight) = found.ok().and_then(|index| self.weights.get_mut(index)) else {
            floats::linear(y, x, at(params, op.w)?, inputs, outputs);
            return Ok(());
        };
        if weight.place != op.w {
            return Err(Error::Span);
        }
        if weight.stale {
            weight.refresh(params)?;
        }
        self.tokens.set(x, inputs);
        product::linear(self.path, y, &self.tokens, &weight.packed);
        Ok(())
    }

    fn rope_attention(&mut self, op: &Attention) -> Result<(), Error> {
        let (params, acts, stats, _) = self.plain.store_mut().forward();
        let lse = at_mut(stats, op.lse)?;
        let [o, qkv] = split(acts, [op.o.range(), op.qkv.range()])?;
        let rotary = match op.rope {
            Some(tables) => Some((at(params, tables.cos)?, at(params, tables.sin)?)),
            None => None,
        };
        let (batch, positions, heads, dim) = (op.batch(), op.positions(), op.heads, op.head_dim());
        let sizes = Sizes { batch, positions, heads, dim };
        attention(o, lse, qkv, rotary, &sizes, &mut self.scratch);
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
        let (_, acts, ..) = self.plain.store_mut().forward();
        let [a, gate_up] = split(acts, [op.a.range(), op.gate_up.range()])?;
        floats::swiglu(a, gate_up, op.a.cols);
        Ok(())
    }

    fn add_rms_norm(&mut self, op: &AddRmsNorm) -> Result<(), Error> {
        let (_, acts, stats, _) = self.plain.store_mut().forward();
        let rstd = at_mut(stats, op.rstd)?;
        let [y, x, t] = split(acts, [op.y.range(), op.x.range(), op.t.range()])?;
        floats::add_rms_norm(y, rstd, x, t, op.y.cols, op.eps as f32);
        Ok(())
    }

    fn take_columns(&mut self, op: &Columns) -> Result<(), Error> {
        columns::take(self.plain.store_mut().forward().1, op)
    }

    fn put_columns(&mut self, op: &Columns) -> Result<(), Error> {
        columns::put(self.plain.store_mut().forward().1, op)
    }

    fn token_mix(&mut self, op: &TokenMix) -> Result<(), Error> {
        op.apart(self)
    }

    fn q_head(&mut self, op: &QHead) -> Result<(), Error> {
        let (params, acts, stats, _) = self.plain.store_mut().forward();
        let (w, bias) = (at(params, op.w)?, at(params, op.bias)?);
        let (q, z) = (at_mut(stats, op.q)?, at(acts, op.z)?);
        let (width, stride) = (op.z.cols, z.len() / op.q.rows);
        for (q, z) in q.chunks_exact_mut(2).zip(z.chunks_exact(stride)) {
            for ((q, w), bias) in q.iter_mut().zip(w.chunks_exact(width)).zip(bias) {
                *q = sums::dot(&z[..width], w) + bias;
            }
        }
        Ok(())
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
