//! Boards in JSON: rows of numbers, a list of all cells, a string, or any of these below a key.

use super::super::grid::{Board, Size};
use super::{Found, SIZES, TextError, assemble, line};
use crate::data::puzzle_columns::Role;
use serde_json::{Map, Value};

/// The boards of a text that is JSON, or a line of JSON after the other; `None` where it is neither.
pub(super) fn boards(text: &str, size: Size) -> Option<Result<Vec<Found>, TextError>> {
    let trimmed = text.trim();
    if !trimmed.starts_with(['[', '{', '"']) {
        return None;
    }
    if let Ok(value) = serde_json::from_str::<Value>(trimmed) {
        return Some(boards_in(&value, 1, size));
    }
    if !trimmed.starts_with('{') {
        return None;
    }
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let read = serde_json::from_str::<Value>(line)
            .map_err(|error| TextError {
                line: Some(number),
                found: format!("no JSON: {error}"),
                expected: "a puzzle in JSON, or one in every line".to_owned(),
            })
            .and_then(|value| boards_in(&value, number, size));
        match read {
            Ok(more) => found.extend(more),
            Err(error) => return Some(Err(error)),
        }
    }
    Some(Ok(found))
}

fn boards_in(value: &Value, line: usize, size: Size) -> Result<Vec<Found>, TextError> {
    let mut found = Vec::new();
    collect(value, line, size, &mut found)?;
    if found.is_empty() {
        let expected = format!("{SIZES}, as rows of numbers or as a string");
        return Err(TextError { line: None, found: "JSON without a board".to_owned(), expected });
    }
    Ok(found)
}

fn collect(value: &Value, line: usize, size: Size, found: &mut Vec<Found>) -> Result<(), TextError> {
    if let Some(question) = board(value, size) {
        found.push(Found { line, name: None, question, answer: None, rating: None });
        return Ok(());
    }
    match value {
        Value::Object(map) => {
            let under = |role: Role| {
                role.find(map.keys().map(String::as_str)).and_then(|place| map.values().nth(place))
            };
            let Some(value) = under(Role::Question) else {
                return map.values().filter(nested).try_for_each(|value| collect(value, line, size, found));
            };
            let Some(question) = board(value, size) else { return collect(value, line, size, found) };
            let answer = under(Role::Answer).and_then(|value| board(value, size));
            let rating = under(Role::Rating).and_then(Value::as_f64);
            found.push(Found { line, name: name(map), question, answer, rating });
            Ok(())
        }
        Value::Array(values) if values.iter().any(|value| nested(&value) || value.is_string()) => {
            values.iter().try_for_each(|value| collect(value, line, size, found))
        }
        Value::Array(values) => Err(TextError {
            line: None,
            found: format!("a list of {} values", values.len()),
            expected: format!("{SIZES}, each a number from 0 to {}", size.side()),
        }),
        Value::String(text) => {
            found.extend(assemble::boards(text, size)?);
            Ok(())
        }
        other => Err(TextError { line: None, found: other.to_string(), expected: SIZES.to_owned() }),
    }
}

fn nested(value: &&Value) -> bool {
    value.is_array() || value.is_object()
}

fn name(map: &Map<String, Value>) -> Option<String> {
    ["name", "title", "id"].iter().find_map(|key| map.get(*key)?.as_str().map(str::to_owned))
}

/// The board that a value is.
fn board(value: &Value, size: Size) -> Option<Board> {
    let side = size.side();
    let digits =
        |values: &[Value]| values.iter().map(|value| digit(value, size)).collect::<Option<Vec<u8>>>();
    let row = |value: &Value| match value {
        Value::Array(values) if values.len() == side => digits(values),
        Value::String(text) => match line::Line::of(text, size) {
            line::Line::Row(row) => Some(row[..side].to_vec()),
            line::Line::Either => Some(vec![0; side]),
            _ => None,
        },
        _ => None,
    };
    let cells = match value {
        Value::Array(values) if values.len() == side => {
            values.iter().map(row).collect::<Option<Vec<_>>>()?.concat()
        }
        Value::Array(values) if values.len() == size.cells() => digits(values)?,
        Value::String(text) => match &assemble::boards(text, size).ok()?[..] {
            [only] if only.answer.is_none() => return Some(only.question),
            _ => return None,
        },
        _ => return None,
    };
    Board::from_digits(size, &cells)
}

fn digit(value: &Value, size: Size) -> Option<u8> {
    match value {
        Value::Null => Some(0),
        Value::Number(number) => {
            let digit =
                number.as_u64().or_else(|| number.as_f64().filter(|n| n.fract() == 0.0).map(|n| n as u64));
            digit.filter(|&digit| digit <= size.side() as u64).map(|digit| digit as u8)
        }
        Value::String(text) => {
            let mut characters = text.trim().chars();
            match (characters.next(), characters.next()) {
                (None, _) => Some(0),
                (Some('-'), None) => Some(0),
                (Some(c), None) => line::cell(c, size),
                _ => None,
            }
        }
        _ => None,
    }
}
