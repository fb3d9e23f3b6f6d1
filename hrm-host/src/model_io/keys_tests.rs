//! Tests of [`super`].

use super::*;
use serde_json::json;

/// A whole configuration with these keys over it.
fn with(more: Value) -> Result<Config, String> {
    let mut keys = serde_json::to_value(Config::SUDOKU_EXTREME).unwrap();
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    read(keys)?.config()
}

#[test]
fn the_table_has_every_field_once() {
    // Of a model whose fields are none of them the default, which is left out.
    let Ok(Value::Object(fields)) = serde_json::to_value(Config::TRM_SUDOKU) else { panic!() };
    let mut fields: Vec<&str> = fields.keys().map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(names(), fields);
    let mut keys: Vec<&str> = TABLE.iter().flat_map(|(_, keys)| keys.iter().copied()).collect();
    let all = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), all);
    assert_eq!(with(json!({})), Ok(Config::SUDOKU_EXTREME));
}

#[test]
fn what_changes_nothing_is_passed_over() {
    for keys in [
        json!({ "architectures": ["HierarchicalReasoningModel_ACTV1"], "model_type": "hrm", "torch_dtype": "float16" }),
        json!({ "dtype": "bfloat16", "transformers_version": "5.0", "_name_or_path": "a/b", "auto_map": { "A": "b" } }),
        json!({ "name": "hrm.hrm_act_v1@HierarchicalReasoningModel_ACTV1", "batch_size": 768 }),
        json!({ "name": "recursive_reasoning.hrm@HierarchicalReasoningModel_ACTV1", "ema": true }),
        json!({ "causal": false, "mlp_t": false, "no_ACT_continue": false, "dropout": 0.0 }),
        json!({ "mlp_t": null, "rope_scaling": {}, "attention_bias": "false", "hidden_act": "SiLU" }),
        // 512 / 512, the published prefix of one position; 0 is for the program to derive.
        json!({ "puzzle_emb_len": 1, "num_key_value_heads": 8, "head_dim": 64.0, "intermediate_size": 1536 }),
        json!({ "puzzle_emb_len": 0, "max_position_embeddings": 82 }),
    ] {
        assert_eq!(with(keys.clone()), Ok(Config::SUDOKU_EXTREME), "{keys}");
    }
}

#[test]
fn another_model_is_refused_by_the_key_that_makes_it_one() {
    for (keys, expected) in [
        (
            json!({ "causal": true }),
            "causal is true, expected false: in this program's model its attention sees every",
        ),
        (json!({ "mlp_t": 2 }), "mlp_t is 2, expected true or false"),
        (
            json!({ "gradient": "all" }),
            "gradient is \"all\", expected a number of applications, or \"cycle\"",
        ),
        (json!({ "gradient": 1 }), "gradient is 1, expected 2 to"),
        (json!({ "stacks": "one" }), "stacks is \"one\", expected separate or shared"),
        (json!({ "dropout": 0.1 }), "dropout is 0.1"),
        (json!({ "tie_word_embeddings": true }), "tie_word_embeddings is true"),
        (json!({ "rope_scaling": { "factor": 2 } }), "rope_scaling is {"),
        (json!({ "num_key_value_heads": 2 }), "num_key_value_heads is 2, expected 8"),
        (json!({ "hidden_act": "gelu" }), "hidden_act is \"gelu\", this program has SwiGLU"),
        (json!({ "mlp_ratio": 4 }), "unknown field mlp_ratio, which is 4"),
        (json!({ "num_head": 8 }), "unknown field num_head (did you mean num_heads?)"),
        (json!({ "pos_encodings": "rop" }), "pos_encodings is \"rop\", expected rope or learned or none"),
        (
            json!({ "name": "recursive_reasoning.trm_singlez@TinyRecursiveReasoningModel_ACTV1" }),
            "runs no other model",
        ),
        (json!({ "name": "recursive_reasoning.transformers_baseline@Model_ACTV2" }), "runs no other model"),
        (json!({ "loss": { "loss_type": "hinge" } }), "loss is \"hinge\""),
        (json!({ "loss": { "smoothing": 0.1 } }), "unknown field loss.smoothing"),
    ] {
        let error = with(keys).unwrap_err();
        assert!(error.contains(expected), "{error}, expected {expected}");
    }
}

