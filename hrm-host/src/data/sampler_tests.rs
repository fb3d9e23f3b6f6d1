//! Tests of [`super`] and of test order.

use super::super::test_support::write_dataset;
use super::*;
use hrm_core::rng::Rng;
use proptest::prelude::*;
use std::collections::HashSet;

fn dataset(groups: &[Vec<usize>]) -> Arc<Dataset> {
    let dir = tempfile::tempdir().unwrap();
    write_dataset(dir.path(), groups);
    Arc::new(Dataset::open(dir.path(), "train").unwrap())
}

fn options(seed: u64, batch_size: usize, epochs_per_iteration: u64) -> SamplerOptions {
    SamplerOptions { seed, batch_size, epochs_per_iteration }
}

fn next(sampler: &mut Sampler, dataset: &Dataset) -> Batch {
    let mut batch = Batch::new(dataset, sampler.options.batch_size);
    sampler.next_batch(&mut batch).unwrap();
    batch
}

/// Replaces the first token by a draw, so that a change of the draws shows.
#[derive(Debug)]
struct Stamp;

impl Augment for Stamp {
    fn augment(&self, mut rng: Rng, inputs: &mut [i32], labels: &mut [i32]) {
        inputs[0] = rng.next_u32() as i32;
        labels[0] = inputs[0];
    }
}

#[test]
fn an_epoch_of_single_puzzles_is_a_permutation() {
    let dataset = dataset(&vec![vec![1]; 12]);
    let mut sampler = Sampler::new(Arc::clone(&dataset), options(1, 4, 1)).unwrap();
    let mut epochs = Vec::new();
    for epoch in 0..5 {
        assert_eq!(sampler.epochs(), f64::from(epoch));
        let examples: Vec<usize> = (0..3).flat_map(|_| next(&mut sampler, &dataset).examples).collect();
        let mut sorted = examples.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..12).collect::<Vec<_>>());
        epochs.push(examples);
    }
    assert!(epochs.windows(2).all(|pair| pair[0] != pair[1]));
    let other = next(&mut Sampler::new(Arc::clone(&dataset), options(2, 4, 1)).unwrap(), &dataset);
    assert_ne!(other.examples, epochs[0][..4]);
}

#[test]
fn rows_hold_the_examples_they_name() {
    let dataset = dataset(&[vec![2, 1], vec![3], vec![5]]);
    let mut sampler = Sampler::new(Arc::clone(&dataset), options(1, 5, 3)).unwrap();
    for _ in 0..20 {
        let batch = next(&mut sampler, &dataset);
        assert_eq!(batch.rows(), 5);
        for (row, &index) in batch.examples.iter().enumerate() {
            let (mut inputs, mut labels) = ([0; 4], [0; 4]);
            let puzzle_identifier = dataset.read(0, index, &mut inputs, &mut labels).unwrap();
            let expected = Example { inputs: &inputs, labels: &labels, puzzle_identifier };
            assert_eq!(batch.example(row), Some(expected));
        }
        assert_eq!(batch.example(5), None);
    }
}

#[test]
fn what_does_not_fill_a_batch_is_dropped() {
    // Seven groups, batches of three: one group of each iteration is left over, two epochs leave two.
    let dataset = dataset(&vec![vec![1]; 7]);
    for (epochs, batches) in [(1, 2), (2, 4), (3, 7)] {
        let mut sampler = Sampler::new(Arc::clone(&dataset), options(1, 3, epochs)).unwrap();
        for _ in 0..batches {
            next(&mut sampler, &dataset);
            assert_eq!(sampler.cursor().iteration, 0);
        }
        next(&mut sampler, &dataset);
        assert_eq!(sampler.cursor(), Cursor { iteration: 1, set: 0, position: 3 });
    }
}

