//! Copies between the arenas and the caller's memory.

use half::bf16;
use half::slice::HalfFloatSliceExt;
use hrm_core::arena::ALIGN;
use hrm_core::kernels::{Memory, Region};

use super::Cuda;
use crate::arena::Arena;
use crate::error::Error;
use crate::launch::{Dtype, Launcher, Ptr};
use crate::ops::fault::{self, Fault};
use crate::ops::optimizer;

/// Elements that are converted between f32 and bf16 at a time.
const CHUNK: usize = 1 << 20;

impl<L: Launcher> Cuda<L> {
    fn region(&self, region: Region) -> &Arena {
        match region {
            Region::Params => &self.params,
            Region::Gradients => &self.gradients,
            Region::FirstMoments => &self.first,
            Region::SecondMoments => &self.second,
            Region::Averages => &self.averages,
            Region::Acts => &self.acts,
            Region::Stats => &self.stats,
            Region::Ids => &self.ids,
        }
    }

    /// Waits for all that was launched.
    ///
    /// # Errors
    /// The device fails, or a kernel has found a fault, which is then cleared.
    pub fn wait(&mut self) -> Result<(), Error> {
        let mut word = [0; fault::BYTES];
        self.launcher.download(self.fault(), &mut word)?;
        match Fault::decode(word) {
            None => Ok(()),
            Some(found) => {
                self.launcher.fill(self.fault(), 0, fault::BYTES)?;
                Err(Error::Fault(found))
            }
        }
    }
}

/// Integers are no floating-point numbers.
const fn floats(region: Region, offset: usize, count: usize) -> Result<(), Error> {
    match region {
        Region::Ids => Err(Error::OutOfRange { region, end: offset.saturating_add(count), len: 0 }),
        _ => Ok(()),
    }
}

/// The address of `count` elements of `arena` from `offset` on.
fn window(arena: &Arena, region: Region, offset: usize, count: usize) -> Result<Ptr, Error> {
    arena.window(offset, count).ok_or(Error::OutOfRange {
        region,
        end: offset.saturating_add(count),
        len: arena.len(),
    })
}

impl<L: Launcher> Memory for Cuda<L> {
    type Error = Error;

    fn read(&mut self, region: Region, offset: usize, out: &mut [f32]) -> Result<(), Error> {
        floats(region, offset, out.len())?;
        let from = window(self.region(region), region, offset, out.len())?;
        self.wait()?;
        if out.is_empty() {
            return Ok(());
        }
        if region != Region::Acts || self.dtype == Dtype::F32 {
            return self.launcher.download(from, bytemuck::cast_slice_mut(out));
        }
        let mut narrow = vec![bf16::ZERO; out.len().min(CHUNK)];
        for (i, out) in out.chunks_mut(CHUNK).enumerate() {
            let narrow = &mut narrow[..out.len()];
            self.launcher.download(from.offset(i * CHUNK * 2), bytemuck::cast_slice_mut(narrow))?;
            narrow.convert_to_f32_slice(out);
        }
        Ok(())
    }

    fn write(&mut self, region: Region, offset: usize, values: &[f32]) -> Result<(), Error> {
        floats(region, offset, values.len())?;
        let to = window(self.region(region), region, offset, values.len())?;
        if values.is_empty() {
            return Ok(());
        }
        if region == Region::Acts && self.dtype == Dtype::Bf16 {
            let mut narrow = vec![bf16::ZERO; values.len().min(CHUNK)];
            for (i, values) in values.chunks(CHUNK).enumerate() {
                let narrow = &mut narrow[..values.len()];
                narrow.convert_from_f32_slice(values);
                self.launcher.upload(to.offset(i * CHUNK * 2), bytemuck::cast_slice(narrow))?;
            }
            return Ok(());
        }
        self.launcher.upload(to, bytemuck::cast_slice(values))?;
        if region == Region::Params && offset < self.shadow.len() {
            // Only what was written, from where a kernel may begin.
            let first = offset - offset % ALIGN;
            let len = (offset + values.len()).min(self.shadow.len()) - first;
            let (shadow, params) =
                (self.shadow.base().offset(2 * first), self.params.base().offset(4 * first));
            optimizer::round_parameters(&mut self.launcher, shadow, params, len)?;
        }
        Ok(())
    }

    fn read_ids(&mut self, offset: usize, out: &mut [i32]) -> Result<(), Error> {
        let from = window(&self.ids, Region::Ids, offset, out.len())?;
        self.wait()?;
        if out.is_empty() {
            return Ok(());
        }
        self.launcher.download(from, bytemuck::cast_slice_mut(out))
    }

    fn write_ids(&mut self, offset: usize, values: &[i32]) -> Result<(), Error> {
        let to = window(&self.ids, Region::Ids, offset, values.len())?;
        if values.is_empty() {
            return Ok(());
        }
        self.launcher.upload(to, bytemuck::cast_slice(values))
    }
}
