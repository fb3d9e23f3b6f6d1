//! A small bundle, written here by hand, and everything that can be done to it.

use std::string::{String, ToString};
use std::vec::Vec;

use super::*;
use crate::config::{ForwardDtype, PosEncodings};

const CONFIG: Config = Config {
    seq_len: 4,
    vocab_size: 3,
    num_puzzle_identifiers: 2,
    hidden_size: 2,
    num_heads: 1,
    expansion: 1.0,
    h_layers: 1,
    l_layers: 1,
    puzzle_emb_ndim: 2,
    pos_encodings: PosEncodings::Learned,
    forward_dtype: ForwardDtype::Float32,
    ..Config::SUDOKU_EXTREME
};

/// Changes an entry of the list.
type Edit = fn(&mut Entry<'_>);

/// Element `i` of tensor `index`: exact in every precision.
fn element(index: usize, i: usize) -> f32 {
    (index as f32 - 5.0) / 4.0 + (i % 8) as f32 / 8.0
}

/// A bundle of `CONFIG` in `precision`, with entry `spoil.0` changed.
fn bundle(precision: Precision, words: &[&str], spoil: Option<(usize, Edit)>) -> Vec<u8> {
    let plan = Plan::new(&CONFIG, 1, Mode::Inference).unwrap();
    let tensors: Vec<(String, Tensor)> = plan.params.tensors().map(|t| (t.name.to_string(), t)).collect();
    let header = |offsets: &[u64]| {
        let entries: Vec<Entry<'_>> = tensors
            .iter()
            .enumerate()
            .map(|(index, (name, tensor))| {
                let (rows, cols) = (tensor.span.rows as u32, tensor.span.cols as u32);
                let offset = offsets[index];
                let mut entry = Entry { name, precision: precision.id(), rows, cols, offset, scales: None };
                if let Some((spoilt, edit)) = spoil
                    && spoilt == index
                {
                    edit(&mut entry);
                }
                entry
            })
            .collect();
        let mut buffer = [0; 4096];
        postcard::to_slice(&(CONFIG, &entries[..], words), &mut buffer).unwrap().to_vec()
    };
    // Offsets of a size that encodes alike, whatever the header's length.
    let first = 4096;
    let mut offsets = Vec::new();
    let mut data: Vec<u8> = Vec::new();
    for (index, (_, tensor)) in tensors.iter().enumerate() {
        data.resize(data.len().next_multiple_of(ALIGN), 0);
        offsets.push((first + data.len()) as u64);
        for i in 0..tensor.span.len() {
            match precision {
                Precision::F32 => data.extend(element(index, i).to_le_bytes()),
                Precision::Bf16 => data.extend(half::bf16::from_f32(element(index, i)).to_le_bytes()),
                Precision::F16 => data.extend(half::f16::from_f32(element(index, i)).to_le_bytes()),
            }
        }
    }
    let header = header(&offsets);
    let mut rest = header.clone();
    rest.resize(first - PREAMBLE, 0);
    rest.extend(data);
    finish(header.len(), &rest)
}

/// Puts a preamble before `rest`, the first `header_len` bytes of which are the header.
fn finish(header_len: usize, rest: &[u8]) -> Vec<u8> {
    let preamble = Preamble { header_len: header_len as u32, len: (PREAMBLE + rest.len()) as u64 };
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
    let mut digest = crc.digest();
    digest.update(&preamble.checked_bytes());
    digest.update(rest);
    [&preamble.to_bytes(digest.finalize())[..], rest].concat()
}

#[test]
fn what_is_written_is_read_in_place() {
    for precision in [Precision::F32, Precision::Bf16, Precision::F16] {
        let bytes = bundle(precision, &["pad", "a", "b"], None);
        let read = Bundle::parse(&bytes).unwrap();
        assert_eq!((read.config(), read.size()), (&CONFIG, bytes.len()));
        assert_eq!(read.vocabulary().collect::<Vec<_>>(), ["pad", "a", "b"]);
        let mut count = 0;
        for (index, (tensor, weights)) in read.tensors().enumerate() {
            assert_eq!(weights.precision(), precision);
            assert_eq!(weights.len(), tensor.span.len());
            assert!(bytes.as_ptr_range().contains(&weights.bytes().as_ptr()));
            assert_eq!((weights.bytes().as_ptr() as usize - bytes.as_ptr() as usize) % ALIGN, 0);
            assert!(weights.values().enumerate().all(|(i, x)| x == element(index, i)), "{:?}", tensor.name);
            count += 1;
        }
        assert_eq!(count, 4 + 1 + 8 + 3);
    }
    assert_eq!(Bundle::parse(&bundle(Precision::F32, &[], None)).unwrap().vocabulary().count(), 0);
}

/// The encoding of a configuration is part of the format: a new field needs a new version.
#[test]
fn the_encoding_of_a_configuration_is_pinned() {
    let mut buffer = [0; 128];
    let bytes = postcard::to_slice(&Config::SUDOKU_EXTREME, &mut buffer).unwrap();
    let mut expected = Vec::from([81, 11, 1, 0x80, 4, 8]);
    expected.extend(4.0f64.to_le_bytes());
    expected.extend([4, 4, 2, 2, 0x80, 4, 0]);
    expected.extend(1e-5f64.to_le_bytes());
    expected.extend(10_000f64.to_le_bytes());
    expected.push(16);
    expected.extend(0.1f64.to_le_bytes());
    expected.push(0);
    assert_eq!((&bytes[..], VERSION), (&expected[..], 1));
}

#[test]
fn every_truncation_and_every_flipped_bit_is_an_error() {
    let bytes = bundle(Precision::F16, &["pad", "a", "b"], None);
    for length in 0..bytes.len() {
        assert!(Bundle::parse(&bytes[..length]).is_err(), "{length}");
    }
    let longer = [&bytes[..], &[0]].concat();
    let (found, expected) = (longer.len() as u64, bytes.len() as u64);
    assert_eq!(Bundle::parse(&longer).unwrap_err(), BundleError::Length { found, expected });
    let mut flipped = bytes.clone();
    for at in 0..bytes.len() {
        for bit in [1, 16, 128] {
            flipped[at] ^= bit;
            assert!(Bundle::parse(&flipped).is_err(), "byte {at}");
            flipped[at] ^= bit;
        }
    }
}

#[test]
fn bad_entries_are_named() {
    let cases: [(usize, Edit, TensorProblem); 12] = [
        (0, |e| e.name = "embed_tokens", TensorProblem::Name),
        (3, |e| e.name = "q_head.bias.", TensorProblem::Name),
        (5, |e| e.rows += 1, TensorProblem::Shape),
        (5, |e| e.cols = u32::MAX, TensorProblem::Shape),
        (6, |e| e.precision = 3, TensorProblem::Precision(3)),
        (2, |e| e.precision = 255, TensorProblem::Precision(255)),
        (7, |e| e.offset += 8, TensorProblem::Place),
        (7, |e| e.offset -= 16, TensorProblem::Place),
        (0, |e| e.offset = 0, TensorProblem::Place),
        (4, |e| e.offset = 1 << 40, TensorProblem::Place),
        (4, |e| e.offset = u64::MAX - 15, TensorProblem::Place),
        (1, |e| e.scales = Some(4096), TensorProblem::Scales),
    ];
    for (index, edit, problem) in cases {
        let bytes = bundle(Precision::F32, &[], Some((index, edit)));
        let expected = BundleError::Tensor { index: index as u32, problem };
        assert_eq!(Bundle::parse(&bytes).unwrap_err(), expected);
        assert!(!expected.to_string().is_empty());
    }
}

#[test]
fn the_preamble_and_the_header_are_checked() {
    let good = bundle(Precision::F32, &[], None);
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    assert_eq!(Bundle::parse(&with(0, b'P')).unwrap_err(), BundleError::Magic);
    assert_eq!(Bundle::parse(&with(8, 2)).unwrap_err(), BundleError::Version { found: 2 });
    assert!(matches!(Bundle::parse(&with(12, !good[12])).unwrap_err(), BundleError::Checksum { .. }));
    // A header that claims to be longer than the whole, with a checksum that agrees.
    let rest = &good[PREAMBLE..];
    assert_eq!(Bundle::parse(&finish(rest.len() + 1, rest)).unwrap_err(), BundleError::Header);
    assert_eq!(Bundle::parse(&finish(3, rest)).unwrap_err(), BundleError::Header);
    assert_eq!(
        Bundle::parse(&bundle(Precision::F32, &["pad"], None)).unwrap_err(),
        BundleError::Vocabulary { given: 1, expected: 3 }
    );
    let mut buffer = [0; 256];
    let none: &[Entry<'_>] = &[];
    let header = postcard::to_slice(&(Config { num_heads: 0, ..CONFIG }, none), &mut buffer).unwrap();
    assert!(matches!(Bundle::parse(&finish(header.len(), header)).unwrap_err(), BundleError::Config(_)));
    let header = postcard::to_slice(&(CONFIG, none), &mut buffer).unwrap();
    let missing = BundleError::Tensor { index: 0, problem: TensorProblem::Missing };
    assert_eq!(Bundle::parse(&finish(header.len(), header)).unwrap_err(), missing);
}
