//! Tests of [`super`].

use super::*;
use crate::data::dataset::Dataset;
use crate::data::maze::is_shortest_path;
use crate::data::metadata::Metadata;
use crate::data::test_support::shared;
use std::fmt::Write;
use std::fs;
use std::ops::ControlFlow;

/// A CSV file of generated mazes, rated by their number.
fn csv_file(dir: &Path, count: usize) -> PathBuf {
    let recipe = Recipe { side: 6, min_path: 7, split: Split::Train, seed: 3 };
    let mut text = "source,question,answer,rating\n".to_owned();
    for (i, (maze, answer)) in (0..).filter_map(|index| recipe.candidate(index)).take(count).enumerate() {
        let text_of = |cells: &[u8]| String::from_utf8(cells.to_vec()).unwrap();
        writeln!(text, "test,{},{},{i}", text_of(maze.cells()), text_of(&answer)).unwrap();
    }
    let path = dir.join("mazes.csv");
    fs::write(&path, text).unwrap();
    path
}

fn options(dir: &Path, csv: PathBuf) -> CsvOptions {
    let out = dir.join("out");
    let split = Split::Train;
    CsvOptions { csv, out, split, dihedral: false, relabel: false, subsample: None, seed: 1 }
}

/// Inputs and labels of every example.
fn examples(dir: &Path, split: &str) -> Vec<(Vec<i32>, Vec<i32>)> {
    let dataset = Dataset::open(dir, split).unwrap();
    let seq_len = dataset.metadata().seq_len;
    let read = |example| {
        let (mut inputs, mut labels) = (vec![0; seq_len], vec![0; seq_len]);
        dataset.read(0, example, &mut inputs, &mut labels).unwrap();
        (inputs, labels)
    };
    (0..dataset.examples()).map(read).collect()
}

/// The arrays of the published builder, byte for byte, and a description that says the same.
#[test]
fn the_published_dataset_comes_out() {
    let Some(shared) = shared("data") else { return };
    let dir = tempfile::tempdir().unwrap();
    let summary = from_csv(&options(dir.path(), shared.join("maze/train.csv")), None).unwrap();
    assert_eq!((summary.mazes, summary.examples, summary.side), (1000, 1000, 30));
    let published = shared.join("upstream_format/maze/train");
    let mut arrays = 0;
    for entry in fs::read_dir(&published).unwrap() {
        let name = entry.unwrap().file_name();
        let ours = summary.path.join(&name);
        if name == "dataset.json" {
            let read = |path: &Path| Metadata::read(path).unwrap();
            assert_eq!(read(&ours), read(&published.join(&name)));
        } else {
            assert!(fs::read(ours).unwrap() == fs::read(published.join(&name)).unwrap(), "{name:?}");
            arrays += 1;
        }
    }
    assert_eq!(arrays, 5);
}

/// Every answer of the real set is the one that the rule gives.
#[test]
fn real_labels_follow_the_rule() {
    let Some(shared) = shared("data/maze") else { return };
    for (file, split, mazes) in [("train.csv", Split::Train, 1000), ("valid.csv", Split::Test, 500)] {
        let dir = tempfile::tempdir().unwrap();
        let options = CsvOptions { split, ..options(dir.path(), shared.join(file)) };
        let summary = from_csv(&options, None).unwrap();
        assert_eq!((summary.mazes, summary.by_the_rule), (mazes, Some(mazes)), "{file}");
        let ratings = crate::data::npy::Npy::open(&summary.path.join("all__ratings.npy")).unwrap();
        let sum: i64 = (0..ratings.len()).filter_map(|i| ratings.get(i)).sum();
        assert_eq!(sum as f64 / mazes as f64, summary.mean_path, "ratings are moves");
    }
}

