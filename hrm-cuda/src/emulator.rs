//! The emulator: a [`Launcher`] that runs the kernel sources on the CPU, for tests without a GPU.
//!
//! `build.rs` compiles every `kernels/*.cu` with g++ and the headers of `emulator/`, which give CUDA's words a CPU
//! meaning: the threads of a block are fibers, blocks are spread over threads of the host, warp collectives exchange
//! their operands through a slot for each lane. What a GPU leaves to chance is done in the way that shows mistakes:
//!
//! * a warp runs until all its lanes wait, so that warps drift apart as far as the barriers let them, in one of three
//!   [`Order`]s;
//! * shared memory, new allocations, the destinations of copies in flight and accumulators of `wgmma` hold NaN;
//! * copies by the copy engine land, and `wgmma` is computed, when no thread can run otherwise; an operand that changes
//!   in between is an error;
//! * every allocation ends at a page that nobody may touch;
//! * a deadlock, lanes that diverge at a collective, an access outside memory, arguments of other types than the
//!   kernel's parameters, barriers in shared memory with more arrivals or bytes than they count on: each ends the launch
//!   with an error that names kernel, block and thread.
//!
//! [`Emulator::hopper`] runs what is for compute capability 9.0 too. The blocks of a cluster are then run together, and the
//! launcher says that two clusters fit, so that each has several tiles to work on.
//!
//! What it cannot show: errors in the inline assembly of `kernels/mma.cuh` and `kernels/hopper.cuh` (it has its own meaning
//! for those), missing fences, the rounding of tensor cores, weak memory ordering.

mod ffi;
mod memory;
mod tape;

use std::num::NonZero;

use half::bf16;
use half::slice::HalfFloatSliceExt;
use hrm_core::kernels::Write;

use crate::error::Error;
use crate::launch::{Arg, Dtype, Gemm, Grid, Kernel, Launcher, Ptr, check_args};
use memory::Memory;
use tape::{Call, Tape};

/// In which order the warps of a block, and the lanes of a warp, get their turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The first goes first.
    Forward,
    /// The last goes first.
    Reverse,
    /// Shuffled, another way in each block; now and then a warp is left before it waits.
    Random(u64),
}

/// A launcher on the CPU. See the [module](self).
#[derive(Debug)]
pub struct Emulator {
    memory: Memory,
    tape: Tape,
    order: Order,
    workers: u32,
    hopper: bool,
}

impl Emulator {
    /// An emulator without memory, on all processors of the host.
    #[must_use]
    pub fn new(order: Order) -> Self {
        let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            memory: Memory::default(),
            tape: Tape::default(),
            order,
            workers: workers as u32,
            hopper: false,
        }
    }

    /// The same on one thread of the host: blocks run one after the other.
    #[must_use]
    pub fn single(order: Order) -> Self {
        Self { workers: 1, ..Self::new(order) }
    }

    /// One that runs the kernels for compute capability 9.0 too, where there are such.
    #[must_use]
    pub fn hopper(order: Order) -> Self {
        Self { hopper: true, ..Self::new(order) }
    }
}

impl Launcher for Emulator {
    fn alloc(&mut self, bytes: usize) -> Result<Ptr, Error> {
        self.memory.alloc(bytes)
    }

