//! A task and its augmentations: what is drawn for them, and how they are painted.

use super::augment::Augmentation;
use super::grid::{CANVAS, Grid, PAD, SIDE};
use super::task::{Pair, Task};
use hrm_core::rng::{Rng, Stream};
use rayon::prelude::*;
use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

/// Puzzles that are painted at once, on all threads.
pub(super) const PUZZLES: usize = 256;
/// Augmentations that are drawn for each that is wanted, as the published builder does.
const TRIALS: u64 = 5;

/// A task and the augmentations that its group consists of, that which changes nothing first.
pub(super) struct Group {
    pub(super) name: String,
    /// Pairs for the split `train`.
    pub(super) train: Vec<Pair>,
    /// Pairs for the split `test`.
    pub(super) test: Vec<Pair>,
    pub(super) augmentations: Vec<Augmentation>,
    rng: Rng,
}

impl Group {
    /// The group of `task`, its tests in the split `test` if they are held out, with up to `augment` augmentations.
    pub(super) fn draw(task: Task, held_out: bool, augment: u32, seed: u64) -> Self {
        let rng = Rng::new(seed, Stream::Augment, crc32fast::hash(task.name.as_bytes()));
        let mut augmentations = vec![Augmentation::default()];
        let mut seen = HashSet::from([fingerprint(&task, &augmentations[0])]);
        for trial in 0..TRIALS * u64::from(augment) {
            if augmentations.len() > augment as usize {
                break;
            }
            let augmentation = Augmentation::random(&mut rng.at(trial << 8));
            if seen.insert(fingerprint(&task, &augmentation)) {
                augmentations.push(augmentation);
            }
        }
        let Task { name, mut train, mut test } = task;
        if !held_out {
            train.append(&mut test);
        }
        Self { name, train, test, augmentations, rng }
    }

    /// Paints the puzzles from `start` on, [`PUZZLES`] or as many as there are, on all threads.
    pub(super) fn paint_block(&self, start: usize, [train, test]: &mut [Canvases; 2]) {
        let count = self.augmentations.len().saturating_sub(start).min(PUZZLES);
        let (train, test) = (train.puzzles(count, self.train.len()), test.puzzles(count, self.test.len()));
        let puzzles = self.augmentations.par_iter().enumerate().skip(start).zip(train).zip(test);
        puzzles.for_each(|(((index, augmentation), train), test)| {
            self.paint(index, augmentation, train, test);
        });
    }

    /// Paints the examples of puzzle `index` in each of the two splits.
    fn paint(&self, index: usize, augmentation: &Augmentation, train: Painted<'_>, test: Painted<'_>) {
        // Far from the draws of the augmentations, and from those of the next puzzle.
        let mut rng = self.rng.at(1 << 63 | (index as u64) << 16);
        let stays = rng.below(self.train.len() as u32) as usize;
        let moved = |(i, pair): (usize, &Pair)| {
            let pair = augment(pair, augmentation);
            let output = pair.output.as_ref();
            let room =
                |side: fn(&Grid) -> usize| (SIDE - side(&pair.input).max(output.map_or(0, side))) as u32;
            let mut draw = |room: u32| if i == stays { 0 } else { rng.below(room + 1) as usize };
            let (top, left) = (draw(room(Grid::rows)), draw(room(Grid::columns)));
            (pair, top, left)
        };
        paint(self.train.iter().enumerate().map(moved), train);
        paint(self.test.iter().map(|pair| (augment(pair, augmentation), 0, 0)), test);
    }
}

fn augment(pair: &Pair, augmentation: &Augmentation) -> Pair {
    let output = pair.output.as_ref().map(|output| augmentation.apply(output));
    Pair { input: augmentation.apply(&pair.input), output }
}

/// A number by which an equal puzzle is known: one with the same augmented pairs, in whatever order.
fn fingerprint(task: &Task, augmentation: &Augmentation) -> u64 {
    let hash = |value: &dyn Fn(&mut DefaultHasher)| {
        let mut hasher = DefaultHasher::new();
        value(&mut hasher);
        hasher.finish()
    };
    let pairs = task.train.iter().chain(&task.test);
    let mut hashes: Vec<u64> =
        pairs.map(|pair| hash(&|hasher| augment(pair, augmentation).hash(hasher))).collect();
    hashes.sort_unstable();
    hash(&|hasher| hashes.hash(hasher))
}

/// The canvases of one puzzle in one split: inputs and labels.
type Painted<'a> = [&'a mut [[u8; CANVAS]]; 2];

/// Paints pairs at their places, over what was there.
fn paint(pairs: impl Iterator<Item = (Pair, usize, usize)>, [inputs, labels]: Painted<'_>) {
    for (((pair, top, left), input), label) in pairs.zip(inputs).zip(labels) {
        pair.input.paint(top, left, input);
        // Without an answer every label is padding, which is ignored.
        match pair.output {
            Some(output) => output.paint(top, left, label),
            None => label.fill(PAD),
        }
    }
}

/// The examples of some puzzles in one split, end to end.
#[derive(Default)]
pub(super) struct Canvases {
    pub(super) inputs: Vec<[u8; CANVAS]>,
    pub(super) labels: Vec<[u8; CANVAS]>,
}

impl Canvases {
    /// Room for `count` puzzles of `pairs` examples each.
    fn puzzles(&mut self, count: usize, pairs: usize) -> Vec<Painted<'_>> {
        self.inputs.resize(count * pairs, [0; CANVAS]);
        self.labels.resize(count * pairs, [0; CANVAS]);
        if pairs == 0 {
            return (0..count).map(|_| Painted::default()).collect();
        }
        let (inputs, labels) = (self.inputs.chunks_exact_mut(pairs), self.labels.chunks_exact_mut(pairs));
        inputs.zip(labels).map(|(inputs, labels)| [inputs, labels]).collect()
    }
}
