//! A model that solves puzzles on a machine without an operating system: a bundle in flash, memory that is known when the
//! program is compiled, one ACT step for each call.
//!
//! ```
//! use hrm_core::halting::HaltOnQ;
//! use hrm_core::bundle::Bundle;
//! use hrm_core::config::{Config, ForwardDtype};
//! use hrm_core::solver::{Solver, SolverError, Step, scratch_bytes};
//!
//! /// It learnt 4 x 4 Sudoku; see `models/README.md`.
//! static MODEL: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/sudoku-4x4.hrm"));
//! /// Its configuration, as `hrm info` tells it.
//! const CONFIG: Config = Config {
//!     seq_len: 16,
//!     vocab_size: 6,
//!     hidden_size: 64,
//!     num_heads: 2,
//!     h_layers: 2,
//!     l_layers: 2,
//!     puzzle_emb_ndim: 64,
//!     halt_max_steps: 4,
//!     forward_dtype: ForwardDtype::Float32,
//!     ..Config::SUDOKU_EXTREME
//! };
//! const N: usize = scratch_bytes(&CONFIG);
//! assert!(N < 64 * 1024);
//!
//! fn solve(bundle: Bundle<'_>, ram: &mut [u8; N], puzzle: &[u8; 16]) -> Result<[i32; 16], SolverError> {
//!     let mut solver = Solver::new(bundle, ram)?;
//!     let mut policy = HaltOnQ::of(&CONFIG);
//!     solver.start(puzzle, 0)?;
//!     loop {
//!         match solver.step(&mut policy)? {
//!             Step::Running(trace) => assert!(trace.step < CONFIG.halt_max_steps),
//!             Step::Halted(answer) => return Ok(core::array::from_fn(|cell| answer.predictions[cell])),
//!         }
//!     }
//! }
//!
//! // Tokens: 1 is blank, 2 to 5 are the digits.
//! let puzzle = [1, 1, 1, 1, 1, 2, 5, 4, 1, 4, 3, 5, 1, 1, 4, 1];
//! let answer = solve(Bundle::parse(MODEL)?, &mut [0; N], &puzzle)?;
//! assert_eq!(answer, [4, 5, 2, 3, 3, 2, 5, 4, 2, 4, 3, 5, 5, 3, 4, 2]);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! It allocates nothing, and has no path from a bundle, a token or a policy to a panic. What it computes is
//! [`Portable`]'s, so the same bits come out on every machine.

use core::fmt;

use crate::arena::{Ids, Stat};
use crate::backend::portable::{Arenas, Error, Lengths, Portable, Table, TooManyTensors};
use crate::bundle::Bundle;
use crate::config::Config;
use crate::halting::{ActStep, HaltPolicy};
use crate::model;
use crate::plan::{Plan, PlanError};

/// Bytes of memory that a [`Solver`] needs for a model of `config`, at any alignment; `usize::MAX` for a configuration that
/// is not valid, since no memory is enough.
#[must_use]
pub const fn scratch_bytes(config: &Config) -> usize {
    match plan(config) {
        Ok(plan) => bytes(&Lengths::of(&plan)),
        Err(_) => usize::MAX,
    }
}

/// The plan for one puzzle: tiles of as many rows as fit over queries, keys and values, which are not needed then, but of
/// no fewer than what is multiplied by a row of weights while it is at hand.
const fn plan(config: &Config) -> Result<Plan, PlanError> {
    const LEAST: usize = crate::backend::portable::linear::TOKENS;
    if let Err(error) = config.validate() {
        return Err(PlanError::Config(error));
    }
    let (d, f) = (config.hidden_size as u64, config.inter_size() as u64);
    // The divisor is not 0: the width of a valid configuration is at least 1.
    let fit = match (2 * config.positions() as u64 * d).checked_div(3 * f + d) {
        Some(rows) => rows as usize,
        None => LEAST,
    };
    Plan::tiled(config, 1, if fit < LEAST { LEAST } else { fit / LEAST * LEAST })
}

/// What the arenas and the rotary tables take, with what it may take to align them.
const fn bytes(lengths: &Lengths) -> usize {
    let Lengths { acts, stats, ids, wide, tokens, rotary } = *lengths;
    let words = acts + stats + ids + wide + tokens.div_ceil(WORD) + rotary;
    words.saturating_mul(WORD).saturating_add(WORD - 1)
}

/// Bytes of a number, f32 or i32, and what its address is a multiple of.
const WORD: usize = size_of::<f32>();

