//! Tests of [`super`].

use super::super::solver::{Solutions, solve};
use super::*;
use crate::data::dataset::Dataset;
use crate::data::npy::Npy;
use std::fmt::Write;
use std::fs;
use std::ops::ControlFlow;

/// A CSV file of `n` generated puzzles, rated 0, 1, 2, ...
fn csv_file(dir: &Path, n: u32) -> PathBuf {
    let mut text = "source,question,answer,rating\n".to_owned();
    for i in 0..n {
        let puzzle = generate::puzzle(9, i, Size::Nine, None, Split::Train).unwrap();
        writeln!(text, "test,{},{},{i}", puzzle.question, puzzle.answer).unwrap();
    }
    let path = dir.join("puzzles.csv");
    fs::write(&path, text).unwrap();
    path
}

fn csv_options(dir: &Path, csv: &Path) -> CsvOptions {
    CsvOptions {
        csv: csv.to_owned(),
        out: dir.join("out"),
        split: Split::Train,
        subsample: None,
        augment: 0,
        min_rating: None,
        seed: 1,
    }
}

fn generate_options(dir: &Path, size: Size, count: u32, split: Split) -> GenerateOptions {
    GenerateOptions { count, size, clues: None, out: dir.to_owned(), split, augment: 0, seed: 1 }
}

/// The questions and answers of a split.
fn puzzles(dir: &Path, split: Split, size: Size) -> Vec<(Board, Board)> {
    let dataset = Dataset::open(dir, split.name()).unwrap();
    let board = |tokens: &[i32]| Board::from_tokens(size, tokens).unwrap();
    let (mut inputs, mut labels) = (vec![0; size.cells()], vec![0; size.cells()]);
    let read = |example| {
        dataset.read(0, example, &mut inputs, &mut labels).unwrap();
        (board(&inputs), board(&labels))
    };
    (0..dataset.examples()).map(read).collect()
}

#[test]
fn groups_are_originals_followed_by_their_shuffles() {
    let dir = tempfile::tempdir().unwrap();
    let csv = csv_file(dir.path(), 5);
    let options = CsvOptions { augment: 3, ..csv_options(dir.path(), &csv) };
    let mut told = Vec::new();
    let mut tell = |done, all| {
        told.push((done, all));
        ControlFlow::Continue(())
    };
    let summary = from_csv(&options, Some(&mut tell)).unwrap();
    assert_eq!((summary.puzzles, summary.examples, summary.mean_rating), (5, 20, Some(2.0)));
    assert!(told.is_sorted() && told.last() == Some(&(5, 5)), "{told:?}");

    let dataset = Dataset::open(&options.out, "train").unwrap();
    let metadata = dataset.metadata();
    assert_eq!((metadata.seq_len, metadata.vocab_size, metadata.num_puzzle_identifiers), (81, 11, 1));
    assert_eq!((metadata.total_groups, metadata.mean_puzzle_examples), (5, 1.0));
    assert_eq!(dataset.identifiers().unwrap(), ["<blank>"]);
    assert_eq!(dataset.sets()[0].group(4), 16..20);
    let ratings = Npy::open(&options.out.join("train/all__ratings.npy")).unwrap();
    assert_eq!((0..5).filter_map(|i| ratings.get(i)).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);

    let rows = puzzles(&options.out, Split::Train, Size::Nine);
    for (i, (question, answer)) in rows.iter().enumerate() {
        let original = generate::puzzle(9, i as u32 / 4, Size::Nine, None, Split::Train).unwrap();
        assert_eq!(solve(question), Solutions::One(*answer));
        assert_eq!(*question == original.question, i % 4 == 0);
        assert_eq!(question.clues(), original.question.clues());
    }
}

#[test]
fn more_copies_begin_with_the_fewer() {
    let dir = tempfile::tempdir().unwrap();
    let csv = csv_file(dir.path(), 2);
    let build = |augment, seed| {
        let options = CsvOptions { augment, seed, ..csv_options(dir.path(), &csv) };
        from_csv(&options, None).unwrap();
        puzzles(&options.out, Split::Train, Size::Nine)
    };
    let (two, three) = (build(2, 1), build(3, 1));
    assert_eq!((&two[..3], &two[3..]), (&three[..3], &three[4..7]));
    assert_ne!(build(2, 2), two);
}

