//! The published augmentation of an ARC task: a symmetry of the square and a permutation of the colours but black.
//!
//! It is part of the name of the augmented puzzle, so that a model's answer can be taken back to the original:
//!
//! ```
//! use hrm_host::data::arc::{Augmentation, Grid};
//! let (task, augmentation) = Augmentation::of_name("007bbfb7_t3_0213456789");
//! let shown = Grid::new(1, 2, vec![1, 7]).unwrap();
//! assert_eq!(task, "007bbfb7");
//! assert_eq!(augmentation.undo(&shown), Grid::new(2, 1, vec![7, 2]).unwrap());
//! ```

use super::grid::{COLOURS, Grid};
use crate::data::dihedral::Dihedral;
use hrm_core::rng::Rng;

/// How augmented puzzles are called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Naming {
    /// As HRM's builder calls them: `007bbfb7_t3_0213456789`.
    #[default]
    Published,
    /// As TRM's builder calls them: `007bbfb7|||t3|||0213456789`.
    Trm,
}

impl Naming {
    /// What stands between the parts of a name.
    const fn separator(self) -> &'static str {
        match self {
            Self::Published => "_",
            Self::Trm => "|||",
        }
    }
}

/// A symmetry and a permutation of the colours. The default changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Augmentation {
    dihedral: Dihedral,
    /// What each colour becomes.
    colours: [u8; COLOURS as usize],
}

impl Default for Augmentation {
    fn default() -> Self {
        Self { dihedral: Dihedral::Identity, colours: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] }
    }
}

impl Augmentation {
    /// The augmentation that turns colour `c` into `colours[c]` and then applies `dihedral`; `None` if two colours
    /// become one.
    #[must_use]
    pub fn new(dihedral: Dihedral, colours: [u8; COLOURS as usize]) -> Option<Self> {
        let is_permutation = (0..COLOURS).all(|colour| colours.contains(&colour));
        is_permutation.then_some(Self { dihedral, colours })
    }

    /// A uniform one of those that leave colour 0 alone.
    #[must_use]
    pub fn random(rng: &mut Rng) -> Self {
        let mut augmentation = Self { dihedral: Dihedral::random(rng), ..Self::default() };
        rng.shuffle(&mut augmentation.colours[1..]);
        augmentation
    }

    /// The symmetry.
    #[must_use]
    pub const fn dihedral(&self) -> Dihedral {
        self.dihedral
    }

    /// What each colour becomes.
    #[must_use]
    pub const fn colours(&self) -> &[u8; COLOURS as usize] {
        &self.colours
    }

    /// What undoes it.
    #[must_use]
    pub fn inverse(&self) -> Self {
        let mut colours = [0; COLOURS as usize];
        for (colour, &becomes) in (0..).zip(&self.colours) {
            colours[usize::from(becomes)] = colour;
        }
        Self { dihedral: self.dihedral.inverse(), colours }
    }

    /// The augmented `grid`.
    #[must_use]
    pub fn apply(&self, grid: &Grid) -> Grid {
        grid.transform(self.dihedral, &self.colours)
    }

    /// The grid of which `grid` is the augmented one.
    #[must_use]
    pub fn undo(&self, grid: &Grid) -> Grid {
        self.inverse().apply(grid)
    }

    /// The name of the augmented `task`, or the task's own if nothing changes.
    #[must_use]
    pub fn name(&self, task: &str, naming: Naming) -> String {
        if *self == Self::default() {
            return task.to_owned();
        }
        let between = naming.separator();
        let mut name = format!("{task}{between}t{}{between}", self.dihedral.id());
        name.extend(self.colours.iter().map(|colour| char::from(b'0' + colour)));
        name
    }

