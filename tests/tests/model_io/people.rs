//! Checkpoints as training programs leave them: a model somewhere in a dictionary, with other things beside it.

use std::path::Path;

use hrm_core::config::{GradientSpan, Stacks};
use hrm_host::model_dir::WEIGHTS;
use hrm_host::model_io::import::{Imported, Options, import};

use crate::pickles::{checkpoint, dict, item, model, number, saved, tensor, text, value};
use crate::support::{SET, SMALL, import_small, options, read_all, refused};

/// Imports `path`, and asserts that the model is that of [`model`] with this shift.
#[track_caller]
fn imports(path: &Path, shift: i32, options: &Options) -> Imported {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("model");
    let imported = import(path, &out, options).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(imported.config, SMALL);
    for (number, (tensor, values)) in read_all(&out.join(WEIGHTS), &SMALL).into_iter().enumerate() {
        let right = values.iter().enumerate().all(|(i, x)| *x == value(shift, number, i));
        assert!(right, "{}: {values:?}", tensor.name);
    }
    imported
}

fn small() -> Options {
    options(&SET)
}

#[test]
fn the_model_is_found_in_any_dictionary() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.pt");
    let inner = |before: &str| dict(&[model(before, 0)]);
    for (what, saved_value) in [
        ("bare", inner("")),
        ("compiled", inner("_orig_mod.model.inner.")),
        ("wrapped inside", inner("module.model._orig_mod.inner.")),
        ("net", dict(&[item("net", &inner("_orig_mod.model.inner."))])),
        ("params", dict(&[item("params", &inner("model.inner."))])),
        ("two deep", dict(&[item("checkpoint", &dict(&[item("model", &inner("model.inner."))]))])),
        ("a list", dict(&[item("models", &[b"](".to_vec(), inner("model.inner."), b"e".to_vec()].concat())])),
        ("an average alone", dict(&[item("ema_model", &inner("module.model.inner."))])),
    ] {
        saved(&path, &saved_value);
        println!("{what}");
        imports(&path, 0, &small());
    }
}

#[test]
fn what_stands_beside_the_model_is_passed_over_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.ckpt");
    let some = tensor(4096, 0, [3, 2], [2, 1]);
    let moments = dict(&[item("exp_avg", &some), item("exp_avg_sq", &some)]);
    let beside = [
        item("optimizer_states", &[b"](".to_vec(), dict(&[item("state", &moments)]), b"e".to_vec()].concat()),
        item("scaler", &dict(&[item("scale", &some)])),
        item("rng_state", &some),
        item("torch_rng_state", &some),
        item("epoch", &number(3)),
    ];
    for holder in ["state_dict", "model_state_dict", "weights"] {
        let model = item(holder, &dict(&[model("model.inner.", 0)]));
        saved(&path, &dict(&[&[model][..], &beside].concat()));
        let imported = imports(&path, 0, &small());
        assert_eq!(imported.skipped, 2, "{holder}");
        let passed: Vec<(&str, usize)> =
            imported.selection.passed.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        assert_eq!(
            passed,
            [("optimizer_states", 2), ("rng_state", 1), ("scaler", 1), ("torch_rng_state", 1)]
        );
    }
    // Where the model's own names begin at once, too.
    saved(&path, &dict(&[&[model("", 0)][..], &beside].concat()));
    imports(&path, 0, &small());
    // A tensor inside of the model makes it another one.
    for (before, more) in
        [("model.inner.", "model.inner.gate.weight"), ("", "gate.weight"), ("model.inner.", "model.gate")]
    {
        saved(&path, &dict(&[model(before, 0), item(more, &some)]));
        let message = refused(&path, &small());
        assert!(message.contains(&format!("unknown: {more}")), "{message}");
    }
}

#[test]
fn of_weights_and_their_average_the_weights_are_taken_unless_it_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.pt");
    let both = |average: &str| {
        dict(&[
            item(average, &dict(&[model("_orig_mod.model.inner.", 5)])),
            item("model", &dict(&[model("_orig_mod.model.inner.", 0)])),
        ])
    };
    for average in ["ema", "model_ema", "ema_state_dict", "swa_model", "averaged"] {
        saved(&path, &both(average));
        let imported = imports(&path, 0, &small());
        assert_eq!(imported.selection.taken, "model.model.inner");
        assert_eq!(imported.selection.others, [format!("{average}.model.inner")]);
        imports(&path, 5, &Options { weights: Some(average.into()), ..small() });
    }
    let message = refused(&path, &Options { weights: Some("best".into()), ..small() });
    assert!(
        message.contains("no weights under best, but under averaged.model.inner, model.model.inner"),
        "{message}"
    );
    saved(&path, &dict(&[item("a", &dict(&[model("", 0)])), item("b", &dict(&[model("", 5)]))]));
    let error = import_small(&path, &dir.path().join("out")).unwrap_err();
    assert!(error.to_string().contains("it holds a model 2 times, under a and b"), "{error}");
    assert!(error.hint_text().unwrap().contains("--weights"));
    imports(&path, 5, &Options { weights: Some("b".into()), ..small() });
}

