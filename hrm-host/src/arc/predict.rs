//! A model's answers to ARC: each augmentation of a task is asked, its answer cropped and taken back to the task as it
//! is, and the answers are counted.
//!
//! As in the published evaluation, the answer with most votes comes first, and of equals the one with the higher mean
//! `sigmoid(q_halt)`.

use std::collections::{BTreeMap, HashMap};

use hrm_core::kernels::Kernels;
use hrm_core::plan::Plan;
use serde::Serialize;

use super::score::{Score, score};
use super::submission::{MOST_ATTEMPTS, Submission};
use crate::data::Dataset;
use crate::data::arc::task::Outputs;
use crate::data::arc::{Augmentation, Grid, crop};
use crate::error::{Error, Result};
use crate::evaluate::sample::Example;
use crate::evaluate::walk::{Walk, stopped, unless_stopped};
use crate::strategy::Strategy;
use crate::task::Task;
use crate::views::views;
use crate::vote::{Ballot, Rule};

/// What to predict, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PredictOptions {
    /// Augmentations of each task that vote, the first of the dataset; `None` for all of them.
    pub votes: Option<usize>,
    /// How each is answered. Its views are not used: augmentations are what votes here.
    pub strategy: Strategy,
}

/// What became of the tasks of a dataset.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// All answers, the most voted first.
    #[serde(skip)]
    pub submission: Submission,
    /// Their score by the labels of the dataset; `None` if no task has all of them.
    pub score: Option<Score>,
    /// Tests of tasks that do not have all labels: they do not count.
    pub unanswered: usize,
    /// Examples that voted.
    pub votes: usize,
    /// Answers that hold no grid: they have no vote.
    pub without_grid: u64,
    /// Mean ACT steps of an example.
    pub steps: f64,
}

/// One test of a task.
#[derive(Default)]
struct Test {
    ballot: Ballot<Grid>,
    label: Option<Grid>,
}

/// The tests of each task with their inputs, in the order in which the dataset has them.
#[derive(Default)]
struct Tests {
    tasks: BTreeMap<String, Vec<(Grid, Test)>>,
}

impl Tests {
    /// Counts the answer to what was asked; `false` if there is no grid in it.
    fn vote(&mut self, asked: &Asked, tokens: &[i32], q_halt: f32) -> bool {
        let Some(shown) = crop(tokens) else { return false };
        if let Some((_, test)) = self.tasks.get_mut(&asked.task).and_then(|tests| tests.get_mut(asked.test)) {
            test.ballot.cast(asked.augmentation.undo(&shown), q_halt);
        }
        true
    }

    /// The place of the test of `task` with this input, the first of those that are not `taken`: a task may ask the same
    /// twice. It is made if there is none.
    fn place(&mut self, task: &str, input: Grid, taken: &[usize]) -> usize {
        let tests = self.tasks.entry(task.to_owned()).or_default();
        let mut free = (0..tests.len()).filter(|place| !taken.contains(place));
        free.find(|&place| tests[place].0 == input).unwrap_or_else(|| {
            tests.push((input, Test::default()));
            tests.len() - 1
        })
    }
}

/// The answer of a row in flight.
struct Kept {
    tokens: Vec<i32>,
    q_halt: f32,
}

