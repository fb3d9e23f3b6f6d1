//! Tests of [`super`].

use super::*;
use crate::data::test_support::shared;
use std::fs;

/// A pair of single rows.
fn pair(input: u8, output: &str) -> String {
    format!(r#"{{"input": [[{input}, 1]]{output}}}"#)
}

fn with(output: &str) -> String {
    format!(r#", "output": {output}"#)
}

/// A task of two pairs and one test.
fn task(first: u8, output: &str) -> String {
    let train = format!("{}, {}", pair(first, &with("[[1, 2]]")), pair(first + 1, &with("[[3], [4]]")));
    format!(r#"{{"train": [{train}], "test": [{}]}}"#, pair(first + 2, output))
}

struct Place(tempfile::TempDir);

impl Place {
    fn new(files: &[(&str, &str)]) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        files.iter().for_each(|(name, text)| place.write(name, text));
        place
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn paths(&self, names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(|name| self.0.path().join(name)).collect()
    }

    fn read_with(&self, names: &[&str], roles: &Roles) -> std::result::Result<Collection, String> {
        Collection::to_build(&self.paths(names), roles).map_err(|error| error.to_string())
    }

    fn read(&self, names: &[&str]) -> std::result::Result<Collection, String> {
        self.read_with(names, &Roles::default())
    }
}

/// Names, whether they are held out, and tests with an answer.
fn outline(collection: &Collection) -> Vec<(&str, bool, usize)> {
    let of = |found: &'_ Found| {
        let answered = found.task.test.iter().filter(|test| test.output.is_some()).count();
        (found.role == Role::HoldOut, answered)
    };
    let tasks = collection.tasks.iter();
    tasks.map(|found| (&*found.task.name, of(found).0, of(found).1)).collect()
}

#[test]
fn the_two_files_of_a_subset_are_one_collection() {
    let hidden = |first: u8| task(first, "");
    let place = Place::new(&[
        ("kaggle/x_training_challenges.json", &format!(r#"{{"a": {}, "b": {}}}"#, hidden(0), hidden(3))),
        ("kaggle/x_training_solutions.json", r#"{"a": [[[7]]], "b": [[[8]]]}"#),
        ("kaggle/x_evaluation_challenges.json", &format!(r#"{{"c": {}}}"#, hidden(5))),
        ("kaggle/x_evaluation_solutions.json", r#"{"c": [[[9]]]}"#),
        ("kaggle/x_test_challenges.json", &format!(r#"{{"d": {}}}"#, hidden(6))),
        ("kaggle/sample_submission.json", r#"{"d": [{"attempt_1": [[0]], "attempt_2": [[0]]}]}"#),
        ("folders/training/a.json", &task(0, &with("[[7]]"))),
        ("folders/training/b.json", &task(3, &with("[[8]]"))),
        ("folders/evaluation/c.json", &task(5, &with("[[9]]"))),
        ("folders/test/d.json", &hidden(6)),
    ]);
    let together = place.read(&["kaggle"]).unwrap();
    assert_eq!(outline(&together), [("a", false, 1), ("b", false, 1), ("c", true, 1), ("d", true, 0)]);
    assert_eq!(together.tasks, place.read(&["folders"]).unwrap().tasks);
    assert!(
        together.notes.len() == 1 && together.notes[0].contains("a submission, passed over"),
        "{together:?}"
    );

    // Either file brings the other, and both are one.
    let evaluation = [("c", true, 1)];
    for names in [
        &["kaggle/x_evaluation_challenges.json"][..],
        &["kaggle/x_evaluation_solutions.json"],
        &["kaggle/x_evaluation_solutions.json", "kaggle/x_evaluation_challenges.json"],
    ] {
        let read = place.read(names).unwrap();
        assert_eq!((outline(&read), &*read.notes), (evaluation.to_vec(), &[][..]), "{names:?}");
    }
    let test = place.read(&["kaggle/x_test_challenges.json"]).unwrap();
    assert_eq!(outline(&test), [("d", true, 0)]);
    // The name of a file of many tells before that of its folder.
    place.write("evaluation/x_concept_challenges.json", &format!(r#"{{"c": {}}}"#, hidden(5)));
    assert_eq!(outline(&place.read(&["evaluation"]).unwrap()), [("c", false, 0)]);
}

#[test]
fn outputs_that_do_not_fit_are_named() {
    let place = Place::new(&[("m_eval_challenges.json", &format!(r#"{{"c": {}, "d": {0}}}"#, task(5, "")))]);
    let read = |solutions: &str| {
        place.write("m_eval_solutions.json", solutions);
        place.read(&["m_eval_challenges.json"])
    };
    let error = read(r#"{"c": [[[1]], [[2]]], "d": [[[1]]]}"#).unwrap_err();
    assert!(
        error.contains("m_eval_solutions.json, task c: found 2 outputs, expected 1, one for each test"),
        "{error}"
    );
    let error = read(r#"{"c": [[[1]]], "d": [[1]]}"#).unwrap_err();
    assert!(
        error.contains("m_eval_solutions.json, task d, test 1, row 1: found 1, expected a row"),
        "{error}"
    );
    // Too few and too many.
    let found = read(r#"{"c": [[[1]]], "e": [[[1]]]}"#).unwrap();
    assert_eq!(outline(&found), [("c", true, 1), ("d", true, 0)]);
    assert!(
        found.notes.len() == 1 && found.notes[0].ends_with("is not in the file with the tasks: e"),
        "{found:?}"
    );
    place.write("m_eval_challenges.json", &format!(r#"{{"c": {}}}"#, task(5, &with("[[2]]"))));
    let error = read(r#"{"c": [[[1]]]}"#).unwrap_err();
    assert!(error.contains("task c, test 1: found another output, expected the one that"), "{error}");
    fs::remove_file(place.0.path().join("m_eval_challenges.json")).unwrap();
    let error = place.read(&["m_eval_solutions.json"]).unwrap_err();
    assert!(
        error.contains("found outputs without tasks") && error.contains("m_eval_challenges.json beside it"),
        "{error}"
    );
    assert_eq!(Collection::to_score(&place.paths(&["m_eval_solutions.json"])).unwrap().solutions.len(), 1);
}

#[test]
fn held_out_folders_have_many_names_and_unknown_ones_are_refused() {
    let place = Place::new(&[]);
    for (name, held_out) in
        [("Evaluation", true), ("public_eval", true), ("VALIDATION", true), ("Train", false)]
    {
        place.write(&format!("{name}-root/{name}/a.json"), &task(1, &with("[[1]]")));
        let root = format!("{name}-root");
        // Also if the folder itself is given, or one within it.
        for given in [root.clone(), format!("{root}/{name}"), format!("{root}/{name}/a.json")] {
            assert_eq!(outline(&place.read(&[&given]).unwrap()), [("a", held_out, 1)], "{given}");
        }
        place.write(&format!("{name}-deep/{name}/part/a.json"), &task(1, &with("[[1]]")));
        assert_eq!(outline(&place.read(&[&format!("{name}-deep")]).unwrap()), [("a", held_out, 1)], "{name}");
    }
    place.write("mine/part1/a.json", &task(1, &with("[[1]]")));
    place.write("mine/part2/b.json", &task(1, &with("[[1]]")));
    let error = place.read(&["mine"]).unwrap_err();
    assert!(error.contains("--hold-out part1") && error.contains("--train-on part1"), "{error}");
    let roles = |hold_out: &[&str], train_on: &[&str]| {
        let [hold_out, train_on] =
            [hold_out, train_on].map(|names| names.iter().map(|&it| it.to_owned()).collect());
        Roles { train_on, hold_out }
    };
    let decided = place.read_with(&["mine"], &roles(&["Part2"], &["others"])).unwrap();
    assert_eq!(outline(&decided), [("a", false, 1), ("b", true, 1)]);
    let error = place.read_with(&["mine"], &roles(&["part3"], &["others"])).unwrap_err();
    assert!(error.contains("--hold-out: found part3"), "{error}");
}

#[test]
fn lists_of_pairs_are_trained_on() {
    let list = format!("[{}, {}]", pair(1, &with("[[2]]")), pair(2, &with("[[3]]")));
    let place = Place::new(&[("re_arc/tasks/a.json", &list), ("evaluation/b.json", &list)]);
    let read = place.read(&["re_arc"]).unwrap();
    assert_eq!((outline(&read), read.tasks[0].task.train.len()), (vec![("a", false, 0)], 2));
    let error = place.read(&["evaluation"]).unwrap_err();
    assert!(error.contains("found a list of pairs") && error.contains("--train-on evaluation"), "{error}");
    let roles = Roles { train_on: vec!["evaluation".to_owned()], hold_out: Vec::new() };
    assert_eq!(outline(&place.read_with(&["evaluation"], &roles).unwrap()), [("b", false, 0)]);
}

#[test]
fn copies_and_namesakes_are_told() {
    let place = Place::new(&[
        ("one/training/a.json", &task(1, &with("[[1]]"))),
        ("two/training/a.json", &task(1, &with("[[1]]"))),
        ("two/evaluation/b.json", &task(4, &with("[[1]]"))),
        ("three/training/b.json", &task(4, &with("[[1]]"))),
        ("three/training/a.json", &task(2, &with("[[1]]"))),
    ]);
    let read = place.read(&["one", "two"]).unwrap();
    assert_eq!(outline(&read), [("a", false, 1), ("b", true, 1)]);
    assert_eq!(read.notes, ["1 task in more than one place with the same pairs, taken once: a"]);
    let read = place.read(&["three", "one", "two"]).unwrap();
    let names: Vec<&str> = read.tasks.iter().map(|found| &*found.task.name).collect();
    assert!(
        names.len() == 3 && names[0] == "a" && names[1].starts_with("a-") && names[2] == "b",
        "{names:?}"
    );
    assert_eq!(read.notes.len(), 3, "{:?}", read.notes);
    assert_eq!(read.notes[1], "1 task both trained on in one place and held out in another, so held out: b");
    assert!(
        read.notes[2]
            .starts_with("1 task with the name of another task and other pairs, under a new name: a-")
    );
}

#[test]
fn names_of_augmented_puzzles_are_refused() {
    let place = Place::new(&[("training/a_t1_0213456789.json", &task(1, &with("[[1]]")))]);
    let error = place.read(&["training"]).unwrap_err();
    assert!(error.contains("task: found a_t1_0213456789, expected a name that does not end"), "{error}");
}

#[test]
fn a_single_black_cell_is_an_answer_where_it_can_be_one() {
    let black = with("[[0]]");
    let shown = format!(r#"{{"train": [{}], "test": [{}]}}"#, pair(1, &with("[[3]]")), pair(2, &black));
    // A task that shows a single cell may have that answer.
    let place = Place::new(&[("evaluation/a.json", &shown)]);
    let read = place.read(&["evaluation"]).unwrap();
    assert_eq!((outline(&read), &*read.notes), (vec![("a", true, 1)], &[][..]));
    // But not beside one that cannot.
    place.write("evaluation/b.json", &task(3, &black));
    place.write("training/c.json", &shown);
    let read = place.read(&["evaluation", "training"]).unwrap();
    assert_eq!(outline(&read), [("a", true, 0), ("b", true, 0), ("c", false, 1)]);
    assert_eq!(
        read.notes,
        ["2 tests have a single black cell for an output, which stands for a missing one"]
    );
}

#[test]
fn real_collections_are_read() {
    let Some(dir) = shared("data/arc") else { return };
    let read = |paths: &[&str]| {
        let paths: Vec<PathBuf> = paths.iter().map(|path| dir.join(path)).collect();
        let read = Collection::to_build(&paths, &Roles::default()).unwrap();
        let total: usize =
            read.tasks.iter().map(|found| found.task.train.len() + found.task.test.len()).sum();
        let held_out = read.tasks.iter().filter(|found| found.role == Role::HoldOut).count();
        ((read.tasks.len(), held_out, total), read.notes)
    };
    for (path, counts) in [
        ("ARC-AGI/data", (800, 400, 3500)),
        ("ARC-AGI-2/data", (1120, 120, 4834)),
        ("ConceptARC/corpus", (160, 0, 907)),
    ] {
        assert_eq!(read(&[path]), (counts, vec![]), "{path}");
    }
    // They share 773 tasks, one of which differs: 376 that are evaluated on in the first are trained on in the second.
    let ((tasks, held_out, _), notes) = read(&["ARC-AGI/data", "ARC-AGI-2/data"]);
    assert_eq!((tasks, held_out), (800 + 1120 - 773 + 1, 400 + 120 - 6));
    let expected = [
        "772 tasks in more than one place with the same pairs",
        "375 tasks both trained on in one place and held out in another",
        "1 task with tests held out under the same name, which are not trained on: ac0c5833",
        "1 task with the name of another task and other pairs, under a new name: ac0c5833-",
    ];
    let missing: Vec<&&str> =
        expected.iter().filter(|start| !notes.iter().any(|it| it.starts_with(**start))).collect();
    assert!(missing.is_empty(), "{missing:?}: {notes:?}");
}
