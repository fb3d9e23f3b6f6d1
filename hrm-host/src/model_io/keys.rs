//! Every key that the configuration of a model may have, in one table: `config.json`, YAML, `--set`, presets and golden
//! configurations are all read by it.
//!
//! A key is a field of [`Config`], the loss, another program's switch, or says nothing about what is computed. A switch
//! of another model is taken where it asks for what this program does anyway, and refused where it does not. A key that
//! is in no row of the table is refused: it could change what is computed.
//!
//! A new setting is one row of [`TABLE`] and one field of [`Config`].

use hrm_core::config::{Config, GradientSpan};
use hrm_core::loss::LossKind;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::interpolation::resolve;
use crate::nearest::nearest;

/// Keys with their values.
pub(crate) type Fields = Map<String, Value>;

/// What the keys of a row are about.
#[derive(Clone, Copy)]
enum Meaning {
    /// A field of the configuration: a whole number.
    Whole,
    /// A field: any number.
    Number,
    /// A field: one of these words.
    Word(&'static [&'static str]),
    /// A field: true or false.
    Switch,
    /// A field: how many applications have a gradient.
    Span,
    /// The loss that the model was trained with.
    Loss,
    /// The class of the model.
    Class,
    /// Another model's switch, which must be off. The text is what this program does.
    Off(&'static str),
    /// Another model's number, which must be what it is here.
    Same(fn(&Config) -> usize, &'static str),
    /// Another model's name for what this program does in one way: one of these.
    One(&'static [&'static str], &'static str),
    /// Says nothing about what is computed.
    Aside,
}

use Meaning::{Aside, Class, Loss, Number, Off, One, Same, Span, Switch, Whole, Word};

/// Whole numbers that only some of the published programs know.
const OPTIONAL_WHOLE: &[&str] = &["puzzle_emb_len"];

impl Meaning {
    /// Whether it is a field of the configuration.
    const fn is_field(self) -> bool {
        matches!(self, Whole | Number | Word(_) | Switch | Span)
    }
}

/// Every key that is known.
const TABLE: &[(Meaning, &[&str])] = &[
    (
        Whole,
        &[
            "seq_len",
            "vocab_size",
            "num_puzzle_identifiers",
            "hidden_size",
            "num_heads",
            "H_layers",
            "L_layers",
            "H_cycles",
            "L_cycles",
            "puzzle_emb_ndim",
            "halt_max_steps",
        ],
    ),
    (Number, &["expansion", "rms_norm_eps", "rope_theta", "halt_exploration_prob"]),
    (Whole, OPTIONAL_WHOLE),
    (Word(&["separate", "shared"]), &["stacks"]),
    (Switch, &["mlp_t", "no_ACT_continue"]),
    (Span, &["gradient"]),
    (Word(&["rope", "learned", "none", "rope2d"]), &["pos_encodings"]),
    (Word(&["bfloat16", "float32"]), &["forward_dtype"]),
    (Loss, &["loss", "loss_type"]),
    (Class, &["name", "architectures", "model_type"]),
    (Off("its attention sees every cell"), &["causal", "is_causal", "is_decoder"]),
    (
        Off("it drops nothing out"),
        &[
            "dropout",
            "attention_dropout",
            "attn_dropout",
            "hidden_dropout",
            "hidden_dropout_prob",
            "attention_probs_dropout_prob",
            "attn_pdrop",
            "embd_pdrop",
            "resid_pdrop",
        ],
    ),
    (Off("only its Q head has a bias"), &["bias", "attention_bias", "mlp_bias", "qkv_bias", "use_bias"]),
    (Off("its embedding and its head have weights of their own"), &["tie_word_embeddings", "tie_embeddings"]),
    (Off("it normalises after each residual"), &["pre_norm", "norm_first", "qk_norm"]),
    (Off("its rotary frequencies follow from rope_theta alone"), &["rope_scaling"]),
    (Off("its attention sees every cell"), &["sliding_window", "use_sliding_window"]),
    (Off("it has no second sequence"), &["is_encoder_decoder", "add_cross_attention"]),
    (Off("the weights of a checkpoint are floats"), &["quantization_config"]),
    (One(&["silu", "swish", "swiglu"], "SwiGLU"), &["hidden_act", "activation", "activation_function"]),
    (
        Same(|config| config.num_heads, "as many heads of keys and values as num_heads"),
        &["num_attention_heads", "num_key_value_heads", "num_kv_heads"],
    ),
    (Same(Config::head_dim, "heads of hidden_size / num_heads"), &["head_dim"]),
    (
        Same(Config::inter_size, "a SwiGLU of the width that follows from expansion"),
        &["intermediate_size", "inter_size"],
    ),
    (Same(Config::positions, "a position for each cell and for the prefix"), &["max_position_embeddings"]),
    // The published program's recipe, where a file has everything on one level.
    (
        Aside,
        &[
            "batch_size",
            "global_batch_size",
            "epochs",
            "steps",
            "lr",
            "lr_min_ratio",
            "lr_warmup_steps",
            "weight_decay",
            "beta1",
            "beta2",
            "puzzle_emb_lr",
            "puzzle_emb_weight_decay",
            "data_path",
            "data_paths",
            "data_paths_test",
            "evaluators",
            "eval_interval",
            "min_eval_interval",
            "eval_save_outputs",
            "checkpoint_path",
            "checkpoint_every_eval",
            "load_checkpoint",
            "project_name",
            "run_name",
            "seed",
            "ema",
            "ema_rate",
            "freeze_weights",
        ],
    ),
    // What transformers and the hub write, and what tracks experiments.
    (
        Aside,
        &[
            "torch_dtype",
            "dtype",
            "transformers_version",
            "_name_or_path",
            "name_or_path",
            "auto_map",
            "_commit_hash",
            "_attn_implementation",
            "_attn_implementation_autoset",
            "attn_implementation",
            "use_cache",
            "use_return_dict",
            "return_dict",
            "output_attentions",
            "output_hidden_states",
            "torchscript",
            "gradient_checkpointing",
            "initializer_range",
            "bos_token_id",
            "eos_token_id",
            "pad_token_id",
            "mask_token_id",
            "id2label",
            "label2id",
            "num_labels",
            "problem_type",
            "pipeline_tag",
            "task_specific_params",
            "tokenizer_class",
            "license",
            "tags",
            "library_name",
            "base_model",
            "_wandb",
            "wandb_version",
            "_hydra",
            "hydra",
            "defaults",
            "_target_",
            "_convert_",
            "_recursive_",
        ],
    ),
];

/// Keys under which files keep the architecture.
const HOLDERS: [&str; 5] = ["arch", "config", "model_config", "model", "arch_config"];
/// Keys of a loss that is an object; the first is the class of the published program.
const LOSS_KEYS: [&str; 2] = ["name", "loss_type"];

/// What the keys of one source say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys {
    /// Fields of [`Config`], each of its type.
    pub fields: Fields,
    /// Other models' switches; [`check`] looks at them when the configuration is known.
    pub foreign: Fields,
    /// The loss that the model was trained with, if there is one.
    pub loss: Option<LossKind>,
}

