//! Memory: the arenas of a backend, and copies between them and the caller.

/// An arena of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// Parameters and constants.
    Params,
    /// Gradients of the trained parameters.
    Gradients,
    /// First moments of the optimizer.
    FirstMoments,
    /// Second moments of the optimizer.
    SecondMoments,
    /// Averages of the trained parameters, where the plan has them.
    Averages,
    /// Activations.
    Acts,
    /// Statistics.
    Stats,
    /// Integers. They are no floating-point numbers: [`Memory::read_ids`] and [`Memory::write_ids`] copy them.
    Ids,
}

/// Copies between a backend's arenas and the caller's memory. f32 is the wire format: bf16 widens into it
/// without loss.
pub trait Memory {
    /// What can go wrong.
    type Error: core::error::Error;

    /// Reads `out.len()` elements of `region` from element `offset` on.
    ///
    /// # Errors
    /// The range does not lie within the region, the region is [`Region::Ids`], or the device fails.
    fn read(&mut self, region: Region, offset: usize, out: &mut [f32]) -> Result<(), Self::Error>;

    /// Writes `values` to `region` from element `offset` on.
    ///
    /// # Errors
    /// The range does not lie within the region, the region is read-only or [`Region::Ids`], or the device fails.
    fn write(&mut self, region: Region, offset: usize, values: &[f32]) -> Result<(), Self::Error>;

    /// Reads integers, as [`Memory::read`] does.
    ///
    /// # Errors
    /// As there.
    fn read_ids(&mut self, offset: usize, out: &mut [i32]) -> Result<(), Self::Error>;

    /// Writes integers, as [`Memory::write`] does.
    ///
    /// # Errors
    /// As there.
    fn write_ids(&mut self, offset: usize, values: &[i32]) -> Result<(), Self::Error>;
}
