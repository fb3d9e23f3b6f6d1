//! Generates mazes like those of the published set. What comes of a seed is the same on every machine.

use super::grid::{MAX_SIDE, Maze};
use crate::data::error::{Error, Result};
use crate::data::split::Split;
use hrm_core::rng::{Rng, Stream, philox4x32};

/// Which mazes are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// Rows and columns.
    pub side: usize,
    /// Moves of a shortest path, at least.
    pub min_path: u32,
    /// The split that the mazes are for. No maze is for both.
    pub split: Split,
    /// The seed of everything.
    pub seed: u64,
}

impl Recipe {
    /// Refuses what no maze can be.
    pub(super) fn check(&self) -> Result<()> {
        let Self { side, min_path, .. } = *self;
        if !(2..=MAX_SIDE).contains(&side) {
            return Err(Error::argument("--size", side, format!("2 to {MAX_SIDE}")));
        }
        // Of four cells in a square a shortest path has at most three.
        let longest = 3 * (side / 2).pow(2) + side % 2 * (2 * side - 1) - 1;
        if min_path as usize > longest || min_path == 0 {
            let expected = format!("1 to {longest}: no shortest path in {side} x {side} cells is longer");
            return Err(Error::argument("--min-path", min_path, expected));
        }
        Ok(())
    }

    /// Candidate `index`, if its shortest path is long enough, with that path marked: walls are independent, of a
    /// density that is uniform between 0.3 and 0.5; start and goal are uniform among the free cells.
    pub(super) fn candidate(&self, index: u64) -> Option<(Maze, Vec<u8>)> {
        let Self { side, min_path, split, seed } = *self;
        // All draws of a candidate are made under a key of its own.
        let key = Rng::new(seed, Stream::Puzzle, split as u32).at(index.wrapping_mul(2)).next_u64();
        let mut rng = Rng::new(key, Stream::Puzzle, 0);
        let density = 0.3 + 0.2 * rng.uniform();
        let mut cells = layout(key, side * side, (density * 65536.0) as u16);
        let layout = hash(&cells);
        let mut free_cell = || {
            let mut draws = (0..ATTEMPTS).map(|_| rng.below(cells.len() as u32) as usize);
            draws.find(|&cell| cells[cell] == b' ')
        };
        // One pair of ends in eight is for testing: a few draws bring the maze into its split.
        let (start, goal) = (0..ATTEMPTS).find_map(|_| {
            let (start, goal) = (free_cell()?, free_cell()?);
            (start != goal && split_of(layout, start, goal) == split).then_some((start, goal))
        })?;
        (cells[start], cells[goal]) = (b'S', b'G');
        let maze = Maze::new(cells).ok()?;
        if maze.distance()? < min_path {
            return None;
        }
        let answer = maze.solve()?;
        Some((maze, answer))
    }
}

/// Walls and free cells: each of `cells` is a wall if its 16 random bits are below `walls`.
fn layout(key: u64, cells: usize, walls: u16) -> Vec<u8> {
    let key = [key as u32, (key >> 32) as u32];
    let blocks = 0..cells.div_ceil(8) as u32;
    let words = blocks.flat_map(|block| philox4x32([block, 0, 0, LAYOUT], key));
    let halves = words.flat_map(|word| [word as u16, (word >> 16) as u16]);
    halves.map(|bits| if bits < walls { b'#' } else { b' ' }).take(cells).collect()
}

/// Sets the walls' draws apart from those of the ends.
const LAYOUT: u32 = u32::MAX;
/// Pairs of ends that are tried for one layout, and cells for each end.
const ATTEMPTS: usize = 64;

/// 128 bits that stand for the walls.
fn hash(cells: &[u8]) -> [u32; 4] {
    cells.chunks(128).fold([cells.len() as u32, 0, 0, 0], |mut hash, chunk| {
        for (word, cells) in hash.iter_mut().zip(chunk.chunks(32)) {
            *word ^= cells.iter().fold(0, |word, &cell| word << 1 | u32::from(cell == b'#'));
        }
        philox4x32(hash, [0, 0])
    })
}

fn split_of(layout: [u32; 4], start: usize, goal: usize) -> Split {
    let [hash, ..] = philox4x32(layout, [start as u32, goal as u32]);
    if hash % 8 == 0 { Split::Test } else { Split::Train }
}

/// A number by which a repeated maze is known; two different ones share it once in 2^64 pairs.
pub(super) fn fingerprint(maze: &Maze) -> u64 {
    let [low, high, ..] = maze.cells().chunks(16).fold([0; 4], |mut hash, chunk| {
        for (word, cells) in hash.iter_mut().zip(chunk.chunks(4)) {
            *word ^= cells.iter().fold(0, |word, &cell| word << 8 | u32::from(cell));
        }
        philox4x32(hash, [maze.side() as u32, 0])
    });
    u64::from(low) | u64::from(high) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(recipe: Recipe, candidates: u64) -> Vec<(Maze, Vec<u8>)> {
        (0..candidates).filter_map(|index| recipe.candidate(index)).collect()
    }

    #[test]
    fn paths_are_long_enough_and_answered_by_the_rule() {
        for (side, min_path) in [(8, 14), (15, 30), (30, 60)] {
            let mazes = found(Recipe { side, min_path, split: Split::Train, seed: 1 }, 2000);
            assert!(mazes.len() > 3, "{side}: {}", mazes.len());
            for (maze, answer) in mazes {
                assert_eq!((maze.side(), maze.solve().unwrap()), (side, answer));
                assert!(maze.distance().unwrap() >= min_path);
            }
        }
    }

    #[test]
    fn walls_are_as_dense_as_asked_for() {
        let recipe = Recipe { side: 20, min_path: 1, split: Split::Train, seed: 4 };
        let share = |(maze, _): &(Maze, Vec<u8>)| {
            maze.cells().iter().filter(|&&cell| cell == b'#').count() as f64 / 400.0
        };
        let shares: Vec<f64> = found(recipe, 3000).iter().map(share).collect();
        assert!(shares.iter().all(|share| (0.2..0.6).contains(share)));
        // Fewer walls leave more mazes with a way.
        let thin = shares.iter().filter(|&&share| share < 0.4).count();
        assert!(thin * 10 > shares.len() * 6 && thin < shares.len(), "{thin} of {}", shares.len());
    }

    #[test]
    fn the_splits_share_no_maze() {
        let cells = |split| {
            let recipe = Recipe { side: 3, min_path: 3, split, seed: 2 };
            let mazes = found(recipe, 4000).into_iter().map(|(maze, _)| maze);
            mazes.collect::<std::collections::HashSet<Maze>>()
        };
        let (train, test) = (cells(Split::Train), cells(Split::Test));
        assert!(train.is_disjoint(&test) && train.len() > 100 && test.len() > 20);
        let fingerprints: std::collections::HashSet<u64> = train.iter().map(fingerprint).collect();
        assert_eq!(fingerprints.len(), train.len());
    }

    #[test]
    fn what_no_maze_can_be_is_refused() {
        let recipe = |side, min_path| Recipe { side, min_path, split: Split::Train, seed: 0 };
        for (side, min_path) in [(2, 2), (3, 7), (4, 11), (30, 109), (30, 674)] {
            assert!(recipe(side, min_path).check().is_ok(), "{side} {min_path}");
        }
        for (side, min_path) in [(1, 1), (0, 1), (256, 1), (2, 3), (3, 8), (4, 12), (30, 0), (30, 675)] {
            assert!(recipe(side, min_path).check().is_err(), "{side} {min_path}");
        }
    }
}
