//! Tests of [`super`], of the description and of the writer.

use super::super::npy::{Dtype, NpyWriter};
use super::super::test_support::{file_and_field, shared, write_dataset};
use super::*;

fn small(dir: &Path) -> Dataset {
    write_dataset(dir, &[vec![2, 1], vec![3]]);
    Dataset::open(dir, "train").unwrap()
}

#[test]
fn what_was_written_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = small(dir.path());
    let metadata = dataset.metadata();
    assert_eq!((metadata.total_groups, metadata.mean_puzzle_examples), (2, 2.0));
    assert_eq!(dataset.identifiers().unwrap(), ["<blank>", "one", "two"]);
    let set = &dataset.sets()[0];
    assert_eq!((set.examples(), set.puzzles(), set.groups()), (6, 3, 2));
    assert_eq!((set.group(0), set.group(1), set.group(2)), (0..2, 2..3, 0..0));
    assert_eq!((set.puzzle(0), set.puzzle(1), set.puzzle(2)), (0..2, 2..3, 3..6));
    assert_eq!((0..6).map(|e| set.puzzle_of(e)).collect::<Vec<_>>(), [0, 0, 1, 2, 2, 2]);

    let (mut inputs, mut labels) = ([9; 4], [9; 4]);
    assert_eq!(dataset.read(0, 5, &mut inputs, &mut labels).unwrap(), 2);
    assert_eq!((inputs, labels), ([5, 1, 2, 3], [IGNORE_LABEL, 4, 5, 5]));
    assert_eq!(dataset.read(0, 0, &mut inputs, &mut labels).unwrap(), 0);
    assert_eq!((inputs, labels), ([0, 1, 2, 3], [IGNORE_LABEL, 4, 5, IGNORE_LABEL]));
    assert!(matches!(dataset.read(0, 6, &mut inputs, &mut labels), Err(Error::Argument { .. })));
    assert!(matches!(dataset.read(1, 0, &mut inputs, &mut labels), Err(Error::Argument { .. })));
    assert!(matches!(dataset.read(0, 0, &mut inputs[..3], &mut labels), Err(Error::Argument { .. })));
    dataset.verify().unwrap();
}

#[test]
fn identifiers_may_be_missing_but_not_too_few() {
    let dir = tempfile::tempdir().unwrap();
    small(dir.path());
    let path = dir.path().join("identifiers.json");
    fs::write(&path, "[\"<blank>\"]").unwrap();
    let error = file_and_field(Dataset::open(dir.path(), "train"));
    assert_eq!(error, ("identifiers.json".into(), "length".into()));
    fs::write(&path, "[1]").unwrap();
    let error = file_and_field(Dataset::open(dir.path(), "train"));
    assert_eq!(error, ("identifiers.json".into(), "JSON".into()));
    fs::remove_file(&path).unwrap();
    assert_eq!(Dataset::open(dir.path(), "train").unwrap().identifiers(), None);
}

#[test]
fn a_bad_description_names_its_key() {
    let dir = tempfile::tempdir().unwrap();
    small(dir.path());
    let path = dir.path().join("train/dataset.json");
    let good: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let keys = good.as_object().unwrap();
    assert_eq!(keys.len(), 10);
    for key in keys.keys() {
        for bad in [None, Some(serde_json::json!("?")), Some(serde_json::json!(-1e12))] {
            let mut map = keys.clone();
            match bad {
                Some(bad) => map.insert(key.clone(), bad),
                None => map.remove(key),
            };
            fs::write(&path, serde_json::to_string(&map).unwrap()).unwrap();
            let opened = Dataset::open(dir.path(), "train");
            // HRM's own builder does not write it.
            if key == "total_puzzles" && !map.contains_key(key) {
                assert_eq!(opened.unwrap().metadata().total_puzzles, None);
                continue;
            }
            assert_eq!(file_and_field(opened), ("dataset.json".into(), key.clone()));
        }
    }
    for (key, bad) in [
        ("sets", serde_json::json!([])),
        ("sets", serde_json::json!(["../all"])),
        ("total_groups", serde_json::json!(3)),
        ("pad_id", serde_json::json!(200)),
        ("blank_identifier_id", serde_json::json!(3)),
        ("vocab_size", serde_json::json!(0)),
        ("seq_len", serde_json::json!(0)),
    ] {
        let mut map = keys.clone();
        map.insert(key.to_owned(), bad);
        fs::write(&path, serde_json::to_string(&map).unwrap()).unwrap();
        let error = file_and_field(Dataset::open(dir.path(), "train"));
        assert_eq!(error, ("dataset.json".into(), key.to_owned()));
    }
    fs::write(&path, "{").unwrap();
    assert_eq!(file_and_field(Dataset::open(dir.path(), "train")), ("dataset.json".into(), "JSON".into()));
    fs::remove_file(&path).unwrap();
    assert!(matches!(Dataset::open(dir.path(), "train"), Err(Error::Io { .. })));
}

