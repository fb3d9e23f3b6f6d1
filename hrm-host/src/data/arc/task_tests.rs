//! Tests of [`super`].

use super::*;
use crate::data::test_support::shared;
use proptest::prelude::*;

fn parse(text: &str) -> Result<Task> {
    Task::parse(Path::new("training/ab12.json"), "ab12", text.as_bytes())
}

/// A task whose only grid that is not 1 by 1 is the output of the second training pair.
fn with_grid(grid: &str) -> String {
    let pair = |output: &str| format!(r#"{{"input": [[0]], "output": {output}}}"#);
    format!(r#"{{"train": [{0}, {1}], "test": [{0}]}}"#, pair("[[1]]"), pair(grid))
}

#[test]
fn pairs_are_read_in_order() {
    let text = r#"{"name": "other", "test": [{"output": [[3]], "input": [[1, 2]], "more": 1}],
                   "train": [{"input": [[4], [5]], "output": [[6]]}, {"input": [[7]], "output": [[8]]}]}"#;
    let task = parse(text).unwrap();
    let grid = |rows, columns, cells: &[u8]| Grid::new(rows, columns, cells.to_vec()).unwrap();
    assert_eq!(task.name, "ab12");
    assert_eq!(task.test, [Pair { input: grid(1, 2, &[1, 2]), output: grid(1, 1, &[3]) }]);
    let [first, second] = &task.train[..] else { panic!("{task:?}") };
    assert_eq!((&first.input, &second.output), (&grid(2, 1, &[4, 5]), &grid(1, 1, &[8])));
}

#[test]
fn what_is_no_task_says_where() {
    let row = |n: usize| format!("[{}]", vec!["0"; n].join(","));
    let here = "train, pair 2, output";
    let cases = [
        (String::new(), "line 1, JSON: found EOF".to_owned()),
        ("[".repeat(10_000), "JSON: found recursion limit".into()),
        (with_grid("[[1]]")[..40].to_owned(), "line 1, JSON: found EOF".into()),
        ("\u{0}".into(), "JSON".into()),
        ("3".into(), "train: found nothing, expected a list of at least one pair".into()),
        ("{}".into(), "train: found nothing".into()),
        (r#"{"train": []}"#.into(), "train: found [], expected a list of at least one pair".into()),
        (r#"{"train": [3], "test": [3]}"#.into(), "train, pair 1, input: found nothing".into()),
        (
            with_grid("[[1]]").replace("test", "tests"),
            "test: found nothing, expected a list of at least one pair".into(),
        ),
        (with_grid("[]"), format!("{here}: found [], expected a grid: a list of 1 to 30 rows")),
        (with_grid("7"), format!("{here}: found 7, expected a grid")),
        (with_grid("null"), format!("{here}: found null, expected a grid")),
        (with_grid("[[]]"), format!("{here}, row 1: found [], expected a row: a list of 1 to 30 colours")),
        (with_grid("[3]"), format!("{here}, row 1: found 3, expected a row")),
        (with_grid("[[1, 2], [3]]"), format!("{here}, row 2: found 1, expected 2 colours, as in row 1")),
        (
            with_grid("[[1], [2], [10]]"),
            format!("{here}, row 3, column 1: found 10, expected a colour, 0 to 9"),
        ),
        (with_grid("[[1, -1]]"), format!("{here}, row 1, column 2: found -1, expected a colour")),
        (with_grid("[[1.5]]"), format!("{here}, row 1, column 1: found 1.5")),
        (with_grid("[[NaN]]"), "line 1, JSON: found expected value".into()),
        (with_grid("[[1e400]]"), "line 1, JSON: found number out of range".into()),
        (with_grid("[[\"1\"]]"), format!("{here}, row 1, column 1: found \"1\"")),
        (with_grid(&format!("[{}]", row(31))), format!("{here}, row 1: found [0,0,")),
        (with_grid(&format!("[{}]", vec!["[0]"; 31].join(","))), format!("{here}: found [[0],[0],")),
        (with_grid(&"9".repeat(5 << 20)), "size: found more bytes, expected at most 4194304".into()),
    ];
    for (text, expected) in cases {
        let error = parse(&text).expect_err(&expected).to_string();
        assert!(error.starts_with("training/ab12.json") && error.contains(&expected), "{error}\n{expected}");
        assert!(error.len() < 250, "{error}");
    }
    parse(&with_grid(&format!("[{}]", vec![row(30); 30].join(",")))).unwrap();
}

#[test]
fn tasks_are_found_by_name_in_every_folder() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, with_grid("[[1]]")).unwrap();
    };
    for name in [
        "one/training/b.json",
        "one/evaluation/a.json",
        "one/evaluation/c.txt",
        "one/training/.d.json",
        "one/e.json",
    ] {
        write(name);
    }
    write("two/AboveBelow/f.json");
    let dirs = [dir.path().join("two"), dir.path().join("one")];
    let found = TaskFile::find(&dirs).unwrap();
    let names: Vec<(&str, bool)> = found.iter().map(|task| (&*task.name, task.evaluation)).collect();
    assert_eq!(names, [("a", true), ("b", false), ("f", false)]);
    assert_eq!(found[0].read().unwrap().train.len(), 2);

    write("two/Copy/b.json");
    let error = TaskFile::find(&dirs).unwrap_err().to_string();
    assert!(error.contains("b.json, task: found b, expected another name than that of"), "{error}");
    let error = TaskFile::find(&[dir.path().join("one/training")]).unwrap_err().to_string();
    assert!(error.contains("folders: found no task, expected folders with tasks"), "{error}");
    write("far/deep/data/training/c.json");
    let cases = [
        ("one/training", "one"),
        ("two/Copy", "two"),
        ("far", "far/deep/data"),
        ("far/deep", "far/deep/data"),
    ];
    for (given, meant) in cases {
        let error = TaskFile::find(&[dir.path().join(given)]).unwrap_err().to_string();
        let meant = format!("; {} has them", dir.path().join(meant).display());
        assert!(error.ends_with(&meant), "{error}");
    }
    assert!(matches!(TaskFile::find(&[dir.path().join("none")]), Err(Error::Io { .. })));
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Task::parse(Path::new("a.json"), "a", &bytes);
    }

    /// A task with a few characters changed.
    #[test]
    fn damaged_tasks_are_refused_or_read(changes in proptest::collection::vec((0usize..120, "[0-9,\\[\\]{}\":a-z.-]"), 1..4)) {
        let mut text = with_grid("[[1, 2], [3, 4]]");
        for (place, with) in changes {
            let place = place % text.len();
            text.replace_range(place..=place, &with);
        }
        if let Ok(task) = parse(&text) {
            prop_assert!(!task.train.is_empty() && !task.test.is_empty());
        }
    }
}

#[test]
fn real_tasks_are_read() {
    let Some(dir) = shared("data/arc") else { return };
    for (path, tasks, pairs) in
        [("ARC-AGI/data", 800, 3500), ("ARC-AGI-2/data", 1120, 4834), ("ConceptARC/corpus", 160, 907)]
    {
        let files = TaskFile::find(&[dir.join(path)]).unwrap();
        let read = files.iter().map(|file| file.read().unwrap());
        let total: usize = read.map(|task| task.train.len() + task.test.len()).sum();
        assert_eq!((files.len(), total), (tasks, pairs), "{path}");
    }
}