/// Sorts the keys of a configuration file: those of the architecture, which may stand under `arch` or the like, with
/// Hydra's interpolations resolved and the values of a wandb file taken out of their wrappers.
///
/// # Errors
/// It is no object, or a key is unknown, of another model, or has a value of another type. The message names it.
pub(crate) fn read(value: Value) -> Result<Keys, String> {
    let Value::Object(mut root) = value else {
        return Err("expected an object of configuration keys".into());
    };
    root.values_mut().for_each(unwrap);
    let root = nested(root);
    let at_root = root.keys().any(|key| meaning(key).is_some_and(Meaning::is_field));
    let holder = HOLDERS.into_iter().find(|holder| {
        // `arch` is always the published program's; the other names could be anything's.
        *holder == "arch" && root.contains_key("arch")
            || !at_root && root.get(*holder).is_some_and(Value::is_object)
    });
    let root = Value::Object(root);
    let (path, keys): (&[&str], _) = match &holder {
        Some(holder) => (std::slice::from_ref(holder), &root[holder]),
        None => (&[], &root),
    };
    let Value::Object(keys) = keys else {
        return Err(format!("{} is {}, expected an object of configuration keys", path.join("."), keys));
    };
    let mut found = Keys::default();
    let mut trm = false;
    for (key, value) in keys {
        let Some(meaning) = meaning(key) else { return Err(unknown(key, value)) };
        if matches!(meaning, Aside) {
            continue;
        }
        let value = &resolve(&root, path, key, value)?;
        match meaning {
            Whole | Number | Word(_) | Switch | Span => {
                drop(found.fields.insert(key.clone(), field(meaning, key, value)?))
            }
            Loss => found.loss = loss(&root, path, value)?.or(found.loss),
            Class => trm |= class(key, value)? == Model::Trm,
            Off(_) | Same(..) | One(..) => drop(found.foreign.insert(key.clone(), value.clone())),
            Aside => {}
        }
    }
    if trm {
        // What the class implies, and its own defaults.
        let implied = [
            ("stacks", Value::from("shared")),
            ("gradient", GradientSpan::CYCLE.into()),
            ("puzzle_emb_len", 16.into()),
            ("no_ACT_continue", true.into()),
        ];
        for (key, value) in implied {
            found.fields.entry(key).or_insert(value);
        }
    }
    Ok(found)
}

