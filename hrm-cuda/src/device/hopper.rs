//! What kernels for compute capability 9.0 need of the driver: tensor maps, and how many clusters fit.
#![expect(unsafe_code, reason = "the driver's C interface")]

use cudarc::driver::CudaFunction;
use cudarc::driver::sys::{
    self, CUlaunchAttributeID, CUtensorMap, CUtensorMapDataType, CUtensorMapFloatOOBfill,
    CUtensorMapInterleave, CUtensorMapL2promotion, CUtensorMapSwizzle,
};

use super::{During, config};
use crate::error::Error;
use crate::launch::{Grid, TensorMap};

/// The map in the form that the copy engine reads.
pub(super) fn encode(map: &TensorMap) -> Result<CUtensorMap, Error> {
    let rank = map.axes.iter().take_while(|axis| axis.len > 0).count();
    let lens = map.axes.map(|axis| axis.len as u64);
    // The driver takes bytes, and those of all but the innermost.
    let strides = map.axes.map(|axis| 2 * axis.stride as u64);
    let boxed = map.axes.map(|axis| axis.boxed as u32);
    let each = [1u32; 5];
    let mut encoded = CUtensorMap { opaque: [0; 16] };
    // SAFETY: the arrays have at least `rank` elements; the driver checks what they say, and writes the map.
    unsafe {
        sys::cuTensorMapEncodeTiled(
            &raw mut encoded,
            CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
            rank as u32,
            map.base.0 as *mut _,
            lens.as_ptr(),
            strides[1..].as_ptr(),
            boxed.as_ptr(),
            each.as_ptr(),
            CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
            CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
            CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
            CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    }
    .result()
    .during(|| format!("description of {:?} to the copy engine", &map.axes[..rank]))?;
    Ok(encoded)
}

/// How many clusters of `size` blocks the device holds at once.
pub(super) fn clusters(function: &CudaFunction, name: &str, grid: Grid, size: u32) -> Result<usize, Error> {
    let id = CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
    let mut attributes = [config::attribute(id, |value| {
        value.clusterDim.x = size;
        value.clusterDim.y = 1;
        value.clusterDim.z = 1;
    })];
    let one = Grid { blocks: [size, 1, 1], ..grid };
    let config = config::config(one, std::ptr::null_mut(), &mut attributes);
    let mut count = 0;
    // SAFETY: function and configuration are alive; the driver writes an int.
    unsafe { sys::cuOccupancyMaxActiveClusters(&raw mut count, function.cu_function(), &raw const config) }
        .result()
        .during(|| format!("count of the clusters of {size} blocks of {name} that fit"))?;
    Ok(count.unsigned_abs() as usize)
}
