//! Files that PyTorch wrote (`fixtures/pt`), in every type and layout that a state dict comes in.

use std::fs;

use hrm_core::config::ForwardDtype;
use hrm_core::tensors::TensorName;
use hrm_host::model_dir::{CONFIG, WEIGHTS, read_config};
use hrm_host::model_io::identifiers::Reset;
use hrm_host::model_io::import::{Options, import};

use crate::support::{SET, SMALL, element, fixture, float, import_small, options, read_all, refused};

#[test]
fn a_checkpoint_of_the_published_program_is_read() {
    for file in ["published.pt", "zip64_deflated.pt"] {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("model");
        let imported = import_small(&fixture(file), &out).unwrap();
        // The initial states are in bf16, as that program stores them.
        let config = hrm_core::config::Config { forward_dtype: ForwardDtype::Bfloat16, ..SMALL };
        assert_eq!((imported.config, imported.rows), (config, (5, 5, 0)), "{file}");
        assert_eq!(imported.types.into_iter().collect::<Vec<_>>(), [("bfloat16", 2), ("float32", 14)]);
        assert_eq!(read_config::<std::convert::Infallible>(&out.join(CONFIG)).unwrap(), config);
        for (number, (tensor, values)) in read_all(&out.join(WEIGHTS), &config).into_iter().enumerate() {
            let right = values.iter().enumerate().all(|(i, x)| *x == float(number, i));
            assert!(right, "{file}: {}: {values:?}", tensor.name);
        }
    }
}

#[test]
fn every_type_becomes_f32() {
    const TYPES: [&str; 11] = [
        "float16", "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8",
        "bool",
    ];
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("model");
    let imported = import_small(&fixture("dtypes.pt"), &out).unwrap();
    for name in TYPES {
        // Truth values are read as bytes.
        assert!(imported.types.contains_key(if name == "bool" { "uint8" } else { name }), "{name}");
    }
    for (number, (tensor, values)) in read_all(&out.join(WEIGHTS), &imported.config).into_iter().enumerate() {
        let kind = TYPES[number % TYPES.len()];
        let expected = |i: usize| match kind {
            "bool" => f32::from(u8::from(element(number, i) > 5)),
            _ if kind.contains("int") => f32::from(element(number, i)),
            _ => float(number, i),
        };
        let right = values.iter().enumerate().all(|(i, x)| *x == expected(i));
        assert!(right, "{}, {kind}: {values:?}", tensor.name);
    }
}

#[test]
fn tied_and_strided_tensors_are_read_as_they_look() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("model");
    let imported = import_small(&fixture("views.pt"), &out).unwrap();
    assert_eq!((imported.config, imported.skipped), (SMALL, 2));
    for (number, (tensor, values)) in read_all(&out.join(WEIGHTS), &SMALL).into_iter().enumerate() {
        let right = values.iter().enumerate().all(|(i, x)| match tensor.name {
            TensorName::LmHead => *x == float(0, i),
            TensorName::PuzzleEmb => *x == float(number, i % 2),
            _ => *x == float(number, i),
        });
        assert!(right, "{}: {values:?}", tensor.name);
    }
}

#[test]
fn what_no_tensor_tells_is_asked_for_at_once() {
    let message = refused(&fixture("published.pt"), &Options::default());
    assert!(
        message.contains("no tensor tells H_cycles, L_cycles, halt_max_steps, num_heads: give"),
        "{message}"
    );
    // With the configuration that the published program leaves beside its checkpoints, nothing is.
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = dir.path().join("step_26040");
    fs::copy(fixture("published.pt"), &checkpoint).unwrap();
    fs::write(
        dir.path().join("all_config.yaml"),
        "arch:\n  H_cycles: 3\n  L_cycles: 2\n  H_layers: 1\n  L_layers: 1\n  expansion: 4\n  hidden_size: 2\n  \
         num_heads: 1\n  halt_max_steps: 8\n  halt_exploration_prob: 0.1\n  pos_encodings: learned\n  \
         puzzle_emb_ndim: 2\n  loss:\n    name: losses@ACTLossHead\n  name: hrm\nlr: 7.0e-05\n",
    )
    .unwrap();
    let imported = import(&checkpoint, &dir.path().join("model"), &Options::default()).unwrap();
    assert_eq!(
        (imported.config.h_cycles, imported.config.halt_max_steps, imported.config.seq_len),
        (3, 8, 4)
    );
    let origin = |key: &str| &imported.fields.iter().find(|(name, ..)| name == key).unwrap().2;
    assert!(origin("H_cycles").ends_with("all_config.yaml"));
    assert_eq!((&**origin("seq_len"), &**origin("rope_theta")), ("the tensors", "the published program"));
}

#[test]
fn everything_that_does_not_fit_is_listed_at_once() {
    let message = refused(
        &fixture("published.pt"),
        &options(&[&SET[..], &["H_layers=2", "hidden_size=4", "vocab_size=9"]].concat()),
    );
    for part in [
        "missing: H_level.layers.1.self_attn.qkv_proj.weight, H_level.layers.1.self_attn.o_proj.weight",
        "embed_tokens.embedding_weight has shape [3, 2], expected [9, 4]",
        "H_init has shape [2], expected [4]",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let message = refused(
        &fixture("published.pt"),
        &options(&[&SET[..], &["pos_encodings=rope", "num_heads=1", "seq_len=4"]].concat()),
    );
    assert!(message.contains("unknown: _orig_mod.model.inner.embed_pos.embedding_weight"), "{message}");
}

#[test]
fn puzzle_rows_follow_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let names = |name: &str, names: &[&str]| {
        let path = dir.path().join(name);
        fs::write(&path, serde_json::to_string(names).unwrap()).unwrap();
        Some(path)
    };
    let old = names("old.json", &["<blank>", "a", "b", "c", "d"]);
    let new = names("new.json", &["<blank>", "d", "x", "b", "y", "a", "c"]);
    let rows = |out: &str, options: Options| {
        let imported = import(&fixture("published.pt"), &dir.path().join(out), &options).unwrap();
        let weights = read_all(&dir.path().join(out).join(WEIGHTS), &imported.config);
        let (_, values) =
            weights.into_iter().find(|(tensor, _)| tensor.name == TensorName::PuzzleEmb).unwrap();
        (imported.rows, values)
    };
    let expected = |rows: &[usize]| -> Vec<f32> {
        rows.iter().flat_map(|row| [float(15, 2 * row), float(15, 2 * row + 1)]).collect()
    };
    let by_name = Options { identifiers: old.clone(), new_identifiers: new.clone(), ..options(&SET) };
    assert_eq!(rows("by_name", by_name), ((5, 7, 2), expected(&[0, 4, 0, 2, 0, 1, 3])));
    let reset = Options {
        new_identifiers: new.clone(),
        reset_puzzle_embeddings: Some(Reset::Blank),
        ..options(&SET)
    };
    assert_eq!(rows("reset", reset), ((5, 7, 6), expected(&[0; 7])));

    let resized = options(&[&SET[..], &["num_puzzle_identifiers=9"]].concat());
    let message = refused(&fixture("published.pt"), &resized);
    assert!(message.contains("puzzle_emb.weights has 5 rows, the model shall have 9"), "{message}");
    let wrong = Options { identifiers: new.clone(), new_identifiers: new, ..options(&SET) };
    assert!(refused(&fixture("published.pt"), &wrong).contains("new.json: 7 names, expected 5"));
    let half = Options { identifiers: old, ..options(&SET) };
    assert!(refused(&fixture("published.pt"), &half).contains("expected the new ones as well"));
}