impl Keys {
    /// The whole configuration, checked.
    ///
    /// # Errors
    /// A field is missing or out of range, or a switch of another model is on.
    pub(crate) fn config(self) -> Result<Config, String> {
        let config = config_from(self.fields)?;
        check(&self.foreign, &config)?;
        Ok(config)
    }
}

/// The configuration with these fields, checked.
///
/// # Errors
/// A field is missing or out of range.
pub(crate) fn config_from(fields: Fields) -> Result<Config, String> {
    let config: Config = serde_json::from_value(fields.into()).map_err(|e| e.to_string())?;
    config.validate().map_err(|e| e.to_string())?;
    Ok(config.canonical())
}

/// Asks that other models' switches ask for what this program does.
///
/// # Errors
/// The first that does not: its key, its value, and what this program does.
pub(crate) fn check(foreign: &Fields, config: &Config) -> Result<(), String> {
    foreign.iter().try_for_each(|(key, value)| check_one(key, value, config))
}

pub(crate) fn check_one(key: &str, value: &Value, config: &Config) -> Result<(), String> {
    let number = match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_f64(),
    };
    let is = |expected: usize| number == Some(expected as f64);
    let text = value.as_str().unwrap_or_default();
    let (agrees, ours) = match meaning(key) {
        _ if value.is_null() => return Ok(()),
        Some(Off(ours)) => {
            let empty =
                value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty);
            let off =
                ["false", "none", "null", "off", "no", ""].iter().any(|off| text.eq_ignore_ascii_case(off));
            let off =
                if value.is_string() { off || is(0) } else { *value == Value::Bool(false) || is(0) || empty };
            (off, format!("expected false: in this program's model {ours}"))
        }
        Some(Same(expected, ours)) => {
            (is(expected(config)), format!("expected {}: this program has {ours}", expected(config)))
        }
        Some(One(known, ours)) => {
            (known.iter().any(|known| text.eq_ignore_ascii_case(known)), format!("this program has {ours}"))
        }
        _ => return Ok(()),
    };
    if agrees { Ok(()) } else { Err(format!("{key} is {value}, {ours}")) }
}

