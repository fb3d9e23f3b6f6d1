//! Grids of ARC in text: rows of digits with or without separators, JSON, and what NumPy prints.
//!
//! `012` is a row of three cells and so is `0 1 2`. Several cells in a group are a row of their own only where the whole
//! grid stands in one line: `012 345`.

use serde_json::Value;

use super::{Asked, Puzzle};
use crate::arc::submission::grid_of;
use crate::data::arc::Grid;
use crate::data::arc::grid::SIDE;
use crate::data::plain::plain;

/// All grids in `text`.
///
/// # Errors
/// What is wrong, to stand behind a name of the text: `: ...` or `, line 3: ...`.
pub(super) fn grids(text: &str) -> Result<Vec<Asked>, String> {
    let text = plain(text);
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(": found nothing, expected a grid".to_owned());
    }
    if trimmed.starts_with(['[', '{']) {
        match serde_json::from_str(trimmed) {
            Ok(value) => return json(&value),
            Err(error) if trimmed.starts_with('{') || trimmed.contains(',') => {
                return Err(format!(": found no JSON ({error}), expected a list of rows"));
            }
            // NumPy prints without commas.
            Err(_) => {
                let rows = trimmed.split(['[', ']']).filter(|row| !row.trim().is_empty());
                return block(&rows.map(|row| (1, row.trim())).collect::<Vec<_>>(), true)
                    .map(|grid| vec![grid]);
            }
        }
    }
    let lines: Vec<(usize, &str)> = (1..).zip(trimmed.split('\n').map(str::trim)).collect();
    let blocks: Vec<&[(usize, &str)]> =
        lines.split(|(_, line)| line.is_empty()).filter(|block| !block.is_empty()).collect();
    // A grid with an empty line after every row.
    if blocks.len() > 1 && blocks.iter().all(|block| block.len() == 1) {
        return block(&blocks.concat(), true).map(|grid| vec![grid]);
    }
    blocks.into_iter().map(|rows| block(rows, false)).collect()
}

fn json(value: &Value) -> Result<Vec<Asked>, String> {
    let value = match value {
        Value::Object(map) => map.get("input").ok_or(
            ": found an object in JSON, expected a grid; hrm arc predict answers the tests of whole tasks",
        )?,
        value => value,
    };
    let grid = |value: &Value| {
        let grid = grid_of(value).map_err(|problem| format!(": {problem}"))?;
        grid.map(|grid| asked(1, grid))
            .ok_or_else(|| ": found an empty grid, expected 1 to 30 rows".to_owned())
    };
    let deep = value.pointer("/0/0").is_some_and(Value::is_array);
    match value {
        Value::Array(grids) if deep => grids.iter().map(grid).collect(),
        value => Ok(vec![grid(value)?]),
    }
}

fn asked(line: usize, grid: Grid) -> Asked {
    Asked { puzzle: Puzzle::Arc(grid), line, name: None }
}

/// The grid whose rows these lines are; where it `is_rows`, even a single one.
fn block(lines: &[(usize, &str)], is_rows: bool) -> Result<Asked, String> {
    let separates = |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '|' | '(' | ')' | '[' | ']');
    let tokens = |line: &'_ str| {
        line.split(separates).filter(|token| !token.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut rows: Vec<(usize, String)> = Vec::new();
    if let ([(number, line)], false) = (lines, is_rows)
        && tokens(line).iter().any(|token| token.len() > 1)
    {
        let groups = tokens(line);
        if groups.iter().any(|group| group.len() != groups[0].len()) {
            return Err(format!(
                ", line {number}: found groups of different lengths, expected rows of as many cells each"
            ));
        }
        rows.extend(groups.into_iter().map(|group| (*number, group)));
    } else {
        for (number, line) in lines {
            let tokens = tokens(line);
            if let Some(group) = tokens.iter().find(|token| token.len() > 1 && tokens.len() > 1) {
                return Err(format!(
                    ", line {number}: found {group:?} beside other cells, expected colours from 0 to 9, \
                     all of them apart or none"
                ));
            }
            rows.push((*number, tokens.concat()));
        }
    }
    let columns = rows.first().map_or(0, |(_, row)| row.chars().count());
    let mut cells = Vec::new();
    for (number, row) in &rows {
        let found = row.chars().count();
        if found != columns {
            return Err(format!(
                ", line {number}: found {found} cells, expected {columns}, as in the first row"
            ));
        }
        for c in row.chars() {
            let digit = c.to_digit(10).ok_or_else(|| {
                format!(", line {number}: found {c:?}, expected rows of colours from 0 to 9")
            })?;
            cells.push(digit as u8);
        }
    }
    let line = rows.first().map_or(1, |(number, _)| *number);
    Grid::new(rows.len(), columns, cells).map(|grid| asked(line, grid)).ok_or_else(|| {
        format!(": found {} rows of {columns} cells, expected 1 to {SIDE} of each", rows.len())
    })
}