#[test]
fn rows_are_chosen_by_rating_and_by_seed() {
    let dir = tempfile::tempdir().unwrap();
    let csv = csv_file(dir.path(), 12);
    let ratings = |subsample, min_rating, seed| {
        let options = CsvOptions { subsample, min_rating, seed, ..csv_options(dir.path(), &csv) };
        let summary = from_csv(&options, None).unwrap();
        let ratings = Npy::open(&options.out.join("train/all__ratings.npy")).unwrap();
        assert_eq!(summary.puzzles as usize, ratings.len());
        assert_eq!(summary.puzzles + summary.passed_over, 12);
        (0..ratings.len()).filter_map(|i| ratings.get(i)).collect::<Vec<_>>()
    };
    assert_eq!(ratings(None, Some(9.0), 1), [9, 10, 11]);
    assert_eq!(ratings(Some(5), Some(2.0), 1).len(), 5);
    assert!(ratings(Some(5), Some(2.0), 1).iter().all(|&rating| rating >= 2));
    assert_eq!(ratings(Some(5), None, 1), ratings(Some(5), None, 1));
    assert_ne!(ratings(Some(5), None, 1), ratings(Some(5), None, 2));
}

#[test]
fn options_that_cannot_be_met_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let csv = csv_file(dir.path(), 3);
    let good = csv_options(dir.path(), &csv);
    let cases = [
        (CsvOptions { subsample: Some(4), ..good.clone() }, "--subsample: found 4, expected 1 to 3"),
        (CsvOptions { subsample: Some(0), ..good.clone() }, "--subsample: found 0"),
        (CsvOptions { min_rating: Some(3.0), ..good.clone() }, "--min-rating: found 3"),
        (CsvOptions { split: Split::Test, augment: 1, ..good.clone() }, "--augment: found 1, expected 0"),
        (CsvOptions { csv: dir.path().join("none.csv"), ..good.clone() }, "none.csv: cannot open"),
    ];
    for (options, expected) in cases {
        let error = from_csv(&options, None).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    fs::write(&csv, "question,answer\n").unwrap();
    let error = from_csv(&good, None).unwrap_err().to_string();
    assert!(error.contains("puzzles.csv, rows: found 0, expected at least one puzzle"), "{error}");
    assert!(!good.out.join("train/dataset.json").exists());
    let error = from_csv(&CsvOptions { min_rating: Some(1.0), ..good }, None).unwrap_err().to_string();
    assert!(error.contains("no column rating"), "{error}");

    let good = generate_options(dir.path(), Size::Four, 1, Split::Test);
    for options in [
        GenerateOptions { count: 0, ..good.clone() },
        GenerateOptions { clues: Some(3..=3), ..good.clone() },
        GenerateOptions { clues: Some(12..=17), ..good.clone() },
        GenerateOptions { augment: 1, ..good.clone() },
        // There are 288 complete boards, a part of them for the test split.
        GenerateOptions { count: 289, clues: Some(16..=16), ..good.clone() },
    ] {
        assert!(matches!(generate(&options, None), Err(Error::Argument { .. })), "{options:?}");
    }
}

#[test]
fn an_interrupted_build_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = csv_options(dir.path(), &csv_file(dir.path(), 3));
    let mut stop = |_, _| ControlFlow::Break(());
    assert!(matches!(from_csv(&options, Some(&mut stop)), Err(Error::Interrupted)));
    let generated = generate_options(&options.out, Size::Four, 5, Split::Test);
    assert!(matches!(generate(&generated, Some(&mut stop)), Err(Error::Interrupted)));
    assert!(!options.out.exists());
}

#[test]
fn a_bad_row_leaves_the_old_dataset() {
    let dir = tempfile::tempdir().unwrap();
    let csv = csv_file(dir.path(), 3);
    let options = csv_options(dir.path(), &csv);
    from_csv(&options, None).unwrap();
    let text = fs::read_to_string(&csv).unwrap();
    fs::write(&csv, format!("{text}test,{},{},1\n", ".".repeat(81), "1".repeat(81))).unwrap();
    let error = from_csv(&options, None).unwrap_err().to_string();
    assert!(error.contains("line 5, question: found several solutions"), "{error}");
    assert_eq!(puzzles(&options.out, Split::Train, Size::Nine).len(), 3);
}

#[test]
fn generated_splits_share_no_puzzle() {
    let dir = tempfile::tempdir().unwrap();
    for (split, augment) in [(Split::Train, 2), (Split::Test, 0)] {
        let options = GenerateOptions { augment, ..generate_options(dir.path(), Size::Four, 1500, split) };
        assert_eq!(generate(&options, None).unwrap().puzzles, 1500);
    }
    let train = puzzles(dir.path(), Split::Train, Size::Four);
    let test = puzzles(dir.path(), Split::Test, Size::Four);
    assert_eq!((train.len(), test.len()), (4500, 1500));
    let train: HashSet<_> = train.into_iter().collect();
    let test: HashSet<_> = test.into_iter().collect();
    assert_eq!(test.len(), 1500);
    assert!(train.is_disjoint(&test));
}

