//! Tests of [`super`].

use super::*;
use proptest::prelude::*;

fn content(text: &str) -> Result<Content> {
    Content::parse(Path::new("training/ab12.json"), text.as_bytes())
}

fn parse(text: &str) -> Result<Task> {
    content(text).map(|content| match content {
        Content::Task(task) => task,
        other => panic!("{text}: {other:?}"),
    })
}

fn grid(rows: usize, columns: usize, cells: &[u8]) -> Grid {
    Grid::new(rows, columns, cells.to_vec()).unwrap()
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
    assert_eq!(task.name, "ab12");
    assert_eq!(task.test, [Pair { input: grid(1, 2, &[1, 2]), output: Some(grid(1, 1, &[3])) }]);
    let [first, second] = &task.train[..] else { panic!("{task:?}") };
    assert_eq!((&first.input, &second.output), (&grid(2, 1, &[4, 5]), &Some(grid(1, 1, &[8]))));
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
        ("[]".into(), "list: found [], expected a list of at least one pair".into()),
        (r#"[{"input": [[1]]}]"#.into(), "list, pair 1, output: found nothing, expected a grid".into()),
        (r#"{"a": {"train": []}}"#.into(), "task a, train: found [], expected a list of at least one".into()),
        (
            r#"{"a": [[[1]], [[1, 2], [3]]]}"#.into(),
            "task a, test 2, row 2: found 1, expected 2 colours".into(),
        ),
        (
            r#"{"a": [[[1]]], "b": 3}"#.into(),
            "task b: found 3, expected a list with an output for each".into(),
        ),
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
    ];
    for (text, expected) in cases {
        let error = parse(&text).expect_err(&expected).to_string();
        assert!(error.starts_with("training/ab12.json") && error.contains(&expected), "{error}\n{expected}");
        assert!(error.len() < 250, "{error}");
    }
    parse(&with_grid(&format!("[{}]", vec![row(30); 30].join(",")))).unwrap();
}

#[test]
fn tests_may_lack_an_answer() {
    let text = |output: &str| {
        format!(r#"{{"train": [{{"input": [[4]], "output": [[6]]}}], "test": [{{"input": [[1]]{output}}}]}}"#)
    };
    for output in ["", r#", "output": null"#, r#", "output": []"#, r#", "output": [[]]"#, r#", "output": """#]
    {
        assert_eq!(
            parse(&text(output)).unwrap().test,
            [Pair { input: grid(1, 1, &[1]), output: None }],
            "{output}"
        );
    }
    assert_eq!(parse(&text(r#", "output": [[0]]"#)).unwrap().test[0].output, Some(grid(1, 1, &[0])));
    let error = parse(&text(r#", "output": "?""#)).unwrap_err().to_string();
    assert!(error.contains(r#"test, pair 1, output: found "?", expected a grid"#), "{error}");
}

#[test]
fn files_of_many_tasks_lists_of_pairs_outputs_and_submissions_are_told_apart() {
    let many = format!(
        "\u{feff}{{\"x\": {0}, \"a\": {0}, \"l\": [{{\"input\": [[1]], \"output\": [[2]]}}]}}",
        with_grid("[[5]]")
    );
    let Content::Tasks(tasks) = content(&many).unwrap() else { panic!("{many}") };
    let shape = |task: &Task| (task.name.clone(), task.train.len(), task.test.len());
    let expected =
        [("a", 2, 1), ("l", 1, 0), ("x", 2, 1)].map(|(name, train, test)| (name.to_owned(), train, test));
    assert_eq!(tasks.iter().map(shape).collect::<Vec<_>>(), expected);
    let list = parse(r#"[{"input": [[1]], "output": [[2]]}, {"input": [[3]], "output": [[4]]}]"#).unwrap();
    assert_eq!(shape(&list), ("ab12".to_owned(), 2, 0));
    let outputs = content(r#"{"a": [], "b": [[[1, 2]], null], "c": [[]]}"#);
    assert!(outputs.unwrap_err().to_string().contains("task a: found [], expected a list with an output"));
    let Content::Solutions(outputs) = content(r#"{"b": [[[1, 2]], null], "c": [[]]}"#).unwrap() else {
        panic!()
    };
    assert_eq!(outputs["b"], [Some(grid(1, 2, &[1, 2])), None]);
    assert_eq!(outputs["c"], [None]);
    let submission = r#"{"a": [{"attempt_1": [[0]]}]}"#;
    assert_eq!(content(submission).unwrap(), Content::Submission);
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Content::parse(Path::new("a.json"), &bytes);
    }

    /// A task with a few characters changed.
    #[test]
    fn damaged_tasks_are_refused_or_read(changes in proptest::collection::vec((0usize..120, "[0-9,\\[\\]{}\":a-z.-]"), 1..4)) {
        let mut text = with_grid("[[1, 2], [3, 4]]");
        for (place, with) in changes {
            let place = place % text.len();
            text.replace_range(place..=place, &with);
        }
        if let Ok(Content::Task(task)) = content(&text) {
            prop_assert!(!task.train.is_empty() && !task.test.is_empty());
        }
    }
}
