//! `export`, `import`, and a bundle wherever a model is wanted.

use serde_json::Value;

use crate::support::Place;

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
    // What a bundle does not hold is the loss that the model was trained with.
    let files = |dir: &str| {
        let mut files = place.files(dir);
        let mut config: Value = serde_json::from_slice(&files.remove("config.json").unwrap()).unwrap();
        config.as_object_mut().unwrap().remove("loss");
        (config, files)
    };
    assert!(files("back") == files("run/best"));
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
    place.hrm("import run --out x").expect(2, &["run"]);
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