#[test]
fn bad_arrays_name_file_row_and_field() {
    type Case<'a> = (&'a str, &'a [i32], Option<usize>, Place, &'a str);
    let cases: [Case<'_>; 10] = [
        ("puzzle_indices", &[1, 2, 3, 6], None, Place::Row(0), "puzzle_indices"),
        ("puzzle_indices", &[0, 2, 2, 6], None, Place::Row(2), "puzzle_indices"),
        ("puzzle_indices", &[0, 3, 2, 6], None, Place::Row(2), "puzzle_indices"),
        ("puzzle_indices", &[0, 2, 6], None, Place::File, "shape"),
        ("puzzle_indices", &[], None, Place::File, "shape"),
        ("group_indices", &[0, 3, 2], None, Place::Row(2), "group_indices"),
        ("group_indices", &[0, 2, 4], None, Place::File, "shape"),
        ("puzzle_identifiers", &[0, 1, 3], None, Place::Row(2), "puzzle_identifiers"),
        ("puzzle_identifiers", &[-1, 1, 2], None, Place::Row(0), "puzzle_identifiers"),
        ("labels", &[0; 20], Some(4), Place::File, "shape"),
    ];
    for (array, values, columns, expected_place, expected_field) in cases {
        let dir = tempfile::tempdir().unwrap();
        small(dir.path());
        let path = dir.path().join(format!("train/all__{array}.npy"));
        let mut writer = NpyWriter::create(&path, Dtype::I32, columns).unwrap();
        writer.write(values).unwrap();
        writer.finish().unwrap();
        match Dataset::open(dir.path(), "train") {
            Err(Error::Format { place, field, .. }) => {
                assert_eq!((place, field.as_str()), (expected_place, expected_field), "{array} {values:?}");
            }
            other => panic!("{array} {values:?}: {other:?}"),
        }
    }
}

#[test]
fn tokens_outside_the_vocabulary_are_found() {
    for (array, token) in [("inputs", 200), ("labels", 200), ("inputs", -1), ("labels", -1)] {
        let dir = tempfile::tempdir().unwrap();
        small(dir.path());
        let path = dir.path().join(format!("train/all__{array}.npy"));
        let mut writer = NpyWriter::create(&path, Dtype::I16, Some(4)).unwrap();
        let mut tokens = [1; 24];
        tokens[4 * 4 + 2] = token;
        writer.write(&tokens).unwrap();
        writer.finish().unwrap();
        let dataset = Dataset::open(dir.path(), "train").unwrap();
        let (mut inputs, mut labels) = ([0; 4], [0; 4]);
        dataset.read(0, 3, &mut inputs, &mut labels).unwrap();
        let errors =
            [dataset.verify().unwrap_err(), dataset.read(0, 4, &mut inputs, &mut labels).unwrap_err()];
        for error in errors {
            let expected =
                format!("all__{array}.npy, row 4, {array}, column 2: found token {token}, expected 0 to 199");
            assert!(error.to_string().contains(&expected), "{error}");
        }
    }
}

