//! Numbers that are not finite: the run stops, says in which step and tensor, and the last good checkpoint is intact.

use serde_json::Value;

use crate::support::{Place, assert_same, checkpoints, without_metadata};

#[test]
fn an_absurd_learning_rate_stops_the_run() {
    let place = Place::with_data();
    for lr in ["1e30", "1e300"] {
        let out = format!("run-{lr}");
        let more = format!("--set lr={lr} --set lr_warmup_steps=0");
        let ended = place.train(&out, &more).expect(1, &["error:", "step ", "hint:"]);
        assert!(ended.err.contains("finite"), "{}", ended.err);
        assert!(
            ["parameter ", "gradient of ", "state ", "logits"].iter().any(|t| ended.err.contains(t)),
            "{}",
            ended.err
        );
        // Whatever was saved before holds numbers only.
        for step in checkpoints(&place.path(&out)) {
            place.hrm(&format!("info {out}/{step}")).expect(0, &[]);
        }
    }
}

/// One step at an absurd rate leaves numbers, and a model that has none to say.
#[test]
fn a_model_that_has_diverged_is_no_result() {
    let place = Place::with_data();
    let more = "--set lr=1e30 --set puzzle_emb_lr=1e30 --set lr_warmup_steps=0 --set eval_interval=0 \
                --set checkpoint_interval=1 --set arch.loss=softmax_cross_entropy";
    let ended =
        place.train("run", more).expect(1, &["finite", "hint: begin again with a lower learning rate"]);
    let newest = checkpoints(&place.path("run")).pop().unwrap();
    assert!(!ended.err.contains(&format!("the last good checkpoint is run/{newest}")), "{}", ended.err);
    assert!(ended.err.contains(&newest) || ended.err.contains("last good"), "{}", ended.err);
    for flags in ["", " --json", " --halt q", " --sweep"] {
        let line = format!("eval --model run/{newest} --data data{flags}");
        let ended = place.hrm(&line).expect(1, &["error:", "expected a finite number", "diverged"]);
        assert_eq!(ended.out, "", "{flags}");
    }
    let solved = place.hrm(&format!("solve --model run/{newest} 1.34341221434321"));
    solved.expect(1, &["expected a finite number"]);
}

#[test]
fn a_nan_in_the_weights_is_named_and_nothing_is_overwritten() {
    let place = Place::with_data();
    place.train("run", "").expect(0, &[]);
    let name = "run/step-00000040/model.safetensors";
    let (bytes, tensor) = with_nan(&place.read(name));
    place.write(name, bytes);
    let before = place.result("run");
    let words = ["error:", name, &tensor, "not a finite number"];
    let resume = "train --resume --data data --out run --steps 50";
    place.hrm(resume).expect(2, &words).expect(2, &["hint:", "step-00000035"]);
    place.hrm("eval --model run/step-00000040 --data data").expect(2, &words);
    let after = place.result("run");
    assert_eq!(checkpoints(&place.path("run")), ["step-00000035", "step-00000040"]);
    for step in ["step-00000035/", "best/"] {
        let part = |files: &std::collections::BTreeMap<String, Vec<u8>>| {
            files.clone().into_iter().filter(|(name, _)| name.starts_with(step)).collect()
        };
        assert_same(&part(&after), &part(&before), step);
    }
    place.hrm("eval --model run/step-00000035 --data data").expect(0, &[]);
}

/// The file without our metadata, as another program would write it, and with a NaN in the middle of a tensor.
fn with_nan(bytes: &[u8]) -> (Vec<u8>, String) {
    let bytes = without_metadata(bytes);
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header: serde_json::Map<String, Value> = serde_json::from_slice(header).unwrap();
    let (name, entry) = header.iter().find(|(name, _)| name.contains("mlp")).unwrap();
    let range: (usize, usize) = serde_json::from_value(entry["data_offsets"].clone()).unwrap();
    let (name, middle) = (name.clone(), (range.0 + range.1) / 8 * 4);
    let start = bytes.len() - data.len();
    let mut bytes = bytes.clone();
    bytes[start + middle..start + middle + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    (bytes, name.trim_start_matches("model.inner.").to_owned())
}
