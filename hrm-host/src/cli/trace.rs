//! Drawing a puzzle being solved: the board after each ACT step, what changed, and the Q values.

use std::io::Write;

use super::puzzle::Puzzle;
use super::words::counted;
use crate::error::{Error, Result};
use crate::solve::{Solution, Trace};
use crate::style::{BAD, FAINT, GOOD, STRONG};

/// Draws every step of `trace`.
pub fn draw(out: &mut dyn Write, puzzle: &Puzzle, trace: &Trace) -> Result<()> {
    let mut before = puzzle.tokens();
    for step in &trace.steps {
        let changed = step.tokens.iter().zip(&before).filter(|(now, before)| now != before).count();
        let solved = puzzle.can_be_judged() && puzzle.fault(&step.tokens).is_none();
        let verdict = if solved { format!("  {GOOD}solved{GOOD:#}") } else { String::new() };
        writeln!(
            out,
            "{STRONG}step {}{STRONG:#}  {changed} cells changed  {FAINT}Q halt {:+.2}, continue {:+.2}{FAINT:#}{verdict}",
            step.step, step.q_halt, step.q_continue
        )
        .and_then(|()| write!(out, "{}", puzzle.draw(&before, &step.tokens)))
        .map_err(Error::output)?;
        before.clone_from(&step.tokens);
    }
    Ok(())
}

/// Says in one line how it ended, and gives whether it is solved, as far as can be told.
pub fn verdict(out: &mut dyn Write, puzzle: &Puzzle, found: &Solution) -> Result<bool> {
    let fault = puzzle.fault(found.answer());
    let mut how = counted(found.steps(), "ACT step");
    let chosen = &found.views[found.view];
    if found.step + 1 < chosen.steps.len() {
        how += &format!(", by the board of step {}", found.step + 1);
    }
    if found.views.len() > 1 {
        how += &format!(", {} of {} views agree", found.votes, found.views.len());
    }
    let line = match &fault {
        None if puzzle.can_be_judged() => format!("{GOOD}solved{GOOD:#} in {how}"),
        None => format!("answered in {how}"),
        Some(fault) => {
            let why = puzzle.unsolvable().unwrap_or(fault);
            format!("{BAD}not solved{BAD:#} after {how}: {why}")
        }
    };
    writeln!(out, "{line}").map_err(Error::output)?;
    Ok(fault.is_none())
}