#[test]
fn a_dataset_too_small_for_a_batch_is_an_error() {
    let dataset = dataset(&[vec![1], vec![1]]);
    let mut sampler = Sampler::new(Arc::clone(&dataset), options(1, 5, 2)).unwrap();
    let mut batch = Batch::new(&dataset, 5);
    assert!(matches!(sampler.next_batch(&mut batch), Err(Error::Argument { .. })));
    assert_eq!(sampler.cursor(), Cursor::default());
    assert!(Sampler::new(Arc::clone(&dataset), options(1, 4, 2)).unwrap().next_batch(&mut batch).is_err());
    assert!(matches!(Sampler::new(Arc::clone(&dataset), options(1, 0, 2)), Err(Error::Argument { .. })));
    assert!(matches!(Sampler::new(dataset, options(1, 1, 0)), Err(Error::Argument { .. })));
}

#[test]
fn every_puzzle_of_a_group_has_its_turn() {
    let dataset = dataset(&[vec![1; 10]]);
    let mut sampler = Sampler::new(Arc::clone(&dataset), options(4, 1, 1)).unwrap();
    let mut counts = [0; 10];
    for _ in 0..1000 {
        counts[next(&mut sampler, &dataset).examples[0]] += 1;
    }
    assert!(counts.iter().all(|n| (60..150).contains(n)), "{counts:?}");
}

#[test]
fn sets_take_turns_and_batches_do_not_mix_them() {
    let dir = tempfile::tempdir().unwrap();
    write_dataset(dir.path(), &vec![vec![1]; 5]);
    let train = dir.path().join("train");
    for field in ["inputs", "labels", "puzzle_indices", "group_indices", "puzzle_identifiers"] {
        let array = |set: &str| train.join(format!("{set}__{field}.npy"));
        std::fs::copy(array("all"), array("more")).unwrap();
    }
    let json = std::fs::read_to_string(train.join("dataset.json")).unwrap();
    let json = json.replace("[\"all\"]", "[\"all\", \"more\"]");
    std::fs::write(train.join("dataset.json"), json.replace("\"total_groups\":5", "\"total_groups\":10"))
        .unwrap();
    let dataset = Arc::new(Dataset::open(dir.path(), "train").unwrap());

    let mut sampler = Sampler::new(Arc::clone(&dataset), options(1, 2, 1)).unwrap();
    let batches: Vec<Batch> = (0..8).map(|_| next(&mut sampler, &dataset)).collect();
    assert_eq!(batches.iter().map(|batch| batch.set).collect::<Vec<_>>(), [0, 0, 1, 1, 0, 0, 1, 1]);
    assert_eq!(sampler.cursor(), Cursor { iteration: 1, set: 1, position: 4 });
    assert_eq!(sampler.epochs(), 1.9);
    // The sets are shuffled apart.
    let order = |range: std::ops::Range<usize>| {
        batches[range].iter().flat_map(|batch| batch.examples.clone()).collect::<Vec<_>>()
    };
    assert_ne!((order(0..2), order(4..6)), (order(2..4), order(6..8)));

    let mut tests = TestBatches::all(&dataset);
    let mut batch = Batch::new(&dataset, 3);
    let mut rows = Vec::new();
    while tests.next_batch(&mut batch).unwrap() {
        rows.push((batch.set, batch.rows()));
    }
    assert_eq!(rows, [(0, 3), (0, 2), (1, 3), (1, 2)]);
}

#[test]
fn cursors_from_elsewhere_are_refused() {
    let mut sampler = Sampler::new(dataset(&[vec![1], vec![1]]), options(1, 1, 3)).unwrap();
    let cursor = Cursor { iteration: u64::MAX - 1, set: 0, position: 6 };
    sampler.restore(cursor).unwrap();
    assert_eq!(sampler.cursor(), cursor);
    assert!(sampler.restore(Cursor { position: 7, ..cursor }).is_err());
    assert!(sampler.restore(Cursor { set: 1, position: 0, ..cursor }).is_err());
    assert_eq!(sampler.cursor(), cursor);
}

