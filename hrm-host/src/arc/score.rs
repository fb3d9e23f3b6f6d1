//! How many tasks a submission solves.
//!
//! A test is solved if one of its attempts is its output, cell for cell. A task counts by the share of its tests that
//! are solved, and a submission by the mean over tasks; one that it does not attempt counts as not solved.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::submission::Submission;
use crate::data::arc::Grid;
use crate::data::arc::task::TaskFile;
use crate::error::{Error, Result};
use crate::files;

/// The outputs of each task's tests, by the task's name.
pub type Answers = BTreeMap<String, Vec<Grid>>;

/// Directories below the given one that are looked into: `training/`, or a concept's of ConceptARC.
const DEPTH: usize = 2;

/// What a submission comes to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    /// Tasks to solve.
    pub tasks: usize,
    /// Their tests.
    pub tests: usize,
    /// Tasks of which the submission has attempts.
    pub attempted: usize,
    /// Score by the first attempt, by the first two, and so on.
    pub pass_at: Vec<f64>,
    /// Tests solved by the first attempt, by the first two, and so on.
    pub tests_solved_at: Vec<usize>,
    /// By task: the share of its tests that any attempt solves.
    pub by_task: BTreeMap<String, f64>,
}

/// Reads the tasks in `dir`, one JSON file each, named after the task.
///
/// # Errors
/// There are none, or one of them is no task: the message names the file and what is wrong in it.
pub fn read_answers(dir: &Path) -> Result<Answers> {
    let mut found = Vec::new();
    collect(dir, DEPTH, &mut found)?;
    let mut answers = Answers::new();
    for path in found {
        let Some(name) = path.file_stem().and_then(|name| name.to_str()) else { continue };
        let name = name.to_owned();
        let task = TaskFile { path: path.clone(), name: name.clone(), evaluation: true }.read()?;
        let outputs: Vec<Grid> = task.test.into_iter().map(|pair| pair.output).collect();
        if let Some(before) = answers.insert(name.clone(), outputs)
            && before != answers[&name]
        {
            return Err(Error::input(format!(
                "{}: another task with the name {name} was found before it, expected each name once",
                path.display()
            ))
            .hint("give the directory of one collection, such as ARC-AGI/data/evaluation"));
        }
    }
    if answers.is_empty() {
        return Err(Error::input(format!(
            "{}: no tasks, expected files such as 00576224.json",
            dir.display()
        )));
    }
    Ok(answers)
}

/// The JSON files in `dir` and in directories below it, in the order of their paths.
fn collect(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(dir).map_err(|error| files::read_error(dir, error))?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()).map_err(|error| files::read_error(dir, error)))
        .collect::<Result<Vec<PathBuf>>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() && depth > 0 {
            collect(&path, depth - 1, found)?;
        } else if path.extension().is_some_and(|extension| extension == "json") {
            found.push(path);
        }
    }
    Ok(())
}

