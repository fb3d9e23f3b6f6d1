//! The backend behind the kernel contract.

use std::vec::Vec;

use super::product::{self, Path};
use super::tokens::Tokens;
use super::weights::Packed;
use crate::arena::{Act, Ids, Param};
use crate::backend::cpu::Cpu;
use crate::backend::reference::{Error, at, split};
use crate::kernels::{
    AddRmsNorm, Argmax, Attention, Embed, Kernels, Linear, Memory, QHead, Region, SwiGlu,
};
use crate::plan::{Level, Plan};
use crate::quantize;

/// The multi-threaded backend with linear layers of blocks in 8-bit integers. It is for inference, works on the threads
/// of the current rayon pool, and its results do not depend on their number.
///
/// Weights are quantised when they are first used after [`Memory::write`] changed them; those that are integers already are
/// taken as they are by [`write_integers`](Self::write_integers).
#[derive(Debug)]
pub struct Int8 {
    /// Owns the arenas and runs what is not a linear layer of a block.
    floats: Cpu,
    /// In the order of their places.
    weights: Vec<Weight>,
    tokens: Tokens,
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
    let mut places: Vec<Param> = [Level::H, Level::L]
        .into_iter()
        .flat_map(|level| (0..plan.params.layers(level)).map(move |layer| (level, layer)))
        .map(|(level, layer)| plan.params.block(level, layer))
        .flat_map(|block| [block.qkv, block.o, block.gate_up, block.down])
        .collect();
    places.sort_unstable_by_key(|place| place.offset);
    places
}

impl Int8 {
    /// A backend for `plan`, its arenas zeroed.
    ///
    /// # Errors
    /// None in practice: the arenas are made to measure.
    pub fn new(plan: &Plan) -> Result<Self, Error> {
        let weight = |place: Param| Weight { place, packed: Packed::new(place.rows, place.cols), stale: true };
        Ok(Self {
            floats: Cpu::new(plan)?,
            weights: places(plan).into_iter().map(weight).collect(),
            tokens: Tokens::default(),
            path: Path::best(),
        })
    }

    /// Bytes that the backend takes for `plan` on the current number of threads.
    #[must_use]
    pub fn planned_bytes(plan: &Plan) -> usize {
        let packed: usize = places(plan).iter().map(|place| Packed::bytes(place.rows, place.cols)).sum();
        let widest = plan.config.inter_size().max(plan.config.hidden_size);
        Cpu::planned_bytes(plan) + packed + Tokens::bytes(plan.rows(), widest)
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
        self.floats.read(region, offset, out)
    }
    fn write(&mut self, region: Region, offset: usize, values: &[f32]) -> Result<(), Error> {
        self.floats.write(region, offset, values)?;
        if region == Region::Params {
            let end = offset + values.len();
            let touched = |place: Param| place.range().start < end && offset < place.range().end;
            self.weights.iter_mut().for_each(|weight| weight.stale |= touched(weight.place));
        }
        Ok(())
    }
    fn read_ids(&mut self, offset: usize, out: &mut [i32]) -> Result<(), Error> {
        self.floats.read_ids(offset, out)
    }
    fn write_ids(&mut self, offset: usize, values: &[i32]) -> Result<(), Error> {
        self.floats.write_ids(offset, values)
    }
}

impl Kernels for Int8 {
    fn embed(&mut self, op: &Embed) -> Result<(), Error> {
        self.floats.embed(op)
    }

    fn add(&mut self, y: Act, a: Act, b: Act) -> Result<(), Error> {
        self.floats.add(y, a, b)
    }

    fn linear(&mut self, op: &Linear) -> Result<(), Error> {
        let Self { floats, weights, tokens, path } = self;
        let Ok(index) = weights.binary_search_by_key(&op.w.offset, |weight| weight.place.offset) else {
            return floats.linear(op);
        };
        let (params, acts, _) = floats.forward();
        let weight = &mut weights[index];
        if weight.stale {
            weight.refresh(params)?;
        }
        let [y, x] = split(acts, [op.y.range(), op.x.range()])?;
        if (weight.place, op.y.cols, op.y.rows) != (op.w, op.w.rows, op.x.rows) || op.x.cols != op.w.cols {
            return Err(Error::Span);
        }
        tokens.set(x, op.x.cols);
        product::linear(*path, y, tokens, &weight.packed);
        Ok(())
    }

    fn rope_attention(&mut self, op: &Attention) -> Result<(), Error> {
        self.floats.rope_attention(op)
    }

    fn swiglu(&mut self, op: &SwiGlu) -> Result<(), Error> {
        self.floats.swiglu(op)
    }

    fn add_rms_norm(&mut self, op: &AddRmsNorm) -> Result<(), Error> {
        self.floats.add_rms_norm(op)
    }

    fn q_head(&mut self, op: &QHead) -> Result<(), Error> {
        self.floats.q_head(op)
    }

    fn reset_rows(&mut self, z: Act, init: Param, halted: Ids) -> Result<(), Error> {
        self.floats.reset_rows(z, init, halted)
    }

    fn replace_rows(&mut self, current: Ids, incoming: Ids, halted: Ids) -> Result<(), Error> {
        self.floats.replace_rows(current, incoming, halted)
    }

    fn argmax(&mut self, op: &Argmax) -> Result<(), Error> {
        self.floats.argmax(op)
    }
}