    fn upload(&mut self, to: Ptr, bytes: &[u8]) -> Result<(), Error> {
        self.tape.running("upload")?;
        self.memory.bytes_mut(to, bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    fn download(&mut self, from: Ptr, bytes: &mut [u8]) -> Result<(), Error> {
        self.tape.running("download")?;
        bytes.copy_from_slice(self.memory.bytes(from, bytes.len())?);
        Ok(())
    }

    fn fill(&mut self, to: Ptr, value: u8, len: usize) -> Result<(), Error> {
        self.tell(Call::Fill(to, value, len))
    }

    fn launch(&mut self, kernel: Kernel, grid: Grid, args: &[Arg]) -> Result<(), Error> {
        check_args(kernel, args)?;
        self.tell(Call::Launch(kernel, grid, args.into()))
    }

    fn gemm(&mut self, product: &Gemm) -> Result<(), Error> {
        self.tell(Call::Gemm(*product))
    }

    /// So few that each has several tiles to work on, one after the other.
    fn clusters(&mut self, _: Kernel, _: Grid, _: u32) -> Result<usize, Error> {
        Ok(if self.hopper { 2 } else { 0 })
    }
}

impl Emulator {
    fn run(&mut self, call: &Call) -> Result<(), Error> {
        match call {
            Call::Fill(to, value, len) => {
                self.memory.bytes_mut(*to, *len)?.fill(*value);
                Ok(())
            }
            Call::Launch(kernel, grid, args) => self.run_kernel(*kernel, *grid, args),
            Call::Gemm(product) => self.run_gemm(product),
        }
    }

    fn run_kernel(&mut self, kernel: Kernel, grid: Grid, args: &[Arg]) -> Result<(), Error> {
        let blocks = grid.blocks.iter().map(|&n| u64::from(n)).product::<u64>();
        // Threads of the host are not worth their start for a few blocks.
        let workers = self.workers.min(u32::try_from(blocks / 4).unwrap_or(u32::MAX)).max(1);
        let failed = |reason: String| Error::Device { action: format!("launch of {}", kernel.name), reason };
        ffi::launch(kernel.name, grid, args, self.order, workers).map_err(failed)?;
        self.memory.check_tails().map_err(failed)
    }

    /// Sums over k in ascending order, in f32; rounds once, at the end.
    fn run_gemm(&mut self, product: &Gemm) -> Result<(), Error> {
        let &Gemm { m, n, k, .. } = product;
        let a = self.matrix(product.a, m, k, product.transpose_a, product.input)?;
        let b = self.matrix(product.b, k, n, product.transpose_b, product.input)?;
        let mut c = if product.write == Write::Accumulate {
            self.matrix(product.c, m, n, false, product.output)?
        } else {
            vec![0.0; m * n]
        };
        for i in 0..m {
            let mut row = vec![0.0f32; n];
            for l in 0..k {
                let x = a[i * k + l];
                row.iter_mut().zip(&b[l * n..][..n]).for_each(|(sum, y)| *sum += x * y);
            }
            c[i * n..][..n].iter_mut().zip(&row).for_each(|(c, sum)| *c += sum);
        }
        let bytes = self.memory.bytes_mut(product.c, m * n * product.output.bytes())?;
        write_elements(bytes, &c, product.output);
        Ok(())
    }

    /// Operand `[rows, cols]` as f32, from where it may lie transposed.
    fn matrix(
        &self,
        at: Ptr,
        rows: usize,
        cols: usize,
        transposed: bool,
        dtype: Dtype,
    ) -> Result<Vec<f32>, Error> {
        let stored = read_elements(self.memory.bytes(at, rows * cols * dtype.bytes())?, dtype);
        if !transposed {
            return Ok(stored);
        }
        Ok((0..rows * cols).map(|i| stored[i % cols * rows + i / cols]).collect())
    }
}

fn read_elements(bytes: &[u8], dtype: Dtype) -> Vec<f32> {
    match dtype {
        Dtype::F32 => bytes.as_chunks::<4>().0.iter().map(|element| f32::from_ne_bytes(*element)).collect(),
        Dtype::Bf16 => {
            let elements = bytes.as_chunks::<2>().0.iter().map(|element| bf16::from_ne_bytes(*element));
            let elements: Vec<bf16> = elements.collect();
            let mut values = vec![0.0; elements.len()];
            elements.convert_to_f32_slice(&mut values);
            values
        }
    }
}

fn write_elements(bytes: &mut [u8], values: &[f32], dtype: Dtype) {
    match dtype {
        Dtype::F32 => {
            let elements = bytes.as_chunks_mut::<4>().0;
            elements.iter_mut().zip(values).for_each(|(to, x)| *to = x.to_ne_bytes());
        }
        Dtype::Bf16 => {
            let mut rounded = vec![bf16::ZERO; values.len()];
            rounded.convert_from_f32_slice(values);
            let elements = bytes.as_chunks_mut::<2>().0;
            elements.iter_mut().zip(rounded).for_each(|(to, x)| *to = x.to_ne_bytes());
        }
    }
}
