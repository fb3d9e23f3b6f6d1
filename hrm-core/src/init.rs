//! Initial parameters, and the constants that are computed rather than stored.

use crate::arena::Param;
use crate::config::ForwardDtype;
use crate::kernels::{Memory, Region};
use crate::plan::Plan;
use crate::rng::{Rng, Stream};
use crate::rope::Rotary;

/// Standard deviation of a unit normal cut off at two standard deviations; dividing by it corrects for the cut.
const CUT_STD: f64 = 0.879_625_661_034_239_8;
/// `erf(2 / sqrt 2)`: the share of a normal within two standard deviations.
const WITHIN_TWO: f64 = 0.954_499_736_103_641_6;

/// The bias with which both Q values start: halting and going on both look worthless.
pub const Q_BIAS: f32 = -5.0;

/// A normal number of standard deviation `std`, cut off at two (uncorrected) standard deviations, from a uniform
/// one `u` in `[0, 1)` by inversion.
#[must_use]
pub fn truncated_normal(u: f64, std: f64) -> f64 {
    let x = erfinv((2.0 * u - 1.0) * WITHIN_TWO) * core::f64::consts::SQRT_2 * std / CUT_STD;
    let bound = 2.0 * std / CUT_STD;
    x.clamp(-bound, bound)
}

/// The inverse of the error function: Winitzki's approximation (2008), refined by three Newton steps.
fn erfinv(y: f64) -> f64 {
    const A: f64 = 0.147;
    let l = libm::log(1.0 - y * y);
    let b = 2.0 / (core::f64::consts::PI * A) + l / 2.0;
    let mut x = libm::copysign(libm::sqrt(libm::sqrt(b * b - l / A) - b), y);
    for _ in 0..3 {
        let slope = core::f64::consts::FRAC_2_SQRT_PI * libm::exp(-x * x);
        x -= (libm::erf(x) - y) / slope;
    }
    x
}

/// Draws all parameters of a fresh model and writes its constants. Every tensor has its own lane of the random
/// sequence, so that its values do not depend on the sizes of the others.
///
/// Linear layers and embeddings are truncated normals of standard deviation `1 / sqrt(fan in)`, the initial
/// states of deviation 1; the Q head starts at 0 with a bias of [`Q_BIAS`], the puzzle embedding at 0.
///
/// # Errors
/// Those of the backend's memory.
pub fn initialise<M: Memory>(memory: &mut M, plan: &Plan, seed: u64) -> Result<(), M::Error> {
    let p = &plan.params;
    let linear = |w: Param| 1.0 / libm::sqrt(w.cols as f64);
    let mut lane = 0;
    let mut draw = |memory: &mut M, span: Param, std: f64, round: bool| {
        let mut rng = Rng::new(seed, Stream::Init, lane);
        lane += 1;
        fill(memory, span, |_| {
            let x = truncated_normal(rng.uniform(), std) as f32;
            if round { half::bf16::from_f32(x).to_f32() } else { x }
        })
    };
    draw(memory, p.embed_tokens, linear(p.embed_tokens), false)?;
    draw(memory, p.lm_head, linear(p.lm_head), false)?;
    if let Some(positions) = p.embed_pos {
        draw(memory, positions, linear(positions), false)?;
    }
    for block in p.stacks().flat_map(|stack| stack.blocks()) {
        for (_, w) in block.weights() {
            draw(memory, w, linear(w), false)?;
        }
    }
    let round = plan.config.forward_dtype == ForwardDtype::Bfloat16;
    draw(memory, p.h_init, 1.0, round)?;
    draw(memory, p.l_init, 1.0, round)?;
    fill(memory, p.q_weight, |_| 0.0)?;
    fill(memory, p.q_bias, |_| Q_BIAS)?;
    fill(memory, p.puzzle_emb, |_| 0.0)?;
    write_constants(memory, plan)
}

/// Writes what no file stores: the rotary tables.
///
/// # Errors
/// Those of the backend's memory.
pub fn write_constants<M: Memory>(memory: &mut M, plan: &Plan) -> Result<(), M::Error> {
    let Some(tables) = plan.params.rope else { return Ok(()) };
    let rotary = Rotary::of(&plan.config);
    let at = |i: usize| rotary.cos_sin(i / tables.cos.cols, i % tables.cos.cols);
    fill(memory, tables.cos, |i| at(i).0)?;
    fill(memory, tables.sin, |i| at(i).1)
}

/// Makes the averages the parameters, as they are before the first step. Without averages there is nothing to do.
///
/// # Errors
/// Those of the backend's memory.
pub fn begin_averages<M: Memory>(memory: &mut M, plan: &Plan) -> Result<(), M::Error> {
    let len = if plan.averages { plan.params.trained } else { 0 };
    let mut buffer = [0.0; 256];
    for at in (0..len).step_by(buffer.len()) {
        let part = buffer.len().min(len - at);
        memory.read(Region::Params, at, &mut buffer[..part])?;
        memory.write(Region::Averages, at, &buffer[..part])?;
    }
    Ok(())
}

/// Marks every row as halted and clears what the first step would otherwise read unwritten, so that the first
/// step takes its puzzles from the incoming rows.
///
/// # Errors
/// Those of the backend's memory.
pub fn reset_carry<M: Memory>(memory: &mut M, plan: &Plan) -> Result<(), M::Error> {
    for b in 0..plan.batch {
        memory.write_ids(plan.halted.offset + b, &[1])?;
        memory.write_ids(plan.steps.offset + b, &[0])?;
    }
    Ok(())
}

/// Writes `value(i)` to every element `i` of `span`.
fn fill<M: Memory>(memory: &mut M, span: Param, mut value: impl FnMut(usize) -> f32) -> Result<(), M::Error> {
    let mut buffer = [0.0; 256];
    let mut done = 0;
    while done < span.len() {
        let count = buffer.len().min(span.len() - done);
        for (i, slot) in buffer[..count].iter_mut().enumerate() {
            *slot = value(done + i);
        }
        memory.write(Region::Params, span.offset + done, &buffer[..count])?;
        done += count;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erfinv_inverts_erf() {
        for i in -999..1000 {
            let y = f64::from(i) / 1000.0 * WITHIN_TWO;
            assert!((libm::erf(erfinv(y)) - y).abs() < 1e-15, "{y}");
        }
        assert_eq!(erfinv(0.0), 0.0);
    }

    #[test]
    fn the_cut_is_corrected() {
        let mut rng = Rng::new(11, Stream::Init, 0);
        let n = 200_000;
        let (mut sum, mut squares, mut max) = (0.0, 0.0, 0.0f64);
        for _ in 0..n {
            let x = truncated_normal(rng.uniform(), 0.5);
            sum += x;
            squares += x * x;
            max = max.max(x.abs());
        }
        let std = libm::sqrt(squares / f64::from(n));
        assert!((std - 0.5).abs() < 0.003, "{std}");
        assert!((sum / f64::from(n)).abs() < 0.005);
        assert!(max <= 1.136_847_234_338_556 && max > 1.13, "{max}");
    }
}
