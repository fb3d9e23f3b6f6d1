//! The console: a puzzle in, every ACT step's board and Q values out, then what it cost.
//!
//! | a line | does |
//! |---|---|
//! | `PUZZLE` | solves it: one character for each cell, `.` or `0` where it is blank |
//! | `PUZZLE SOLUTION` | the same, and the answer must be this |
//! | `count` | from now on tells instructions, where the machine counts them: in QEMU with `-icount shift=0` |
//! | `hash HEX` | the self-test's hash must be this |
//! | `panic`, `fault` | panics, or does what the processor traps: to see that this is noticed |
//! | `end` | ends, as the end of the input does |

use core::fmt::Display;

use heapless::{String, Vec};
use hrm_core::bundle::Bundle;
use hrm_core::halting::HaltOnQ;
use hrm_core::solver::{Solver, Step, Trace, scratch_bytes};

use crate::board::{Board, token};
use crate::hash::Hash;
use crate::machine::{Exit, Machine};
use crate::operations::operations;
use crate::self_test;

/// Characters of a line: two boards of 9 x 9 and some.
const LINE: usize = 256;
/// Cells of a board.
const CELLS: usize = 128;

/// A console with its model.
#[derive(Debug)]
pub struct Console<'a, M> {
    /// What it runs on.
    pub machine: &'a mut M,
    /// How the model came here: linked or loaded.
    pub place: &'static str,
    /// The model.
    pub bundle: Bundle<'static>,
    /// Memory for the solver.
    pub ram: &'a mut [u8],
    /// What the self-test came to.
    pub hash: Hash,
    /// Whether to tell instructions.
    pub counts: bool,
}

impl<M: Machine> Console<'_, M> {
    /// Reads lines and does what they say, to the end of the input.
    ///
    /// # Errors
    /// A line could not be done, or an answer was not the one expected.
    pub fn run(mut self) -> Result<(), Exit> {
        let config = self.bundle.config();
        writeln!(
            self.machine,
            "{} model: {} cells, hidden size {}, {} bytes, {} bytes of scratch, {} multiply-accumulates per ACT step",
            self.place,
            config.seq_len,
            config.hidden_size,
            self.bundle.size(),
            scratch_bytes(config),
            operations(config),
        )?;
        while let Some(line) = self.line()? {
            let mut words = line.split_ascii_whitespace();
            match (words.next(), words.next(), words.next()) {
                (None, ..) => {}
                (Some("end"), None, _) => break,
                (Some("count"), None, _) => self.counts = true,
                (Some("panic"), None, _) => panic!("asked to"),
                (Some("fault"), None, _) => self.machine.fault(),
                (Some("hash"), Some(hex), None) => {
                    self_test::expect(self.machine, self.hash, Hash::parse(hex))?
                }
                (Some(puzzle), solution, None) => self.solve(puzzle, solution)?,
                (Some(first), ..) => {
                    let what = format_args!("a line of more than two words, the first of them {first}");
                    return Err(refuse(self.machine, what));
                }
            }
        }
        Ok(())
    }

    /// The next line; none at the end of the input.
    fn line(&mut self) -> Result<Option<String<LINE>>, Exit> {
        let mut line = String::new();
        loop {
            let byte = match self.machine.read() {
                None if line.is_empty() => return Ok(None),
                None | Some(b'\n' | b'\r') => return Ok(Some(line)),
                Some(byte) => byte,
            };
            if line.push(char::from(byte)).is_err() {
                return Err(refuse(self.machine, format_args!("a line of more than {LINE} characters")));
            }
        }
    }

    /// The tokens of a board.
    fn tokens(&mut self, what: &str, text: &str) -> Result<Vec<u8, CELLS>, Exit> {
        let expected = self.bundle.config().seq_len;
        let tokens: Option<Vec<u8, CELLS>> = (text.chars().count() == expected && expected <= CELLS)
            .then(|| text.chars().map_while(|c| token(&self.bundle, c)).collect());
        if let Some(tokens) = tokens.filter(|tokens| tokens.len() == expected) {
            return Ok(tokens);
        }
        let expected = format_args!("expected {expected} characters that the model has tokens for");
        Err(refuse(self.machine, format_args!("the {what} {text} is no board: {expected}")))
    }

    /// Solves a puzzle before one's eyes.
    fn solve(&mut self, puzzle: &str, solution: Option<&str>) -> Result<(), Exit> {
        let puzzle = self.tokens("puzzle", puzzle)?;
        let solution = match solution {
            Some(solution) => Some(self.tokens("solution", solution)?),
            None => None,
        };
        let Self { machine, bundle, ram, counts, .. } = self;
        let mut solver = Solver::new(*bundle, ram).map_err(|error| refuse(*machine, error))?;
        solver.start(&puzzle, 0).map_err(|error| refuse(*machine, error))?;
        let mut policy = HaltOnQ::of(bundle.config());
        let steps = loop {
            let before = machine.instructions();
            // Where the counter is narrow, the hook reads it often enough.
            let step = solver.step_polled(&mut policy, &mut || _ = machine.instructions());
            let instructions = before.zip(machine.instructions()).map(|(before, after)| after - before);
            let step = step.map_err(|error| refuse(*machine, error))?;
            let Trace { step: number, predictions, q_halt, q_continue } = *step.trace();
            write!(machine, "step {number}  Q halt {q_halt:+}, continue {q_continue:+}")?;
            match instructions {
                Some(count) if *counts => writeln!(machine, "  {count} instructions")?,
                _ => writeln!(machine)?,
            }
            write!(machine, "{}", Board { bundle, tokens: predictions })?;
            if let Step::Halted(answer) = step {
                let same = |solution: Vec<u8, CELLS>| {
                    solution.iter().map(|token| i32::from(*token)).eq(answer.predictions.iter().copied())
                };
                if solution.is_some_and(|solution| !same(solution)) {
                    return Err(refuse(*machine, "the answer is not the solution"));
                }
                break number;
            }
        };
        let config = bundle.config();
        let (all, scratch) = (steps as u64 * operations(config), scratch_bytes(config));
        write!(
            machine,
            "halted after {steps} steps, {all} multiply-accumulates, {scratch} bytes of scratch"
        )?;
        match machine.peak_stack() {
            Some(bytes) => writeln!(machine, ", {bytes} bytes of stack")?,
            None => writeln!(machine)?,
        }
        Ok(())
    }
}

/// Says what is wrong.
pub fn refuse(machine: &mut impl Machine, what: impl Display) -> Exit {
    match writeln!(machine, "{what}") {
        Ok(()) => Exit::Wrong,
        Err(error) => error.into(),
    }
}
