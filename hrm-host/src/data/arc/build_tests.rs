//! Tests of [`super`].

use super::super::augment::Augmentation;
use super::super::grid::{Grid, SIDE, crop};
use super::super::task::{Content, Pair};
use super::*;
use crate::data::dataset::Dataset;
use crate::data::test_support::shared;
use hrm_core::rng::{Rng, Stream};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::ops::ControlFlow;

/// A task of three training pairs and two test pairs, all different, in colours 1 to 5.
fn task_text(seed: u32) -> String {
    let mut rng = Rng::new(u64::from(seed), Stream::Puzzle, 0);
    let mut grid = || {
        let (rows, columns) = (1 + rng.below(6), 2 + rng.below(6));
        let mut row = || (0..columns).map(|_| (1 + rng.below(5)).to_string()).collect::<Vec<_>>().join(",");
        let rows: Vec<String> = (0..rows).map(|_| format!("[{}]", row())).collect();
        format!("[{}]", rows.join(","))
    };
    let mut pairs = |count: usize| {
        let mut pair = || format!(r#"{{"input":{},"output":{}}}"#, grid(), grid());
        (0..count).map(|_| pair()).collect::<Vec<_>>().join(",")
    };
    format!(r#"{{"train":[{}],"test":[{}]}}"#, pairs(3), pairs(2))
}

/// Tasks `t0`, `t1`, .. in the folders `training` and `evaluation` in turn, written in the order of `order`.
fn write_tasks(dir: &Path, order: &[u32]) -> PathBuf {
    let tasks = dir.join("tasks");
    for &number in order {
        write_task(&tasks.join(if number % 2 == 0 { "training" } else { "evaluation" }), number);
    }
    tasks
}

fn write_task(folder: &Path, number: u32) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join(format!("t{number}.json")), task_text(number)).unwrap();
}

fn options(dir: &Path, tasks: PathBuf, augment: u32) -> Options {
    Options {
        tasks: vec![tasks],
        roles: Roles::default(),
        naming: Naming::Published,
        out: dir.join("out"),
        augment,
        seed: 42,
    }
}

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                found.insert(path.strip_prefix(dir).unwrap().to_owned(), fs::read(path).unwrap());
            }
        }
    }
    found
}

fn canvas(grid: &Grid, top: usize, left: usize) -> Vec<i32> {
    let mut canvas = [0; CANVAS];
    grid.paint(top, left, &mut canvas);
    canvas.iter().map(|&token| i32::from(token)).collect()
}

/// Where the content of a canvas begins, and the canvas with it at the first cell.
fn at_origin(tokens: &[i32]) -> ((usize, usize), Vec<i32>) {
    let used = || (0..CANVAS).filter(|&cell| tokens[cell] > 0);
    let (top, left) = (used().map(|c| c / SIDE).min().unwrap(), used().map(|c| c % SIDE).min().unwrap());
    let mut moved = vec![0; CANVAS];
    used().for_each(|cell| moved[cell - top * SIDE - left] = tokens[cell]);
    ((top, left), moved)
}

