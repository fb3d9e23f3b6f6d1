//! Reading and writing the arenas from outside. The parameters are the source's: they are neither read nor written here.

use super::{Arenas, Error, Portable, Source};
use crate::backend::operands::window_mut;
use crate::kernels::{Memory, Region};

/// The floating-point arena `region`.
fn floats<'a>(arenas: &'a mut Arenas<'_>, region: Region) -> &'a mut [f32] {
    match region {
        Region::Acts => arenas.acts,
        Region::Stats => arenas.stats,
        Region::Params
        | Region::Gradients
        | Region::FirstMoments
        | Region::SecondMoments
        | Region::Averages
        | Region::Ids => &mut [],
    }
}

fn copy<T: Copy>(to: &mut [T], from: &[T]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}

impl<S: Source> Memory for Portable<'_, S> {
    type Error = Error;

    fn read(&mut self, region: Region, offset: usize, out: &mut [f32]) -> Result<(), Error> {
        let from = window_mut(floats(&mut self.arenas, region), region, offset, out.len())?;
        copy(out, from);
        Ok(())
    }

    fn write(&mut self, region: Region, offset: usize, values: &[f32]) -> Result<(), Error> {
        if region == Region::Params {
            return Err(Error::ReadOnly);
        }
        let to = window_mut(floats(&mut self.arenas, region), region, offset, values.len())?;
        copy(to, values);
        Ok(())
    }

    fn read_ids(&mut self, offset: usize, out: &mut [i32]) -> Result<(), Error> {
        let from = window_mut(self.arenas.ids, Region::Ids, offset, out.len())?;
        copy(out, from);
        Ok(())
    }

    fn write_ids(&mut self, offset: usize, values: &[i32]) -> Result<(), Error> {
        let to = window_mut(self.arenas.ids, Region::Ids, offset, values.len())?;
        copy(to, values);
        Ok(())
    }
}
