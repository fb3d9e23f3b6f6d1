//! The launcher on a GPU.

use std::fmt;

use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use cudarc::driver::{CudaContext, CudaEvent, CudaGraph};

use super::During;
use super::blas::{Products, WORKSPACE};
use super::cache::Cache;
use super::driver::Driver;
use super::info::{Device, usable};
use super::library::Library;
use super::modules::Modules;
use super::nvrtc::Arch;
use super::stream::Stream;
use crate::error::Error;
use crate::launch::{Arg, Fetch, Gemm, Grid, Kernel, Launcher, Ptr, Queue, Recording};

/// The one compute capability that kernels named `sm90` are for.
const CLUSTER_CAPABILITY: (u32, u32) = (9, 0);

/// One device, with its compiled kernels, its products and its recorded sequences.
pub struct Gpu {
    device: Device,
    state: State,
    // In the order in which they go: what holds on to the stream's work before the stream.
    graphs: Vec<CudaGraph>,
    products: Products,
    modules: Modules,
    stream: Stream,
}

/// A moment in the order of what was launched, see [`Gpu::mark`].
#[derive(Debug)]
pub struct Mark(CudaEvent);

/// What is done with what is launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It runs.
    Running,
    /// It goes into a graph.
    Recording,
    /// Kernels are loaded, products tried, and nothing runs.
    Rehearsing,
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gpu")
            .field("device", &self.device)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Gpu {
    /// The device of the number `index`, with the user's cache of compiled kernels.
    ///
    /// # Errors
    /// A library is missing, there is no such device, it is too old, or the driver fails.
    pub fn new(index: usize) -> Result<Self, Error> {
        Self::with_cache(index, Cache::of_user())
    }

    /// The device of the number `index`, with a cache of compiled kernels of its own.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_cache(index: usize, cache: Cache) -> Result<Self, Error> {
        let device = usable(index)?;
        Library::Driver.require()?;
        Library::Nvrtc.require()?;
        Library::CublasLt.require()?;
        // With a context already there, what cudarc calls to have one does not fail.
        let context = Driver::get()?.with_context(index, || {
            CudaContext::new(index).during(|| format!("start of device {index}, {}", device.name))
        })?;
        let modules = Modules::new(&context, Arch { capability: device.capability }, cache)?;
        let mut stream = Stream::new(&context, device.capability)?;
        let products = Products::new(&mut stream)?;
        Ok(Self { device, state: State::Running, graphs: Vec::new(), products, modules, stream })
    }

    /// The device.
    #[must_use]
    pub const fn device(&self) -> &Device {
        &self.device
    }

    /// Free bytes of the device's memory, and all of them.
    ///
    /// # Errors
    /// The device fails.
    pub fn free_and_total(&self) -> Result<(usize, usize), Error> {
        self.stream.free_and_total()
    }

    /// Notes the moment when everything launched so far is done.
    ///
    /// # Errors
    /// The device fails.
    pub fn mark(&mut self) -> Result<Mark, Error> {
        self.stream.mark().map(Mark)
    }

    /// Seconds from one moment to a later one. Waits for both.
    ///
    /// # Errors
    /// The device fails.
    pub fn seconds(&self, from: &Mark, to: &Mark) -> Result<f64, Error> {
        self.stream.bind()?;
        let milliseconds = from.0.elapsed_ms(&to.0).during(|| "time between two marks".into())?;
        Ok(f64::from(milliseconds) / 1e3)
    }

    /// Copies `len` bytes from one place of the device to another; they do not overlap.
    ///
    /// # Errors
    /// The device fails.
    pub fn copy(&mut self, to: Ptr, from: Ptr, len: usize) -> Result<(), Error> {
        self.running("copy")?;
        self.stream.copy(to, from, len)
    }

    /// Asks that what moves data or waits come at its time.
    fn running(&self, what: &str) -> Result<(), Error> {
        let during = match self.state {
            State::Running | State::Rehearsing => return Ok(()),
            State::Recording => "a sequence is recorded",
        };
        Err(Error::Device { action: what.into(), reason: format!("not possible while {during}") })
    }
}

impl Launcher for Gpu {
    /// The workspace of cuBLASLt.
    const OWN_BYTES: usize = WORKSPACE;

    fn alloc(&mut self, bytes: usize) -> Result<Ptr, Error> {
        self.running("allocation")?;
        self.stream.alloc(bytes)
    }