/// Every example leads back to a pair of its task, by its name alone.
#[test]
fn groups_are_tasks_and_their_augmentations() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path(), write_tasks(dir.path(), &[0, 1, 2, 3]), 20);
    let summary = build(&options, None).unwrap();
    assert_eq!((summary.tasks, summary.short_tasks, summary.identifiers), (4, 0, 85));
    let counts: Vec<_> = summary.splits.iter().map(|s| (s.groups, s.puzzles, s.examples)).collect();
    assert_eq!(counts, [(4, 84, 336), (2, 42, 84)]);

    for (split, tasks, pairs) in [("train", &[0, 1, 2, 3][..], 4.0), ("test", &[1, 3], 2.0)] {
        let dataset = Dataset::open(&options.out, split).unwrap();
        let metadata = dataset.metadata();
        assert_eq!((metadata.seq_len, metadata.vocab_size, metadata.num_puzzle_identifiers), (900, 12, 85));
        assert_eq!((metadata.total_groups, metadata.mean_puzzle_examples), (tasks.len(), pairs));
        assert_eq!((metadata.pad_id, metadata.ignore_label_id), (0, Some(0)));
        let (names, set) = (dataset.identifiers().unwrap(), &dataset.sets()[0]);
        let (mut inputs, mut labels) = (vec![0; CANVAS], vec![0; CANVAS]);
        let (mut moved, mut seen) = (0, HashSet::new());
        for (group, number) in tasks.iter().enumerate() {
            let text = task_text(*number);
            let Ok(Content::Task(task)) = Content::parse(Path::new("t"), text.as_bytes()) else { panic!() };
            let expected: Vec<Pair> = match (split, number % 2) {
                ("train", 0) => [task.train, task.test].concat(),
                ("train", _) => task.train,
                _ => task.test,
            };
            assert_eq!(set.group(group), group * 21..(group + 1) * 21);
            for puzzle in set.group(group) {
                let name = &names[set.identifier(puzzle) as usize];
                assert!(seen.insert(name.clone()), "{name} twice");
                let (original, augmentation) = Augmentation::of_name(name);
                assert_eq!(original, format!("t{number}"));
                assert_eq!(puzzle == set.group(group).start, name == original);
                assert_eq!(augmentation.colours()[0], 0);
                let mut at_home = 0;
                for (example, pair) in set.puzzle(puzzle).zip(&expected) {
                    dataset.read(0, example, &mut inputs, &mut labels).unwrap();
                    labels.iter_mut().filter(|label| **label == -100).for_each(|label| *label = 0);
                    let (place, input) = at_origin(&inputs);
                    let (label_place, label) = at_origin(&labels);
                    assert_eq!(place, label_place);
                    assert_eq!(inputs, canvas(&augmentation.apply(&pair.input), place.0, place.1));
                    assert_eq!(
                        labels,
                        canvas(&augmentation.apply(pair.output.as_ref().unwrap()), place.0, place.1)
                    );
                    assert_eq!(augmentation.undo(&crop(&input).unwrap()), pair.input);
                    assert_eq!(crop(&label).map(|it| augmentation.undo(&it)), pair.output);
                    at_home += usize::from(place == (0, 0));
                    moved += usize::from(place != (0, 0));
                }
                assert_eq!(set.puzzle(puzzle).len(), expected.len());
                assert!(at_home >= 1, "{name}");
            }
        }
        if split == "test" {
            assert_eq!(moved, 0);
        } else {
            // One of three or five stays; the others seldom do.
            assert!((230..=252).contains(&moved), "{moved}");
        }
    }
}

/// The same bytes whatever the order of the directory and the number of threads; held to these sums, so that they are
/// the same on every machine and in every later version.
#[test]
fn bytes_depend_on_tasks_options_and_seed_only() {
    let build_with = |order: &[u32], threads: usize, seed: u64| {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { seed, ..options(dir.path(), write_tasks(dir.path(), order), 30) };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| build(&options, None)).unwrap();
        files(&options.out)
    };
    let first = build_with(&[0, 1, 2, 3, 4], 1, 42);
    assert_eq!(first.len(), 13);
    assert!(build_with(&[4, 2, 0, 3, 1], 3, 42) == first, "another order on three threads");
    assert!(build_with(&[0, 1, 2, 3, 4], 2, 43) != first);
    let fnv = |bytes: &[u8]| {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        })
    };
    let sums = ["train/all__inputs.npy", "test/all__labels.npy", "identifiers.json"]
        .map(|name| fnv(&first[Path::new(name)]));
    let expected = [0x55cc_fcb9_4f1b_438b, 0x263a_38ca_54ef_aef5, 0xead3_3383_8673_9e3b];
    assert_eq!(sums, expected);
}

