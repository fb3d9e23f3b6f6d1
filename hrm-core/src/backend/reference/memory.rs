//! Reading and writing the arenas from outside.

use super::{Reference, Storage};
use crate::backend::operands::{Error, window, window_mut};
use crate::kernels::{Memory, Region};
use crate::scalar::Scalar;

impl<T: Scalar, M: Storage<T>> Reference<T, M> {
    fn region(&mut self, region: Region) -> Result<&mut [T], Error> {
        let kept = match region {
            Region::Params => return self.store.params_mut().ok_or(Error::ReadOnly),
            Region::Acts => return Ok(self.store.forward().1),
            Region::Stats => return Ok(self.store.forward().2),
            Region::Gradients => 0,
            Region::FirstMoments => 1,
            Region::SecondMoments => 2,
            Region::Averages => 3,
            Region::Ids => return Err(Error::OutOfRange { region, end: 0, len: 0 }),
        };
        match self.store.training() {
            Some(arenas) => Ok(arenas.into_iter().nth(kept).unwrap_or_default()),
            None => Err(Error::OutOfRange { region, end: 0, len: 0 }),
        }
    }
}

impl<T: Scalar, M: Storage<T>> Memory for Reference<T, M> {
    type Error = Error;

    fn read(&mut self, region: Region, offset: usize, out: &mut [f32]) -> Result<(), Error> {
        if region == Region::Params {
            // Also where they cannot be written.
            let source = window(self.store.params(), region, offset, out.len())?;
            out.iter_mut().zip(source).for_each(|(out, x)| *out = x.to_f32());
            return Ok(());
        }
        let source = window_mut(self.region(region)?, region, offset, out.len())?;
        out.iter_mut().zip(source).for_each(|(out, x)| *out = x.to_f32());
        Ok(())
    }

    fn write(&mut self, region: Region, offset: usize, values: &[f32]) -> Result<(), Error> {
        let target = window_mut(self.region(region)?, region, offset, values.len())?;
        target.iter_mut().zip(values).for_each(|(x, value)| *x = T::from_f32(*value));
        Ok(())
    }

    fn read_ids(&mut self, offset: usize, out: &mut [i32]) -> Result<(), Error> {
        out.copy_from_slice(window_mut(self.store.forward().3, Region::Ids, offset, out.len())?);
        Ok(())
    }

    fn write_ids(&mut self, offset: usize, values: &[i32]) -> Result<(), Error> {
        window_mut(self.store.forward().3, Region::Ids, offset, values.len())?.copy_from_slice(values);
        Ok(())
    }
}
