//! The contract of a machine that runs the kernels: a GPU, or the emulator that runs the same sources on the CPU.
//!
//! Everything above this trait, launch sites, arenas and the backend, is the same code on both.

use crate::error::Error;
use hrm_core::kernels::Write;

/// An address in a launcher's memory: of the device, or of the host for the emulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ptr(pub u64);

impl Ptr {
    /// The address `bytes` further on.
    #[must_use]
    pub const fn offset(self, bytes: usize) -> Self {
        Self(self.0 + bytes as u64)
    }
}

/// The element type of an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE binary32.
    F32,
    /// bfloat16.
    Bf16,
}

impl Dtype {
    /// Bytes of an element.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }
}

/// A kernel: `unit` is the source file `kernels/{unit}.cu`, `name` its `extern "C"` entry point. Kernels that work on
/// activations come in two versions, whose names end in `_f32` and `_bf16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kernel {
    /// The source file, without its ending.
    pub unit: &'static str,
    /// The entry point.
    pub name: &'static str,
}

/// How many blocks of how many threads, and the dynamic shared memory of each block in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Blocks in x, y, z.
    pub blocks: [u32; 3],
    /// Threads of a block in x, y, z.
    pub threads: [u32; 3],
    /// Dynamic shared memory of a block, in bytes.
    pub shared: u32,
}

/// An argument, passed by value as C passes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arg {
    /// A pointer.
    Ptr(Ptr),
    /// `int`.
    I32(i32),
    /// `unsigned long long`.
    U64(u64),
    /// `float`.
    F32(f32),
    /// `double`.
    F64(f64),
    /// `const __grid_constant__ CUtensorMap`.
    TensorMap(TensorMap),
}

/// Arguments of a kernel at most, and tensor maps among them.
pub(crate) const MOST_ARGS: usize = 40;
/// See [`MOST_ARGS`].
pub(crate) const MOST_MAPS: usize = 5;

/// What every launcher asks of arguments, so that what one takes the others take.
pub(crate) fn check_args(kernel: Kernel, args: &[Arg]) -> Result<(), Error> {
    let maps = args.iter().filter(|arg| matches!(arg, Arg::TensorMap(_))).count();
    if args.len() > MOST_ARGS || maps > MOST_MAPS {
        let (name, count) = (kernel.name, args.len());
        return Err(Error::Operand(format!(
            "{name} has {count} arguments and {maps} tensor maps, at most {MOST_ARGS} and {MOST_MAPS}"
        )));
    }
    Ok(())
}

/// A tensor of bf16 as the copy engine of compute capability 9.0 sees it, which copies boxes of it to shared memory in
/// the swizzle of 128 bytes. What a box has outside the tensor is zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TensorMap {
    /// Its first element, aligned to 16 bytes.
    pub base: Ptr,
    /// Its dimensions, the innermost first; the rest has a length of 0.
    pub axes: [Axis; 5],
}

/// A dimension of a [`TensorMap`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Axis {
    /// Elements.
    pub len: usize,
    /// From one to the next, in elements: 1 for the innermost.
    pub stride: usize,
    /// How many of them a box has.
    pub boxed: usize,
}

/// A matrix product on row-major operands: `C = op(A) op(B)`, or `C += ..`, sums in f32.
///
/// `A` is `[m, k]`, or `[k, m]` if `transpose_a`; `B` is `[k, n]`, or `[n, k]` if `transpose_b`; `C` is `[m, n]`.
/// Operands A and B have the element type `input`, C has `output`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gemm {
    /// Rows of C.
    pub m: usize,
    /// Columns of C.
    pub n: usize,
    /// The dimension summed over.
    pub k: usize,
    /// First operand.
    pub a: Ptr,
    /// Second operand.
    pub b: Ptr,
    /// Result.
    pub c: Ptr,
    /// Whether A lies transposed.
    pub transpose_a: bool,
    /// Whether B lies transposed.
    pub transpose_b: bool,
    /// Whether the product is added to C.
    pub write: Write,
    /// Element type of A and B.
    pub input: Dtype,
    /// Element type of C.
    pub output: Dtype,
}

/// A machine that runs kernels in order, as if one after the other. Nothing but the calls that say so waits for them.
pub trait Launcher {
    /// Bytes of the device's memory that the launcher takes for itself.
    const OWN_BYTES: usize = 0;

