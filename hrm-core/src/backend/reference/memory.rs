//! Reading and writing the arenas from outside.

use super::{Error, Reference, Storage};
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
        };
        match self.store.training() {
            Some(arenas) => Ok(arenas.into_iter().nth(kept).unwrap_or_default()),
            None => Err(Error::OutOfRange { region: Some(region), end: 0, len: 0 }),
        }
    }
}

/// The elements from `offset` on, `count` of them.
fn window<U>(
    arena: &mut [U],
    region: Option<Region>,
    offset: usize,
    count: usize,
) -> Result<&mut [U], Error> {
    let len = arena.len();
    let end = offset.saturating_add(count);
    arena.get_mut(offset..end).ok_or(Error::OutOfRange { region, end, len })
}

impl<T: Scalar, M: Storage<T>> Memory for Reference<T, M> {
    type Error = Error;

    fn read(&mut self, region: Region, offset: usize, out: &mut [f32]) -> Result<(), Error> {
        if region == Region::Params {
            // Also where they cannot be written.
            let params = self.store.params();
            let (len, end) = (params.len(), offset.saturating_add(out.len()));
            let source =
                params.get(offset..end).ok_or(Error::OutOfRange { region: Some(region), end, len })?;
            out.iter_mut().zip(source).for_each(|(out, x)| *out = x.to_f32());
            return Ok(());
        }
        let source = window(self.region(region)?, Some(region), offset, out.len())?;
        out.iter_mut().zip(source).for_each(|(out, x)| *out = x.to_f32());
        Ok(())
    }

    fn write(&mut self, region: Region, offset: usize, values: &[f32]) -> Result<(), Error> {
        let target = window(self.region(region)?, Some(region), offset, values.len())?;
        target.iter_mut().zip(values).for_each(|(x, value)| *x = T::from_f32(*value));
        Ok(())
    }

    fn read_ids(&mut self, offset: usize, out: &mut [i32]) -> Result<(), Error> {
        out.copy_from_slice(window(self.store.forward().3, None, offset, out.len())?);
        Ok(())
    }

    fn write_ids(&mut self, offset: usize, values: &[i32]) -> Result<(), Error> {
        window(self.store.forward().3, None, offset, values.len())?.copy_from_slice(values);
        Ok(())
    }
}