/// Whatever is interrupted, a directory with `dataset.json` is one whole dataset.
#[test]
fn an_unfinished_rebuild_leaves_the_old_dataset() {
    use super::super::writer::{DatasetWriter, Format};
    let dir = tempfile::tempdir().unwrap();
    small(dir.path());
    let files = || fs::read_dir(dir.path().join("train")).unwrap().count();
    let before = files();
    let format =
        Format { seq_len: 4, vocab_size: 9, pad_id: 0, ignore_label_id: None, identifiers: &["<blank>"] };
    let mut writer = DatasetWriter::create(dir.path(), "train", &format, true).unwrap();
    writer.example(&[1; 4], &[1; 4]).unwrap();
    drop(writer);
    assert_eq!(files(), before);
    assert_eq!(Dataset::open(dir.path(), "train").unwrap().examples(), 6);
}

#[test]
fn the_published_maze_format_loads() {
    let Some(path) = shared("data/upstream_format/maze") else { return };
    let dataset = Dataset::open(&path, "train").unwrap();
    let metadata = dataset.metadata();
    assert_eq!((metadata.seq_len, metadata.vocab_size, dataset.examples()), (900, 6, 1000));
    assert_eq!(dataset.identifiers(), None);
    dataset.verify().unwrap();
    let (mut inputs, mut labels) = ([0; 900], [0; 900]);
    dataset.read(0, 999, &mut inputs, &mut labels).unwrap();
    // A maze has one start and one goal; the answer marks a path of tokens that the question does not have.
    assert_eq!(inputs.iter().filter(|&&t| t == 3).count(), 1);
    assert_eq!(inputs.iter().filter(|&&t| t == 4).count(), 1);
    assert!(!inputs.contains(&5) && labels.contains(&5) && !labels.contains(&IGNORE_LABEL));
}

#[test]
fn whole_puzzles_are_written_as_one_by_one() {
    use super::super::writer::{DatasetWriter, Format};
    let format =
        Format { seq_len: 2, vocab_size: 9, pad_id: 0, ignore_label_id: None, identifiers: &["a", "b"] };
    let dir = tempfile::tempdir().unwrap();
    let mut one = DatasetWriter::create(&dir.path().join("one"), "train", &format, false).unwrap();
    let mut all = DatasetWriter::create(&dir.path().join("all"), "train", &format, false).unwrap();
    let (inputs, labels) = ([1, 2, 3, 4, 5, 6, 7, 8], [8, 7, 6, 5, 4, 3, 2, 1]);
    for (puzzle, identifier) in [(0, 1), (4, 0)] {
        for example in [puzzle, puzzle + 2] {
            one.example(&inputs[example..example + 2], &labels[example..example + 2]).unwrap();
        }
        one.end_puzzle(identifier).unwrap();
    }
    all.puzzles(&[1, 0], &inputs, &labels).unwrap();
    for (mut writer, name) in [(one, "one"), (all, "all")] {
        writer.end_group(None).unwrap();
        writer.finish().unwrap();
        let dataset = Dataset::open(&dir.path().join(name), "train").unwrap();
        let set = &dataset.sets()[0];
        assert_eq!((set.group(0), set.puzzle(0), set.puzzle(1)), (0..2, 0..2, 2..4), "{name}");
        assert_eq!((set.identifier(0), set.identifier(1)), (1, 0), "{name}");
    }
    for file in ["inputs", "labels", "puzzle_indices"] {
        let read =
            |name: &str| fs::read(dir.path().join(name).join(format!("train/all__{file}.npy"))).unwrap();
        assert_eq!(read("one"), read("all"), "{file}");
    }
    let mut uneven = DatasetWriter::create(&dir.path().join("uneven"), "train", &format, false).unwrap();
    let error = uneven.puzzles(&[1, 0], &inputs[..6], &labels[..6]).unwrap_err().to_string();
    assert!(error.contains("as many examples for each of 2 puzzles"), "{error}");
}
