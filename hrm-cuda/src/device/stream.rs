//! The one stream of a launcher: memory of the device, copies, launches, all in the order of the calls.
#![expect(unsafe_code, reason = "device memory is addresses, and the driver takes them at their word")]

use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::sys::{self, CUevent_flags, CUresult, CUtensorMap};
use cudarc::driver::{CudaContext, CudaEvent, CudaFunction, CudaGraph, CudaStream, DriverError, result};

use super::overlap::Overlap;
use super::pinned::{Landings, Ring};
use super::{During, config, hopper};
use crate::error::Error;
use crate::launch::{Arg, Grid, Kernel, MOST_ARGS, MOST_MAPS, Ptr, check_args};

/// The stream, and the memory it works on. Addresses come from [`alloc`](Self::alloc) or lie within what it gave:
/// the backend checks every operand against its arena before it gets here.
pub(super) struct Stream {
    context: Arc<CudaContext>,
    /// For all but launches of ours it comes from [`inner`](Self::inner).
    stream: Arc<CudaStream>,
    overlap: Overlap,
    ring: Ring,
    pub landings: Landings,
    allocations: Vec<u64>,
}

impl Stream {
    /// A stream of a device of compute capability `capability`.
    pub fn new(context: &Arc<CudaContext>, capability: (u32, u32)) -> Result<Self, Error> {
        // SAFETY: there is one stream, so nothing is used on another one.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().during(|| "creation of a stream".into())?;
        Ok(Self {
            context: context.clone(),
            stream,
            overlap: Overlap::new(capability),
            ring: Ring::new(context)?,
            landings: Landings::default(),
            allocations: Vec::new(),
        })
    }

    /// The stream, for what is no launch of ours: the next launch will wait for it.
    pub fn inner(&mut self) -> Arc<CudaStream> {
        self.overlap.close();
        self.stream.clone()
    }

    /// Makes the device the current one of this thread, for calls that ask for it.
    pub fn bind(&self) -> Result<(), Error> {
        self.context.bind_to_thread().during(|| "choice of the device for this thread".into())
    }

    /// Free bytes of the device, and all of them.
    pub fn free_and_total(&self) -> Result<(usize, usize), Error> {
        self.context.mem_get_info().during(|| "look at the device's memory".into())
    }