/// Whether a setting that no struct knows is a switch of another model, so that it may stand among settings.
///
/// # Errors
/// It is one, and asks for what this program does not do. `beside` are the settings that it stands among.
pub(crate) fn is_foreign_setting(key: &str, value: &Value, beside: Fields) -> Result<bool, String> {
    if key == "name" {
        return class(key, value).map(|_| true);
    }
    if !matches!(meaning(key), Some(Off(_) | Same(..) | One(..))) {
        return Ok(false);
    }
    let mut fields = match serde_json::to_value(Config::SUDOKU_EXTREME) {
        Ok(Value::Object(fields)) => fields,
        _ => Fields::new(),
    };
    fields.extend(beside.into_iter().filter(|(key, _)| meaning(key).is_some_and(Meaning::is_field)));
    // Settings that are wrong themselves are told of where they are read.
    let config = serde_json::from_value(fields.into()).unwrap_or(Config::SUDOKU_EXTREME);
    check_one(key, value, &config).map(|()| true)
}

/// The names of the fields, in order.
pub(crate) fn names() -> Vec<&'static str> {
    let rows = TABLE.iter().filter(|(meaning, _)| meaning.is_field());
    let mut names: Vec<&str> = rows.flat_map(|(_, keys)| keys.iter().copied()).collect();
    names.sort_unstable();
    names
}

/// The names of the fields that have no default, in order.
pub(crate) fn required() -> Vec<&'static str> {
    let optional = |key: &&str| {
        ["stacks", "gradient"].contains(key)
            || OPTIONAL_WHOLE.contains(key)
            || matches!(meaning(key), Some(Switch))
    };
    names().into_iter().filter(|key| !optional(key)).collect()
}

fn meaning(key: &str) -> Option<Meaning> {
    TABLE.iter().find(|(_, keys)| keys.contains(&key)).map(|(meaning, _)| *meaning)
}

fn unknown(key: &str, value: &Value) -> String {
    let known = names();
    let meant = nearest(key, &known).map_or(String::new(), |name| format!(" (did you mean {name}?)"));
    let value = match value {
        Value::Object(_) | Value::Array(_) => String::new(),
        value => format!(", which is {value}"),
    };
    format!(
        "unknown field {key}{meant}{value}: it could change what is computed, and this program does not know how; \
         known are {}",
        known.join(", ")
    )
}

/// What wandb makes of a value: an object of `value` and perhaps `desc`.
fn unwrap(value: &mut Value) {
    if let Value::Object(wrapper) = value
        && wrapper.keys().all(|key| key == "value" || key == "desc")
        && let Some(inner) = wrapper.remove("value")
    {
        *value = inner;
        if let Value::Object(inner) = value {
            inner.values_mut().for_each(unwrap);
        }
    }
}

/// `arch.hidden_size` or `arch/hidden_size` on one level, as flattened configurations have it, as two.
fn nested(root: Fields) -> Fields {
    let mut out = Fields::new();
    for (key, value) in root {
        let parts = key.split_once(['.', '/']).filter(|(holder, _)| *holder == "arch");
        match parts {
            None => drop(out.insert(key, value)),
            Some((holder, rest)) => {
                if let Some(arch) =
                    out.entry(holder).or_insert_with(|| Value::Object(Fields::new())).as_object_mut()
                {
                    match rest.split_once(['.', '/']) {
                        None => drop(arch.insert(rest.to_owned(), value)),
                        Some((outer, inner)) => {
                            if let Some(outer) = arch
                                .entry(outer)
                                .or_insert_with(|| Value::Object(Fields::new()))
                                .as_object_mut()
                            {
                                outer.insert(inner.to_owned(), value);
                            }
                        }
                    }
                }
            }
        }
    }
    out
}

