//! Reading and writing the arenas from outside. The parameters are the source's: they are neither read nor written here.

use super::{Arenas, Error, Portable, Source};
use crate::kernels::{Memory, Region};

/// The elements from `offset` on, `count` of them.
fn window<T>(
    arena: &mut [T],
    region: Option<Region>,
    offset: usize,
    count: usize,
) -> Result<&mut [T], Error> {
    let (len, end) = (arena.len(), offset.saturating_add(count));
    arena.get_mut(offset..end).ok_or(Error::OutOfRange { region, end, len })
}

/// The floating-point arena `region`.
fn floats<'a>(arenas: &'a mut Arenas<'_>, region: Region) -> &'a mut [f32] {
    match region {
        Region::Acts => arenas.acts,
        Region::Stats => arenas.stats,
        Region::Params | Region::Gradients | Region::FirstMoments | Region::SecondMoments => &mut [],
    }
}

fn copy<T: Copy>(to: &mut [T], from: &[T]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}

impl<S: Source> Memory for Portable<'_, S> {
    type Error = Error;

    fn read(&mut self, region: Region, offset: usize, out: &mut [f32]) -> Result<(), Error> {
        let from = window(floats(&mut self.arenas, region), Some(region), offset, out.len())?;
        copy(out, from);
        Ok(())
    }

    fn write(&mut self, region: Region, offset: usize, values: &[f32]) -> Result<(), Error> {
        if region == Region::Params {
            return Err(Error::ReadOnly);
        }
        let to = window(floats(&mut self.arenas, region), Some(region), offset, values.len())?;
        copy(to, values);
        Ok(())
    }

    fn read_ids(&mut self, offset: usize, out: &mut [i32]) -> Result<(), Error> {
        let from = window(self.arenas.ids, None, offset, out.len())?;
        copy(out, from);
        Ok(())
    }

    fn write_ids(&mut self, offset: usize, values: &[i32]) -> Result<(), Error> {
        let to = window(self.arenas.ids, None, offset, values.len())?;
        copy(to, values);
        Ok(())
    }
}
