//! Kernels as they are loaded into a device: each unit once, each kernel with the shared memory it has asked for.

use std::collections::HashMap;
use std::sync::Arc;

use cudarc::driver::sys::{CUdevice_attribute, CUfunction_attribute_enum};
use cudarc::driver::{CudaContext, CudaFunction, CudaModule};
use cudarc::nvrtc::Ptx;

use super::During;
use super::cache::Cache;
use super::hopper;
use super::nvrtc::Arch;
use crate::error::Error;
use crate::launch::{Grid, Kernel};

/// Dynamic shared memory that a kernel may have without asking.
const SHARED_FOR_ALL: u32 = 48 << 10;

/// The kernels of one device.
pub(super) struct Modules {
    context: Arc<CudaContext>,
    cache: Cache,
    arch: Arch,
    units: HashMap<&'static str, Arc<CudaModule>>,
    functions: HashMap<Kernel, Function>,
    /// How many clusters of a kernel fit, with the shared memory of each block.
    clusters: HashMap<(Kernel, u32), usize>,
    /// Shared memory that a block may have at most.
    shared_at_most: u32,
}

/// A loaded kernel.
struct Function {
    handle: CudaFunction,
    /// Shared memory that its source fixes.
    fixed: u32,
    /// Dynamic shared memory that it may be launched with.
    allowed: u32,
}

impl Modules {
    pub fn new(context: &Arc<CudaContext>, arch: Arch, cache: Cache) -> Result<Self, Error> {
        let attribute = CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
        let shared = context.attribute(attribute).during(|| "shared memory of the device".into())?;
        Ok(Self {
            context: context.clone(),
            cache,
            arch,
            units: HashMap::new(),
            functions: HashMap::new(),
            clusters: HashMap::new(),
            shared_at_most: shared.unsigned_abs(),
        })
    }

    /// Whether [`function`](Self::function) would find the kernel ready.
    pub fn is_ready(&self, kernel: Kernel, shared: u32) -> bool {
        self.functions.get(&kernel).is_some_and(|function| shared <= function.allowed)
    }

    /// The kernel, compiled and loaded if it is not yet, ready to be launched with `shared` bytes of dynamic shared
    /// memory.
    pub fn function(&mut self, kernel: Kernel, shared: u32) -> Result<&CudaFunction, Error> {
        let mut function = match self.functions.remove(&kernel) {
            Some(function) => function,
            None => self.load(kernel)?,
        };
        if shared > function.allowed {
            self.allow(kernel, &mut function, shared)?;
        }
        Ok(&self.functions.entry(kernel).insert_entry(function).into_mut().handle)
    }

    /// How many clusters of `size` blocks of the kernel the device holds at once. Asked for once.
    pub fn clusters(&mut self, kernel: Kernel, grid: Grid, size: u32) -> Result<usize, Error> {
        if let Some(count) = self.clusters.get(&(kernel, grid.shared)) {
            return Ok(*count);
        }
        let count = hopper::clusters(self.function(kernel, grid.shared)?, kernel.name, grid, size)?;
        self.clusters.insert((kernel, grid.shared), count);
        Ok(count)
    }

    fn load(&mut self, kernel: Kernel) -> Result<Function, Error> {
        let Kernel { unit, name } = kernel;
        let module = match self.units.get(unit) {
            Some(module) => module,
            None => {
                let cubin = self.cache.cubin(unit, self.arch)?;
                let module = self.context.load_module(Ptx::from_binary(cubin));
                let module =
                    module.during(|| format!("load of kernels/{unit}.cu, compiled for {}", self.arch))?;
                self.units.entry(unit).or_insert(module)
            }
        };
        let handle = module.load_function(name).during(|| format!("look for {name} in kernels/{unit}.cu"))?;
        let fixed = handle.shared_size_bytes().during(|| format!("shared memory of {name}"))?;
        Ok(Function { handle, fixed: fixed.unsigned_abs(), allowed: SHARED_FOR_ALL })
    }

    fn allow(&self, kernel: Kernel, function: &mut Function, shared: u32) -> Result<(), Error> {
        let (fixed, most) = (function.fixed, self.shared_at_most);
        if fixed.saturating_add(shared) > most {
            return Err(Error::Operand(format!(
                "{} asks for {shared} bytes of shared memory beside {fixed}, a block of this device has {most}",
                kernel.name
            )));
        }
        let attribute = CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        let set = function.handle.set_attribute(attribute, shared.cast_signed());
        set.during(|| format!("{shared} bytes of shared memory for {}", kernel.name))?;
        function.allowed = shared;
        Ok(())
    }
}
