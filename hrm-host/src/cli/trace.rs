//! Drawing a Sudoku being solved: the board after each ACT step, what changed, and the Q values.

use std::io::Write;

use crate::data::sudoku::{Board, Size, Style};
use crate::error::{Error, Result};
use crate::solve::{Solution, Trace, TraceStep};
use crate::style::{BAD, FAINT, GOOD, STRONG};

/// The board that tokens stand for; a token that is no digit (padding, blank) leaves its cell blank.
pub fn board(size: Size, tokens: &[i32]) -> Board {
    let mut board = Board::empty(size);
    for (cell, token) in tokens.iter().enumerate() {
        board.set(cell, u8::try_from(token - 1).unwrap_or(0));
    }
    board
}

/// The tokens of a board.
pub fn tokens(board: &Board) -> Vec<i32> {
    board.cells().iter().map(|digit| i32::from(*digit) + 1).collect()
}

/// Why `answer` does not solve `question`, if it does not.
pub fn fault(question: &Board, answer: &Board) -> Option<String> {
    if let Some(cell) = answer.first_difference(question) {
        let side = question.size().side();
        return Some(format!(
            "it overwrites the given in row {}, column {}",
            cell / side + 1,
            cell % side + 1
        ));
    }
    if let Some(cell) = answer.first_blank() {
        return Some(format!("cell {} has no digit", cell + 1));
    }
    (!answer.is_valid()).then(|| "a digit stands twice in a row, column or box".into())
}

/// Draws every step of `trace`.
pub fn draw(out: &mut dyn Write, question: &Board, trace: &Trace) -> Result<()> {
    let mut before = *question;
    for step in &trace.steps {
        let now = board(question.size(), &step.tokens);
        draw_step(out, question, &before, &now, step).map_err(Error::output)?;
        before = now;
    }
    Ok(())
}

fn draw_step(
    out: &mut dyn Write,
    question: &Board,
    before: &Board,
    now: &Board,
    step: &TraceStep,
) -> std::io::Result<()> {
    let changed = now.cells().iter().zip(before.cells()).filter(|(now, before)| now != before).count();
    let solved = fault(question, now).is_none();
    let verdict = if solved { format!("  {GOOD}solved{GOOD:#}") } else { String::new() };
    writeln!(
        out,
        "{STRONG}step {}{STRONG:#}  {changed} cells changed  {FAINT}Q halt {:+.2}, continue {:+.2}{FAINT:#}{verdict}",
        step.step, step.q_halt, step.q_continue
    )?;
    write!(out, "{}", now.render(|cell| style(question, before, now, cell)))
}

/// Givens bold, a given that was overwritten red, what has changed green.
fn style(question: &Board, before: &Board, now: &Board, cell: usize) -> Style {
    let (given, was, is) = (question.cells()[cell], before.cells()[cell], now.cells()[cell]);
    match (given, is) {
        (0, _) if is != was => Style::CHANGED,
        (0, _) => Style::PLAIN,
        (given, is) if given == is => Style::GIVEN,
        _ => Style::WRONG,
    }
}

/// The style of a cell of the answer alone.
pub fn answer_style(question: &Board, answer: &Board, cell: usize) -> Style {
    style(question, answer, answer, cell)
}

/// Says in one line how it ended, and gives whether it is solved.
pub fn verdict(out: &mut dyn Write, question: &Board, found: &Solution) -> Result<bool> {
    let answer = board(question.size(), found.answer());
    let fault = fault(question, &answer);
    let mut how = format!("{} ACT steps", found.steps());
    let chosen = &found.views[found.view];
    if found.step + 1 < chosen.steps.len() {
        how += &format!(", by the board of step {}", found.step + 1);
    }
    if found.views.len() > 1 {
        how += &format!(", {} of {} views agree", found.votes, found.views.len());
    }
    let line = match &fault {
        None => format!("{GOOD}solved{GOOD:#} in {how}"),
        Some(fault) => format!("{BAD}not solved{BAD:#} after {how}: {fault}"),
    };
    writeln!(out, "{line}").map_err(Error::output)?;
    Ok(fault.is_none())
}
