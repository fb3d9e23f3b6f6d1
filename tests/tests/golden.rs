//! The published program's numbers, on the reference.

use std::path::Path;

use hrm_core::backend::Error;
use hrm_core::backend::reference::{Owned, Reference, Rounding};
use hrm_core::config::{Config, PosEncodings};
use hrm_core::plan::Plan;
use hrm_core::rope::Rotary;
use hrm_core::scalar::Scalar;
use hrm_host::golden;
use hrm_host::tensor_file::TensorFile;
use hrm_tests::{golden_passes, shared_dir, small_golden, small_golden_passes, small_trm_golden_passes};

fn reference<T: Scalar>(rounding: Rounding) -> impl Fn(&Plan) -> Result<Reference<T, Owned<T>>, Error> {
    move |plan| Reference::owned(plan, rounding)
}

#[test]
fn the_f32_reference_agrees() {
    golden_passes(|dir| golden::check_f32(dir, &mut |_| (), reference::<f32>(Rounding::None)));
}

#[test]
fn the_f64_reference_agrees() {
    golden_passes(|dir| golden::check_f32(dir, &mut |_| (), reference::<f64>(Rounding::None)));
}

#[test]
fn the_bf16_reference_agrees() {
    golden_passes(|dir| golden::check_bf16(dir, &mut |_| (), reference::<f32>(Rounding::Bf16)));
}

#[test]
fn the_f32_reference_agrees_with_trm() {
    small_trm_golden_passes(|dir| golden::check_f32(dir, &mut |_| (), reference::<f32>(Rounding::None)));
}

#[test]
fn the_f64_reference_agrees_with_trm() {
    small_trm_golden_passes(|dir| golden::check_f32(dir, &mut |_| (), reference::<f64>(Rounding::None)));
}

#[test]
fn the_bf16_reference_agrees_with_trm() {
    small_trm_golden_passes(|dir| golden::check_bf16(dir, &mut |_| (), reference::<f32>(Rounding::Bf16)));
}

/// Tables of rotary rows and columns, as a second program made them.
#[test]
fn rotary_rows_and_columns_agree() {
    let Some(shared) = shared_dir("golden-se") else { return };
    let mut file = TensorFile::open(&shared.join("golden-se/sa_functions.safetensors")).unwrap();
    for (seq_len, head_dim) in [(16, 8), (25, 16), (81, 32)] {
        let config = Config {
            seq_len,
            hidden_size: 2 * head_dim,
            num_heads: 2,
            puzzle_emb_ndim: 0,
            pos_encodings: PosEncodings::Rope2d,
            ..Config::SUDOKU_EXTREME
        };
        config.validate().unwrap();
        let rotary = Rotary::of(&config);
        // Theirs have each pair's angle twice.
        let at = |index: usize| rotary.cos_sin(index / head_dim, index % head_dim % (head_dim / 2));
        let name = format!("rope2d_{seq_len}_{head_dim}");
        let mut theirs = |part: &str| file.f32s(&format!("{name}.{part}"), &[seq_len, head_dim]).unwrap();
        let (cos, sin) = (theirs("cos"), theirs("sin"));
        for (index, (cos, sin)) in cos.into_iter().zip(sin).enumerate() {
            let ours = at(index);
            let error = (ours.0 - cos).abs().max((ours.1 - sin).abs());
            assert!(error < 1e-6, "{name}: {index} is {ours:?}, not {:?}", (cos, sin));
        }
    }
}