/// Asks the model in `backend` for every example of `dataset`, or for those of the first augmentations of each task.
/// `progress` is that of [`evaluate`](crate::evaluate::evaluate).
///
/// # Errors
/// The dataset is not one of ARC or does not name its puzzles, or the backend or the dataset fails.
pub fn predict<K>(
    backend: &mut K,
    plan: &Plan,
    dataset: &Dataset,
    options: &PredictOptions,
    mut progress: impl FnMut(usize, usize) -> bool,
) -> Result<Option<Prediction>>
where
    K: Kernels<Error: Send + Sync + 'static>,
{
    let config = &plan.config;
    let task = Task::of(config.seq_len, config.vocab_size);
    let Task::Arc { .. } = task else {
        return Err(Error::input(format!(
            "{}: {} cells of {} tokens, expected a dataset of ARC: 900 cells of 12 tokens",
            dataset.path().display(),
            config.seq_len,
            config.vocab_size
        )));
    };
    let examples = choose(dataset, options.votes);
    let (asked, mut tests) = register(dataset, &examples)?;
    let views = views(task, config.seq_len, 1, 0)?;
    let walk = Walk { dataset, chosen: &examples, views: &views, with_logits: false };
    let mut kept: HashMap<usize, Kept> = HashMap::new();
    let (mut done, mut without_grid, mut steps) = (0, 0, 0);
    let policy = options.strategy.policy(config);
    let ran = walk.run(backend, plan, &*policy, |rows| {
        for row in rows {
            let now = &row.now;
            let replaces = |kept: &Kept| options.strategy.answer.replaces(now.q_halt, kept.q_halt);
            if kept.get(&row.puzzle).is_none_or(replaces) {
                kept.insert(row.puzzle, Kept { tokens: now.predictions.to_vec(), q_halt: now.q_halt });
            }
            if now.halted
                && let Some(answer) = kept.remove(&row.puzzle)
            {
                done += 1;
                steps += now.step;
                without_grid += u64::from(!tests.vote(&asked[row.puzzle], &answer.tokens, answer.q_halt));
            }
        }
        if progress(done, examples.len()) { Ok(()) } else { Err(stopped()) }
    });
    if unless_stopped(ran)?.is_none() {
        return Ok(None);
    }
    let (submission, answers) = tests.count();
    let is_answered = |outputs: &Vec<Option<Grid>>| outputs.iter().all(Option::is_some);
    let unanswered = answers.values().filter(|outputs| !is_answered(outputs)).map(Vec::len).sum();
    let can_score = answers.values().any(is_answered);
    let score = can_score.then(|| score(&submission, &answers)).transpose()?;
    let steps = steps as f64 / done.max(1) as f64;
    Ok(Some(Prediction { submission, score, unanswered, votes: done, without_grid, steps }))
}

impl Tests {
    /// The attempts at each test, and what the answers should be.
    fn count(self) -> (Submission, Outputs) {
        let (mut submission, mut answers) = (Submission::default(), Outputs::new());
        for (task, tests) in self.tasks {
            answers.insert(task.clone(), tests.iter().map(|(_, test)| test.label.clone()).collect());
            let attempts_at = |test: Test| -> Vec<Option<Grid>> {
                let ranked = test.ballot.ranked(Rule::Votes).into_iter();
                ranked.take(MOST_ATTEMPTS).map(|(grid, _)| Some(grid)).collect()
            };
            submission.tasks.insert(task, tests.into_iter().map(|(_, test)| attempts_at(test)).collect());
        }
        (submission, answers)
    }
}

/// The examples of the first `votes` puzzles of each group: a group holds a task and its augmentations.
fn choose(dataset: &Dataset, votes: Option<usize>) -> Vec<Example> {
    let mut chosen = Vec::new();
    for (place, set) in dataset.sets().iter().enumerate() {
        for group in 0..set.groups() {
            let puzzles = set.group(group).take(votes.unwrap_or(usize::MAX));
            chosen.extend(
                puzzles.flat_map(|puzzle| set.puzzle(puzzle)).map(|example| Example { set: place, example }),
            );
        }
    }
    chosen
}

/// What an example asks.
struct Asked {
    task: String,
    augmentation: Augmentation,
    /// The place of the test among those of the task.
    test: usize,
}

