//! How each puzzle was answered, as JSON lines: what an evaluation leaves for another to be compared with.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::sample::{self, Sample};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::files;

/// How one puzzle was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answered {
    /// The set, by its place in the dataset.
    pub set: usize,
    /// The example, by its place in the set.
    pub example: usize,
    /// Which puzzle it is, wherever it stands.
    pub puzzle: PuzzleId,
    /// Whether every label was right.
    pub solved: bool,
    /// Labels that were right.
    pub correct: i32,
    /// ACT steps, those of all views together.
    pub steps: i32,
}

/// A number by which a puzzle is known in any dataset, whatever its place: a hash of its tokens and labels. In JSON it is
/// a string of 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PuzzleId(u64);

impl PuzzleId {
    /// Of a question and its labels: FNV-1a over their bytes.
    #[must_use]
    pub fn of(question: &[i32], labels: &[i32]) -> Self {
        let bytes = question.iter().chain(labels).flat_map(|token| token.to_le_bytes());
        Self(bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }
}

impl fmt::Display for PuzzleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for PuzzleId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PuzzleId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let hexadecimal = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u64::from_str_radix(&text, 16).ok().filter(|_| hexadecimal);
        let expected = &"16 hexadecimal digits";
        number.map(Self).ok_or_else(|| de::Error::invalid_value(de::Unexpected::Str(&text), expected))
    }
}

impl Answered {
    /// The answers in a file, one to a line.
    ///
    /// # Errors
    /// It cannot be read, or as [`Self::parse`].
    pub fn read(path: &Path) -> Result<Vec<Self>> {
        Self::parse(path, &files::read_to_string(path)?)
    }

    /// The answers in `text`, which errors call `path`.
    ///
    /// # Errors
    /// A line is no answer: its number, the column, and what is wrong there.
    pub fn parse(path: &Path, text: &str) -> Result<Vec<Self>> {
        let answer = |(index, line)| {
            serde_json::from_str(line).map_err(|error| {
                // The parser counts lines from this one.
                let told = error.to_string();
                let problem = told.split(" at line ").next().unwrap_or_default();
                let (file, line, column) = (path.display(), index + 1, error.column());
                Error::input(format!("{file}, line {line}, column {column}: {problem}"))
                    .hint("expected an answer in every line, as --answers writes it")
            })
        };
        text.lines().enumerate().map(answer).collect()
    }

    /// Refuses answers to other puzzles than those that `sample` takes of `dataset`.
    ///
    /// # Errors
    /// They are to others, or the dataset is damaged.
    pub fn expect_same(answers: &[Self], path: &Path, dataset: &Dataset, sample: Sample) -> Result<()> {
        let mut there: HashMap<PuzzleId, usize> = HashMap::new();
        for answer in answers {
            *there.entry(answer.puzzle).or_default() += 1;
        }
        let mut question = vec![0; dataset.metadata().seq_len];
        let mut labels = question.clone();
        let chosen = sample::choose(dataset, sample);
        let mut missing = 0;
        for example in &chosen {
            dataset.read(example.set, example.example, &mut question, &mut labels)?;
            match there.get_mut(&PuzzleId::of(&question, &labels)) {
                Some(left) if *left > 0 => *left -= 1,
                _ => missing += 1,
            }
        }
        if missing == 0 {
            return Ok(());
        }
        let (file, all) = (path.display(), chosen.len());
        Err(Error::input(format!(
            "{file}: the answers are to other puzzles, {missing} of the {all} here are not among them"
        ))
        .hint("give the dataset, --first, --limit and --seed with which they were written"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_back_and_a_bad_one_is_named() {
        let puzzle = PuzzleId::of(&[1, 2], &[3, -100]);
        let answer = Answered { set: 0, example: 7, puzzle, solved: true, correct: 81, steps: 5 };
        let line = serde_json::to_string(&answer).unwrap();
        let path = Path::new("a.jsonl");
        assert_eq!(Answered::parse(path, &format!("{line}\n{line}\n")).unwrap(), [answer; 2]);
        assert_eq!(Answered::parse(path, "").unwrap(), []);
        for (bad, words) in [
            ("{}", "missing field"),
            ("[", "EOF"),
            ("{\"set\": -1}", "column 10: invalid value"),
            (&line.replace(&puzzle.to_string(), "7"), "16 hexadecimal digits"),
            (&line.replace("\"puzzle\"", "\"id\""), "unknown field"),
        ] {
            let error = Answered::parse(path, &format!("{line}\n{bad}\n")).unwrap_err().to_string();
            assert!(error.starts_with("a.jsonl, line 2, column ") && error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_puzzle_is_known_by_its_tokens() {
        let one = PuzzleId::of(&[1, 2, 3], &[4]);
        assert_eq!(one.to_string(), PuzzleId::of(&[1, 2, 3], &[4]).to_string());
        assert_ne!(one, PuzzleId::of(&[1, 2, 4], &[4]));
        assert_ne!(one, PuzzleId::of(&[1, 2, 3], &[5]));
        // The published parameters of FNV-1a.
        assert_eq!(PuzzleId::of(&[], &[]).to_string(), "cbf29ce484222325");
    }
}