/// The class of TRM says what its keys do not, and its own defaults stand where they are silent.
#[test]
fn a_tiny_recursive_model_is_known_by_its_class() {
    let trm = json!({
        "arch": {
            "name": "recursive_reasoning.trm@TinyRecursiveReasoningModel_ACTV1",
            "L_layers": 2, "H_layers": 0, "H_cycles": 3, "L_cycles": 6, "mlp_t": "True", "pos_encodings": "none",
            "hidden_size": 512, "num_heads": 8, "expansion": 4, "puzzle_emb_ndim": 512, "seq_len": 81, "vocab_size": 11,
            "num_puzzle_identifiers": 1, "halt_max_steps": 16, "halt_exploration_prob": 0.1,
        },
    });
    assert_eq!(read(trm).unwrap().config(), Ok(Config::TRM_SUDOKU));
    let config =
        with(json!({ "name": "trm@TinyRecursiveReasoningModel_ACTV1", "no_ACT_continue": false })).unwrap();
    assert!(!config.no_act_continue && config.puzzle_emb_len == 16);
    // The settings are HRM's as well.
    let halting = with(json!({ "no_ACT_continue": "true", "gradient": 3 })).unwrap();
    assert!(halting.no_act_continue && halting.with_gradient() == 3);
}

#[test]
fn values_are_taken_as_they_are_meant_or_named() {
    let config =
        with(json!({ "num_heads": 4.0, "hidden_size": "256", "rms_norm_eps": "1e-5", "expansion": 4 }))
            .unwrap();
    assert_eq!((config.num_heads, config.hidden_size, config.expansion), (4, 256, 4.0));
    let config = with(json!({ "forward_dtype": "torch.float32", "pos_encodings": "learned" })).unwrap();
    assert_eq!(config.forward_dtype, hrm_core::config::ForwardDtype::Float32);
    for (keys, expected) in [
        (json!({ "num_heads": null }), "num_heads is null, expected a whole number"),
        (json!({ "num_heads": 1.5 }), "num_heads is 1.5, expected a whole number"),
        (json!({ "num_heads": -1 }), "num_heads is -1"),
        (json!({ "num_heads": true }), "num_heads is true"),
        (json!({ "num_heads": [8] }), "num_heads is [8]"),
        (json!({ "num_heads": 1e300 }), "num_heads is 1e"),
        (json!({ "rms_norm_eps": null }), "rms_norm_eps is null, expected a number"),
        (json!({ "rms_norm_eps": "NaN" }), "rms_norm_eps is \"NaN\""),
        (json!({ "forward_dtype": "float16" }), "forward_dtype is \"float16\", expected bfloat16 or float32"),
        (json!({ "num_heads": 7 }), "num_heads is 7, expected a divisor"),
    ] {
        let error = with(keys).unwrap_err();
        assert!(error.contains(expected), "{error}, expected {expected}");
    }
}

#[test]
fn wrappers_of_other_tools_come_off() {
    let arch = json!({ "hidden_size": 64, "puzzle_emb_ndim": "${.hidden_size}", "loss": { "loss_type": "softmax_cross_entropy" } });
    for file in [
        json!({ "arch": arch, "lr": 1e-4, "anything": { "else": 1 } }),
        json!({ "_wandb": { "value": {} }, "arch": { "value": arch }, "lr": { "value": 1 } }),
        json!({ "wandb_version": 1, "arch": { "desc": null, "value": arch } }),
        json!({ "hidden_size": { "desc": null, "value": 64 }, "puzzle_emb_ndim": { "value": "${hidden_size}" },
            "loss": { "value": { "loss_type": "softmax_cross_entropy" } } }),
        json!({ "arch.hidden_size": 64, "arch.puzzle_emb_ndim": 64, "arch.loss.loss_type": "softmax_cross_entropy", "lr": 1 }),
        json!({ "config": arch }),
        arch.clone(),
    ] {
        let keys = read(file.clone()).unwrap_or_else(|error| panic!("{error}: {file}"));
        assert_eq!(Value::Object(keys.fields), json!({ "hidden_size": 64, "puzzle_emb_ndim": 64 }), "{file}");
        assert_eq!(keys.loss, Some(LossKind::Softmax), "{file}");
    }
    assert!(read(json!({ "arch": [1] })).unwrap_err().contains("arch is [1], expected an object"));
    assert!(read(json!([1])).unwrap_err().contains("expected an object"));
}