/// The value of a field, of its type.
fn field(meaning: Meaning, key: &str, value: &Value) -> Result<Value, String> {
    let bad = |expected: &str| format!("{key} is {value}, expected {expected}");
    let number = match value {
        Value::Number(_) => value.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    match meaning {
        Whole => match value {
            Value::Number(whole) if whole.is_u64() => Ok(value.clone()),
            // A number of a spreadsheet or of a logger: 2.0 is 2.
            _ => match number {
                Some(number) if number >= 0.0 && number.fract() == 0.0 && number < 2f64.powi(53) => {
                    Ok((number as u64).into())
                }
                _ => Err(bad("a whole number, not negative")),
            },
        },
        Number => number
            .filter(|number| number.is_finite())
            .and_then(serde_json::Number::from_f64)
            .map(Value::Number)
            .ok_or_else(|| bad("a number")),
        Word(words) => {
            let text = value.as_str().unwrap_or_default().trim();
            let text = text.strip_prefix("torch.").unwrap_or(text).to_ascii_lowercase();
            let text = match text.as_str() {
                "bf16" => "bfloat16",
                "fp32" | "f32" | "float" => "float32",
                other => other,
            };
            let word = words.iter().find(|word| **word == text);
            word.map(|word| (*word).into()).ok_or_else(|| bad(&words.join(" or ")))
        }
        Switch => match value {
            Value::Bool(_) => Ok(value.clone()),
            Value::Null => Ok(false.into()),
            _ => {
                let text = value.as_str().unwrap_or_default().trim().to_ascii_lowercase();
                match (number, text.as_str()) {
                    (Some(0.0), _) | (_, "false" | "no" | "off") => Ok(false.into()),
                    (Some(1.0), _) | (_, "true" | "yes" | "on") => Ok(true.into()),
                    _ => Err(bad("true or false")),
                }
            }
        },
        Span => match (number, value.as_str()) {
            (_, Some(GradientSpan::CYCLE)) => Ok(value.clone()),
            (Some(number), _) if number >= 0.0 && number.fract() == 0.0 && number < 1e9 => {
                Ok((number as u64).into())
            }
            _ => Err(bad("a number of applications, or \"cycle\"")),
        },
        _ => Ok(value.clone()),
    }
}

/// The loss that a configuration names.
fn loss(root: &Value, path: &[&str], loss: &Value) -> Result<Option<LossKind>, String> {
    let kind = match loss {
        Value::Object(keys) => match keys.keys().find(|key| !LOSS_KEYS.contains(&key.as_str())) {
            None => match keys.get("loss_type") {
                Some(kind) => resolve(root, &[path, &["loss"]].concat(), "loss_type", kind)?,
                None => Value::Null,
            },
            Some(key) => return Err(format!("unknown field loss.{key}; known are {}", LOSS_KEYS.join(", "))),
        },
        other => other.clone(),
    };
    if kind.is_null() {
        return Ok(None);
    }
    LossKind::deserialize(&kind).map(Some).map_err(|_| {
        format!("loss is {kind}, expected \"stablemax_cross_entropy\" or \"softmax_cross_entropy\"")
    })
}

/// A model of the family, by its class.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Model {
    /// HRM, or a name that says nothing.
    Hrm,
    /// TRM: one network for both states.
    Trm,
}

/// The model of a class; another model is refused, and a name that is no class says nothing.
fn class(key: &str, value: &Value) -> Result<Model, String> {
    let names: Vec<&str> = match value {
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        other => other.as_str().into_iter().collect(),
    };
    for name in names {
        let lower = name.to_ascii_lowercase();
        let module = lower.split('@').next().unwrap_or_default();
        let variant = module.ends_with("trm_singlez") || module.ends_with("trm_hier6");
        let trm = lower.contains("tinyrecursive") || lower == "trm" || lower.contains("trm@");
        if trm && !variant {
            return Ok(Model::Trm);
        }
        // MODULE@CLASS, as the published program names what it loads.
        let class = name.split_once('@').map(|(_, class)| class);
        if variant || class.is_some_and(|class| !class.starts_with("HierarchicalReasoningModel")) {
            return Err(format!(
                "{key} is {name:?}, expected HierarchicalReasoningModel_ACTV1 or \
                 TinyRecursiveReasoningModel_ACTV1: this program runs no other model"
            ));
        }
    }
    Ok(Model::Hrm)
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