    /// Memory of the device that lives as long as the stream.
    pub fn alloc(&mut self, bytes: usize) -> Result<Ptr, Error> {
        self.bind()?;
        // SAFETY: nothing reads the memory before it is written: the backend clears it.
        match unsafe { result::malloc_sync(bytes.max(1)) } {
            Err(DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => {
                let (free, total) = self.free_and_total()?;
                Err(Error::Memory { needed: bytes, free, total })
            }
            other => {
                let address = other.during(|| format!("allocation of {bytes} bytes on the device"))?;
                self.allocations.push(address);
                Ok(Ptr(address))
            }
        }
    }

    /// Copies to the device, by way of page-locked memory, without waiting.
    pub fn upload(&mut self, to: Ptr, bytes: &[u8]) -> Result<(), Error> {
        self.bind()?;
        let stream = self.inner();
        for (i, piece) in bytes.chunks(Ring::PIECE).enumerate() {
            let staged = self.ring.stage(&stream, piece)?;
            // SAFETY: the target lies in an arena; the source stays as it is until this copy is done.
            unsafe { result::memcpy_htod_async(to.offset(i * Ring::PIECE).0, staged, stream.cu_stream()) }
                .during(|| format!("upload of {} bytes", bytes.len()))?;
        }
        Ok(())
    }

    /// Waits for the device, and copies from it.
    pub fn download(&mut self, from: Ptr, bytes: &mut [u8]) -> Result<(), Error> {
        self.bind()?;
        if !bytes.is_empty() {
            // SAFETY: the source lies in an arena; the target is borrowed until the wait below is over.
            unsafe { result::memcpy_dtoh_async(bytes, from.0, self.inner().cu_stream()) }
                .during(|| format!("download of {} bytes", bytes.len()))?;
        }
        self.wait()
    }

    /// Copies ranges to a landing, one behind the other, without waiting; its number.
    pub fn fetch(&mut self, ranges: &[(Ptr, usize)]) -> Result<usize, Error> {
        self.bind()?;
        let bytes = ranges.iter().map(|(_, len)| len).sum();
        let slot = self.landings.take(&self.context, bytes)?;
        let stream = self.inner();
        let landing = self.landings.get(slot)?;
        let mut rest = landing.memory.bytes_mut();
        for &(from, len) in ranges.iter().filter(|(_, len)| *len > 0) {
            let (to, behind) = rest.split_at_mut(len);
            // SAFETY: the source lies in an arena; nobody looks at the landing before its event has happened.
            unsafe { result::memcpy_dtoh_async(to, from.0, stream.cu_stream()) }
                .during(|| format!("start of a download of {len} bytes"))?;
            rest = behind;
        }
        landing.arrived.record(&stream).during(|| "mark behind a download".into())?;
        Ok(slot)
    }

    pub fn fill(&mut self, to: Ptr, value: u8, len: usize) -> Result<(), Error> {
        self.bind()?;
        if len == 0 {
            return Ok(());
        }
        // SAFETY: the target lies in an arena.
        unsafe { result::memset_d8_async(to.0, value, len, self.inner().cu_stream()) }
            .during(|| format!("fill of {len} bytes"))
    }

    /// Copies from one place of the device to another; they do not overlap.
    pub fn copy(&mut self, to: Ptr, from: Ptr, len: usize) -> Result<(), Error> {
        self.bind()?;
        // SAFETY: both lie in an arena.
        unsafe { result::memcpy_dtod_async(to.0, from.0, len, self.inner().cu_stream()) }
            .during(|| format!("copy of {len} bytes on the device"))
    }

    /// Launches a kernel of ours, beside the one before if [`Overlap`] says so.
    pub fn launch(
        &mut self,
        function: &CudaFunction,
        kernel: Kernel,
        grid: Grid,
        args: &[Arg],
    ) -> Result<(), Error> {
        self.bind()?;
        check_args(kernel, args)?;
        let Kernel { unit, name } = kernel;
        let mut values = [0u64; MOST_ARGS];
        let mut maps = [CUtensorMap { opaque: [0; 16] }; MOST_MAPS];
        let mut pointers = [std::ptr::null_mut::<c_void>(); MOST_ARGS];
        let mut free_maps = maps.iter_mut();
        for ((value, pointer), arg) in values.iter_mut().zip(&mut pointers).zip(args) {
            if let Arg::TensorMap(map) = arg {
                let Some(encoded) = free_maps.next() else { unreachable!("they were counted") };
                *encoded = hopper::encode(map)?;
                *pointer = std::ptr::from_mut(encoded).cast();
                continue;
            }
            *pointer = std::ptr::from_mut(value).cast();
            *value = match *arg {
                Arg::Ptr(ptr) => ptr.0,
                Arg::I32(x) => u64::from(x.cast_unsigned()),
                Arg::U64(x) => x,
                Arg::F32(x) => u64::from(x.to_bits()),
                Arg::F64(x) => x.to_bits(),
                Arg::TensorMap(_) => 0,
            };
        }
        let mut attribute = self.overlap.attribute();
        let config = config::config(grid, self.stream.cu_stream(), attribute.as_mut_slice());
        // SAFETY: the arguments are those of the kernel's source, which the emulator checks by their types; each
        // lies in the low bytes of its word, as a little-endian device and host have it. They are copied by the call.
        let launched = unsafe {
            sys::cuLaunchKernelEx(
                &raw const config,
                function.cu_function(),
                pointers.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        };
        launched.result().during(|| {
            let ([x, y, z], [tx, ty, tz]) = (grid.blocks, grid.threads);
            format!("launch of {name} with {x} x {y} x {z} blocks of {tx} x {ty} x {tz} threads and {} bytes of shared memory", grid.shared)
        })?;
        self.overlap.launched(unit);
        Ok(())
    }

    /// Launches a recorded sequence.
    pub fn replay(&mut self, graph: &CudaGraph) -> Result<(), Error> {
        self.overlap.close();
        graph.launch().during(|| "replay of a recorded sequence".into())
    }

    /// An event that has a time, recorded now.
    pub fn mark(&mut self) -> Result<CudaEvent, Error> {
        let flags = Some(CUevent_flags::CU_EVENT_DEFAULT);
        self.inner().record_event(flags).during(|| "mark in the stream".into())
    }

    pub fn wait(&mut self) -> Result<(), Error> {
        self.inner().synchronize().during(|| {
            "wait for the device (a kernel launched since the last wait may be what failed)".into()
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // Everything that was told must be done before memory goes away.
        self.context.record_err(self.stream.synchronize());
        for address in self.allocations.drain(..) {
            // SAFETY: allocated by `malloc_sync`, and not used again.
            self.context.record_err(unsafe { result::free_sync(address) });
        }
    }
}