/// Where a task lies: one of two directories, and a folder in it, if it is not to evaluate on.
fn places() -> impl Strategy<Value = Vec<(u32, bool, String)>> {
    let folder = "[a-zA-Z0-9_ -]{1,8}".prop_map(|name| format!("training {name}"));
    let order = Just((0..6).collect::<Vec<u32>>()).prop_shuffle();
    let folders = prop::collection::vec((any::<bool>(), folder), 6);
    (order, folders).prop_map(|(order, folders)| {
        order.into_iter().zip(folders).map(|(number, (second, name))| (number, second, name)).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The same bytes in whatever order files come to the disk, whatever their folders are called, and in whichever of
    /// the directories these lie.
    #[test]
    fn bytes_do_not_depend_on_where_tasks_lie(places in places(), swapped: bool, threads in 1usize..4) {
        let dir = tempfile::tempdir().unwrap();
        let expected = options(dir.path(), write_tasks(dir.path(), &[0, 1, 2, 3, 4, 5]), 6);
        build(&expected, None).unwrap();

        let mut tasks = ["a", "b"].map(|name| dir.path().join(name)).to_vec();
        for (number, second, name) in &places {
            let folder = if number % 2 == 0 { name } else { "evaluation" };
            write_task(&tasks[usize::from(*second)].join(folder), *number);
        }
        tasks.retain(|dir| dir.exists());
        if swapped {
            tasks.reverse();
        }
        let found = Options { tasks, out: dir.path().join("found"), ..expected.clone() };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| build(&found, None)).unwrap();
        prop_assert!(files(&found.out) == files(&expected.out));
    }
}

/// What a task becomes does not change when others join it.
#[test]
fn augmentations_depend_on_the_task_s_name_only() {
    let names = |order: &[u32]| {
        let dir = tempfile::tempdir().unwrap();
        let options = options(dir.path(), write_tasks(dir.path(), order), 10);
        build(&options, None).unwrap();
        Dataset::open(&options.out, "train").unwrap().identifiers().unwrap().to_vec()
    };
    let (alone, together) = (names(&[2]), names(&[0, 1, 2, 3]));
    assert_eq!(alone[1..], together[23..34]);
}

#[test]
fn equal_puzzles_are_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("tasks/training");
    fs::create_dir_all(&folder).unwrap();
    // One colour on one cell: nothing but the nine colours makes a difference.
    let pair = r#"{"input": [[3]], "output": [[3]]}"#;
    fs::write(folder.join("a.json"), format!(r#"{{"train": [{pair}], "test": [{pair}]}}"#)).unwrap();
    // No colour that can change, and a grid with every symmetry.
    let black = pair.replace('3', "0");
    fs::write(folder.join("b.json"), format!(r#"{{"train": [{black}], "test": [{black}]}}"#)).unwrap();
    let summary = build(&options(dir.path(), dir.path().join("tasks"), 50), None).unwrap();
    assert_eq!((summary.short_tasks, summary.identifiers, summary.splits[0].puzzles), (2, 11, 10));
    assert_eq!(summary.splits.len(), 1);
    let none = options(dir.path(), dir.path().join("tasks"), 0);
    assert_eq!(build(&none, None).unwrap().identifiers, 3);
}

#[test]
fn a_failed_or_interrupted_build_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path(), write_tasks(dir.path(), &[0, 1, 2]), 5);
    let stop = |done, _| if done == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let bad = dir.path().join("tasks/training/t9.json");
    for wrong in [false, true] {
        let built = if wrong {
            fs::write(&bad, "{").unwrap();
            build(&options, None)
        } else {
            build(&options, Some(&mut { stop }))
        };
        let error = built.unwrap_err();
        assert_eq!(matches!(error, Error::Interrupted), !wrong, "{error}");
        assert!(!options.out.exists());
    }
    fs::remove_file(&bad).unwrap();
    build(&options, None).unwrap();
    let before = files(&options.out);
    assert!(matches!(build(&options, Some(&mut { stop })), Err(Error::Interrupted)));
    assert!(files(&options.out) == before);
    // Without tasks to evaluate on, the old test split would keep identifiers that mean something else.
    fs::remove_dir_all(dir.path().join("tasks/evaluation")).unwrap();
    let error = build(&options, None).unwrap_err().to_string();
    assert!(error.contains("--out: found") && error.contains("test/dataset.json"), "{error}");
    assert!(files(&options.out) == before);
}

#[test]
fn real_tasks_are_built() {
    let Some(arc) = shared("data/arc") else { return };
    let dir = tempfile::tempdir().unwrap();
    let tasks = vec![arc.join("ConceptARC/corpus"), arc.join("ARC-AGI/data")];
    let options = Options { tasks, ..options(dir.path(), PathBuf::new(), 1) };
    let summary = build(&options, None).unwrap();
    let counts: Vec<_> = summary.splits.iter().map(|s| (s.groups, s.puzzles, s.examples)).collect();
    assert_eq!((summary.tasks, summary.short_tasks), (960, 0));
    assert_eq!(counts, [(960, 1920, 2 * 3988), (400, 800, 2 * 419)]);
    assert_eq!((summary.unanswered, &*summary.notes), (0, &[][..]));
    for split in ["train", "test"] {
        Dataset::open(&options.out, split).unwrap().verify().unwrap();
    }
}

/// The tests of a task without their answers, or with what stands for one.
fn hide(text: &str, by: &str) -> String {
    let (train, test) = text.split_once(r#","test""#).unwrap();
    let mut hidden = String::new();
    for pair in test.split(r#","output":"#) {
        let rest = pair.find("]]}").filter(|_| !hidden.is_empty()).map_or(pair, |end| &pair[end + 2..]);
        if !hidden.is_empty() {
            hidden += by;
        }
        hidden += rest;
    }
    format!(r#"{train},"test"{hidden}"#)
}

/// Labels are ignored, inputs and identifiers are those of the tasks with answers.
#[test]
fn tests_without_answers_are_asked_and_not_trained_on() {
    for by in ["", r#","output":null"#, r#","output":[]"#, r#","output":[[]]"#, r#","output":[[0]]"#] {
        let dir = tempfile::tempdir().unwrap();
        let whole = options(dir.path(), write_tasks(dir.path(), &[0, 1, 3]), 0);
        build(&whole, None).unwrap();
        for (folder, number) in [("training", 0), ("evaluation", 1), ("evaluation", 3)] {
            let text = hide(&task_text(number), by);
            let folder = dir.path().join("hidden").join(folder);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(format!("t{number}.json")), text).unwrap();
        }
        let hidden = Options {
            tasks: vec![dir.path().join("hidden")],
            out: dir.path().join("asked"),
            ..whole.clone()
        };
        let summary = build(&hidden, None).unwrap();
        assert_eq!(summary.unanswered, 4, "{by}");
        let notes = summary.notes.join("; ");
        assert!(notes.contains("4 tests have no answer: their labels are ignored"), "{by}: {notes}");
        assert!(notes.contains("2 tests of tasks to train on have no answer, left out"), "{by}: {notes}");
        assert_eq!(notes.contains("6 tests have a single black cell"), by.contains('0'), "{by}: {notes}");
        let counts: Vec<_> = summary.splits.iter().map(|s| (s.groups, s.examples)).collect();
        assert_eq!(counts, [(3, 9), (2, 4)], "{by}");
        let [asked, known] = [&hidden, &whole].map(|it| Dataset::open(&it.out, "test").unwrap());
        assert_eq!(asked.identifiers(), known.identifiers());
        let [mut inputs, mut labels, mut known_inputs, mut rest] = [const { [0; CANVAS] }; 4];
        for example in 0..4 {
            asked.read(0, example, &mut inputs, &mut labels).unwrap();
            known.read(0, example, &mut known_inputs, &mut rest).unwrap();
            assert_eq!((inputs, labels), (known_inputs, [-100; CANVAS]), "{by}");
        }
    }
}

#[test]
fn names_may_be_those_of_the_other_builder() {
    let dir = tempfile::tempdir().unwrap();
    let published = options(dir.path(), write_tasks(dir.path(), &[0, 1]), 3);
    let trm = Options { naming: Naming::Trm, out: dir.path().join("trm"), ..published.clone() };
    build(&published, None).unwrap();
    build(&trm, None).unwrap();
    let [one, other] = [&published, &trm].map(|options| Dataset::open(&options.out, "test").unwrap());
    let [ours, theirs] = [one.identifiers().unwrap(), other.identifiers().unwrap()];
    assert_eq!(ours.len(), 9);
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert_eq!(Augmentation::of_name(ours), Augmentation::of_name(theirs));
        assert_eq!(ours.replacen('_', "|||", 2), *theirs);
    }
    let mut files = [&published, &trm].map(|options| files(&options.out));
    files.iter_mut().for_each(|files| drop(files.remove(Path::new("identifiers.json"))));
    let puzzles = files[1].remove(Path::new("test_puzzles.json")).unwrap();
    assert!(files[0] == files[1], "the arrays do not depend on names");
    // The tasks that are held out, as they are: they make the same dataset.
    let Ok(Content::Tasks(tasks)) = Content::parse(Path::new("p"), &puzzles) else { panic!() };
    let Ok(Content::Task(expected)) = Content::parse(Path::new("t1.json"), task_text(1).as_bytes()) else {
        panic!()
    };
    assert_eq!(tasks, [expected]);
    let again = Options {
        tasks: vec![trm.out.join("test_puzzles.json")],
        out: dir.path().join("again"),
        ..trm.clone()
    };
    assert_eq!(build(&again, None).unwrap().splits[1].examples, 8);
    // It goes with the names.
    build(&Options { naming: Naming::Published, ..trm.clone() }, None).unwrap();
    assert!(!trm.out.join("test_puzzles.json").exists());
}