/// Objects of other programs beside the weights: none of them is made, and none stands in the way.
#[test]
fn harmless_objects_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.pt");
    let attributes = [b"}".to_vec(), item("lr", b"G?\x1a6\xe2\xeb\x1cC-")].concat();
    let object = |class: &str| {
        [format!("c{class}\n)\u{81}").chars().map(|c| c as u8).collect(), attributes.clone(), b"b".to_vec()]
            .concat()
    };
    for (what, value) in [
        ("a namespace", object("argparse\nNamespace")),
        ("a configuration of Hydra", object("omegaconf.dictconfig\nDictConfig")),
        ("an object of the script", object("__main__\nConfig")),
        ("a device", [b"ctorch\ndevice\n".to_vec(), text("cpu"), b"\x85R".to_vec()].concat()),
        ("a number of NumPy", b"cnumpy._core.multiarray\nscalar\ncnumpy\ndtype\nX\x02\0\0\0f8\x89\x88\x87RC\x08\0\0\0\0\0\0\0\0\x86R".to_vec()),
        ("an empty defaultdict", b"ccollections\ndefaultdict\nc__builtin__\ndict\n\x85R".to_vec()),
        ("a defaultdict", [&b"ccollections\ndefaultdict\nc__builtin__\nlist\n\x85R"[..], &item("a", b"K\x01")].concat()),
        ("a dictionary of Lightning", [&b"clightning.pytorch.utilities.parsing\nAttributeDict\n)\x81"[..], &item("a", b"K\x01")].concat()),
        ("a queue", b"ccollections\ndeque\n)R(K\x01K\x02e".to_vec()),
        ("a path", [b"cpathlib\nPosixPath\n".to_vec(), text("runs"), b"\x85R".to_vec()].concat()),
        ("a time", b"cdatetime\ntimedelta\nK\x01K\x02K\x03\x87R".to_vec()),
        ("a type", b"ctorch\nbfloat16\n".to_vec()),
    ] {
        saved(&path, &dict(&[item("model", &dict(&[model("model.inner.", 0)])), item("args", &value)]));
        println!("{what}");
        imports(&path, 0, &small());
    }
    // A state dict that is such a dictionary itself.
    let model = [&b"ccollections\ndefaultdict\nc__builtin__\ndict\n\x85R"[..], &model("", 0)].concat();
    saved(&path, &dict(&[item("model", &model)]));
    imports(&path, 0, &small());
}

#[test]
fn every_protocol_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.pt");
    let model = dict(&[model("", 0)]);
    // Names in lines, as protocols 2 and 3 have them.
    for protocol in [2, 3] {
        checkpoint(
            &path,
            &[&[0x80, protocol][..], &model, b"."].concat(),
            &[("data/0", &crate::pickles::storage())],
        );
        imports(&path, 0, &small());
    }
    // Names from texts and frames, as protocols 4 and 5 have them.
    let mut newer = Vec::new();
    let mut rest = &model[..];
    while let Some((first, after)) = rest.split_first() {
        let name = (*first == b'c').then(|| after.split(|byte| *byte == b'\n').take(2).collect::<Vec<_>>());
        match name.as_deref() {
            // Some bytes of numbers are a `c` as well.
            Some([module @ (b"torch" | b"torch._utils" | b"collections"), name]) => {
                for text in [module, name] {
                    newer.extend([0x8c, text.len() as u8]);
                    newer.extend_from_slice(text);
                    newer.push(0x94);
                }
                newer.push(0x93);
                rest = &after[module.len() + name.len() + 2..];
            }
            _ => {
                newer.push(*first);
                rest = after;
            }
        }
    }
    for protocol in [4, 5] {
        let mut pickle = vec![0x80, protocol, 0x95];
        pickle.extend((newer.len() as u64 + 1).to_le_bytes());
        pickle.extend_from_slice(&newer);
        pickle.push(b'.');
        checkpoint(&path, &pickle, &[("data/0", &crate::pickles::storage())]);
        imports(&path, 0, &small());
    }
}

#[test]
fn what_may_do_harm_is_refused_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.pt");
    for (value, expected) in [
        (&b"c__main__\nmake\n)R"[..], "would call __main__.make"),
        (b"cfunctools\npartial\n(tR", "would call functools.partial"),
        (b"ctorch.storage\n_load_from_bytes\n(tR", "would call torch.storage._load_from_bytes"),
        (b"cshutil\nrmtree\n", "would call shutil.rmtree"),
    ] {
        saved(&path, &dict(&[item("model", &dict(&[model("", 0)])), item("args", value)]));
        let error = import_small(&path, &dir.path().join("out")).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.hint_text().is_some_and(|hint| hint.contains("if you trust the file")), "{error}");
    }
}

#[test]
fn a_tiny_recursive_model_is_known_by_its_tensors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.pt");
    let pickle = [b"\x80\x02".to_vec(), dict(&[model("model.inner.", 0)]), b".".to_vec()].concat();
    // One network serves both states: without the tensors of H.
    let without: Vec<u8> = String::from_utf8_lossy(&pickle).is_empty().then(Vec::new).unwrap_or_else(|| {
        let mut pickle = pickle.clone();
        let name = b"model.inner.H_level";
        while let Some(at) = pickle.windows(name.len()).position(|window| window == name) {
            pickle[at..at + name.len()].copy_from_slice(b"optimizer.a.b.level");
        }
        pickle
    });
    checkpoint(&path, &without, &[("data/0", &crate::pickles::storage())]);
    let config = import(&path, &dir.path().join("m"), &small()).unwrap().config;
    assert_eq!((config.stacks, config.gradient), (Stacks::Shared, GradientSpan::Cycle));
    assert!(config.no_act_continue && !config.mlp_t);
}
