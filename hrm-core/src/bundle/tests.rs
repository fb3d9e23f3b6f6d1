//! A small bundle, written here by hand, and everything that can be done to it.

use std::string::{String, ToString};
use std::vec::Vec;

use super::*;
use crate::config::{ForwardDtype, PosEncodings};
use crate::quantize;

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

/// What tensor `tensor` is of in a bundle of `precision`: integers are for the weights of blocks, the rest then is f32.
fn precision_of(tensor: &Tensor, precision: Precision) -> Precision {
    match (tensor.name, precision) {
        (TensorName::Block(..), _) | (_, Precision::F32 | Precision::Bf16 | Precision::F16) => precision,
        _ => Precision::F32,
    }
}

/// A bundle of `CONFIG` in `precision`, with entry `spoil.0` changed.
fn bundle(precision: Precision, words: &[&str], spoil: Option<(usize, Edit)>) -> Vec<u8> {
    let plan = Plan::new(&CONFIG, 1, Mode::Inference).unwrap();
    let tensors: Vec<(String, Tensor)> = plan.params.tensors().map(|t| (t.name.to_string(), t)).collect();
    let header = |offsets: &[(u64, Option<u64>)]| {
        let entries: Vec<Entry<'_>> = tensors
            .iter()
            .enumerate()
            .map(|(index, (name, tensor))| {
                let (rows, cols) = (tensor.span.rows as u32, tensor.span.cols as u32);
                let (offset, scales) = offsets[index];
                let precision = precision_of(tensor, precision).id();
                let mut entry = Entry { name, precision, rows, cols, offset, scales };
                if let Some((spoilt, edit)) = spoil
                    && spoilt == index
                {
                    edit(&mut entry);
                }
                entry
            })
            .collect();
        let mut buffer = [0; 4096];
        postcard::to_slice(&(StoredConfig(CONFIG), &entries[..], words), &mut buffer).unwrap().to_vec()
    };
    // Offsets of a size that encodes alike, whatever the header's length.
    let first = 4096;
    let mut offsets = Vec::new();
    let mut data: Vec<u8> = Vec::new();
    for (index, (_, tensor)) in tensors.iter().enumerate() {
        data.resize(data.len().next_multiple_of(ALIGN), 0);
        let offset = (first + data.len()) as u64;
        let elements: Vec<f32> = (0..tensor.span.len()).map(|i| element(index, i)).collect();
        let mut scales = Vec::new();
        match precision_of(tensor, precision) {
            Precision::F32 => data.extend(elements.iter().flat_map(|x| x.to_le_bytes())),
            Precision::Bf16 => {
                data.extend(elements.iter().flat_map(|x| half::bf16::from_f32(*x).to_le_bytes()))
            }
            Precision::F16 => {
                data.extend(elements.iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes()))
            }
            Precision::Int8 => {
                for row in elements.chunks_exact(tensor.span.cols) {
                    let mut q = std::vec![0; row.len()];
                    scales.extend(quantize::row(row, &mut q).to_le_bytes());
                    data.extend(q.iter().map(|&q| q as u8));
                }
            }
        }
        let at = data.len().next_multiple_of(ALIGN);
        if !scales.is_empty() {
            data.resize(at, 0);
            data.extend(&scales);
        }
        offsets.push((offset, (!scales.is_empty()).then_some((first + at) as u64)));
    }
    let header = header(&offsets);
    let mut rest = header.clone();
    rest.resize(first - PREAMBLE, 0);
    rest.extend(data);
    finish(header.len(), &rest)
}