/// A model at work on one puzzle at a time. See the [module](self).
#[derive(Debug)]
pub struct Solver<'a> {
    plan: Plan,
    table: Table<'a>,
    arenas: Arenas<'a>,
    /// ACT steps done on the puzzle; none if there is no puzzle, or if it is solved.
    steps: Option<usize>,
}

/// What an ACT step came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step<'a> {
    /// The policy goes on.
    Running(Trace<'a>),
    /// The policy halts: this is the answer.
    Halted(Answer<'a>),
}

/// What the model thinks after an ACT step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trace<'a> {
    /// ACT steps done, this one included: 1 after the first.
    pub step: usize,
    /// Most likely token of each cell.
    pub predictions: &'a [i32],
    /// Logit of halting.
    pub q_halt: f32,
    /// Logit of going on.
    pub q_continue: f32,
}

/// The trace of the last step: its predictions are the answer.
pub type Answer<'a> = Trace<'a>;

impl<'a> Step<'a> {
    /// The trace, whether it is the last or not.
    #[must_use]
    pub const fn trace(&self) -> &Trace<'a> {
        match self {
            Self::Running(trace) | Self::Halted(trace) => trace,
        }
    }
}

impl<'a> Solver<'a> {
    /// A solver with the model in `bundle`, which works in `ram`: at least [`scratch_bytes`] of it.
    ///
    /// # Errors
    /// The memory is too small, or the model has more layers than a [`Table`] holds.
    pub fn new(bundle: Bundle<'a>, ram: &'a mut [u8]) -> Result<Self, SolverError> {
        let plan = plan(bundle.config()).map_err(SolverError::Plan)?;
        let lengths = Lengths::of(&plan);
        let too_small = SolverError::Ram { given: ram.len(), needed: bytes(&lengths) };
        if ram.len() < bytes(&lengths) {
            return Err(too_small);
        }
        let (_, mut words, _) = bytemuck::pod_align_to_mut::<u8, f32>(ram);
        let mut lend = || -> Option<(&'a mut [f32], Arenas<'a>)> {
            let arenas = Arenas {
                acts: words.split_off_mut(..lengths.acts)?,
                stats: words.split_off_mut(..lengths.stats)?,
                ids: bytemuck::try_cast_slice_mut(words.split_off_mut(..lengths.ids)?).ok()?,
                wide: words.split_off_mut(..lengths.wide)?,
                tokens: {
                    let words = words.split_off_mut(..lengths.tokens.div_ceil(WORD))?;
                    bytemuck::try_cast_slice_mut(words).ok()?
                },
            };
            Some((words.split_off_mut(..lengths.rotary)?, arenas))
        };
        let (rotary, arenas) = lend().ok_or(too_small)?;
        let table = Table::new(&bundle, &plan, rotary).map_err(SolverError::Tensors)?;
        Ok(Self { plan, table, arenas, steps: None })
    }