/// The report on a directory with one golden model and the functions, where `file` is what `spoil` makes of it; or the
/// error.
fn reported(
    golden: &Path,
    file: &str,
    spoil: impl Fn(Vec<u8>) -> Option<Vec<u8>>,
) -> Result<golden::Report, String> {
    let dir = tempfile::tempdir().unwrap();
    let parts = ["config.json", "weights.safetensors", "eval.safetensors", "train_stablemax.safetensors"];
    let files = parts.map(|part| format!("tiny_rope.{part}"));
    for name in files.iter().map(String::as_str).chain(["functions.json", "functions.safetensors"]) {
        let bytes = std::fs::read(golden.join(name)).unwrap();
        let bytes = if name == file { spoil(bytes) } else { Some(bytes) };
        if let Some(bytes) = bytes {
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
    }
    let result = golden::check_f32(dir.path(), &mut |_| (), reference::<f32>(Rounding::None));
    result.map_err(|error| error.to_string().replace(&dir.path().display().to_string(), ""))
}

fn spoilt(golden: &Path, file: &str, spoil: impl Fn(Vec<u8>) -> Option<Vec<u8>>) -> String {
    reported(golden, file, spoil).unwrap_err()
}

/// Replaces a text of the header by another one of the same length.
fn edit(from: &'static str, to: &'static str) -> impl Fn(Vec<u8>) -> Option<Vec<u8>> {
    assert_eq!(from.len(), to.len());
    move |mut bytes| {
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
        Some(bytes)
    }
}

#[test]
fn bad_files_are_named() {
    let Some(golden) = hrm_tests::golden_dir() else { return };
    let cases = [
        (
            spoilt(&golden, "tiny_rope.weights.safetensors", |_| None),
            "/tiny_rope.weights.safetensors: No such file",
        ),
        (
            spoilt(&golden, "tiny_rope.weights.safetensors", |bytes| Some(bytes[..1000].to_vec())),
            "/tiny_rope.weights.safetensors: ",
        ),
        (
            spoilt(
                &golden,
                "tiny_rope.weights.safetensors",
                edit("model.inner.H_init", "model.inner.h_init"),
            ),
            "/tiny_rope.weights.safetensors: model.inner.H_init is missing, expected a tensor [32]",
        ),
        (
            spoilt(&golden, "tiny_rope.eval.safetensors", edit("\"shape\":[3,16,7]", "\"shape\":[3,7,16]")),
            "/tiny_rope.eval.safetensors: s1.out.logits is [3, 7, 16], expected [3, 16, 7]",
        ),
        (
            spoilt(&golden, "tiny_rope.config.json", edit("\"vocab_size\"", "\"vocab_sixe\"")),
            "/tiny_rope.config.json: config: unknown field vocab_sixe (did you mean vocab_size?)",
        ),
        (
            spoilt(&golden, "tiny_rope.config.json", edit("\"vocab_size\": 7", "\"causal\":  true")),
            "/tiny_rope.config.json: config: missing field `vocab_size`",
        ),
        (
            spoilt(&golden, "tiny_rope.config.json", edit("\"batch_size\": 3", "\"causal\":  true")),
            "/tiny_rope.config.json: config: causal is true, expected false",
        ),
        (
            spoilt(&golden, "tiny_rope.train_stablemax.safetensors", edit("s1.local_ids", "s1.loqal_ids")),
            "/tiny_rope.train_stablemax.safetensors: s1.loqal_ids is a tensor that no comparison covers",
        ),
        (spoilt(&golden, "functions.json", |_| Some(b"{}".to_vec())), "/functions.json: trunc_normal"),
    ];
    for (message, expected) in cases {
        assert!(message.starts_with(expected), "{message:?}, expected {expected:?}");
    }
}

/// What a directory lacks is listed, and the rest is compared.
#[test]
fn what_is_not_there_is_listed() {
    let Some(golden) = hrm_tests::golden_dir() else { return };
    let whole = reported(&golden, "", Some).unwrap();
    // The directory has one of the two losses that the model was trained with.
    let softmax = "tiny_rope.train_softmax.safetensors";
    assert!(whole.passed() && whole.lacking.len() == 1 && whole.lacking[0].file == softmax);
    for file in
        ["tiny_rope.eval.safetensors", "tiny_rope.train_stablemax.safetensors", "functions.safetensors"]
    {
        let report = reported(&golden, file, |_| None).unwrap();
        assert!(report.passed() && report.checks.len() < whole.checks.len());
        let lacking: Vec<_> = report.lacking.iter().map(|it| (it.file.as_str(), it.group.as_str())).collect();
        assert!(lacking.contains(&(file, "file")), "{lacking:?}");
        assert!(!report.checks.iter().any(|check| check.file == file));
    }
    // A file without one of its groups.
    let report = reported(&golden, "tiny_rope.eval.safetensors", |bytes| {
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let kept = tensors.tensors().into_iter().filter(|(name, _)| !name.contains(".carry.z_"));
        Some(safetensors::serialize(kept, None).unwrap())
    });
    let report = report.unwrap();
    assert!(report.passed());
    let lacking = report.lacking.iter().filter(|it| it.file != softmax);
    let lacking: Vec<String> = lacking.map(ToString::to_string).collect();
    assert!(
        lacking.len() == 1 && lacking[0].contains("carry") && lacking[0].contains("s1.carry.z_H and"),
        "{lacking:?}"
    );
}

/// Says within seconds what the long models would say in minutes.
#[test]
fn the_small_models_agree() {
    small_golden_passes(|dir| golden::check_f32(dir, &mut |_| (), reference::<f32>(Rounding::None)));
}

/// Numbers of another precision are a miss, not an error, and only of what the precision touches.
#[test]
fn wrong_numbers_are_a_miss() {
    let Some(dir) = small_golden() else { return };
    let report = golden::check_f32(dir.path(), &mut |_| (), reference::<f32>(Rounding::Bf16)).unwrap();
    assert!(!report.passed());
    let missed = |group: &str| report.misses().any(|check| check.group == group);
    assert!(missed("logits") && missed("carry") && missed("param") && missed("swiglu"));
    assert!(!missed("schedule") && !missed("rope tables") && !missed("signsgd"));
}
