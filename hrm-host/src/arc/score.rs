//! How many tasks a submission solves.
//!
//! A test is solved if one of its attempts is its output, cell for cell. A task counts by the share of its tests that
//! are solved, and a submission by the mean over tasks; one that it does not attempt counts as not solved, and so does an
//! attempt that is no grid.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::submission::Submission;
use crate::data::arc::collection::{Collection, count, is_are, some};
use crate::data::arc::task::Outputs;
use crate::error::{Error, Result};

/// What a submission comes to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    /// Tasks to solve: those whose tests all have an answer.
    pub tasks: usize,
    /// Their tests.
    pub tests: usize,
    /// Tasks of which the submission has attempts.
    pub attempted: usize,
    /// Tests of the other tasks, which do not count.
    pub unanswered: usize,
    /// Score by the first attempt, by the first two, and so on.
    pub pass_at: Vec<f64>,
    /// Tests solved by the first attempt, by the first two, and so on.
    pub tests_solved_at: Vec<usize>,
    /// By task: the share of its tests that any attempt solves.
    pub by_task: BTreeMap<String, f64>,
    /// What does not fit, a line each: what is passed over, and what counts as wrong.
    pub warnings: Vec<String>,
}

/// Reads the outputs of the tasks in the files and directories `paths`: tasks, or the solutions of the ARC Prize.
///
/// # Errors
/// There are none, or a file holds something else: the message names the file and what is wrong in it. Two solutions of
/// one name differ.
pub fn read_answers(paths: &[PathBuf]) -> Result<Outputs> {
    let Collection { tasks, solutions, .. } = Collection::to_score(paths)?;
    let outputs = |test: Vec<_>| test.into_iter().map(|pair: crate::data::arc::Pair| pair.output).collect();
    let mut answers: Outputs =
        tasks.into_iter().map(|found| (found.task.name, outputs(found.task.test))).collect();
    for (path, solutions) in solutions {
        for (name, outputs) in solutions {
            if answers.get(&name).is_some_and(|known| *known != outputs) {
                let message =
                    format!("{}: other outputs of task {name} were found before it", path.display());
                return Err(Error::input(message).hint("give the solutions of one collection"));
            }
            answers.insert(name, outputs);
        }
    }
    // A list of pairs has no tests.
    answers.retain(|_, outputs| !outputs.is_empty());
    Ok(answers)
}

/// Holds `submission` against `answers`.
///
/// What does not fit is passed over with a warning, as attempts at tests that are not there; what is missing counts as
/// wrong. Tasks with a test without an answer do not count.
///
/// # Errors
/// There are no answers, or none to any task of the submission.
pub fn score(submission: &Submission, answers: &Outputs) -> Result<Score> {
    let is_answered = |outputs: &[Option<_>]| outputs.iter().all(Option::is_some);
    let (answered, unanswered): (Vec<_>, Vec<_>) =
        answers.iter().partition(|(_, outputs)| is_answered(outputs));
    let unanswered = unanswered.into_iter().map(|(_, outputs)| outputs.len()).sum::<usize>();
    if answered.is_empty() {
        let found = match unanswered {
            0 => "the tasks have no tests".to_owned(),
            tests => format!("the tasks have no answers to their {}", count(tests, "test")),
        };
        return Err(Error::input(format!("{found}, so there is nothing to score"))
            .hint("give tasks with outputs, or the file with the solutions"));
    }
    let mut warnings = fit(submission, answers)?;
    let asks_for_answered = answered.iter().any(|(name, _)| submission.tasks.contains_key(*name));
    if !asks_for_answered && !submission.tasks.is_empty() {
        return Err(Error::input(
            "the tasks that the submission attempts have no answers, so there is nothing to score",
        )
        .hint("give tasks with outputs, or the file with the solutions"));
    }
    let most = submission.tasks.values().flatten().map(Vec::len).max().unwrap_or(0).max(1);
    let attempts_at = |name: &String| submission.tasks.get(name).map_or(&[][..], Vec::as_slice);
    let missing: Vec<String> = answered
        .iter()
        .map(|(name, _)| (*name).clone())
        .filter(|name| !submission.tasks.contains_key(name))
        .collect();
    if !missing.is_empty() {
        let (number, some) = (count(missing.len(), "task"), some(&missing));
        let (are, count) = (is_are(missing.len(), "is", "are"), is_are(missing.len(), "counts", "count"));
        warnings.push(format!("{number} {are} not in the submission and {count} as wrong: {some}"));
    }
    if unanswered > 0 {
        warnings.push(format!("{} of tasks without all answers not scored", count(unanswered, "test")));
    }
    let mut score = Score {
        tasks: answered.len(),
        tests: answered.iter().map(|(_, outputs)| outputs.len()).sum(),
        attempted: answered.len() - missing.len(),
        unanswered,
        pass_at: vec![0.0; most],
        tests_solved_at: vec![0; most],
        by_task: BTreeMap::new(),
        warnings,
    };
    let mut sums = vec![0.0; most];
    for (name, outputs) in answered {
        let mut solved_at = vec![0usize; most];
        for (output, attempts) in outputs.iter().zip(attempts_at(name)) {
            // The first attempt that is right, and every larger number of attempts.
            let first = attempts.iter().position(|attempt| attempt.is_some() && attempt == output);
            solved_at.iter_mut().skip(first.unwrap_or(most)).for_each(|solved| *solved += 1);
        }
        let share = |solved: usize| solved as f64 / outputs.len().max(1) as f64;
        sums.iter_mut().zip(&solved_at).for_each(|(sum, &solved)| *sum += share(solved));
        score.tests_solved_at.iter_mut().zip(&solved_at).for_each(|(sum, solved)| *sum += solved);
        score.by_task.insert(name.clone(), share(solved_at[most - 1]));
    }
    score.pass_at = sums.into_iter().map(|sum| sum / score.tasks as f64).collect();
    Ok(score)
}