    /// The configuration of the model.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.plan.config
    }

    /// Begins with a new puzzle, whatever became of the last: its tokens, and the row of the puzzle embedding that belongs to
    /// it.
    ///
    /// # Errors
    /// The puzzle has not as many cells as the model, or a token or the identifier is outside its table. The solver then has
    /// no puzzle.
    pub fn start(&mut self, inputs: &[u8], puzzle_identifier: usize) -> Result<(), SolverError> {
        self.steps = None;
        let Config { seq_len, vocab_size, num_puzzle_identifiers, .. } = self.plan.config;
        if inputs.len() != seq_len {
            return Err(SolverError::Cells { given: inputs.len(), expected: seq_len });
        }
        if let Some((cell, &given)) =
            inputs.iter().enumerate().find(|(_, token)| usize::from(**token) >= vocab_size)
        {
            return Err(SolverError::Token { cell, given, tokens: vocab_size });
        }
        let identifier =
            i32::try_from(puzzle_identifier).ok().filter(|_| puzzle_identifier < num_puzzle_identifiers);
        let Some(identifier) = identifier else {
            let (given, identifiers) = (puzzle_identifier, num_puzzle_identifiers);
            return Err(SolverError::Identifier { given, identifiers });
        };
        let incoming = self.plan.incoming;
        let tokens = self.ids_mut(incoming.inputs)?;
        tokens.iter_mut().zip(inputs).for_each(|(to, from)| *to = i32::from(*from));
        self.ids_mut(incoming.puzzle_ids)?.fill(identifier);
        // The first step takes the incoming puzzle and resets the states.
        self.ids_mut(self.plan.halted)?.fill(1);
        self.steps = Some(0);
        Ok(())
    }

    /// One ACT step on the puzzle; `policy` decides whether it was the last.
    ///
    /// # Errors
    /// There is no puzzle: none was started, or it has halted.
    pub fn step<P: HaltPolicy + ?Sized>(&mut self, policy: &mut P) -> Result<Step<'_>, SolverError> {
        self.step_polled(policy, &mut || ())
    }

    /// As [`step`](Self::step), calling `hook` after every block: `H_cycles * (L_cycles * L_layers + H_layers)` times.
    ///
    /// # Errors
    /// As there.
    pub fn step_polled<P: HaltPolicy + ?Sized>(
        &mut self,
        policy: &mut P,
        hook: &mut dyn FnMut(),
    ) -> Result<Step<'_>, SolverError> {
        let done = self.steps.take().ok_or(SolverError::NoPuzzle)?;
        let Arenas { acts, stats, ids, wide, tokens } = &mut self.arenas;
        let arenas = Arenas { acts, stats, ids, wide, tokens };
        let portable = Portable::new(&self.table, arenas, &self.plan).map_err(SolverError::Kernel)?;
        model::act_step(&mut portable.polled(hook), &self.plan).map_err(SolverError::Kernel)?;
        self.ids_mut(self.plan.halted)?.fill(0);

        let step = done.saturating_add(1);
        let (q_halt, q_continue) = self.q(self.plan.q)?;
        let halts = policy.halts(&ActStep { row: 0, step, q_halt, q_continue });
        self.steps = (!halts).then_some(step);
        let predictions = self.arenas.ids.get(self.plan.predictions.range());
        let predictions = predictions.ok_or(SolverError::Kernel(Error::Span))?;
        let trace = Trace { step, predictions, q_halt, q_continue };
        Ok(if halts { Step::Halted(trace) } else { Step::Running(trace) })
    }

    fn ids_mut(&mut self, span: Ids) -> Result<&mut [i32], SolverError> {
        self.arenas.ids.get_mut(span.range()).ok_or(SolverError::Kernel(Error::Span))
    }

    fn q(&self, span: Stat) -> Result<(f32, f32), SolverError> {
        match self.arenas.stats.get(span.range()) {
            Some(&[q_halt, q_continue]) => Ok((q_halt, q_continue)),
            _ => Err(SolverError::Kernel(Error::Span)),
        }
    }
}

/// Why there is no solver, or no step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SolverError {
    /// The configuration of the bundle is too large for this machine.
    Plan(PlanError),
    /// The memory is too small.
    Ram {
        /// Bytes that were given.
        given: usize,
        /// Bytes that are needed: [`scratch_bytes`].
        needed: usize,
    },
    /// The model has too many layers.
    Tensors(TooManyTensors),
    /// A puzzle of another size.
    Cells {
        /// Cells that it has.
        given: usize,
        /// Cells that the model's puzzles have.
        expected: usize,
    },
    /// A token that the model does not know.
    Token {
        /// The cell it is in, from 0.
        cell: usize,
        /// The token.
        given: u8,
        /// Tokens that the model knows, from 0.
        tokens: usize,
    },
    /// A puzzle identifier that the model does not know.
    Identifier {
        /// The identifier.
        given: usize,
        /// Identifiers that the model knows, from 0.
        identifiers: usize,
    },
    /// No puzzle was started, or it has halted.
    NoPuzzle,
    /// A kernel refused: the plan and the memory do not agree.
    Kernel(Error),
}

impl fmt::Display for SolverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan(error) => error.fmt(f),
            Self::Ram { given, needed } => {
                write!(f, "{given} bytes of memory, expected at least {needed}: scratch_bytes tells how many")
            }
            Self::Tensors(error) => error.fmt(f),
            Self::Cells { given, expected } => write!(f, "a puzzle of {given} cells, expected {expected}"),
            Self::Token { cell, given, tokens } => {
                write!(f, "token {given} in cell {cell}, expected 0 to {}", tokens.saturating_sub(1))
            }
            Self::Identifier { given, identifiers } => {
                write!(f, "puzzle identifier {given}, expected 0 to {}", identifiers.saturating_sub(1))
            }
            Self::NoPuzzle => f.write_str("no puzzle is being solved: start one first"),
            Self::Kernel(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SolverError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Plan(error) => Some(error),
            Self::Tensors(error) => Some(error),
            Self::Kernel(error) => Some(error),
            _ => None,
        }
    }
}