/// Holds `submission` against `answers`.
///
/// # Errors
/// It has a task that is not among them, or more tests of one than there are.
pub fn score(submission: &Submission, answers: &Answers) -> Result<Score> {
    for (name, tests) in &submission.tasks {
        match answers.get(name) {
            None => {
                return Err(Error::input(format!(
                    "task {name:?} of the submission is not among the {} tasks",
                    answers.len()
                ))
                .hint("give the directory of the collection that the submission is for"));
            }
            Some(outputs) if tests.len() > outputs.len() => {
                return Err(Error::input(format!(
                    "task {name:?}: found attempts at {} tests, expected {}",
                    tests.len(),
                    outputs.len()
                )));
            }
            Some(_) => {}
        }
    }
    let most = submission.tasks.values().flatten().map(Vec::len).max().unwrap_or(0).max(1);
    let mut score = Score {
        tasks: answers.len(),
        tests: answers.values().map(Vec::len).sum(),
        attempted: submission.tasks.len(),
        pass_at: vec![0.0; most],
        tests_solved_at: vec![0; most],
        by_task: BTreeMap::new(),
    };
    let mut sums = vec![0.0; most];
    for (name, outputs) in answers {
        let tests = submission.tasks.get(name).map_or(&[][..], Vec::as_slice);
        let mut solved_at = vec![0usize; most];
        for (output, attempts) in outputs.iter().zip(tests) {
            // The first attempt that is right, and every larger number of attempts.
            let first = attempts.iter().position(|attempt| attempt.as_ref() == Some(output));
            solved_at.iter_mut().skip(first.unwrap_or(most)).for_each(|solved| *solved += 1);
        }
        let share = |solved: usize| solved as f64 / outputs.len().max(1) as f64;
        sums.iter_mut().zip(&solved_at).for_each(|(sum, &solved)| *sum += share(solved));
        score.tests_solved_at.iter_mut().zip(&solved_at).for_each(|(sum, solved)| *sum += solved);
        score.by_task.insert(name.clone(), share(solved_at[most - 1]));
    }
    score.pass_at = sums.into_iter().map(|sum| sum / answers.len().max(1) as f64).collect();
    Ok(score)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(colour: u8) -> Grid {
        Grid::new(1, 2, vec![colour, 0]).unwrap()
    }

    fn submission(tasks: &[(&str, &[&[u8]])]) -> Submission {
        let attempts = |attempts: &&[u8]| attempts.iter().map(|&colour| Some(grid(colour))).collect();
        let tasks =
            tasks.iter().map(|(name, tests)| ((*name).to_owned(), tests.iter().map(attempts).collect()));
        Submission { tasks: tasks.collect() }
    }

    fn answers() -> Answers {
        let tasks = [("one", vec![1]), ("two", vec![2, 3]), ("three", vec![4])];
        tasks.map(|(name, outputs)| (name.to_owned(), outputs.into_iter().map(grid).collect())).into()
    }

    #[test]
    fn tests_count_within_their_task_and_tasks_alike() {
        // One test of the first task at the second attempt, one of the second's two at the first; the third is left out.
        let given = submission(&[("one", &[&[9, 1]]), ("two", &[&[2, 2], &[8, 8]])]);
        let score = score(&given, &answers()).unwrap();
        assert_eq!((score.tasks, score.tests, score.attempted), (3, 4, 2));
        assert_eq!(score.tests_solved_at, [1, 2]);
        assert_eq!(score.pass_at, [0.5 / 3.0, 1.5 / 3.0]);
        assert_eq!(
            score.by_task,
            [("one", 1.0), ("two", 0.5), ("three", 0.0)].map(|(n, s)| (n.to_owned(), s)).into()
        );
    }

    #[test]
    fn a_grid_of_another_shape_is_wrong() {
        let mut given = submission(&[("one", &[&[1]])]);
        given.tasks.get_mut("one").unwrap()[0][0] = Grid::new(2, 1, vec![1, 0]);
        assert_eq!(score(&given, &answers()).unwrap().pass_at, [0.0]);
        assert_eq!(score(&submission(&[]), &answers()).unwrap().pass_at, [0.0]);
    }

    #[test]
    fn what_does_not_belong_is_named() {
        let error = |given: &Submission| score(given, &answers()).unwrap_err().to_string();
        assert_eq!(
            error(&submission(&[("four", &[])])),
            "task \"four\" of the submission is not among the 3 tasks"
        );
        let many = submission(&[("one", &[&[1], &[1]])]);
        assert_eq!(error(&many), "task \"one\": found attempts at 2 tests, expected 1");
    }

    #[test]
    fn tasks_are_read_wherever_they_lie_and_bad_ones_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let read = || read_answers(dir.path()).map_err(|error| error.to_string());
        assert!(read().unwrap_err().contains("no tasks"));
        let task = |outputs: &[&str]| {
            let pair = |output: &&str| format!(r#"{{"input": [[0]], "output": {output}}}"#);
            let pairs: Vec<String> = outputs.iter().map(pair).collect();
            format!(r#"{{"train": [{}], "test": [{}]}}"#, pair(&"[[0]]"), pairs.join(", "))
        };
        write("evaluation/one.json", &task(&["[[1, 0]]"]));
        write("two.json", &task(&["[[2, 0]]", "[[3, 0]]"]));
        write("README.md", "tasks");
        let two = [("one", vec![grid(1)]), ("two", vec![grid(2), grid(3)])];
        assert_eq!(read().unwrap(), two.map(|(name, grids)| (name.to_owned(), grids)).into());
        for text in ["{".to_owned(), "[]".to_owned(), task(&[]), task(&["[]"]), task(&["[[1], [11]]"])] {
            write("bad.json", &text);
            assert!(read().unwrap_err().contains("bad.json"), "{text}: {:?}", read());
        }
        write("bad.json", &task(&["[[5]]"]));
        write("evaluation/bad.json", &task(&["[[6]]"]));
        assert!(read().unwrap_err().contains("another task with the name bad"));
    }
}
