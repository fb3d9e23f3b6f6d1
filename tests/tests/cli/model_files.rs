//! `export`, `import`, and a bundle wherever a model is wanted.

use serde_json::Value;

use crate::support::{Place, without_metadata};

const PUZZLE: &str = "1.34341221434321";

#[test]
fn a_bundle_is_a_model_and_comes_back_as_one() {
    let place = Place::with_run();
    let exported = place.hrm("export run --to postcard --out a.hrm --json").expect(0, &[]);
    let exported: Value = serde_json::from_str(&exported.out).unwrap();
    assert_eq!(exported["bytes"].as_u64(), Some(place.read("a.hrm").len() as u64));
    let info = place.hrm("info a.hrm").expect(0, &[]);
    for words in ["bundle", "f32", "<pad> . 1 2 3 4", "verified"] {
        assert!(info.out.contains(words), "{}", info.out);
        assert!(!info.out.contains("memory to train"), "a bundle is for inference: {}", info.out);
    }
    let solve = |model: &str| {
        let ended = place.hrm(&format!("solve --model {model} --json --trace {PUZZLE}"));
        (ended.status.code(), ended.out)
    };
    assert_eq!(solve("a.hrm"), solve("run"));
    let solved = |model: &str| {
        let ended = place.hrm(&format!("eval --model {model} --data data --json")).expect(0, &[]);
        let mut report: Value = serde_json::from_str(&ended.out).unwrap();
        report.as_object_mut().unwrap().retain(|key, _| key != "seconds" && key != "puzzles_per_second");
        report
    };
    assert_eq!(solved("a.hrm"), solved("run"));

    let imported = place.hrm("import a.hrm --out back --json").expect(0, &[]);
    let imported: Value = serde_json::from_str(&imported.out).unwrap();
    assert_eq!(imported["origins"]["num_heads"], "the checkpoint");
    // What a bundle does not hold is the loss that the model was trained with, and its card.
    let files = |dir: &str| {
        let mut files = place.files(dir);
        files.remove("README.md");
        let mut config: Value = serde_json::from_slice(&files.remove("config.json").unwrap()).unwrap();
        config.as_object_mut().unwrap().remove("loss");
        (config, files)
    };
    assert!(files("back") == files("run/best"));
}

#[test]
fn a_model_directory_and_a_run_are_checkpoints_too() {
    let place = Place::with_run();
    for (checkpoint, out) in [("run/best", "a"), ("run", "b")] {
        let imported = place.hrm(&format!("import {checkpoint} --out {out} --json")).expect(0, &[]);
        let imported: Value = serde_json::from_str(&imported.out).unwrap();
        assert_eq!(imported["origins"]["num_heads"], "run/best/config.json");
        assert!(place.files(out) == place.files("run/best"), "the loss in config.json comes along");
    }
    // As another program writes it, and without a configuration: what the tensors do not tell is asked for.
    std::fs::create_dir(place.path("bare")).unwrap();
    place.write("bare/model.safetensors", without_metadata(&place.read("run/best/model.safetensors")));
    place.hrm("import bare --out c").expect(2, &["no tensor tells", "num_heads"]);
    place.hrm("import bare --out c --config run/best/config.json").expect(0, &[]);
    let mut files = place.files("run/best");
    files.remove("README.md").unwrap();
    assert!(place.files("c") == files);
}