#[test]
fn symmetries_follow_their_maze() {
    let dir = tempfile::tempdir().unwrap();
    let csv = csv_file(dir.path(), 5);
    let plain = CsvOptions { dihedral: true, ..options(dir.path(), csv) };
    let summary = from_csv(&plain, None).unwrap();
    assert_eq!((summary.mazes, summary.examples, summary.by_the_rule), (5, 40, Some(5)));
    let dataset = Dataset::open(&plain.out, "train").unwrap();
    assert_eq!((dataset.metadata().total_groups, dataset.sets()[0].group(3)), (5, 24..32));
    let turned = examples(&plain.out, "train");
    for (group, (question, answer)) in turned.chunks(8).map(|group| (group, &group[0])) {
        for (symmetry, (inputs, labels)) in Dihedral::ALL.iter().zip(group) {
            assert_eq!(*inputs, symmetry.apply(6, 6, question));
            assert_eq!(*labels, symmetry.apply(6, 6, answer));
            assert!(is_shortest_path(inputs, labels));
        }
    }
    from_csv(&CsvOptions { relabel: true, ..plain.clone() }, None).unwrap();
    let relabelled = examples(&plain.out, "train");
    let mut differ = 0;
    for ((inputs, labels), (same_inputs, turned)) in relabelled.iter().zip(&turned) {
        let solved = Maze::from_tokens(inputs).unwrap().solve().unwrap();
        assert_eq!(*labels, solved.iter().map(|&cell| i32::from(token(cell))).collect::<Vec<_>>());
        assert_eq!(inputs, same_inputs);
        differ += usize::from(labels != turned);
    }
    assert!((1..40).contains(&differ), "{differ}");
}

#[test]
fn generated_mazes_are_different_and_long_enough() {
    let dir = tempfile::tempdir().unwrap();
    let made = |split, seed, threads| {
        let recipe = Recipe { side: 10, min_path: 18, split, seed };
        let options = GenerateOptions { count: 40, recipe, out: dir.path().join("out") };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let summary = pool.install(|| generate(&options, None)).unwrap();
        assert_eq!((summary.mazes, summary.examples), (40, 40));
        assert!(summary.mean_path >= 18.0);
        examples(&options.out, split.name())
    };
    let train = made(Split::Train, 1, 1);
    for (inputs, labels) in &train {
        let maze = Maze::from_tokens(inputs).unwrap();
        assert!(maze.distance().unwrap() >= 18 && is_shortest_path(inputs, labels));
    }
    assert_eq!(train.iter().collect::<HashSet<_>>().len(), 40);
    assert_eq!(made(Split::Train, 1, 3), train);
    assert_ne!(made(Split::Train, 2, 2), train);
    assert!(made(Split::Test, 1, 2).iter().all(|maze| !train.contains(maze)));
}

/// Held to this maze, so that no change of the generator goes unseen.
#[test]
fn the_same_maze_on_every_machine() {
    let recipe = Recipe { side: 7, min_path: 10, split: Split::Train, seed: 7 };
    let (maze, _) = (0..).find_map(|index| recipe.candidate(index)).unwrap();
    let expected = "#   G      #    #  # # # #####   # #  ## #S ###  ";
    assert_eq!(String::from_utf8_lossy(maze.cells()), expected);
}

