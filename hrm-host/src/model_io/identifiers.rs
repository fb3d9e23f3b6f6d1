//! A puzzle embedding has a row for each puzzle identifier of the dataset it was trained on; here its rows go to the
//! identifiers of another.

use std::collections::HashMap;
use std::path::Path;

use crate::error::{Error, Result};
use crate::files;

/// The identifier of a puzzle without one of its own; its row is what an unknown puzzle gets.
const BLANK: usize = 0;

/// What every row of a puzzle embedding is reset to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Reset {
    /// The blank identifier's row, which stands for a puzzle that is not known
    Blank,
    /// The mean of all rows: what the published program of TRM does when its table has another length
    Mean,
}

/// Where each row of a puzzle embedding comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rows {
    /// All rows stay.
    Same,
    /// This many rows, all alike.
    Reset(usize, Reset),
    /// Each from the row given.
    From(Vec<usize>),
}

impl Rows {
    /// The rows of `new` identifiers, each from the row of the same name among `old`, or from the blank one.
    #[must_use]
    pub fn by_name(old: &[String], new: &[String]) -> Self {
        let mut places: HashMap<&str, usize> = HashMap::new();
        for (row, name) in old.iter().enumerate() {
            places.entry(name).or_insert(row);
        }
        Self::From(new.iter().map(|name| places.get(name.as_str()).copied().unwrap_or(BLANK)).collect())
    }

    /// How many rows there will be, where the file has `stored`.
    #[must_use]
    pub fn count(&self, stored: usize) -> usize {
        match self {
            Self::Same => stored,
            Self::Reset(count, _) => *count,
            Self::From(rows) => rows.len(),
        }
    }

    /// How many of the new rows are blank, the blank identifier's own not counted.
    #[must_use]
    pub fn blank(&self) -> usize {
        match self {
            Self::Same | Self::Reset(_, Reset::Mean) => 0,
            Self::Reset(count, Reset::Blank) => count.saturating_sub(1),
            Self::From(rows) => rows.iter().skip(1).filter(|row| **row == BLANK).count(),
        }
    }

    /// Writes the new table, of `cols` columns, from the stored one.
    pub fn apply(&self, stored: &[f32], cols: usize, out: &mut [f32]) {
        let mean = match self {
            Self::Reset(_, Reset::Mean) => mean(stored, cols),
            _ => Vec::new(),
        };
        for (row, values) in out.chunks_exact_mut(cols.max(1)).enumerate() {
            let from = match self {
                Self::Reset(_, Reset::Mean) => {
                    values.copy_from_slice(&mean);
                    continue;
                }
                Self::Same => row,
                Self::Reset(_, Reset::Blank) => BLANK,
                Self::From(rows) => rows[row],
            };
            values.copy_from_slice(&stored[from * cols..][..cols]);
        }
    }
}

/// The mean of all rows of `table`, summed in f64.
fn mean(table: &[f32], cols: usize) -> Vec<f32> {
    let mut sums = vec![0.0; cols];
    let rows = table.chunks_exact(cols.max(1));
    let count = rows.len().max(1) as f64;
    for row in rows {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    sums.into_iter().map(|sum| (sum / count) as f32).collect()
}

/// Reads `identifiers.json`: a list of names.
///
/// # Errors
/// It cannot be read, or is something else.
pub fn read(path: &Path) -> Result<Vec<String>> {
    let text = files::read_to_string(path)?;
    let names: Vec<String> = serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|e| Error::input(format!("{}: expected a list of names: {e}", path.display())))?;
    if names.is_empty() {
        return Err(Error::input(format!("{}: given no names, expected at least one", path.display())));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn rows_go_by_name_and_unknown_names_are_blank() {
        let rows = Rows::by_name(&names(&["<blank>", "a", "b"]), &names(&["<blank>", "b", "c", "a"]));
        assert_eq!(rows, Rows::From(vec![0, 2, 0, 1]));
        assert_eq!((rows.count(3), rows.blank()), (4, 1));
        let mut out = [0.0; 8];
        rows.apply(&[9.0, 9.5, 1.0, 1.5, 2.0, 2.5], 2, &mut out);
        assert_eq!(out, [9.0, 9.5, 2.0, 2.5, 9.0, 9.5, 1.0, 1.5]);
        let mut out = [0.0; 6];
        Rows::Reset(3, Reset::Blank).apply(&[7.0, 8.0, 1.0, 1.0], 2, &mut out);
        assert_eq!(out, [7.0, 8.0, 7.0, 8.0, 7.0, 8.0]);
        let means = Rows::Reset(3, Reset::Mean);
        means.apply(&[7.0, 8.0, 1.0, 1.0, -2.0, 0.0], 2, &mut out);
        assert_eq!(out, [2.0, 3.0, 2.0, 3.0, 2.0, 3.0]);
        assert_eq!((means.count(2), means.blank()), (3, 0));
    }

    proptest! {
        #[test]
        fn going_there_and_back_is_nothing(order in Just((0..12usize).collect::<Vec<_>>()).prop_shuffle()) {
            let old: Vec<String> = (0..12).map(|i| format!("puzzle {i}")).collect();
            let new: Vec<String> = order.iter().map(|i| old[*i].clone()).collect();
            let table: Vec<f32> = (0..36u8).map(f32::from).collect();
            let (mut there, mut back) = ([0.0; 36], [0.0; 36]);
            Rows::by_name(&old, &new).apply(&table, 3, &mut there);
            Rows::by_name(&new, &old).apply(&there, 3, &mut back);
            prop_assert_eq!(&back[..], &table[..]);
            prop_assert_eq!(there[0], table[3 * order[0]]);
        }
    }
}