#[test]
fn test_order_is_that_of_the_file_with_padding_at_the_end() {
    let dataset = dataset(&[vec![2, 1], vec![4]]);
    let mut batches = TestBatches::all(&dataset);
    let mut batch = Batch::new(&dataset, 4);
    assert_eq!(batches.examples(), 7);
    assert!(batches.next_batch(&mut batch).unwrap());
    assert_eq!(batch.examples, [0, 1, 2, 3]);
    assert_eq!(batch.puzzle_identifiers, [0, 0, 1, 2]);
    assert!(batches.next_batch(&mut batch).unwrap());
    assert_eq!((&batch.examples[..], batch.rows()), (&[4, 5, 6][..], 3));
    let padding = Example { inputs: &[0; 4], labels: &[super::super::IGNORE_LABEL; 4], puzzle_identifier: 0 };
    assert_eq!(batch.example(3), Some(padding));
    assert!(!batches.next_batch(&mut batch).unwrap());
    assert!(TestBatches::all(&dataset).next_batch(&mut Batch::new(&dataset, 0)).is_err());
}

#[test]
fn a_subsample_is_seeded_and_of_the_size_asked_for() {
    let dataset = dataset(&vec![vec![1]; 50]);
    let subsample = |limit, seed| {
        let mut batches = TestBatches::subsample(&dataset, limit, seed);
        let mut batch = Batch::new(&dataset, 7);
        let mut examples = Vec::new();
        while batches.next_batch(&mut batch).unwrap() {
            examples.extend(batch.examples.clone());
        }
        assert_eq!(examples.len(), batches.examples());
        examples
    };
    assert_eq!(subsample(20, 1).len(), 20);
    assert_eq!(subsample(20, 1), subsample(20, 1));
    assert_ne!(subsample(20, 1), subsample(20, 2));
    assert!(subsample(20, 1).is_sorted());
    assert_eq!(subsample(0, 1), [0; 0]);
    assert_eq!(subsample(60, 1), (0..50).collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn batches_keep_the_rules(
        groups in prop::collection::vec(prop::collection::vec(1usize..5, 1..4), 4..9),
        batch_size in 1usize..5,
        epochs in 1u64..4,
        seed: u64,
    ) {
        let dataset = dataset(&groups);
        let set = &dataset.sets()[0];
        let mut sampler = Sampler::new(Arc::clone(&dataset), options(seed, batch_size, epochs)).unwrap();
        for _ in 0..30 {
            let before = sampler.cursor();
            let batch = next(&mut sampler, &dataset);
            let after = sampler.cursor();
            let start = if after.iteration == before.iteration { before.position } else { 0 };
            // Runs of examples of one puzzle, each whole but perhaps the last, without repetition within a run.
            let mut examples = &batch.examples[..];
            let mut runs = 0;
            while let Some(&first) = examples.first() {
                let puzzle = set.puzzle(set.puzzle_of(first));
                let run = &examples[..puzzle.len().min(examples.len())];
                prop_assert!(run.iter().all(|example| puzzle.contains(example)));
                prop_assert_eq!(run.iter().collect::<HashSet<_>>().len(), run.len());
                examples = &examples[run.len()..];
                runs += 1;
            }
            prop_assert_eq!(after.position, start + runs);
        }
    }

    #[test]
    fn a_restored_cursor_goes_on_exactly(
        sizes in prop::collection::vec(1usize..4, 3..9),
        batch_size in 1usize..4,
        epochs in 1u64..4,
        seed: u64,
        stop in 0usize..30,
    ) {
        let dataset = dataset(&sizes.into_iter().map(|n| vec![n; n]).collect::<Vec<_>>());
        let options = options(seed, batch_size, epochs);
        let new = || Sampler::new(Arc::clone(&dataset), options).unwrap().with_augment(Box::new(Stamp));
        let mut whole = new();
        for _ in 0..stop {
            next(&mut whole, &dataset);
        }
        let text = serde_json::to_string(&whole.cursor()).unwrap();
        let mut resumed = new();
        resumed.restore(serde_json::from_str(&text).unwrap()).unwrap();
        let mut stamps = HashSet::new();
        for _ in 0..10 {
            let batch = next(&mut whole, &dataset);
            prop_assert_eq!(&batch, &next(&mut resumed, &dataset));
            stamps.extend((0..batch_size).map(|row| batch.inputs[4 * row]));
        }
        // No two rows share their draws.
        prop_assert_eq!(stamps.len(), 10 * batch_size);
    }
}
