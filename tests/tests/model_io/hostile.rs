//! Damaged and hostile checkpoints: a clear error, at once, in little memory, and nothing is run.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use hrm_host::memory;
use hrm_host::model_io::identifiers::Reset;
use hrm_host::model_io::import::Options;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::pickles::{checkpoint, dictionary, tensor, zeros};
use crate::support::{SET, fixture, options, refused};

/// Longest that a refusal may take, and how much memory it may take on top.
const LIMIT: Duration = Duration::from_secs(10);
const MEMORY: u64 = 512 << 20;

/// Asserts that `path` is refused with an error that holds `expected`, quickly and without much memory.
#[track_caller]
fn quickly_refused(path: &Path, expected: &str) {
    let (started, before) = (Instant::now(), memory::peak_rss().unwrap_or(0));
    let message = refused(path, &options(&SET));
    assert!(message.contains(expected), "{message}\nexpected {expected}");
    assert!(started.elapsed() < LIMIT, "{message}");
    let grown = memory::peak_rss().unwrap_or(0).saturating_sub(before);
    assert!(grown < MEMORY, "{} for {message}", memory::human(grown));
}

#[test]
fn every_truncation_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.pt");
    for file in ["zip64_deflated.pt", "published.pt"] {
        let whole = fs::read(fixture(file)).unwrap();
        // Every byte of the small file, every 97th of the other.
        let stride = if whole.len() < 8 << 10 { 1 } else { 97 };
        for length in (0..whole.len()).step_by(stride) {
            fs::write(&path, &whole[..length]).unwrap();
            let message = refused(&path, &options(&SET));
            assert!(message.contains("a.pt: "), "{length}: {message}");
            let known_as_zip = length >= 4;
            assert!(message.contains("cut short, or no ZIP file") == known_as_zip, "{length}: {message}");
        }
    }
}

#[test]
fn flipped_bits_change_nothing_or_are_refused() {
    use crate::support::{import_small, read_all};
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("a.pt"), dir.path().join("model"));
    let whole = fs::read(fixture("zip64_deflated.pt")).unwrap();
    let good = import_small(&fixture("zip64_deflated.pt"), &out).unwrap();
    let expected = read_all(&out.join("model.safetensors"), &good.config);
    let mut refusals = 0;
    for at in (0..whole.len()).step_by(7) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&path, &flipped).unwrap();
        fs::remove_dir_all(&out).unwrap();
        match import_small(&path, &out) {
            Ok(imported) => {
                assert!(read_all(&out.join("model.safetensors"), &imported.config) == expected, "{at}")
            }
            Err(error) => {
                assert_eq!(error.exit_code(), 2, "{at}: {error}");
                fs::create_dir(&out).unwrap();
                refusals += 1;
            }
        }
    }
    assert!(refusals > whole.len() / 7 / 2, "{refusals}");
}

#[test]
fn a_pickle_that_calls_a_function_is_refused_by_name() {
    quickly_refused(&fixture("calls_system.pt"), "calls_system/data.pkl would call posix.system");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.pt");
    for (pickle, expected) in [
        (&b"cbuiltins\neval\n(X\x01\0\0\x001tR0}."[..], "would call builtins.eval"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "would call os.system"),
        (b"\x80\x04)\x8c\x06system\x93.", "puts together what it calls"),
        (b"(ios\nsystem\n.", "has the instruction 0x69"),
        (b"\x80\x02}\x82\x01.", "has the instruction 0x82"),
    ] {
        checkpoint(&path, pickle, &[]);
        quickly_refused(&path, expected);
    }
}

#[test]
fn other_formats_are_named() {
    quickly_refused(&fixture("legacy.pt"), "a checkpoint from before PyTorch 1.6");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.pt");
    for (bytes, expected) in [
        (&b"\x80\x02}q\x00."[..], "a pickle that is no checkpoint"),
        (b"PK\x05\x06", "the file is an empty ZIP archive"),
        (b"hello", "the file is a text"),
        (b"", "the file is empty"),
        (b"\x00\x01\x02\x03\xff\xff", "not a whole safetensors file"),
    ] {
        fs::write(&path, bytes).unwrap();
        quickly_refused(&path, expected);
    }
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    quickly_refused(&empty, "not a model: expected config.json");
    quickly_refused(&dir.path().join("none"), "cannot read");
}