/// Puts a preamble before `rest`, the first `header_len` bytes of which are the header.
fn finish(header_len: usize, rest: &[u8]) -> Vec<u8> {
    let preamble = Preamble {
        version: StoredConfig(CONFIG).version(),
        header_len: header_len as u32,
        len: (PREAMBLE + rest.len()) as u64,
    };
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

#[test]
fn integers_come_with_a_scale_for_each_row() {
    let bytes = bundle(Precision::Int8, &[], None);
    let read = Bundle::parse(&bytes).unwrap();
    for (index, (tensor, weights)) in read.tensors().enumerate() {
        assert_eq!(weights.precision(), precision_of(&tensor, Precision::Int8));
        let (rows, cols) = (tensor.span.rows, tensor.span.cols);
        assert_eq!((weights.cols(), weights.rows().count(), weights.row(rows)), (cols, rows, None));
        let mut wide = std::vec![f32::NAN; rows * cols];
        weights.widen(&mut wide);
        assert!(weights.values().eq(wide.iter().copied()));
        if weights.precision() != Precision::Int8 {
            assert_eq!((weights.scales().count(), weights.integers()), (0, None));
            continue;
        }
        assert!(bytes.as_ptr_range().contains(&weights.scale_bytes().as_ptr()));
        assert_eq!(
            (weights.integers().map(<[i8]>::len), weights.scales().count()),
            (Some(rows * cols), rows)
        );
        for (i, (scale, row)) in weights.scales().zip(wide.chunks_exact(cols)).enumerate() {
            let exact = (0..cols).map(|j| element(index, i * cols + j));
            assert!(row.iter().zip(exact).all(|(x, exact)| (x - exact).abs() <= 0.5001 * scale));
        }
    }
}

/// Integers and their scales are data: with a checksum that agrees, only their own checks are left.
#[test]
fn bad_integers_are_named() {
    let good = bundle(Precision::Int8, &[], None);
    let weights: Vec<_> = Bundle::parse(&good).unwrap().tensors().map(|(_, weights)| weights).collect();
    let at = |part: &[u8]| part.as_ptr() as usize - good.as_ptr() as usize;
    let header_len = u32::from_le_bytes([good[16], good[17], good[18], good[19]]) as usize;
    let with = |start: usize, bytes: &[u8]| {
        let mut changed = good.clone();
        changed[start..start + bytes.len()].copy_from_slice(bytes);
        Bundle::parse(&finish(header_len, &changed[PREAMBLE..])).map(|_| ())
    };
    let problem = |index, problem| Err(BundleError::Tensor { index, problem });
    assert_eq!(with(at(weights[6].bytes()), &[0x81]), Ok(()));
    // Tensor 6 is [2, 2].
    assert_eq!(with(at(weights[6].bytes()) + 1, &[0x80]), problem(6, TensorProblem::Integer(0)));
    assert_eq!(with(at(weights[6].bytes()) + 2, &[0x80]), problem(6, TensorProblem::Integer(1)));
    for scale in [0.0, -0.0, -1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let start = at(weights[6].scale_bytes()) + 4;
        assert_eq!(with(start, &scale.to_le_bytes()), problem(6, TensorProblem::Scale(1)));
    }
    // Its padding is nobody's.
    assert_eq!(with(at(weights[6].bytes()) + 4, &[0x80]), Ok(()));

    let cases: [(usize, Edit, TensorProblem); 12] = [
        (0, |e| e.precision = 3, TensorProblem::Integers),
        (13, |e| e.precision = 3, TensorProblem::Integers),
        (0, |e| e.scales = Some(e.offset + 64), TensorProblem::Scales),
        (6, |e| e.scales = None, TensorProblem::NoScales),
        (6, |e| e.scales = Some(0), TensorProblem::ScalesPlace),
        (6, |e| e.scales = Some(e.offset), TensorProblem::ScalesPlace),
        (6, |e| e.scales = e.scales.map(|at| at + 1), TensorProblem::ScalesPlace),
        (6, |e| e.scales = e.scales.map(|at| at - 16), TensorProblem::ScalesPlace),
        (6, |e| e.scales = Some(1 << 40), TensorProblem::ScalesPlace),
        (6, |e| e.scales = Some(u64::MAX - 15), TensorProblem::ScalesPlace),
        // As f32 its elements would be longer, and lie over its scales or the next tensor.
        (6, |e| e.precision = 0, TensorProblem::Scales),
        (7, |e| e.offset -= 16, TensorProblem::Place),
    ];
    for (index, edit, problem) in cases {
        let bytes = bundle(Precision::Int8, &[], Some((index, edit)));
        let expected = BundleError::Tensor { index: index as u32, problem };
        assert_eq!(Bundle::parse(&bytes).unwrap_err(), expected);
        assert!(!expected.to_string().is_empty());
    }
    // Scales over the next tensor's elements are found out there.
    let late: Edit = |e| e.scales = e.scales.map(|at| at + 16);
    let bytes = bundle(Precision::Int8, &[], Some((6, late)));
    assert_eq!(Bundle::parse(&bytes).map(|_| ()), problem(7, TensorProblem::Place));
}

#[test]
fn lengths_that_do_not_agree_are_no_weights() {
    let bytes = [0; 24];
    assert!(Weights::new(Precision::F32, 3, &bytes, &[]).is_some());
    assert!(Weights::new(Precision::Int8, 6, &bytes, &[0; 16]).is_some());
    for (precision, cols, scales) in [
        (Precision::F32, 4, 0),
        (Precision::F32, 0, 0),
        (Precision::F16, usize::MAX, 0),
        (Precision::F16, 3, 16),
        (Precision::Int8, 6, 12),
        (Precision::Int8, 7, 12),
    ] {
        assert_eq!(Weights::new(precision, cols, &bytes, &bytes[..scales]), None);
    }
}

/// What the first version cannot say stands behind what it says, in the second.
#[test]
fn a_configuration_of_the_second_version_comes_back() {
    let attention = Config { mlp_t: false, pos_encodings: PosEncodings::Rope, ..Config::TRM_SUDOKU };
    let ablation = Config { puzzle_emb_len: 3, ..Config::SUDOKU_EXTREME };
    for (config, version) in [
        (Config::SUDOKU_EXTREME, 1),
        (CONFIG, 1),
        (Config::TRM_SUDOKU, 2),
        (attention, 2),
        (ablation, 2),
        (Config { pos_encodings: PosEncodings::None, ..Config::SUDOKU_EXTREME }, 2),
        (Config { pos_encodings: PosEncodings::Rope2d, ..Config::SUDOKU_EXTREME }, 2),
    ] {
        let mut buffer = [0; 160];
        let stored = StoredConfig(config);
        assert_eq!(stored.version(), version);
        let bytes = postcard::to_slice(&stored, &mut buffer).unwrap();
        assert_eq!(StoredConfig::take(version, bytes), Ok((config, &[][..])));
    }
    let mut buffer = [0; 160];
    let bytes = postcard::to_slice(&StoredConfig(Config::TRM_SUDOKU), &mut buffer).unwrap();
    // No positions are none of the first version's.
    assert_eq!(StoredConfig::take(1, bytes), Err(BundleError::Header));
}

/// The encoding of a configuration is part of the format: a new field needs a new version.
#[test]
fn the_encoding_of_a_configuration_is_pinned() {
    let mut buffer = [0; 128];
    let bytes = postcard::to_slice(&StoredConfig(Config::SUDOKU_EXTREME), &mut buffer).unwrap();
    let mut expected = Vec::from([81, 11, 1, 0x80, 4, 8]);
    expected.extend(4.0f64.to_le_bytes());
    expected.extend([4, 4, 2, 2, 0x80, 4, 0]);
    expected.extend(1e-5f64.to_le_bytes());
    expected.extend(10_000f64.to_le_bytes());
    expected.push(16);
    expected.extend(0.1f64.to_le_bytes());
    expected.push(0);
    assert_eq!((&bytes[..], VERSION), (&expected[..], 2));
}

#[test]
fn every_truncation_and_every_flipped_bit_is_an_error() {
    for precision in [Precision::F16, Precision::Int8] {
        truncated_and_flipped(&bundle(precision, &["pad", "a", "b"], None));
    }
}

fn truncated_and_flipped(bytes: &[u8]) {
    for length in 0..bytes.len() {
        assert!(Bundle::parse(&bytes[..length]).is_err(), "{length}");
    }
    let longer = [bytes, &[0]].concat();
    let (found, expected) = (longer.len() as u64, bytes.len() as u64);
    assert_eq!(Bundle::parse(&longer).unwrap_err(), BundleError::Length { found, expected });
    let mut flipped = bytes.to_vec();
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
        (6, |e| e.precision = 4, TensorProblem::Precision(4)),
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
    assert_eq!(Bundle::parse(&with(8, 3)).unwrap_err(), BundleError::Version { found: 3 });
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
    let header =
        postcard::to_slice(&(StoredConfig(Config { num_heads: 0, ..CONFIG }), none), &mut buffer).unwrap();
    assert!(matches!(Bundle::parse(&finish(header.len(), header)).unwrap_err(), BundleError::Config(_)));
    let header = postcard::to_slice(&(StoredConfig(CONFIG), none), &mut buffer).unwrap();
    let missing = BundleError::Tensor { index: 0, problem: TensorProblem::Missing };
    assert_eq!(Bundle::parse(&finish(header.len(), header)).unwrap_err(), missing);
}
