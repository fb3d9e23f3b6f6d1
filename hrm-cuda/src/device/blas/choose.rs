//! Which algorithm is the fastest of those that give the same bits.

use half::bf16;
use half::slice::HalfFloatSliceExt;
use hrm_core::rng::{Rng, Stream as Lane};

use super::super::During;
use super::super::stream::Stream;
use super::lt::Algorithm;
use crate::error::Error;
use crate::launch::{Dtype, Gemm, Ptr};

/// Runs that are timed together.
const RUNS: u32 = 5;

/// The most of a result that is compared, in bytes: pieces of it if it is larger.
const COMPARED: usize = 32 << 20;
const PIECES: usize = 8;

/// The fastest of `candidates` whose result on random operands is that of the first, bit for bit. `run` launches
/// the product by an algorithm.
pub(super) fn fastest_of_equals(
    product: &Gemm,
    candidates: Vec<Algorithm>,
    stream: &mut Stream,
    run: &dyn Fn(&mut Stream, &Algorithm) -> Result<(), Error>,
) -> Result<Algorithm, Error> {
    let &Gemm { m, n, k, input, output, .. } = product;
    fill_at_random(stream, product.a, m * k, input, 0)?;
    fill_at_random(stream, product.b, k * n, input, 1)?;
    let mut expected: Option<Vec<u8>> = None;
    let mut best: Option<(f32, Algorithm)> = None;
    let mut refused = None;
    for algorithm in candidates {
        fill_at_random(stream, product.c, m * n, output, 2)?;
        // What cuBLASLt proposes, or allows, it may still refuse to launch.
        if let Err(error) = run(stream, &algorithm) {
            refused = Some(error);
            continue;
        }
        let result = sample(stream, product.c, m * n * output.bytes())?;
        if expected.get_or_insert_with(|| result.clone()) != &result {
            continue;
        }
        let start = stream.mark()?;
        for _ in 0..RUNS {
            run(stream, &algorithm)?;
        }
        let end = stream.mark()?;
        let time = start.elapsed_ms(&end).during(|| format!("time of {product:?}"))?;
        if best.is_none_or(|(least, _)| time < least) {
            best = Some((time, algorithm));
        }
    }
    best.map(|(_, algorithm)| algorithm).ok_or_else(|| {
        refused.unwrap_or_else(|| Error::Device {
            action: format!("choice of an algorithm for {product:?}"),
            reason: "there is no candidate".into(),
        })
    })
}

/// Random numbers that repeat after so many elements: a prime, so that no row of a matrix is like its neighbour.
const PERIOD: usize = 1_000_003;

/// Fills `len` elements with random numbers in [-1, 1).
fn fill_at_random(stream: &mut Stream, to: Ptr, len: usize, dtype: Dtype, lane: u32) -> Result<(), Error> {
    let mut rng = Rng::new(0, Lane::Puzzle, lane);
    let first: Vec<f32> = (0..len.min(PERIOD)).map(|_| (2.0 * rng.uniform() - 1.0) as f32).collect();
    match dtype {
        Dtype::F32 => stream.upload(to, bytemuck::cast_slice(&first))?,
        Dtype::Bf16 => {
            let mut narrow = vec![bf16::ZERO; first.len()];
            narrow.convert_from_f32_slice(&first);
            stream.upload(to, bytemuck::cast_slice(&narrow))?;
        }
    }
    let (mut done, all) = (first.len() * dtype.bytes(), len * dtype.bytes());
    while done < all {
        let more = done.min(all - done);
        stream.copy(to.offset(done), to, more)?;
        done += more;
    }
    Ok(())
}

/// The bytes of a result: all, or pieces from its first to its last.
fn sample(stream: &mut Stream, from: Ptr, len: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; len.min(COMPARED)];
    if len <= COMPARED {
        stream.download(from, &mut bytes)?;
        return Ok(bytes);
    }
    let piece = COMPARED / PIECES;
    for (i, piece_bytes) in bytes.chunks_exact_mut(piece).enumerate() {
        stream.download(from.offset((len - piece) / (PIECES - 1) * i), piece_bytes)?;
    }
    Ok(bytes)
}