    /// The task and the augmentation of a puzzle's name, in either [`Naming`]. A name that ends in neither is a task as
    /// it is.
    #[must_use]
    pub fn of_name(name: &str) -> (&str, Self) {
        let split = |separator| {
            let (rest, colours) = name.rsplit_once(separator)?;
            let (task, dihedral) = rest.rsplit_once(separator)?;
            let id = dihedral.strip_prefix('t')?.parse().ok()?;
            let digits: &[u8; COLOURS as usize] = colours.as_bytes().try_into().ok()?;
            let augmentation =
                Self::new(Dihedral::from_id(id)?, digits.map(|digit| digit.wrapping_sub(b'0')))?;
            Some((task, augmentation))
        };
        let namings = [Naming::Published, Naming::Trm];
        namings.into_iter().find_map(|naming| split(naming.separator())).unwrap_or((name, Self::default()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::grid::tests::grids;
    use super::*;
    use hrm_core::rng::{Rng, Stream};
    use proptest::prelude::*;

    /// All augmentations, those that move colour 0 too.
    fn augmentations() -> impl Strategy<Value = Augmentation> {
        let colours = Just([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]).prop_shuffle();
        (0u8..8, colours)
            .prop_map(|(id, colours)| Augmentation::new(Dihedral::from_id(id).unwrap(), colours).unwrap())
    }

    proptest! {
        #[test]
        fn undo_undoes(augmentation in augmentations(), grid in grids()) {
            let shown = augmentation.apply(&grid);
            prop_assert_eq!(augmentation.undo(&shown), grid.clone());
            prop_assert_eq!(augmentation.apply(&augmentation.undo(&grid)), grid);
            prop_assert_eq!(augmentation.inverse().inverse(), augmentation);
        }

        #[test]
        fn names_are_read_back(augmentation in augmentations(), task in "[a-zA-Z0-9_|t]{1,12}") {
            for naming in [Naming::Published, Naming::Trm] {
                let name = augmentation.name(&task, naming);
                if augmentation == Augmentation::default() {
                    prop_assert_eq!(&name, &task);
                } else {
                    prop_assert_eq!(Augmentation::of_name(&name), (&*task, augmentation));
                }
            }
        }

        #[test]
        fn any_name_is_read(name in "\\PC{0,30}") {
            prop_assert!(name.starts_with(Augmentation::of_name(&name).0));
        }
    }

    #[test]
    fn the_inverse_is_the_published_one() {
        let (task, augmentation) = Augmentation::of_name("AboveBelow1_t1_0312456789");
        assert_eq!((task, augmentation.dihedral()), ("AboveBelow1", Dihedral::Turn90));
        assert_eq!(augmentation.inverse().name("a", Naming::Published), "a_t3_0231456789");
        assert_eq!(augmentation.inverse().name("a", Naming::Trm), "a|||t3|||0231456789");
        let grid = Grid::new(1, 3, vec![1, 2, 3]).unwrap();
        let shown = Grid::new(3, 1, vec![2, 1, 3]).unwrap();
        assert_eq!(augmentation.apply(&grid), shown);
    }

    #[test]
    fn names_without_an_augmentation_are_tasks() {
        for name in ["007bbfb7", "a_t8_0123456789", "a_t1_0123456788", "a_t1_123456789", "a_1_0123456789", ""]
        {
            assert_eq!(Augmentation::of_name(name), (name, Augmentation::default()));
        }
    }

    #[test]
    fn random_ones_leave_black_alone_and_reach_everything_else() {
        let mut rng = Rng::new(3, Stream::Augment, 0);
        let drawn: Vec<Augmentation> = (0..800).map(|_| Augmentation::random(&mut rng)).collect();
        assert!(drawn.iter().all(|a| a.colours()[0] == 0 && a.inverse().colours()[0] == 0));
        for dihedral in Dihedral::ALL {
            let count = drawn.iter().filter(|a| a.dihedral() == dihedral).count();
            assert!((50..150).contains(&count), "{dihedral:?}: {count}");
        }
        assert!((1..10).all(|colour| drawn.iter().any(|a| a.colours()[1] == colour)));
    }
}
