//! What a split of a dataset holds, in numbers, and one of its examples.

use super::dataset::{Dataset, Set};
use super::error::{Error, Result};
use super::{arc, maze, sudoku};
use serde::Serialize;
use std::ops::Range;
use std::path::PathBuf;

/// A split in numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The directory of the split.
    pub path: PathBuf,
    /// Tokens of an example.
    pub seq_len: usize,
    /// Tokens are below this.
    pub vocab_size: u32,
    /// The token of padding.
    pub pad_id: i32,
    /// The token of labels that count for nothing.
    pub ignore_label_id: Option<i32>,
    /// Puzzle identifiers, that of padding rows included.
    pub identifiers: u32,
    /// Whether `identifiers.json` names them.
    pub named: bool,
    /// Its sets, in order.
    pub sets: Vec<SetReport>,
}

/// A set in numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SetReport {
    /// The set's name.
    pub name: String,
    /// Groups, the variants of one original each.
    pub groups: usize,
    /// Puzzles of all groups.
    pub puzzles: usize,
    /// Examples of all puzzles.
    pub examples: usize,
    /// Puzzles of a group.
    pub puzzles_of_group: Spread,
    /// Examples of a puzzle.
    pub examples_of_puzzle: Spread,
}

/// The extent of some numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The smallest.
    pub least: usize,
    /// The mean.
    pub mean: f64,
    /// The largest.
    pub most: usize,
}

/// One example and where it stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// Its number in the split, over all sets.
    pub index: usize,
    /// The set's number.
    pub set: usize,
    /// The group's number in the set.
    pub group: usize,
    /// The puzzle's number in the set.
    pub puzzle: usize,
    /// Its number among the puzzle's examples, and how many these are.
    pub place: (usize, usize),
    /// The puzzle's identifier.
    pub identifier: i32,
    /// The identifier's name.
    pub name: Option<String>,
    /// Tokens.
    pub inputs: Vec<i32>,
    /// Labels; -100 where none is wanted.
    pub labels: Vec<i32>,
}

impl Report {
    /// Of a split.
    #[must_use]
    pub fn of(dataset: &Dataset) -> Self {
        let metadata = dataset.metadata();
        Self {
            path: dataset.path().to_owned(),
            seq_len: metadata.seq_len,
            vocab_size: metadata.vocab_size,
            pad_id: metadata.pad_id,
            ignore_label_id: metadata.ignore_label_id,
            identifiers: metadata.num_puzzle_identifiers,
            named: dataset.identifiers().is_some(),
            sets: dataset.sets().iter().map(SetReport::of).collect(),
        }
    }
}

impl SetReport {
    fn of(set: &Set) -> Self {
        let (groups, puzzles) = (set.groups(), set.puzzles());
        Self {
            name: set.name().to_owned(),
            groups,
            puzzles,
            examples: set.examples(),
            puzzles_of_group: Spread::of((0..groups).map(|group| set.group(group))),
            examples_of_puzzle: Spread::of((0..puzzles).map(|puzzle| set.puzzle(puzzle))),
        }
    }
}

impl Spread {
    fn of(ranges: impl Iterator<Item = Range<usize>>) -> Self {
        let (mut least, mut most, mut sum, mut count) = (usize::MAX, 0, 0, 0usize);
        for length in ranges.map(|range| range.len()) {
            (least, most) = (least.min(length), most.max(length));
            sum += length;
            count += 1;
        }
        Self { least: least.min(most), mean: sum as f64 / count.max(1) as f64, most }
    }
}

impl Sample {
    /// Example `index` of the split, over all sets.
    ///
    /// # Errors
    /// [`Error::Argument`] beyond the last example, and as [`Dataset::read`].
    pub fn read(dataset: &Dataset, index: usize) -> Result<Self> {
        let (mut number, mut example) = (0, index);
        let set = loop {
            match dataset.sets().get(number) {
                Some(set) if example < set.examples() => break set,
                Some(set) => example -= set.examples(),
                None => {
                    let (examples, split) = (dataset.examples(), dataset.path().display());
                    let expected = format!("below {examples}, the examples of {split}");
                    return Err(Error::argument("--index", index, expected));
                }
            }
            number += 1;
        };
        let mut inputs = vec![0; dataset.metadata().seq_len];
        let mut labels = inputs.clone();
        let identifier = dataset.read(number, example, &mut inputs, &mut labels)?;
        let puzzle = set.puzzle_of(example);
        let examples = set.puzzle(puzzle);
        let name = |names: &[String]| names.get(usize::try_from(identifier).ok()?).cloned();
        Ok(Self {
            index,
            set: number,
            group: set.group_of(puzzle),
            puzzle,
            place: (example - examples.start, examples.len()),
            identifier,
            name: dataset.identifiers().and_then(name),
            inputs,
            labels,
        })
    }

