//! Matrix products by cuBLASLt: how each is computed is decided once.
//!
//! cuBLASLt has many algorithms for a product, and names a few that may be fast for its shape. One of them
//! decides the bits: it depends on nothing but shape, device and library. When a product is rehearsed, the others
//! are run on random operands too, and the fastest of those that give the same bits is taken. So neither load of
//! the machine nor temperature changes a result, and a run that is resumed equals one that was not.
//!
//! For a product on states the algorithm that decides is the first proposed for `DECIDING_ROWS` rows, whatever
//! the number of rows at hand (unless it cannot be launched for that), so that a row has the same bits alone and in a batch; sums over k are not split
//! there. The gradients of weights, which
//! sum over all rows of a batch, may be split; cuBLASLt adds the parts in a fixed order.

mod choose;
mod lt;

use std::collections::HashMap;

use super::stream::Stream;
use crate::error::Error;
use crate::launch::{Dtype, Gemm, Ptr};
use hrm_core::kernels::Write;
use lt::{Algorithm, Descriptors, Handle};

/// Bytes of device memory that algorithms may use beside their operands.
pub const WORKSPACE: usize = 32 << 20;

/// Candidates that are asked for.
const CANDIDATES: usize = 16;

/// Rows of the product whose first algorithm decides the bits of all products on states that differ from it in their
/// number of rows alone.
const DECIDING_ROWS: usize = 4096;

/// What an algorithm is chosen for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Shape {
    m: usize,
    n: usize,
    k: usize,
    transpose_a: bool,
    transpose_b: bool,
    write: Write,
    input: Dtype,
    output: Dtype,
}

impl Shape {
    const fn of(product: &Gemm) -> Self {
        let &Gemm { m, n, k, transpose_a, transpose_b, write, input, output, .. } = product;
        Self { m, n, k, transpose_a, transpose_b, write, input, output }
    }
}

/// How a product is computed.
struct Chosen {
    descriptors: Descriptors,
    algorithm: Algorithm,
}

/// All products of a launcher.
pub(super) struct Products {
    chosen: HashMap<Shape, Chosen>,
    workspace: Ptr,
    handle: Handle,
}

impl Products {
    pub fn new(stream: &mut Stream) -> Result<Self, Error> {
        stream.bind()?;
        Ok(Self { chosen: HashMap::new(), handle: Handle::new()?, workspace: stream.alloc(WORKSPACE)? })
    }

    /// Whether it is known how to compute a product.
    pub fn is_ready(&self, product: &Gemm) -> bool {
        self.chosen.contains_key(&Shape::of(product))
    }

    /// Launches a product. One of an unknown shape is computed by the first algorithm.
    pub fn run(&mut self, product: &Gemm, stream: &mut Stream) -> Result<(), Error> {
        stream.bind()?;
        let shape = Shape::of(product);
        if !self.chosen.contains_key(&shape) {
            let (descriptors, mut candidates) = self.candidates(product)?;
            self.chosen.insert(shape, Chosen { descriptors, algorithm: candidates.swap_remove(0) });
        }
        let Some(Chosen { descriptors, algorithm }) = self.chosen.get(&shape) else { return Ok(()) };
        descriptors.multiply(&self.handle, product, algorithm, self.workspace, &stream.inner())
    }

    /// Decides how products of this shape are computed. The operands are overwritten.
    pub fn rehearse(&mut self, product: &Gemm, stream: &mut Stream) -> Result<(), Error> {
        stream.bind()?;
        let shape = Shape::of(product);
        if self.chosen.contains_key(&shape) {
            return Ok(());
        }
        let (descriptors, candidates) = self.candidates(product)?;
        let run = |stream: &mut Stream, algorithm: &Algorithm| {
            descriptors.multiply(&self.handle, product, algorithm, self.workspace, &stream.inner())
        };
        let algorithm = choose::fastest_of_equals(product, candidates, stream, &run)?;
        self.chosen.insert(shape, Chosen { descriptors, algorithm });
        Ok(())
    }

    /// The algorithm that decides the bits, then what cuBLASLt proposes, the best first; at least one.
    fn candidates(&self, product: &Gemm) -> Result<(Descriptors, Vec<Algorithm>), Error> {
        let descriptors = Descriptors::new(product)?;
        let is_weight_gradient = product.transpose_a;
        let mut candidates = Vec::new();
        if !is_weight_gradient {
            let many = Descriptors::new(&Gemm { m: DECIDING_ROWS, ..*product })?;
            candidates = many.candidates(&self.handle, WORKSPACE, false, CANDIDATES)?;
            candidates.retain(|algorithm| descriptors.allow(&self.handle, algorithm, WORKSPACE));
            candidates.truncate(1);
        }
        candidates.extend(descriptors.candidates(&self.handle, WORKSPACE, is_weight_gradient, CANDIDATES)?);
        if candidates.is_empty() {
            return Err(Error::Device {
                action: format!("look for an algorithm for {product:?}"),
                reason: "cuBLASLt has none".into(),
            });
        }
        Ok((descriptors, candidates))
    }
}
