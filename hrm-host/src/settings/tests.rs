//! Layers, and the words of each error.

use super::*;
use crate::error::Kind;

#[derive(Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    lr: f64,
    steps: u32,
    #[serde(default)]
    name: Option<String>,
    model: Model,
}

#[derive(Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    hidden_size: u32,
    #[serde(default)]
    sizes: Vec<u8>,
    loss: Loss,
}

#[derive(Debug, PartialEq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Loss {
    Stablemax,
    Softmax,
}

const BASE: &str = "lr = 1e-4\nsteps = 10\n[model]\nhidden_size = 64\nloss = 'softmax'\n";

fn base() -> Settings {
    let mut settings = Settings::default();
    settings.text("preset base", BASE).unwrap();
    settings
}

/// The error of the base with these assignments on top.
fn error(assignments: &[&str]) -> Error {
    let mut settings = base();
    for assignment in assignments {
        settings.set(assignment).unwrap();
    }
    settings.build::<Run>().unwrap_err()
}

#[test]
fn each_layer_overrides_the_one_before_and_leaves_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.toml");
    std::fs::write(&path, "steps = 20\nname = 'file'\n[model]\nsizes = [1, 2]\n").unwrap();
    let mut settings = base();
    settings.file(&path).unwrap();
    settings.set("model.hidden_size = 128").unwrap();
    settings.set("model.loss=stablemax").unwrap();
    settings.set("lr=1").unwrap();
    let run: Run = settings.build().unwrap();
    let model = Model { hidden_size: 128, sizes: vec![1, 2], loss: Loss::Stablemax };
    assert_eq!(run, Run { lr: 1.0, steps: 20, name: Some("file".to_owned()), model });

    // What is kept beside a run reads back as the same settings.
    let mut again = Settings::default();
    again.text("kept", &settings.to_toml()).unwrap();
    assert_eq!(again.build::<Run>().unwrap(), run);
}

#[test]
fn an_unknown_key_names_its_layer_and_the_nearest_key() {
    let unknown = error(&["model.hiden_size=3"]);
    assert_eq!(unknown.kind(), Kind::Input);
    assert_eq!(unknown.to_string(), "model.hiden_size: no such setting (from --set model.hiden_size=3)");
    assert_eq!(unknown.hint_text(), Some("did you mean `hidden_size`?"));
    assert_eq!(error(&["colour=3"]).hint_text(), Some("known here: lr, steps, name, model"));
}

#[test]
fn a_wrong_type_names_key_given_expected_and_layer() {
    for (assignment, expected) in [
        (
            "steps=many",
            "steps: given \"many\", expected a whole number, not negative (from --set steps=many)",
        ),
        ("steps=-5", "steps: given -5, expected a whole number, not negative (from --set steps=-5)"),
        ("lr=true", "lr: given true, expected a number (from --set lr=true)"),
        (
            "model.sizes=[1,300]",
            "model.sizes[1]: given 300, expected a whole number from 0 to 255 (from --set model.sizes=[1,300])",
        ),
        (
            "model.loss=hinge",
            "model.loss: given `hinge`, expected one of `stablemax`, `softmax` (from --set model.loss=hinge)",
        ),
        ("model=3", "model: given 3, expected a table of settings (from --set model=3)"),
        ("name=4", "name: given 4, expected a string (from --set name=4)"),
    ] {
        assert_eq!(error(&[assignment]).to_string(), expected);
    }
    let mut settings = base();
    settings.text("big.toml", "steps = 1.5").unwrap();
    assert_eq!(
        settings.build::<Run>().unwrap_err().to_string(),
        "steps: given 1.5, expected a whole number, not negative (from big.toml)"
    );
}

#[test]
fn a_missing_key_is_named_in_full() {
    let mut settings = Settings::default();
    settings.text("a.toml", "lr = 1.0\nsteps = 1\n[model]\nloss = 'softmax'").unwrap();
    assert_eq!(
        settings.build::<Run>().unwrap_err().to_string(),
        "model.hidden_size: missing, and it has no default"
    );
}

#[test]
fn a_malformed_assignment_is_a_usage_error() {
    for bad in ["steps", "=3", "a..b=3", "a b=3", "", "a.=1"] {
        assert_eq!(base().set(bad).unwrap_err().kind(), Kind::Usage, "{bad}");
    }
}

#[test]
fn a_value_cannot_smuggle_in_another_key() {
    let mut settings = base();
    settings.set("name=1\nsteps = 99").unwrap();
    assert_eq!(settings.build::<Run>().unwrap().name.unwrap(), "1\nsteps = 99");
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_place() {
    let error = Settings::default().text("a.toml", "lr = ").unwrap_err();
    assert_eq!(error.kind(), Kind::Input);
    assert!(error.to_string().starts_with("a.toml: not TOML: "), "{error}");
    assert!(error.to_string().contains("line 1"), "{error}");
}

/// The same table as for configurations of models: a switch of another model may stand there if it is off.
#[test]
fn switches_of_other_models_are_known_by_name() {
    let built = |assignment: &str| {
        let mut settings = Settings::default();
        settings.text("preset", crate::train::presets::find("sudoku-4x4").unwrap().toml).unwrap();
        settings.set(assignment).unwrap();
        settings.build::<crate::train::Settings>()
    };
    let plain = built("seed=0").unwrap();
    for off in ["arch.mlp_t=false", "arch.causal=false", "arch.puzzle_emb_len=0", "arch.dropout=0"] {
        assert_eq!(built(off).unwrap(), plain, "{off}");
    }
    for (on, expected) in [
        ("arch.causal=true", "arch.causal: causal is true, expected false"),
        ("arch.gate=1", "arch.gate: no such setting"),
        // A recipe's key in the wrong table is not passed over.
        ("arch.lr=1", "arch.lr: no such setting"),
        ("mlp_t=false", "mlp_t: no such setting"),
    ] {
        let error = built(on).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}, expected {expected}");
        assert!(error.contains("(from --set"), "{error}");
    }
}