    fn room_for(&mut self, bytes: usize) -> Result<(), Error> {
        let (free, total) = self.stream.free_and_total()?;
        if bytes > free { Err(Error::Memory { needed: bytes, free, total }) } else { Ok(()) }
    }

    fn upload(&mut self, to: Ptr, bytes: &[u8]) -> Result<(), Error> {
        self.running("upload")?;
        self.stream.upload(to, bytes)
    }

    fn download(&mut self, from: Ptr, bytes: &mut [u8]) -> Result<(), Error> {
        self.running("download")?;
        self.stream.download(from, bytes)
    }

    fn fill(&mut self, to: Ptr, value: u8, len: usize) -> Result<(), Error> {
        self.stream.fill(to, value, len)
    }

    fn launch(&mut self, kernel: Kernel, grid: Grid, args: &[Arg]) -> Result<(), Error> {
        if self.state == State::Recording && !self.modules.is_ready(kernel, grid.shared) {
            return Err(not_ready(kernel.name));
        }
        let function = self.modules.function(kernel, grid.shared)?;
        match self.state {
            State::Rehearsing => Ok(()),
            State::Running | State::Recording => self.stream.launch(function, kernel, grid, args),
        }
    }

    fn gemm(&mut self, product: &Gemm) -> Result<(), Error> {
        match self.state {
            State::Running => self.products.run(product, &mut self.stream),
            State::Recording if !self.products.is_ready(product) => Err(not_ready("a product")),
            State::Recording => self.products.run(product, &mut self.stream),
            State::Rehearsing => self.products.rehearse(product, &mut self.stream),
        }
    }

    fn clusters(&mut self, kernel: Kernel, grid: Grid, size: u32) -> Result<usize, Error> {
        if self.device.capability == CLUSTER_CAPABILITY {
            self.stream.bind()?;
            self.modules.clusters(kernel, grid, size)
        } else {
            Ok(0)
        }
    }
}

fn not_ready(what: &str) -> Error {
    Error::Device {
        action: format!("recording of {what}"),
        reason: "it was neither launched nor rehearsed before".into(),
    }
}

impl Queue for Gpu {
    fn rehearse(&mut self, on: bool) -> Result<(), Error> {
        self.running("rehearsal")?;
        self.state = if on { State::Rehearsing } else { State::Running };
        Ok(())
    }

    fn record(&mut self) -> Result<(), Error> {
        self.running("recording")?;
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.stream.inner().begin_capture(mode).during(|| "start of a recording".into())?;
        self.state = State::Recording;
        Ok(())
    }

    fn finish(&mut self) -> Result<Recording, Error> {
        if self.state != State::Recording {
            return Err(Error::Device {
                action: "end of a recording".into(),
                reason: "nothing is being recorded".into(),
            });
        }
        self.state = State::Running;
        let during = || "end of a recording".to_owned();
        let graph = self.stream.inner().end_capture(CUgraphInstantiate_flags(0)).during(during)?;
        let graph = graph.ok_or_else(|| Error::Device { action: during(), reason: "it is empty".into() })?;
        graph.upload().during(|| "upload of a recorded sequence".into())?;
        self.graphs.push(graph);
        Ok(Recording(self.graphs.len() - 1))
    }

    fn replay(&mut self, recording: Recording) -> Result<(), Error> {
        self.running("replay")?;
        let graph = self.graphs.get(recording.0).ok_or_else(|| Error::Device {
            action: "replay".into(),
            reason: format!("there is no recording {} of this launcher", recording.0),
        })?;
        self.stream.replay(graph)
    }

    fn fetch(&mut self, ranges: &[(Ptr, usize)]) -> Result<Fetch, Error> {
        self.running("fetch")?;
        let bytes = ranges.iter().map(|(_, len)| len).sum();
        Ok(Fetch { slot: self.stream.fetch(ranges)?, bytes })
    }

    fn arrived(&mut self, fetch: &Fetch) -> Result<bool, Error> {
        let landing = self.stream.landings.get(fetch.slot)?;
        landing.arrived.try_is_complete().during(|| "look whether a download has arrived".into())
    }

    fn collect(&mut self, fetch: Fetch) -> Result<Vec<u8>, Error> {
        self.stream.bind()?;
        let landing = self.stream.landings.get(fetch.slot)?;
        landing.arrived.synchronize().during(|| "wait for a download".into())?;
        let bytes = landing.memory.bytes()[..fetch.bytes].to_vec();
        self.stream.landings.release(fetch.slot);
        Ok(bytes)
    }
}