/// What of the submission does not fit the tasks.
fn fit(submission: &Submission, answers: &Outputs) -> Result<Vec<String>> {
    let unknown: Vec<String> =
        submission.tasks.keys().filter(|name| !answers.contains_key(*name)).cloned().collect();
    if !unknown.is_empty() && unknown.len() == submission.tasks.len() {
        let found = match &unknown[..] {
            [name] => format!("task {name:?} of the submission is"),
            names => format!("the {} tasks of the submission ({}) are", names.len(), some(names)),
        };
        return Err(Error::input(format!("{found} not among the {}", count(answers.len(), "task")))
            .hint("give the tasks of the collection that the submission is for"));
    }
    let mut warnings = Vec::new();
    if !unknown.is_empty() {
        let are = is_are(unknown.len(), "is not one of the tasks", "are not among the tasks");
        let what = format!("{} of the submission {are}", count(unknown.len(), "task"));
        warnings.push(format!("{what}, passed over: {}", some(&unknown)));
    }
    for (name, tests) in &submission.tasks {
        let Some(outputs) = answers.get(name) else { continue };
        let (found, expected) = (tests.len(), outputs.len());
        if found > expected {
            warnings
                .push(format!("task {name}: attempts at {found} tests, of which the first {expected} count"));
        } else if found < expected {
            warnings.push(format!(
                "task {name}: attempts at {found} of {expected} tests, the others count as wrong"
            ));
        }
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::arc::Grid;

    fn grid(colour: u8) -> Grid {
        Grid::new(1, 2, vec![colour, 0]).unwrap()
    }

    fn submission(tasks: &[(&str, &[&[u8]])]) -> Submission {
        let attempts = |attempts: &&[u8]| attempts.iter().map(|&colour| Some(grid(colour))).collect();
        let tasks =
            tasks.iter().map(|(name, tests)| ((*name).to_owned(), tests.iter().map(attempts).collect()));
        Submission { tasks: tasks.collect() }
    }

    fn answers() -> Outputs {
        let tasks = [("one", vec![1]), ("two", vec![2, 3]), ("three", vec![4])];
        tasks
            .map(|(name, outputs)| (name.to_owned(), outputs.into_iter().map(grid).map(Some).collect()))
            .into()
    }

    #[test]
    fn tests_count_within_their_task_and_tasks_alike() {
        // One test of the first task at the second attempt, one of the second's two at the first; the third is left out.
        let given = submission(&[("one", &[&[9, 1]]), ("two", &[&[2, 2], &[8, 8]])]);
        let score = score(&given, &answers()).unwrap();
        assert_eq!((score.tasks, score.tests, score.attempted, score.unanswered), (3, 4, 2, 0));
        assert_eq!(score.warnings, ["1 task is not in the submission and counts as wrong: three"]);
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
    fn what_does_not_fit_is_named_and_the_rest_scored() {
        let more =
            submission(&[("four", &[&[1]]), ("one", &[&[1], &[1]]), ("two", &[&[2]]), ("three", &[&[4]])]);
        let found = score(&more, &answers()).unwrap();
        assert_eq!((found.tests_solved_at, found.pass_at), (vec![3], vec![2.5 / 3.0]));
        let expected = [
            "1 task of the submission is not one of the tasks, passed over: four",
            "task one: attempts at 2 tests, of which the first 1 count",
            "task two: attempts at 1 of 2 tests, the others count as wrong",
        ];
        assert_eq!(found.warnings, expected);
        let error =
            |names: &[(&str, &[&[u8]])]| score(&submission(names), &answers()).unwrap_err().to_string();
        assert_eq!(error(&[("four", &[])]), "task \"four\" of the submission is not among the 3 tasks");
        let two = error(&[("four", &[]), ("five", &[])]);
        assert_eq!(two, "the 2 tasks of the submission (five, four) are not among the 3 tasks");
    }

    #[test]
    fn tasks_without_answers_do_not_count() {
        let mut answers = answers();
        answers.get_mut("two").unwrap()[1] = None;
        let found = score(&submission(&[("one", &[&[1]]), ("two", &[&[2], &[3]])]), &answers).unwrap();
        assert_eq!((found.tasks, found.tests, found.unanswered, &*found.pass_at), (2, 2, 2, &[0.5][..]));
        assert!(found.warnings.iter().any(|it| it == "2 tests of tasks without all answers not scored"));
        // Answers to other tasks do not make it wrong.
        let error = score(&submission(&[("two", &[&[2], &[3]])]), &answers).unwrap_err();
        assert!(error.to_string().contains("that the submission attempts have no answers"), "{error}");
        answers.retain(|name, _| name == "two");
        let error = score(&submission(&[("two", &[&[2]])]), &answers).unwrap_err();
        assert!(error.to_string().contains("no answers to their 2 tests"), "{error}");
        assert!(score(&submission(&[]), &Outputs::new()).is_err());
        // An attempt that was left empty is not what an answer that is kept back is.
        let empty = Submission { tasks: [("two".to_owned(), vec![vec![None], vec![None]])].into() };
        let known = Outputs::from([("two".to_owned(), vec![Some(grid(2)), Some(grid(3))])]);
        assert_eq!(score(&empty, &known).unwrap().pass_at, [0.0]);
    }

    #[test]
    fn answers_are_read_from_tasks_and_from_solutions() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let read = |paths: &[&str]| {
            let paths: Vec<PathBuf> = paths.iter().map(|path| dir.path().join(path)).collect();
            read_answers(&paths).map_err(|error| error.to_string())
        };
        assert!(read(&["."]).unwrap_err().contains("no task"));
        let task = |outputs: &[&str]| {
            let pair = |output: &&str| format!(r#"{{"input": [[0]], "output": {output}}}"#);
            let pairs: Vec<String> = outputs.iter().map(pair).collect();
            format!(r#"{{"train": [{}], "test": [{}]}}"#, pair(&"[[0]]"), pairs.join(", "))
        };
        write("tasks/evaluation/one.json", &task(&["[[1, 0]]"]));
        write("tasks/two.json", &task(&["[[2, 0]]", "[[3, 0]]"]));
        write("tasks/README.md", "tasks");
        let mut two = answers();
        two.remove("three");
        assert_eq!(read(&["tasks"]).unwrap(), two);
        write("three_solutions.json", r#"{"three": [[[4, 0]]]}"#);
        assert_eq!(read(&["tasks", "three_solutions.json"]).unwrap(), answers());
        write("one_solutions.json", r#"{"one": [[[1, 0]]]}"#);
        assert_eq!(read(&["tasks", "one_solutions.json"]).unwrap(), two);
        write("one_solutions.json", r#"{"one": [[[1, 1]]]}"#);
        assert!(read(&["tasks", "one_solutions.json"]).unwrap_err().contains("other outputs of task one"));
        for text in ["{".to_owned(), "[]".to_owned(), task(&[]), task(&["5"]), task(&["[[1], [11]]"])] {
            write("tasks/bad.json", &text);
            assert!(read(&["tasks"]).unwrap_err().contains("bad.json"), "{text}: {:?}", read(&["tasks"]));
        }
        // Two tasks of one name: that which is held out keeps it.
        write("tasks/bad.json", &task(&["[[5]]"]));
        write("tasks/evaluation/bad.json", &task(&["[[6]]"]));
        let found = read(&["tasks"]).unwrap();
        assert_eq!((found.len(), &found["bad"]), (4, &vec![Grid::new(1, 1, vec![6])]));
    }
}
