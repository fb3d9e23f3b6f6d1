//! Every kernel of the portable backend against golden numbers, and all bits against those of the other machines.

use core::fmt::{self, Write};

use heapless::Vec;
use hrm_core::arena::Param;
use hrm_core::backend::portable::linear::TOKENS;
use hrm_core::backend::portable::{Arenas, Error, Lengths, Portable, Source};
use hrm_core::bundle::Weights;
use hrm_core::config::Config;
use hrm_core::plan::{Mode, Plan};
use hrm_core::rope;
use hrm_core::rope::RopeTables;

use crate::case::{Case, cases};
use crate::hash::Hash;
use crate::machine::{Exit, Machine};
use crate::placed::{Placed, Rotary};

/// The golden cases, which `cargo run -p host -- fixtures` writes.
pub static CASES: &[u8] = include_bytes!("../../fixtures/kernels.postcard");

/// The hash over the bits of all results: the same on every machine.
pub const EXPECTED: Hash = Hash::parse(include_str!("../../fixtures/hash"));

/// A model as small as can be: backends are made for a model, and a case brings operands of its own.
pub const LEAST: Plan = {
    let config = Config {
        seq_len: 1,
        vocab_size: 1,
        hidden_size: 2,
        num_heads: 1,
        puzzle_emb_ndim: 0,
        ..Config::SUDOKU_EXTREME
    };
    match Plan::new(&Config { h_layers: 1, l_layers: 1, ..config }, 1, Mode::Inference) {
        Ok(plan) => plan,
        Err(_) => panic!("the configuration is valid"),
    }
};

/// What is wrong with a case.
#[derive(Debug)]
enum Miss {
    Layout,
    Room,
    Kernel(Error),
    Count { found: usize, expected: usize },
    Value { at: usize, found: f32, expected: f32, error: f32 },
}

impl From<Error> for Miss {
    fn from(error: Error) -> Self {
        Self::Kernel(error)
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout => f.write_str("the sizes of the operands do not agree"),
            Self::Room => f.write_str("the operands do not fit in the memory"),
            Self::Kernel(error) => write!(f, "{error}"),
            Self::Count { found, expected } => write!(f, "{found} numbers, expected {expected}"),
            Self::Value { at, found, expected, error } => {
                write!(f, "[{at}] is {found}, expected {expected}: off by {error:e} of the largest")
            }
        }
    }
}

/// The parameters of a case.
struct Operands<'a> {
    params: Vec<(Param, Weights<'a>), 3>,
    cos: &'a [f32],
    sin: &'a [f32],
}

impl Source for Operands<'_> {
    fn tensor(&self, span: Param) -> Option<Weights<'_>> {
        self.params.iter().find(|(at, _)| *at == span).map(|(_, weights)| *weights)
    }

    fn rotary(&self, _: RopeTables) -> Option<(&[f32], &[f32])> {
        Some((self.cos, self.sin))
    }
}

/// Takes the first `count` of `memory`.
fn take<'a, T>(memory: &mut &'a mut [T], count: usize) -> Option<&'a mut [T]> {
    let (head, rest) = core::mem::take(memory).split_at_mut_checked(count)?;
    *memory = rest;
    Some(head)
}

/// Makes rotary tables.
fn rotary(tables: Rotary, cos: &mut [f32], sin: &mut [f32]) {
    let half = tables.tables.cos.cols;
    for (i, (cos, sin)) in cos.iter_mut().zip(sin).enumerate() {
        (*cos, *sin) = rope::cos_sin(tables.theta, 2 * half, i / half, i % half);
    }
}

