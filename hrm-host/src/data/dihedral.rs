//! The eight symmetries of a square, applied to grids of any two sides, under the published numbers.

use hrm_core::rng::Rng;

/// A rotation, a reflection, or neither. The number of each, [`Dihedral::id`], is that of the published program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dihedral {
    /// 0: as it is.
    #[default]
    Identity,
    /// 1: a quarter turn, counter-clockwise.
    Turn90,
    /// 2: a half turn.
    Turn180,
    /// 3: three quarter turns, counter-clockwise.
    Turn270,
    /// 4: left and right exchanged.
    FlipColumns,
    /// 5: top and bottom exchanged.
    FlipRows,
    /// 6: rows become columns.
    Transpose,
    /// 7: rows become columns, both from the far end.
    AntiTranspose,
}

impl Dihedral {
    /// All eight, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Identity,
        Self::Turn90,
        Self::Turn180,
        Self::Turn270,
        Self::FlipColumns,
        Self::FlipRows,
        Self::Transpose,
        Self::AntiTranspose,
    ];

    /// A uniform one.
    #[must_use]
    pub fn random(rng: &mut Rng) -> Self {
        Self::ALL[rng.below(8) as usize]
    }

    /// The published number, 0 to 7.
    #[must_use]
    pub const fn id(self) -> u8 {
        self as u8
    }

    /// The symmetry of a published number; `None` above 7.
    #[must_use]
    pub fn from_id(id: u8) -> Option<Self> {
        Self::ALL.get(usize::from(id)).copied()
    }

    /// What undoes it.
    #[must_use]
    pub const fn inverse(self) -> Self {
        match self {
            Self::Turn90 => Self::Turn270,
            Self::Turn270 => Self::Turn90,
            other => other,
        }
    }

    /// The rows and columns that a grid of `rows` by `columns` comes to have.
    #[must_use]
    pub const fn shape(self, rows: usize, columns: usize) -> (usize, usize) {
        match self {
            Self::Identity | Self::Turn180 | Self::FlipColumns | Self::FlipRows => (rows, columns),
            Self::Turn90 | Self::Turn270 | Self::Transpose | Self::AntiTranspose => (columns, rows),
        }
    }

    /// For each cell of the result, in row-major order, the cell of a grid of `rows` by `columns` that it shows.
    pub fn sources(self, rows: usize, columns: usize) -> impl Iterator<Item = usize> {
        let (result_rows, result_columns) = self.shape(rows, columns);
        let (rows, columns) = (rows as isize, columns as isize);
        let (last_row, last_column) = ((rows - 1) * columns, columns - 1);
        // The first source, and the way to that of the cell below and to that of the cell to the right.
        let (first, below, right) = match self {
            Self::Identity => (0, columns, 1),
            Self::Turn90 => (last_column, -1, columns),
            Self::Turn180 => (last_row + last_column, -columns, -1),
            Self::Turn270 => (last_row, 1, -columns),
            Self::FlipColumns => (last_column, columns, -1),
            Self::FlipRows => (last_row, -columns, 1),
            Self::Transpose => (0, 1, columns),
            Self::AntiTranspose => (last_row + last_column, -1, -columns),
        };
        (0..result_rows as isize).flat_map(move |i| {
            let start = first + i * below;
            (0..result_columns as isize).map(move |j| (start + j * right) as usize)
        })
    }

    /// The transformed `cells`, which are `rows` by `columns` in row-major order; see [`Self::shape`].
    #[must_use]
    pub fn apply<T: Copy>(self, rows: usize, columns: usize, cells: &[T]) -> Vec<T> {
        self.sources(rows, columns).filter_map(|source| cells.get(source).copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the published program makes of the rows `abc` and `def`.
    #[test]
    fn numbers_are_the_published_ones() {
        let cells = *b"abcdef";
        let expected = ["abcdef", "cfbead", "fedcba", "daebfc", "cbafed", "defabc", "adbecf", "fcebda"];
        for (id, expected) in (0..8).zip(expected) {
            let dihedral = Dihedral::from_id(id).unwrap();
            assert_eq!(dihedral.id(), id);
            assert_eq!(dihedral.apply(2, 3, &cells), expected.as_bytes(), "{dihedral:?}");
        }
        assert_eq!(Dihedral::from_id(8), None);
    }

    #[test]
    fn the_table_of_inverses() {
        let inverses = Dihedral::ALL.map(|dihedral| dihedral.inverse().id());
        assert_eq!(inverses, [0, 3, 2, 1, 4, 5, 6, 7]);
    }

    proptest! {
        #[test]
        fn the_inverse_undoes(id in 0u8..8, rows in 1usize..9, columns in 1usize..9) {
            let cells: Vec<usize> = (0..rows * columns).collect();
            let dihedral = Dihedral::from_id(id).unwrap();
            let (there_rows, there_columns) = dihedral.shape(rows, columns);
            let there = dihedral.apply(rows, columns, &cells);
            prop_assert_eq!(there.len(), there_rows * there_columns);
            prop_assert_eq!(dihedral.inverse().apply(there_rows, there_columns, &there), cells);
        }

        /// Eight different transformations, closed under composition: it is the group.
        #[test]
        fn compositions_are_symmetries_again(first in 0u8..8, second in 0u8..8) {
            let cells = *b"abcdef";
            let [first, second] = [first, second].map(|id| Dihedral::from_id(id).unwrap());
            let (rows, columns) = first.shape(2, 3);
            let both = second.apply(rows, columns, &first.apply(2, 3, &cells));
            let same = Dihedral::ALL.iter().filter(|one| {
                one.shape(2, 3) == second.shape(rows, columns) && one.apply(2, 3, &cells) == both
            });
            prop_assert_eq!(same.count(), 1);
        }
    }
}