#[test]
fn info_describes_for_people_and_for_programs() {
    let place = Place::with_run();
    place.hrm("export run --to postcard --out a.hrm").expect(0, &[]);
    let told = |path: &str| {
        let text = place.hrm(&format!("info {path}")).expect(0, &[]).out;
        let line = place.hrm(&format!("info {path} --json")).expect(0, &[]).out;
        (text, serde_json::from_str::<Value>(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
    };
    let config: Value = serde_json::from_slice(&place.read("run/best/config.json")).unwrap();
    let (text, model) = told("run/best");
    assert!(text.contains("positions               rope\n"), "{text}");
    assert_eq!((&model["kind"], &model["checksum"]), (&Value::from("model"), &Value::from(true)));
    assert_eq!(model["config"]["hidden_size"], config["hidden_size"]);
    assert!(text.contains(&format!("parameters              {}\n", model["parameters"])), "{text}");
    for (path, kind, words) in [
        ("a.hrm", "bundle", "bundle  a.hrm"),
        ("run", "run", "run  step 40 of 40 on cpu"),
        ("run/step-00000040", "run", "run  step 40 of 40 on cpu"),
        ("data", "dataset", "train  60 examples in 60 groups, 16 cells, 6 tokens, 1 puzzle identifier,"),
    ] {
        let (text, found) = told(path);
        assert!(text.starts_with(words), "{text}");
        assert_eq!(found["kind"], kind, "{found}");
        match kind {
            "bundle" => assert_eq!((&found["config"], &found["types"][0]), (&model["config"], &"f32".into())),
            "run" => assert_eq!((&found["step"], &found["model"]["config"]), (&40.into(), &model["config"])),
            _ => assert_eq!(
                (&found["splits"][1]["split"], &found["splits"][1]["sets"][0]["examples"]),
                (&"test".into(), &20.into())
            ),
        }
    }
    place.hrm("info none --json").expect(2, &["none"]);
}

#[test]
fn nothing_is_replaced_and_what_is_wrong_is_named() {
    let place = Place::with_run();
    for (format, name) in [("safetensors", "dir"), ("postcard", "a.hrm"), ("pytorch-names", "a.safetensors")]
    {
        let line = format!("export run --to {format} --dtype bf16 --out {name}");
        place.hrm(&line).expect(0, &[]);
        place.hrm(&line).expect(2, &[name, "exists", "hint:"]);
    }
    place.hrm("import a.safetensors --out dir").expect(2, &["dir exists and is not empty"]);
    place.hrm("import a.safetensors --out back").expect(0, &[]);
    place.hrm("import none --out x").expect(2, &["none"]);
    place.hrm("import data --out x").expect(2, &["data: not a model", "name the file of the checkpoint"]);
    std::fs::create_dir(place.path("published")).unwrap();
    place.write("published/step_900", "");
    place.write("published/step_1000", "");
    place
        .hrm("import published --out x")
        .expect(2, &["published: not a model", "such as published/step_1000"]);
    place.hrm("export data --to postcard --out x").expect(2, &["data: not a model"]);
    let mut bundle = place.read("a.hrm");
    bundle.pop();
    place.write("short.hrm", &bundle);
    let expected = ["short.hrm: it has", "bytes, expected"];
    for line in ["info short.hrm", "import short.hrm --out x", "eval --model short.hrm --data data"] {
        place.hrm(line).expect(2, &expected);
    }
    assert!(place.is_free("x"));
}

/// Which of the two is meant, nobody knows.
#[test]
fn a_key_twice_is_refused() {
    let place = Place::with_run();
    let config = String::from_utf8(place.read("run/best/config.json")).unwrap();
    let twice = config.replacen('{', "{\"num_heads\": 1, ", 1);
    place.write("run/best/config.json", &twice);
    for line in
        ["info run/best", "eval --model run/best --data data", "export --to postcard --out m.hrm run/best"]
    {
        place.hrm(line).expect(2, &["config.json: the key \"num_heads\" is there twice"]);
    }
    let description = String::from_utf8(place.read("data/test/dataset.json")).unwrap();
    place.write("data/test/dataset.json", description.replacen('{', "{\"seq_len\": 9, ", 1));
    place.hrm("info data").expect(2, &["dataset.json", "the key \"seq_len\" is there twice"]);
}

/// What a model is goes with it: into each checkpoint and the best model, and where these are imported or exported to.
#[test]
fn a_model_has_a_card() {
    let place = Place::with_run();
    let card = String::from_utf8(place.read("run/best/README.md")).unwrap();
    for words in [
        "---\nlibrary_name: hrm\ntags:\n- hrm\n",
        "of 40 steps of 4 puzzles |",
        "| seed | 0 |",
        "not averaged",
        "halts where q_halt > q_continue |",
        "% of puzzles solved, ",
        "1 vote |",
        "    hrm eval --model . --data DATA",
    ] {
        assert!(card.contains(words), "{words:?} in:\n{card}");
    }
    let last = place.files("run").into_keys().filter(|name| name.ends_with("README.md")).count();
    assert_eq!(last, 3, "the best model and two checkpoints");
    place.hrm("import run/best --out imported").expect(0, &[]);
    place.hrm("export --to safetensors --out exported run/best").expect(0, &[]);
    for out in ["imported", "exported"] {
        assert_eq!(String::from_utf8(place.read(&format!("{out}/README.md"))).unwrap(), card);
    }
    let trm = "train --preset trm-sudoku-mlp --data data --out trm --steps 2 --set global_batch_size=2 \
               --set arch.hidden_size=16 --set arch.num_heads=2 --set arch.puzzle_emb_ndim=16 --set arch.L_cycles=1 \
               --set arch.H_cycles=1 --set eval_limit=2 --set arch.halt_max_steps=2";
    place.hrm(trm).expect(0, &[]);
    let card = String::from_utf8(place.read("trm/best/README.md")).unwrap();
    for words in ["# Tiny Recursive Model", "EMA, rate 0.999", "q_halt > 0 |", "a SwiGLU over positions"] {
        assert!(card.contains(words), "{words:?} in:\n{card}");
    }
}
