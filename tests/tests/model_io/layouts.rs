//! Directories as transformers and the hub lay them out, configurations as other tools write them, and files that are no
//! checkpoint.

use std::fs;
use std::path::Path;

use hrm_core::config::Config;
use hrm_host::backend::Cpu;
use hrm_host::model_dir::{CONFIG, WEIGHTS};
use hrm_host::model_io::import::{Options, import};
use hrm_host::solve::{Halt, Model};
use serde_json::{Value, json};

use crate::pickles::{dict, model, saved};
use crate::support::{SET, SMALL, float, import_small, options, refused, write_model};

/// Writes `config` with these keys over it.
fn write_config(path: &Path, config: &Config, more: Value) {
    let mut keys = serde_json::to_value(config).unwrap();
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fs::write(path, format!("\u{feff}{keys}")).unwrap();
}

/// Splits a safetensors file in two, as transformers does, with an index.
fn shard(dir: &Path) {
    let bytes = fs::read(dir.join(WEIGHTS)).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut all: Vec<_> = tensors.tensors();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    let mut map = serde_json::Map::new();
    for (part, views) in all.chunks(all.len().div_ceil(2)).enumerate() {
        let name = format!("model-0000{}-of-00002.safetensors", part + 1);
        let views: Vec<_> = views.iter().map(|(name, view)| (name.as_str(), view)).collect();
        map.extend(views.iter().map(|(tensor, _)| ((*tensor).to_owned(), Value::from(name.as_str()))));
        fs::write(dir.join(name), safetensors::serialize(views, None).unwrap()).unwrap();
    }
    fs::remove_file(dir.join(WEIGHTS)).unwrap();
    let index = json!({ "metadata": { "total_size": bytes.len() }, "weight_map": map });
    fs::write(dir.join("model.safetensors.index.json"), index.to_string()).unwrap();
}

#[test]
fn directories_of_transformers_are_models() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let hub = json!({
        "architectures": ["HierarchicalReasoningModel_ACTV1"], "model_type": "hrm", "torch_dtype": "float32",
        "transformers_version": "4.57.0", "_name_or_path": "someone/hrm", "auto_map": { "AutoModel": "modeling.Hrm" },
    });
    write_model(&at("plain"), &SMALL, float);
    import(&at("plain"), &at("expected"), &Options::default()).unwrap();
    let expected = fs::read(at("expected").join(WEIGHTS)).unwrap();
    for layout in ["keys", "sharded", "one file of another name"] {
        let there = at(layout);
        write_model(&there, &SMALL, float);
        write_config(&there.join(CONFIG), &SMALL, hub.clone());
        match layout {
            "sharded" => shard(&there),
            "keys" => {}
            _ => fs::rename(there.join(WEIGHTS), there.join("weights.safetensors")).unwrap(),
        }
        let out = at(&format!("{layout} imported"));
        import(&there, &out, &Options::default()).unwrap_or_else(|error| panic!("{layout}: {error}"));
        assert!(fs::read(out.join(WEIGHTS)).unwrap() == expected, "{layout}");
        // And it can be used as it lies there.
        let tokens = [1, 2, 0, 1];
        let solve = |path: &Path| Model::<Cpu>::load(path, 1).unwrap().solve(&tokens, 0, Halt::Max).unwrap();
        assert_eq!(solve(&there), solve(&at("plain")), "{layout}");
    }
    let bin = at("bin");
    fs::create_dir(&bin).unwrap();
    write_config(&bin.join(CONFIG), &SMALL, hub);
    saved(&bin.join("pytorch_model.bin"), &dict(&[model("model.inner.", 0)]));
    import(&bin, &at("bin imported"), &Options::default()).unwrap();
    Model::<Cpu>::load(&bin, 1).unwrap();
}

#[test]
fn what_is_missing_of_several_files_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let there = dir.path().join("model");
    write_model(&there, &SMALL, float);
    shard(&there);
    let index = there.join("model.safetensors.index.json");
    let whole = fs::read_to_string(&index).unwrap();
    for (from, to, expected) in [
        ("model-00002-of", "model-00003-of", "model-00003-of-00002.safetensors, which is not beside it"),
        ("model-00002-of", "../model-00002-of", "expected one beside it"),
        ("model.inner.H_init", "model.inner.h_init", "it says that model.inner.h_init is in"),
        ("\"weight_map\"", "\"weights\"", "missing field `weight_map`"),
        ("model-00001-of-00002.safetensors", "model.safetensors.index.json", "expected one beside it"),
    ] {
        fs::write(&index, whole.replace(from, to)).unwrap();
        let message = refused(&there, &Options::default());
        assert!(message.contains("index.json: ") && message.contains(expected), "{message}");
    }
    fs::remove_file(&index).unwrap();
    let message = refused(&there, &Options::default());
    assert!(
        message.contains("weights in 2 files, and model.safetensors.index.json, which says")
            && message.contains("is not there"),
        "{message}"
    );
    // A part alone is no model.
    let message = refused(&there.join("model-00001-of-00002.safetensors"), &Options::default());
    assert!(message.contains("one of the 2 files of model.safetensors"), "{message}");
}

const ARCH: &str = "  H_cycles: 2
  H_layers: 1
  L_cycles: 2
  L_layers: 1
  expansion: 4
  halt_exploration_prob: 0.1
  halt_max_steps: 4
  hidden_size: 2
  loss: {loss_type: stablemax_cross_entropy, name: losses@ACTLossHead}
  name: hrm.hrm_act_v1@HierarchicalReasoningModel_ACTV1
  num_heads: 1
  pos_encodings: learned
  puzzle_emb_ndim: 2