/// What every example asks, and all tests with their labels. That is done before any is answered, so that tests
/// keep the order of the dataset whichever is answered first.
fn register(dataset: &Dataset, examples: &[Example]) -> Result<(Vec<Asked>, Tests)> {
    let names = dataset.identifiers().ok_or_else(|| {
        Error::input(format!(
            "{}: no identifiers.json beside it, expected the names of its puzzles",
            dataset.path().display()
        ))
        .hint("a dataset of hrm data arc has one")
    })?;
    let seq_len = dataset.metadata().seq_len;
    let (mut inputs, mut labels) = (vec![0; seq_len], vec![0; seq_len]);
    let (mut asked, mut tests) = (Vec::with_capacity(examples.len()), Tests::default());
    // Tests that the puzzle at hand has asked already.
    let (mut puzzle, mut taken) = (None, Vec::new());
    for &Example { set, example } in examples {
        let this = (set, dataset.sets()[set].puzzle_of(example));
        if puzzle.replace(this) != Some(this) {
            taken.clear();
        }
        let id = dataset.read(set, example, &mut inputs, &mut labels)?;
        let name = usize::try_from(id).ok().and_then(|id| names.get(id)).map_or("", String::as_str);
        let (task, augmentation) = Augmentation::of_name(name);
        let Some(shown) = crop(&inputs) else {
            return Err(Error::input(format!(
                "{}: example {example} ({name}) has no grid at its first cell, expected one that is not moved",
                dataset.path().display()
            ))
            .hint("predict on the split test: training examples are moved on their canvas"));
        };
        let input = augmentation.undo(&shown);
        let label = crop(&labels).map(|shown| augmentation.undo(&shown));
        let place = tests.place(task, input, &taken);
        taken.push(place);
        if let Some((_, test)) = tests.tasks.get_mut(task).and_then(|tests| tests.get_mut(place)) {
            test.label = test.label.take().or(label);
        }
        asked.push(Asked { task: task.to_owned(), augmentation, test: place });
    }
    Ok((asked, tests))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::arc::grid::{CANVAS, VOCAB_SIZE};
    use crate::data::writer::{DatasetWriter, Format};

    const NAMES: [&str; 4] = ["<blank>", "one", "one_t3_0213456789", "two"];

    fn grid(rows: usize, columns: usize, cells: &[u8]) -> Grid {
        Grid::new(rows, columns, cells.to_vec()).unwrap()
    }

    fn painted(grid: &Grid) -> [u8; CANVAS] {
        let mut canvas = [0; CANVAS];
        grid.paint(0, 0, &mut canvas);
        canvas
    }

    /// Two tests of task `one`, as they are and augmented; one of task `two`.
    fn dataset(dir: &std::path::Path) -> Dataset {
        let format = Format {
            seq_len: CANVAS,
            vocab_size: VOCAB_SIZE,
            pad_id: 0,
            ignore_label_id: Some(0),
            identifiers: &NAMES,
        };
        let mut writer = DatasetWriter::create(dir, "test", &format, false).unwrap();
        let tests = [(grid(1, 2, &[1, 2]), grid(2, 1, &[3, 0])), (grid(1, 1, &[7]), grid(1, 3, &[1, 1, 2]))];
        for (id, name) in (1..).zip(&NAMES[1..]) {
            let (task, augmentation) = Augmentation::of_name(name);
            for (input, output) in &tests[..if task == "one" { 2 } else { 1 }] {
                let [input, output] = [input, output].map(|grid| painted(&augmentation.apply(grid)));
                writer.example(&input, &output).unwrap();
            }
            writer.end_puzzle(id).unwrap();
            if id != 1 {
                writer.end_group(None).unwrap();
            }
        }
        writer.finish().unwrap();
        Dataset::open(dir, "test").unwrap()
    }

    #[test]
    fn votes_are_taken_back_to_the_task_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let dataset = dataset(dir.path());
        let examples = choose(&dataset, None);
        let (asked, mut tests) = register(&dataset, &examples).unwrap();
        assert_eq!(
            asked.iter().map(|it| &it.task[..]).collect::<Vec<_>>(),
            ["one", "one", "one", "one", "two"]
        );
        let (mut inputs, mut labels) = (vec![0; CANVAS], vec![0; CANVAS]);
        let wrong = painted(&grid(1, 1, &[5])).map(i32::from);
        for (example, (asked, right)) in asked.iter().zip([true, false, true, true, false]).enumerate() {
            dataset.read(0, example, &mut inputs, &mut labels).unwrap();
            assert!(tests.vote(asked, if right { &labels } else { &wrong }, if right { 1.0 } else { 2.0 }));
        }
        assert!(!tests.vote(&asked[0], &[0; CANVAS], 9.0));
        let (submission, answers) = tests.count();
        let one = &submission.tasks["one"];
        assert_eq!(one[0], [Some(grid(2, 1, &[3, 0]))]);
        // One vote each: the one with more trust comes first.
        assert_eq!(one[1], [Some(grid(1, 1, &[5])), Some(grid(1, 3, &[1, 1, 2]))]);
        let score = score(&submission, &answers).unwrap();
        assert_eq!((score.pass_at, score.tests_solved_at), (vec![0.25, 0.5], vec![1, 2]));
    }

    #[test]
    fn the_first_puzzles_of_a_group_vote() {
        let dir = tempfile::tempdir().unwrap();
        let dataset = dataset(dir.path());
        let examples: Vec<usize> = choose(&dataset, Some(1)).into_iter().map(|it| it.example).collect();
        assert_eq!(examples, [0, 1, 4]);
    }

    #[test]
    fn puzzles_without_names_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(dataset(dir.path()));
        std::fs::remove_file(dir.path().join("identifiers.json")).unwrap();
        let dataset = Dataset::open(dir.path(), "test").unwrap();
        let error = register(&dataset, &choose(&dataset, None)).err().unwrap();
        assert!(error.to_string().contains("no identifiers.json"), "{error}");
    }
}