/// Runs a case in the memory given, judges the result and takes its bits into `hash`.
fn judge(case: &Case<'_>, floats: &mut [f32], ints: &mut [i32], hash: &mut Hash) -> Result<(), Miss> {
    let placed = Placed::new(&case.kernel).ok_or(Miss::Layout)?;
    let [params, acts, stats, ids] = placed.lengths;
    let (mut floats, mut ints) = (floats, ints);
    let mut room = |count: usize| take(&mut floats, count).ok_or(Miss::Room);
    let tables = placed.rotary.map_or(0, |rotary| rotary.tables.cos.len());
    let (cos, sin) = (room(tables)?, room(tables)?);
    if let Some(tables) = placed.rotary {
        rotary(tables, cos, sin);
    }
    let source = Operands { params: placed.params.clone(), cos, sin };
    // No row, be it of weights, scores or tokens, is longer than all parameters or all activations.
    let (least, row) = (Lengths::of(&LEAST), params.max(acts));
    let tokens = least.tokens.max(TOKENS * row).div_ceil(size_of::<i32>());
    let arenas = Arenas {
        acts: room(acts.max(least.acts))?,
        stats: room(stats.max(least.stats))?,
        ids: take(&mut ints, ids.max(least.ids)).ok_or(Miss::Room)?,
        wide: room(row.max(least.wide))?,
        tokens: bytemuck::cast_slice_mut(take(&mut ints, tokens).ok_or(Miss::Room)?),
    };
    let mut k = Portable::new(&source, arenas, &LEAST)?;
    placed.write(&mut k)?;
    placed.apply(&mut k)?;

    let expected = || case.expected.as_chunks().0.iter().map(|x| f32::from_le_bytes(*x));
    let largest = expected().fold(f32::MIN_POSITIVE, |largest, x| largest.max(x.abs()));
    let (mut at, mut miss, mut left) = (0, None, expected());
    placed.read(&mut k, |found| {
        hash.add(found.to_bits());
        if let Some(expected) = left.next() {
            let error = (found - expected).abs() / largest;
            // What is not a number is not within the bound either.
            let within = error <= case.bound;
            if !within && miss.is_none() {
                miss = Some(Miss::Value { at, found, expected, error });
            }
        }
        at += 1;
    })?;
    if at != expected().count() {
        return Err(Miss::Count { found: at, expected: expected().count() });
    }
    miss.map_or(Ok(()), Err)
}

/// Runs every case and compares the hash; says what is wrong. Works in `ram`.
///
/// # Errors
/// Something is.
pub fn run(machine: &mut impl Machine, ram: &mut [u8]) -> Result<Hash, Exit> {
    let (hash, count) = check(machine, CASES, ram)?;
    writeln!(machine, "self-test: {count} cases of the kernels are right, hash {hash}")?;
    expect(machine, hash, EXPECTED)?;
    Ok(hash)
}

/// Says so if `found` is not `expected`.
///
/// # Errors
/// It is not.
pub fn expect(machine: &mut impl Machine, found: Hash, expected: Hash) -> Result<(), Exit> {
    if found == expected {
        return Ok(());
    }
    writeln!(machine, "self-test: hash {found}, expected {expected}")?;
    Err(Exit::Wrong)
}

/// Runs the cases in `bytes`, says what is wrong, and returns the hash and how many there were.
///
/// # Errors
/// Something is.
pub fn check(out: &mut impl Write, bytes: &[u8], ram: &mut [u8]) -> Result<(Hash, usize), Exit> {
    let half = ram.len() / 2;
    let (floats, ints) = ram.split_at_mut(half);
    let (_, floats, _) = bytemuck::pod_align_to_mut(floats);
    let (_, ints, _) = bytemuck::pod_align_to_mut(ints);
    let (mut hash, mut count, mut right) = (Hash::default(), 0, true);
    for case in cases(bytes) {
        let Ok(case) = case else {
            writeln!(out, "self-test: the cases are damaged after {count}")?;
            return Err(Exit::Wrong);
        };
        // What is in the memory must not matter.
        floats.fill(f32::NAN);
        ints.fill(-1);
        if let Err(miss) = judge(&case, floats, ints, &mut hash) {
            writeln!(out, "self-test: {}: {miss}", case.name)?;
            right = false;
        }
        count += 1;
    }
    if right { Ok((hash, count)) } else { Err(Exit::Wrong) }
}
