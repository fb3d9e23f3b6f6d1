//! Activations as integers, a scale for each token.

use std::vec::Vec;

use rayon::prelude::*;

use super::weights::{DEPTH, OFFSET};
use crate::backend::cpu::par::{rows_per_task, vectorized};
use crate::quantize;

/// Tokens `[count, inputs]`, quantised by [`quantize::row`].
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    /// The integers, [`DEPTH`] at a time; zeros after the last of a token.
    fours: Vec<[i8; DEPTH]>,
    rows: Vec<Row>,
    depth: usize,
}

/// What is known of a token beside its integers.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    start: i32,
    scale: f32,
}

/// One of [`Tokens`].
#[derive(Clone, Copy, Debug)]
pub struct Token<'a> {
    /// Its integers.
    pub fours: &'a [[i8; DEPTH]],
    /// What its sums start from: `-128 sum_k q_k`, see [`Packed`](super::weights::Packed).
    pub start: i32,
    /// Its scale.
    pub scale: f32,
}

impl Tokens {
    /// Quantises the rows of `x`, of `inputs` numbers each. Memory is taken when there is more than ever before.
    pub fn set(&mut self, x: &[f32], inputs: usize) {
        let count = x.len() / inputs.max(1);
        self.depth = inputs.div_ceil(DEPTH).max(1);
        self.fours.resize(count * self.depth, [0; DEPTH]);
        self.rows.resize(count, Row::default());
        let depth = self.depth;
        let part = |fours: &mut [[i8; DEPTH]], rows: &mut [Row], x: &[f32]| {
            vectorized(
                #[inline(always)]
                || {
                    let tokens = fours.chunks_exact_mut(depth).zip(x.chunks_exact(inputs));
                    tokens.zip(rows).for_each(|((fours, x), row)| *row = quantised(fours, x));
                },
            );
        };
        let task = rows_per_task(count, inputs);
        if task >= count {
            return part(&mut self.fours, &mut self.rows, x);
        }
        let fours = self.fours.par_chunks_mut(task * depth);
        let rows = self.rows.par_chunks_mut(task);
        fours.zip(rows).zip(x.par_chunks(task * inputs)).for_each(|((fours, rows), x)| part(fours, rows, x));
    }

    /// Bytes that so many tokens of so many numbers take.
    #[must_use]
    pub const fn bytes(count: usize, inputs: usize) -> usize {
        count * (inputs.next_multiple_of(DEPTH) + size_of::<Row>())
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.rows.len()
    }

    /// Token `index`. Panics if there is none.
    #[inline(always)]
    #[must_use]
    pub fn get(&self, index: usize) -> Token<'_> {
        let Row { start, scale } = self.rows[index];
        Token { fours: &self.fours[index * self.depth..][..self.depth], start, scale }
    }
}

#[inline(always)]
fn quantised(fours: &mut [[i8; DEPTH]], x: &[f32]) -> Row {
    let (integers, rest) = fours.as_flattened_mut().split_at_mut(x.len());
    rest.fill(0);
    let scale = quantize::row(x, integers);
    let sum = integers.iter().fold(0, |sum: i32, &q| sum.wrapping_add(i32::from(q)));
    Row { start: sum.wrapping_mul(-OFFSET), scale }
}