";

#[test]
fn configurations_of_other_tools_are_read_or_named() {
    let dir = tempfile::tempdir().unwrap();
    let (path, config) = (dir.path().join("a.pt"), dir.path().join("c.yaml"));
    saved(&path, &dict(&[model("model.inner.", 0)]));
    let with = |text: &str| {
        fs::write(&config, text).unwrap();
        Options { config: Some(config.clone()), ..Options::default() }
    };
    let plain = format!("arch:\n{ARCH}lr: 0.1\n");
    let flat = ARCH.replace("  ", "");
    for (what, text) in [
        ("plain", plain.clone()),
        ("a byte order mark", format!("\u{feff}{plain}")),
        ("line ends of Windows", plain.replace('\n', "\r\n")),
        ("an interpolation", flat.replace("puzzle_emb_ndim: 2", "puzzle_emb_ndim: ${.hidden_size}")),
        ("one from the top", plain.replace("puzzle_emb_ndim: 2", "puzzle_emb_ndim: ${arch.hidden_size}")),
        ("whole numbers with a point", plain.replace(": 2\n", ": 2.0\n")),
        (
            "a switch that is off",
            plain.replace("  num_heads", "  mlp_t: false\n  causal: False\n  num_heads"),
        ),
        ("the prefix that follows", plain.replace("  num_heads", "  puzzle_emb_len: 1\n  num_heads")),
        ("wandb", format!("_wandb:\n  value: {{a: 1}}\narch:\n  value:\n{}", ARCH.replace("  ", "    "))),
        (
            "an older wandb",
            format!("wandb_version: 1\narch:\n  desc: null\n  value:\n{}", ARCH.replace("  ", "    ")),
        ),
    ] {
        let out = dir.path().join(what);
        let imported = import(&path, &out, &with(&text)).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(imported.config, SMALL, "{what}");
    }
    for (text, expected) in [
        (
            plain.replace("num_heads: 1", "num_heads: null"),
            "c.yaml: num_heads is null, expected a whole number",
        ),
        (plain.replace("num_heads: 1", "num_heads: 3"), "num_heads is 3, expected 1 to hidden_size (from "),
        (
            plain.replace("  num_heads", "  puzzle_emb_len: 16\n  num_heads"),
            "its tensors do not match the configuration",
        ),
        (
            plain.replace("  num_heads", "  causal: true\n  num_heads"),
            "c.yaml: causal is true, expected false",
        ),
        (plain.replace("  num_heads", "  gate: 1\n  num_heads"), "c.yaml: unknown field gate"),
        (
            plain.replace("hrm.hrm_act_v1@Hierarchical", "recursive_reasoning.trm@TinyRecursive"),
            "its tensors do not match the configuration",
        ),
        (plain.replace("puzzle_emb_ndim: 2", "puzzle_emb_ndim: ${oc.env:NDIM}"), "only Hydra can resolve"),
        ("<!DOCTYPE html>".into(), "a web page"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n".into(), "git lfs pull"),
    ] {
        let message = refused(&path, &with(&text));
        assert!(message.contains(expected), "{message}, expected {expected}");
    }
    // On the command line it is the same table, and there the first word counts.
    let message = refused(&path, &options(&[&SET[..], &["mlp_t=true"]].concat()));
    assert!(message.contains("its tensors do not match the configuration"), "{message}");
    let own = options(&[&SET[..], &["arch.puzzle_emb_len=0", "causal=false"]].concat());
    import(&path, &dir.path().join("own"), &own).unwrap();
}

#[test]
fn what_is_no_checkpoint_is_named_for_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let mut tar = vec![0; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    for (bytes, what, hint) in [
        (
            &b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"[..],
            "a pointer of Git LFS",
            "git lfs",
        ),
        (b"<!DOCTYPE html><html></html>", "a web page", "download"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03", "compressed with gzip", "gunzip"),
        (b"GGUF\x03\0\0\0\0\0\0\0", "a GGUF file", "convert"),
        (b"\x08\x08\x12\x07pytorch\x1a", "an ONNX model", "convert"),
        (b"", "empty", "again"),
        (&tar, "before PyTorch 0.1.10", "tar"),
    ] {
        fs::write(&path, bytes).unwrap();
        let error = import_small(&path, &dir.path().join("out")).unwrap_err();
        assert!(
            error.to_string().contains(&format!("model.safetensors: the file is {what}"))
                || what.starts_with("before"),
            "{error}"
        );
        assert!(error.to_string().contains(what), "{error}");
        assert!(
            error.hint_text().is_some_and(|text| text.contains(hint)),
            "{error}: {:?}",
            error.hint_text()
        );
    }
    let mut archive = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    for name in ["step_100", "all_config.yaml"] {
        archive.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
    }
    archive.finish().unwrap();
    let error = import_small(&path, &dir.path().join("out")).unwrap_err();
    assert!(
        error.to_string().contains("a ZIP archive of other files (step_100, all_config.yaml)"),
        "{error}"
    );
    assert!(error.hint_text().unwrap().contains("unpack it"));
    // In a model directory, too.
    let model = dir.path().join("clone");
    write_model(&model, &SMALL, float);
    fs::write(model.join(WEIGHTS), "version https://git-lfs.github.com/spec/v1\n").unwrap();
    let error = Model::<Cpu>::load(&model, 1).err().unwrap();
    assert!(error.to_string().contains("a pointer of Git LFS"), "{error}");
}