#[test]
fn bombs_do_not_go_off() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.pt");
    // A pickle that unpacks to a gigabyte of nothing.
    checkpoint(&path, &vec![b'N'; 64 << 20], &[]);
    quickly_refused(&path, "data.pkl has 67108864 bytes, expected at most 4194304");
    checkpoint(&path, &[&vec![b'N'; 4_000_000][..], b"}."].concat(), &[]);
    quickly_refused(&path, "");
    // Lists in lists, and a list that holds two copies of the one before.
    checkpoint(&path, &[&vec![b']'; 500_000][..], &vec![b'a'; 499_999], b"."].concat(), &[]);
    quickly_refused(&path, "nesting exceeds");
    let doubling: Vec<u8> =
        (0..60u8).flat_map(|i| [b']', b'q', i + 1, b'h', i, b'a', b'h', i, b'a', b'q', i + 1]).collect();
    checkpoint(&path, &[&b"]q\x00"[..], &doubling, b"."].concat(), &[]);
    quickly_refused(&path, "");
    // A tensor that is one element, spread out over 8 GiB.
    let spread = tensor(1, 0, [1 << 15, 1 << 16], [0, 0]);
    checkpoint(&path, &dictionary("embed_tokens.embedding_weight", &spread), &[("data/0", &[0; 4])]);
    quickly_refused(&path, "its tensors claim 8589934592 bytes, more than 16 times the file's");
    // A storage of zeros that unpacks to a thousand times its size.
    let zeros = tensor(48 << 20, 0, [1, 48 << 20], [48 << 20, 1]);
    checkpoint(
        &path,
        &dictionary("embed_tokens.embedding_weight", &zeros),
        &[("data/0", &vec![0; 192 << 20])],
    );
    quickly_refused(&path, "its tensors claim 201326592 bytes");
}

#[test]
fn storages_that_do_not_hold_their_tensors_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.pt");
    let cases = [
        (tensor(6, 0, [3, 2], [4, 1]), "needs 10 elements, but storage '0' declares 6"),
        (tensor(6, 3, [3, 2], [2, 1]), "needs 9 elements, but storage '0' declares 6"),
        (tensor(6, -1, [3, 2], [2, 1]), "must be non-negative"),
        (tensor(6, 0, [3, 2], [-2, 1]), "must be non-negative"),
        (tensor(6, 0, [i32::MAX, i32::MAX], [i32::MAX, i32::MAX]), "not a whole PyTorch checkpoint"),
        (tensor(-6, 0, [3, 2], [2, 1]), "must be non-negative"),
    ];
    for (pickled, expected) in cases {
        checkpoint(&path, &dictionary("embed_tokens.embedding_weight", &pickled), &[("data/0", &[0; 24])]);
        quickly_refused(&path, expected);
    }
    // Fewer bytes than the pickle says, found when they are read; and no storage at all.
    let mut archive = zip::ZipArchive::new(fs::File::open(fixture("published.pt")).unwrap()).unwrap();
    let names: Vec<String> = archive.file_names().map(|name| name.unwrap().into_owned()).collect();
    for drop_it in [false, true] {
        let mut short = ZipWriter::new(fs::File::create(&path).unwrap());
        for name in &names {
            let mut bytes = Vec::new();
            std::io::copy(&mut archive.by_name(name).unwrap(), &mut bytes).unwrap();
            if name.ends_with("/data/3") {
                if drop_it {
                    continue;
                }
                bytes.pop();
            }
            short.start_file(name, SimpleFileOptions::default()).unwrap();
            short.write_all(&bytes).unwrap();
        }
        short.finish().unwrap();
        quickly_refused(&path, if drop_it { "not found in archive" } else { "but only 1 are available" });
    }
}

#[test]
fn a_table_of_another_checkpoint_is_no_model() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.pt");
    checkpoint(&path, &dictionary("w", &tensor(6, 0, [3, 2], [2, 1])), &[("data/0", &[0; 24])]);
    let message = refused(&path, &Options::default());
    assert!(message.contains("none of its tensors is one of HRM's; it has w [3, 2]"), "{message}");
}

#[test]
fn a_puzzle_embedding_without_rows_has_no_blank_one() {
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("a.pt"), dir.path().join("model"));
    let reset = |set: &[&str]| Options { reset_puzzle_embeddings: Some(Reset::Blank), ..options(set) };
    checkpoint(&path, &zeros(1), &[("data/0", &[0; 4096])]);
    let seven = [&SET[..], &["num_puzzle_identifiers=7"]].concat();
    let imported = hrm_host::model_io::import::import(&path, &out, &reset(&seven)).unwrap();
    assert_eq!(imported.rows, (1, 7, 6));
    checkpoint(&path, &zeros(0), &[("data/0", &[0; 4096])]);
    let message = refused(&path, &reset(&seven));
    assert!(message.contains("puzzle_emb.weights has shape [0, 2], expected [1, 2]"), "{message}");
    assert!(refused(&path, &options(&SET)).contains("num_puzzle_identifiers is 0"));
}
