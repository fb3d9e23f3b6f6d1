//! Damaged files against every reader, for seconds, on stable Rust; `fuzz/` does it for hours.

use hrm_tests::readers::{READERS, seeds};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// One thing that can be done to bytes.
#[derive(Clone, Debug)]
enum Damage {
    Truncate(prop::sample::Index),
    Flip(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    Repeat(prop::sample::Index, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    // Bytes that mean something in some format, beside any others.
    let byte = prop_oneof![
        any::<u8>(),
        prop::sample::select(b"\x00\xff\x7f\x80{}[]\"',:;\n\r-.0123456789eENaInf()tRcQ&*|".to_vec())
    ];
    prop_oneof![
        1 => at().prop_map(Damage::Truncate),
        4 => (at(), byte.clone()).prop_map(|(at, byte)| Damage::Flip(at, byte)),
        3 => (at(), prop::collection::vec(byte, 1..9)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        2 => (at(), 1usize..40).prop_map(|(at, count)| Damage::Remove(at, count)),
        1 => (at(), 1usize..40).prop_map(|(at, count)| Damage::Repeat(at, count)),
    ]
}

fn apply(damage: &Damage, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        bytes.push(0);
    }
    let len = bytes.len();
    match damage {
        Damage::Truncate(at) => bytes.truncate(at.index(len)),
        Damage::Flip(at, byte) => bytes[at.index(len)] ^= (*byte).max(1),
        Damage::Insert(at, more) => drop(bytes.splice(at.index(len)..at.index(len), more.iter().copied())),
        Damage::Remove(at, count) => drop(bytes.drain(at.index(len)..(at.index(len) + count).min(len))),
        Damage::Repeat(at, count) => {
            let part = bytes[at.index(len)..(at.index(len) + count).min(len)].to_vec();
            drop(bytes.splice(at.index(len)..at.index(len), part));
        }
    }
}

#[test]
fn no_reader_panics() {
    for (name, read) in READERS {
        let seeds = seeds::of(name);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        seeds.iter().for_each(|seed| read(seed));
        let damaged = (prop::sample::select(seeds), prop::collection::vec(damage(), 1..6));
        let config = Config { cases: 150, failure_persistence: None, ..Config::default() };
        let result = TestRunner::new_with_rng(
            config,
            proptest::test_runner::TestRng::deterministic_rng(Default::default()),
        )
        .run(&damaged, |(mut bytes, damages)| {
            damages.iter().for_each(|damage| apply(damage, &mut bytes));
            read(&bytes);
            Ok(())
        });
        result.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// Each reader has a target, and each target a reader.
#[test]
fn every_reader_has_a_fuzz_target() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/fuzz_targets");
    let mut targets: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    let mut readers: Vec<&str> = READERS.iter().map(|(name, _)| *name).collect();
    targets.sort();
    readers.sort_unstable();
    assert_eq!(targets, readers);
}