    /// Memory of `bytes` bytes, aligned to 256, its contents undefined. It lives as long as the launcher.
    ///
    /// # Errors
    /// There is not so much.
    fn alloc(&mut self, bytes: usize) -> Result<Ptr, Error>;

    /// Whether `bytes` bytes can be had. A launcher that cannot tell leaves it to [`alloc`](Self::alloc).
    ///
    /// # Errors
    /// They cannot.
    fn room_for(&mut self, bytes: usize) -> Result<(), Error> {
        let _ = bytes;
        Ok(())
    }

    /// Copies `bytes` to `to`. The source may be changed when the call returns.
    ///
    /// # Errors
    /// The device fails.
    fn upload(&mut self, to: Ptr, bytes: &[u8]) -> Result<(), Error>;

    /// Waits for all that was launched, and copies from `from`.
    ///
    /// # Errors
    /// The device fails, or a kernel did since the last wait.
    fn download(&mut self, from: Ptr, bytes: &mut [u8]) -> Result<(), Error>;

    /// Sets `len` bytes to `value`.
    ///
    /// # Errors
    /// The device fails.
    fn fill(&mut self, to: Ptr, value: u8, len: usize) -> Result<(), Error>;

    /// Launches a kernel. The arguments must be those of its source.
    ///
    /// # Errors
    /// There is no such kernel, or the device refuses the launch.
    fn launch(&mut self, kernel: Kernel, grid: Grid, args: &[Arg]) -> Result<(), Error>;

    /// Launches a matrix product.
    ///
    /// # Errors
    /// The device fails.
    fn gemm(&mut self, product: &Gemm) -> Result<(), Error>;

    /// How many clusters of `size` blocks of a kernel for compute capability 9.0 alone the device holds at once, each
    /// block with the threads and the shared memory of `grid`. 0 if it does not run such kernels.
    ///
    /// # Errors
    /// There is no such kernel, or the device fails.
    fn clusters(&mut self, kernel: Kernel, grid: Grid, size: u32) -> Result<usize, Error> {
        let _ = (kernel, grid, size);
        Ok(0)
    }
}

/// A launcher that need not be waited for: sequences are recorded once and replayed, and copies arrive later.
///
/// While a sequence is recorded, [`Launcher::launch`], [`Launcher::gemm`] and [`Launcher::fill`] note what they
/// are told instead of doing it, and whatever moves data between host and device is an error. Whatever is recorded
/// must have been launched or rehearsed before.
pub trait Queue: Launcher {
    /// Begins or ends a rehearsal: what is launched in between is prepared, so that it can be recorded and be fast,
    /// and not run. Operands of products may be overwritten with anything.
    ///
    /// # Errors
    /// A sequence is being recorded.
    fn rehearse(&mut self, on: bool) -> Result<(), Error>;

    /// Begins to record.
    ///
    /// # Errors
    /// A sequence is being recorded already, or the device fails.
    fn record(&mut self) -> Result<(), Error>;

    /// Ends what [`record`](Self::record) began.
    ///
    /// # Errors
    /// Nothing is being recorded, or the device fails.
    fn finish(&mut self) -> Result<Recording, Error>;

    /// Launches a recorded sequence as a whole.
    ///
    /// # Errors
    /// There is no such recording, or the device fails.
    fn replay(&mut self, recording: Recording) -> Result<(), Error>;

    /// Starts a copy of ranges of memory to the host, one behind the other, as they are when everything launched
    /// so far is done. Does not wait.
    ///
    /// # Errors
    /// A sequence is being recorded, or the device fails.
    fn fetch(&mut self, ranges: &[(Ptr, usize)]) -> Result<Fetch, Error>;

    /// Whether a fetch has arrived. Does not wait.
    ///
    /// # Errors
    /// The device fails.
    fn arrived(&mut self, fetch: &Fetch) -> Result<bool, Error>;

    /// Waits for a fetch, and only for what it needs, and hands its bytes over.
    ///
    /// # Errors
    /// The device fails.
    fn collect(&mut self, fetch: Fetch) -> Result<Vec<u8>, Error>;
}

/// A recorded sequence of a [`Queue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recording(pub(crate) usize);

/// A copy to the host under way, of one [`Queue`]. One that is not collected holds its memory until the launcher goes.
#[derive(Debug, PartialEq, Eq)]
pub struct Fetch {
    pub(crate) slot: usize,
    pub(crate) bytes: usize,
}