/// Held to these sums, so that the bytes are the same on every machine and in every later version.
#[test]
fn the_same_bytes_on_every_machine() {
    let dir = tempfile::tempdir().unwrap();
    let options = GenerateOptions { augment: 3, ..generate_options(dir.path(), Size::Nine, 4, Split::Train) };
    generate(&options, None).unwrap();
    let fnv = |file: &str| {
        let bytes = fs::read(dir.path().join("train").join(file)).unwrap();
        bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        })
    };
    let sums = ["all__inputs.npy", "all__labels.npy", "all__group_indices.npy", "dataset.json"].map(fnv);
    let expected =
        [0xe0a9_67a8_c8fb_ec74, 0x631f_57e5_d760_deb3, 0xc5e6_2186_0c89_c57b, 0xcfe6_ad3f_415d_50a6];
    assert_eq!(sums, expected);
}

/// What [`csv_file`] writes, in the form of other collections.
#[test]
fn every_form_of_file_gives_the_same_arrays() {
    let dir = tempfile::tempdir().unwrap();
    let csv = csv_file(dir.path(), 5);
    let options = csv_options(dir.path(), &csv);
    from_csv(&options, None).unwrap();
    let expected = puzzles(&options.out, Split::Train, Size::Nine);
    let text = fs::read_to_string(&csv).unwrap();
    let fields: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split(',').collect()).collect();
    let lines =
        |write: &dyn Fn(&[&str]) -> String| fields.iter().map(|row| write(row) + "\n").collect::<String>();
    for (text, found, rated) in [
        (
            format!(
                "quizzes,solutions\n{}",
                lines(&|row| format!("{},{}", row[1].replace('.', "0"), row[2]))
            ),
            0,
            false,
        ),
        (
            format!("id;Puzzle;Clues;Difficulty\n{}", lines(&|row| format!("7;{};30;{}.5", row[1], row[3]))),
            5,
            true,
        ),
        (lines(&|row| row[1].to_owned()), 5, false),
        (lines(&|row| format!("0000 {}  {}", row[1].replace('.', "0"), row[3])), 5, true),
        (
            lines(&|row| {
                row[1]
                    .as_bytes()
                    .chunks(9)
                    .map(|row| String::from_utf8_lossy(row).into_owned() + "\n")
                    .collect()
            }),
            5,
            false,
        ),
    ] {
        fs::write(&csv, &text).unwrap();
        let summary = from_csv(&options, None).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(puzzles(&options.out, Split::Train, Size::Nine), expected, "{text}");
        assert_eq!((summary.answers_found, summary.mean_rating.is_some()), (found, rated), "{text}");
    }
}

#[test]
fn puzzles_of_a_list_without_one_solution_are_left_out_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let csv = dir.path().join("list.txt");
    fs::write(&csv, "1.34341221434321\n................\n11..............\n31.........1.2..\n").unwrap();
    let options = csv_options(dir.path(), &csv);
    let summary = from_csv(&options, None).unwrap();
    assert_eq!((summary.puzzles, summary.answers_found, summary.passed_over), (2, 2, 2));
    assert_eq!((summary.several_solutions, summary.no_solution), (1, 1));
    fs::write(&csv, "................\n").unwrap();
    let error = from_csv(&options, None).unwrap_err().to_string();
    assert!(error.contains("expected at least one puzzle with exactly one solution"), "{error}");
}

#[test]
fn ratings_may_be_large_decimal_or_missing() {
    let dir = tempfile::tempdir().unwrap();
    let csv = dir.path().join("rated.csv");
    let row = "1.34341221434321,1234341221434321";
    fs::write(&csv, format!("question,answer,rating\n{row},2.6\n{row},\n{row},3000000000\n")).unwrap();
    let options = csv_options(dir.path(), &csv);
    let summary = from_csv(&options, None).unwrap();
    assert_eq!((summary.unrated, summary.rounded, summary.mean_rating), (1, true, Some(1_500_000_001.3)));
    let dataset = Dataset::open(&options.out, "train").unwrap();
    let ratings: Vec<Option<i64>> = (0..3).map(|example| dataset.sets()[0].rating_of(example)).collect();
    assert_eq!(ratings, [Some(3), None, Some(3_000_000_000)]);
}

/// Nobody knows how to make these: the first of them says so, and a stop is heard while it is tried.
#[test]
fn hopeless_puzzles_listen_and_end() {
    let dir = tempfile::tempdir().unwrap();
    let hopeless = GenerateOptions {
        clues: Some(17..=17),
        ..generate_options(dir.path(), Size::Nine, 1000, Split::Train)
    };
    let started = std::time::Instant::now();
    let mut stop = |_, _| {
        if started.elapsed().as_millis() > 100 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    assert!(matches!(generate(&hopeless, Some(&mut stop)), Err(Error::Interrupted)));
    assert!(!dir.path().join("train").exists());
    // All complete boards are too few: the second hundred cannot be made.
    let few = GenerateOptions {
        count: 289,
        clues: Some(16..=16),
        ..generate_options(dir.path(), Size::Four, 289, Split::Train)
    };
    assert!(matches!(generate(&few, None), Err(Error::Argument { .. })));
}