    /// Draws the inputs and the labels side by side, or one below the other where a line has no room for both; what
    /// the tokens stand for is guessed from their numbers. Styled.
    #[must_use]
    pub fn draw(&self, vocab_size: u32) -> Vec<String> {
        let lines = |tokens: &[i32]| picture(tokens, vocab_size);
        beside(lines(&self.inputs), lines(&self.labels))
    }
}

/// The lines of a Sudoku, of a maze, of an ARC canvas, or of plain tokens.
fn picture(tokens: &[i32], vocab_size: u32) -> Vec<String> {
    let side = tokens.len().isqrt();
    let size = sudoku::Size::from_cells(tokens.len()).filter(|size| size.vocab_size() == vocab_size);
    if let Some(size) = size {
        let board = sudoku::Board::from_tokens(size, tokens);
        let drawn = board.map(|board| board.render(|_| sudoku::Style::PLAIN)).unwrap_or_default();
        return drawn.lines().map(str::to_owned).collect();
    }
    match (tokens.len(), vocab_size) {
        (arc::grid::CANVAS, arc::grid::VOCAB_SIZE) => arc::draw::lines(tokens),
        (cells, maze::grid::VOCAB_SIZE) if side * side == cells => maze::draw::lines(side, tokens),
        _ => {
            let row = |row: &[i32]| row.iter().map(|token| format!("{token:>4}")).collect();
            tokens.chunks(if side * side == tokens.len() { side } else { 16 }).map(row).collect()
        }
    }
}

/// The widest line that is drawn.
const WIDTH: usize = 140;

fn beside(left: Vec<String>, right: Vec<String>) -> Vec<String> {
    let width = |line: &String| anstream::adapter::strip_str(line).to_string().chars().count();
    let widest = |lines: &[String]| lines.iter().map(width).max().unwrap_or(0);
    let left_width = widest(&left);
    if left_width + widest(&right) + 4 > WIDTH {
        return [left, vec![String::new()], right].concat();
    }
    let line = |row: usize| {
        let (left, right) = (left.get(row), right.get(row));
        let padding = left_width - left.map_or(0, width);
        let left = left.map_or("", |line| line);
        right.map_or_else(|| left.to_owned(), |right| format!("{left}{:padding$}    {right}", ""))
    };
    (0..left.len().max(right.len())).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::super::test_support::write_dataset;
    use super::*;

    #[test]
    fn counts_are_those_of_the_arrays() {
        let dir = tempfile::tempdir().unwrap();
        write_dataset(dir.path(), &[vec![1, 2], vec![3]]);
        let dataset = Dataset::open(dir.path(), "train").unwrap();
        let report = Report::of(&dataset);
        let [set] = &report.sets[..] else { panic!("{report:?}") };
        assert_eq!((set.groups, set.puzzles, set.examples), (2, 3, 6));
        assert_eq!(set.puzzles_of_group, Spread { least: 1, mean: 1.5, most: 2 });
        assert_eq!(set.examples_of_puzzle, Spread { least: 1, mean: 2.0, most: 3 });
        assert_eq!((report.identifiers, report.named), (3, true));

        let sample = Sample::read(&dataset, 4).unwrap();
        assert_eq!((sample.group, sample.puzzle, sample.place), (1, 2, (1, 3)));
        assert_eq!((sample.identifier, sample.name.as_deref()), (2, Some("two")));
        assert_eq!((sample.inputs, sample.labels), (vec![4, 1, 2, 3], vec![-100, 4, 5, 4]));
        let error = Sample::read(&dataset, 6).unwrap_err().to_string();
        let split = dir.path().join("train");
        let expected = format!("--index: found 6, expected below 6, the examples of {}", split.display());
        assert_eq!(error, expected);
    }

    #[test]
    fn pictures_stand_side_by_side_where_there_is_room() {
        let lines = |text: &[&str]| text.iter().map(|&line| line.to_owned()).collect::<Vec<String>>();
        let drawn = beside(lines(&["\u{1b}[1mab\u{1b}[0m", "c"]), lines(&["d"]));
        assert_eq!(drawn, ["\u{1b}[1mab\u{1b}[0m    d", "c"]);
        let long = "x".repeat(WIDTH);
        assert_eq!(beside(lines(&[&long]), lines(&["d"])), [&long, "", "d"]);
        assert_eq!(beside(Vec::new(), Vec::new()), [""; 0]);
    }

    #[test]
    fn what_tokens_stand_for_is_seen_from_their_numbers() {
        let text = |tokens: &[i32], vocab_size| {
            anstream::adapter::strip_str(&picture(tokens, vocab_size).join("\n")).to_string()
        };
        let vocab_size = sudoku::Size::Four.vocab_size();
        assert!(text(&[2; 16], vocab_size).starts_with("┌─"));
        assert_eq!(text(&[3, 2, 1, 4], 6), "S \n#G");
        assert_eq!(text(&[7, 2, 1, 4], 9), "   7   2\n   1   4");
        let mut canvas = vec![0; 900];
        canvas[31] = 5;
        assert_eq!(text(&canvas, 12), "3 ");
    }
}
