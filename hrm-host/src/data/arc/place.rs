//! Places in a file of ARC, for errors that name the pair, the row and the column, and the grids that lie there.

use super::grid::{COLOURS, Grid, SIDE};
use crate::data::error::{Error, Place, Result};
use serde_json::Value;
use std::path::Path;

/// A place in a file: `test, pair 1, output`.
#[derive(Clone)]
pub(super) struct At<'p> {
    path: &'p Path,
    place: String,
}

impl<'p> At<'p> {
    /// The part `place` of the file.
    pub(super) fn new(path: &'p Path, place: impl Into<String>) -> Self {
        Self { path, place: place.into() }
    }

    /// A part of this place.
    pub(super) fn within(&self, part: impl AsRef<str>) -> Self {
        let (place, part) = (&self.place, part.as_ref());
        let place = if place.is_empty() { part.to_owned() } else { format!("{place}, {part}") };
        Self { path: self.path, place }
    }

    /// The error that `found` is here.
    pub(super) fn bad(&self, found: Option<&Value>, expected: &str) -> Error {
        let found = found.map_or("nothing".to_owned(), |value| {
            let text = value.to_string();
            let short: String = text.chars().take(60).collect();
            if short.len() < text.len() { short + "..." } else { text }
        });
        let place = if self.place.is_empty() { "content" } else { &self.place };
        Error::format(self.path, Place::File, place, found, expected)
    }

    /// The grid that `value` is.
    pub(super) fn grid(&self, value: Option<&Value>) -> Result<Grid> {
        let rows = short_list(value).ok_or_else(|| self.bad(value, "a grid: a list of 1 to 30 rows"))?;
        let mut cells = Vec::new();
        let mut columns = 0;
        for (i, row) in rows.iter().enumerate() {
            let place = self.within(format!("row {}", i + 1));
            let row = short_list(Some(row))
                .ok_or_else(|| place.bad(Some(row), "a row: a list of 1 to 30 colours"))?;
            if i > 0 && row.len() != columns {
                let (found, expected) = (Value::from(row.len()), format!("{columns} colours, as in row 1"));
                return Err(place.bad(Some(&found), &expected));
            }
            columns = row.len();
            for (j, cell) in row.iter().enumerate() {
                let colour = cell.as_u64().filter(|&colour| colour < u64::from(COLOURS));
                let colour = colour.ok_or_else(|| {
                    place.within(format!("column {}", j + 1)).bad(Some(cell), "a colour, 0 to 9")
                })?;
                cells.push(colour as u8);
            }
        }
        Grid::new(rows.len(), columns, cells).ok_or_else(|| self.bad(value, "a grid"))
    }

    /// The grid that `value` is, or `None` of what stands for an answer that is kept back: nothing, null, an empty
    /// text, an empty grid.
    pub(super) fn answer(&self, value: Option<&Value>) -> Result<Option<Grid>> {
        let empty = match value {
            None | Some(Value::Null) => true,
            Some(Value::String(text)) => text.is_empty(),
            Some(Value::Array(rows)) => rows.iter().all(|row| row.as_array().is_some_and(Vec::is_empty)),
            Some(_) => false,
        };
        if empty { Ok(None) } else { self.grid(value).map(Some) }
    }
}

/// The list of 1 to 30 things that `value` is.
fn short_list(value: Option<&Value>) -> Option<&Vec<Value>> {
    value.and_then(Value::as_array).filter(|list| (1..=SIDE).contains(&list.len()))
}
