//! A launch in the form that the driver takes.
#![expect(unsafe_code, reason = "the driver's C interface has a union")]

use cudarc::driver::sys::{
    CUlaunchAttribute, CUlaunchAttributeID, CUlaunchAttributeValue, CUlaunchConfig, CUstream,
};

use crate::launch::Grid;

/// An attribute whose value `set` writes.
pub(super) fn attribute(
    id: CUlaunchAttributeID,
    set: impl FnOnce(&mut CUlaunchAttributeValue),
) -> CUlaunchAttribute {
    // SAFETY: all of its variants are plain numbers, for which zeros are valid.
    let mut value: CUlaunchAttributeValue = unsafe { std::mem::zeroed() };
    set(&mut value);
    CUlaunchAttribute { id, pad: [0; 4], value }
}

/// A launch of `grid`. The attributes must live as long as it is used.
pub(super) fn config(grid: Grid, stream: CUstream, attributes: &mut [CUlaunchAttribute]) -> CUlaunchConfig {
    let ([x, y, z], [tx, ty, tz]) = (grid.blocks, grid.threads);
    CUlaunchConfig {
        gridDimX: x,
        gridDimY: y,
        gridDimZ: z,
        blockDimX: tx,
        blockDimY: ty,
        blockDimZ: tz,
        sharedMemBytes: grid.shared,
        hStream: stream,
        attrs: attributes.as_mut_ptr(),
        numAttrs: attributes.len() as u32,
    }
}