#[test]
fn what_cannot_be_built_is_an_error_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let good = options(dir.path(), csv_file(dir.path(), 3));
    let cases = [
        (CsvOptions { subsample: Some(4), ..good.clone() }, "--subsample: found 4, expected 1 to 3"),
        (CsvOptions { subsample: Some(0), ..good.clone() }, "--subsample: found 0"),
        (CsvOptions { split: Split::Test, dihedral: true, ..good.clone() }, "--augment: found dihedral"),
        (CsvOptions { csv: dir.path().join("none.csv"), ..good.clone() }, "none.csv: cannot open"),
    ];
    for (options, expected) in cases {
        let error = from_csv(&options, None).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let text = fs::read_to_string(&good.csv).unwrap();
    let square = "S  #  G  ";
    for (row, expected) in [
        (format!("{},{},1", "S", "S"), "line 5, question: found 1 cells, expected a square"),
        (format!("{square},{square},1"), "line 5, question: found 9 cells, expected 36 cells, as before it"),
        ("x,x,1".to_owned(), "line 5, question: found 'x' at character 1, expected # (or"),
        (format!("{square},{square}"), "line 5, fields: found 3, expected 4"),
    ] {
        fs::write(&good.csv, format!("{text}bad,{row}\n")).unwrap();
        let error = from_csv(&good, None).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("mazes.csv"), "{error}\n{expected}");
        assert!(!good.out.exists(), "{expected}");
    }
    for (answer, expected) in [
        ("Soo# oGoo", "line 2, answer: found 5 cells marked, expected a shortest path, of 3 cells"),
        ("So  oGo ", "line 2, answer: found 8 cells, expected 9 cells"),
        ("So  o Go ", "line 2, answer: found ' ' at row 2, column 1, expected '#', as in the question"),
        ("Sox#  G  ", "answer: found 'x' at character 3"),
        (square, "found 0 cells marked"),
    ] {
        fs::write(&good.csv, format!("question,answer\n{square},{answer}\n")).unwrap();
        let error = from_csv(&good, None).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}\n{expected}");
    }
    for text in ["question,answer\n", "", "question\nS\n", "question\nS##G\n"] {
        fs::write(&good.csv, text).unwrap();
        assert!(matches!(from_csv(&good, None), Err(Error::Format { .. })), "{text}");
    }
    assert!(!good.out.exists());

    let recipe = Recipe { side: 3, min_path: 3, split: Split::Train, seed: 1 };
    let good = GenerateOptions { count: 5, recipe, out: good.out };
    for options in [
        GenerateOptions { count: 0, ..good.clone() },
        GenerateOptions { recipe: Recipe { min_path: 9, ..recipe }, ..good.clone() },
        GenerateOptions { recipe: Recipe { min_path: 8, ..recipe }, ..good.clone() },
        // There are not so many mazes.
        GenerateOptions { count: 1_000_000, ..good.clone() },
    ] {
        assert!(matches!(generate(&options, None), Err(Error::Argument { .. })), "{options:?}");
    }
    let stop = |_, _| ControlFlow::Break(());
    assert!(matches!(generate(&good, Some(&mut { stop })), Err(Error::Interrupted)));
    assert!(!good.out.exists());
}

#[test]
fn mazes_in_other_characters_give_the_same_dataset() {
    let dir = tempfile::tempdir().unwrap();
    let good = options(dir.path(), csv_file(dir.path(), 4));
    from_csv(&good, None).unwrap();
    let expected = examples(&good.out, "train");
    let text = fs::read_to_string(&good.csv).unwrap();
    let (header, rows) = text.split_once('\n').unwrap();
    let rows = rows.replace("test,", "");
    let questions: String = rows.lines().map(|row| format!("{}\n", row.split(',').next().unwrap())).collect();
    for changed in [
        format!(
            "{header}\n{}",
            rows.replace(' ', ".").lines().map(|row| format!("a,{row}\n")).collect::<String>()
        ),
        format!(
            "\u{feff}Maze;Solution;Moves\r\n{}",
            rows.to_lowercase().replace(',', ";").replace('\n', "\r\n")
        ),
        rows.replace('#', "█").replace('G', "E"),
        questions,
    ] {
        fs::write(&good.csv, &changed).unwrap();
        let summary = from_csv(&good, None).unwrap_or_else(|error| panic!("{error}\n{changed}"));
        assert_eq!((summary.mazes, examples(&good.out, "train")), (4, expected.clone()), "{changed}");
    }
}

#[test]
fn spaces_that_were_lost_are_what_the_error_speaks_of() {
    let dir = tempfile::tempdir().unwrap();
    let good = options(dir.path(), dir.path().join("mazes.csv"));
    for text in ["question,answer\nS  #  G,So #o G\n", "question\nS  #  G..\nS  #  G\n"] {
        fs::write(&good.csv, text).unwrap();
        let error = from_csv(&good, None).unwrap_err().to_string();
        assert!(error.contains("found 7 cells") && error.contains("may have been lost"), "{error}");
    }
}

#[test]
fn a_split_of_another_kind_beside_it_stays() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = Recipe { side: 6, min_path: 7, split: Split::Train, seed: 3 };
    let good = GenerateOptions { count: 2, recipe, out: dir.path().to_owned() };
    generate(&good, None).unwrap();
    let test = Recipe { split: Split::Test, ..recipe };
    let error =
        generate(&GenerateOptions { recipe: Recipe { side: 7, ..test }, ..good.clone() }, None).unwrap_err();
    assert!(error.to_string().contains("whose split train is a dataset of 36 cells"), "{error}");
    assert!(!dir.path().join("test").exists());
    generate(&GenerateOptions { recipe: test, ..good }, None).unwrap();
}
