//! What model a checkpoint is of: its configuration, put together from what is known, and where each value is from.
//!
//! In this order, the first that knows a field gives it: `--set`; a dataset; the configuration file (that of
//! `--config`, or the one that the checkpoint carries or lies beside); the shapes of the tensors; the published
//! program's constants. What none of these knows is asked for.

use std::collections::BTreeMap;
use std::path::Path;

use hrm_core::config::{Config, ForwardDtype, GradientSpan, PosEncodings, Stacks};
use hrm_core::loss::LossKind;
use serde_json::{Value, json};

use super::checkpoint::Checkpoint;
use super::keys::{self, Fields, Keys};
use super::vocabulary::published_seq_len;
use crate::data::Metadata;
use crate::error::{Context, Error, Result};
use crate::files::read_error;
use crate::model_dir::{self, TextError};
use crate::numbers::Number;
use crate::settings::Settings;
use crate::tensor_match::bare;

/// Names that the published program and this one give a configuration beside a checkpoint.
const BESIDE: [&str; 2] = ["all_config.yaml", model_dir::CONFIG];
/// The longest configuration file that is read.
const LONGEST: usize = 1 << 20;

/// Where to look for the configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sources<'a> {
    /// A configuration file: `all_config.yaml` of the published program, or a `config.json`.
    pub config: Option<&'a Path>,
    /// A dataset: its sizes.
    pub data: Option<&'a Metadata>,
    /// Single fields, as `KEY=VALUE`.
    pub set: &'a [String],
}

/// A configuration, and for each of its fields where it is from.
#[derive(Clone, Debug)]
pub struct Architecture {
    /// The configuration.
    pub config: Config,
    /// Field, value and origin, in the order of their names.
    pub fields: Vec<(String, Value, String)>,
    /// The loss that the model was trained with, if the configuration file says; else the published one.
    pub loss: LossKind,
}

/// Finds the configuration of the model in `checkpoint`.
///
/// # Errors
/// A source cannot be read, or fields remain that none of them knows: all are listed.
pub fn find(checkpoint: &Checkpoint, sources: &Sources<'_>) -> Result<Architecture> {
    let mut known = Known::default();
    let mut set = Settings::default();
    // A key may be given as it stands in the published program's file.
    let own = |assignment: &String| set.set(assignment.strip_prefix("arch.").unwrap_or(assignment));
    sources.set.iter().try_for_each(own)?;
    let assigned: Fields = set.build()?;
    known.add_keys(keys::read(assigned.into()).map_err(|e| Error::usage(format!("--set: {e}")))?, "--set");
    if let Some(data) = sources.data {
        let sizes = json!({
            "seq_len": data.seq_len,
            "vocab_size": data.vocab_size,
            "num_puzzle_identifiers": data.num_puzzle_identifiers,
        });
        known.add_object(sizes, "the dataset");
    }
    let beside = || {
        let place = |name: &&str| checkpoint.path().with_file_name(name);
        BESIDE.iter().map(place).find(|path| path.is_file())
    };
    let mut loss = LossKind::Stablemax;
    let file = match (sources.config, checkpoint.config) {
        (Some(path), _) => Some(path.to_owned()),
        (None, Some(config)) => {
            let fields = serde_json::to_value(config).map_err(|e| Error::failed(e.to_string()))?;
            known.add_object(fields, "the checkpoint");
            None
        }
        (None, None) => beside(),
    };
    if let Some(path) = file {
        let keys = read_file(&path).during(|| format!("reading {}", path.display()))?;
        loss = keys.loss.unwrap_or(loss);
        known.add_keys(keys, &path.display().to_string());
    }
    let told = shapes(checkpoint);
    if !told.contains_key("hidden_size") && !told.contains_key("expansion") {
        return Err(no_model(checkpoint));
    }
    known.add(told, "the tensors");
    if checkpoint.is_trm() {
        known.add(trm_positions(checkpoint, &known), "the tensors");
    }
    if !known.0.contains_key("seq_len")
        && let Some(seq_len) = known.number("vocab_size").and_then(published_seq_len)
    {
        known.add_object(json!({ "seq_len": seq_len }), "the published task with so many tokens");
    }
    let published = Config::SUDOKU_EXTREME;
    let constants = json!({
        "rms_norm_eps": published.rms_norm_eps,
        "rope_theta": published.rope_theta,
        "halt_exploration_prob": published.halt_exploration_prob,
    });
    known.add_object(constants, "the published program");
    if checkpoint.is_trm() {
        let trm = Config::TRM_SUDOKU;
        let constants =
            json!({ "puzzle_emb_len": trm.puzzle_emb_len, "no_ACT_continue": trm.no_act_continue });
        known.add_object(constants, "the published program of TRM");
    }
    known.finish(loss)
}

/// That none of the tensors is a model's, and what they are.
fn no_model(checkpoint: &Checkpoint) -> Error {
    let tensors = checkpoint.tensors();
    let mut names: Vec<String> =
        tensors.iter().take(6).map(|tensor| format!("{} {:?}", tensor.name, tensor.shape)).collect();
    if tensors.len() > names.len() {
        names.push(format!("and {} more", tensors.len() - names.len()));
    }
    let what = if names.is_empty() { "no tensor at all".to_owned() } else { names.join(", ") };
    Error::input(format!(
        "{}: none of its tensors is one of HRM's; it has {what}",
        checkpoint.path().display()
    ))
    .hint(
        "expected are names that end as the published program's do: embed_tokens.embedding_weight, H_init, \
         L_level.layers.0.self_attn.qkv_proj.weight, ..",
    )
}

/// Fields by name, each with where it is from; and other models' switches.
#[derive(Default)]
struct Known(BTreeMap<String, (Value, String)>, BTreeMap<String, (Value, String)>);

impl Known {
    /// Adds what is not known yet.
    fn add(&mut self, fields: Fields, origin: &str) {
        for (key, value) in fields {
            self.0.entry(key).or_insert_with(|| (value, origin.to_owned()));
        }
    }

    /// The same for what a file or a command line says.
    fn add_keys(&mut self, keys: Keys, origin: &str) {
        self.add(keys.fields, origin);
        for (key, value) in keys.foreign {
            self.1.entry(key).or_insert_with(|| (value, origin.to_owned()));
        }
    }

    fn add_object(&mut self, value: Value, origin: &str) {
        if let Value::Object(fields) = value {
            self.add(fields, origin);
        }
    }

    fn number(&self, key: &str) -> Option<usize> {
        usize::try_from(self.0.get(key)?.0.as_u64()?).ok()
    }

    /// The whole configuration, or everything that is missing.
    fn finish(self, loss: LossKind) -> Result<Architecture> {
        let lacking: Vec<String> = keys::required()
            .into_iter()
            .filter(|key| !self.0.contains_key(*key))
            .map(str::to_owned)
            .collect();
        if !lacking.is_empty() {
            let published = serde_json::to_value(Config::SUDOKU_EXTREME).unwrap_or_default();
            let set: Vec<String> =
                lacking.iter().map(|key| format!("--set {key}={}", published[key.as_str()])).collect();
            return Err(Error::usage(format!(
                "no tensor tells {}: give the checkpoint's configuration with --config, or each with --set",
                lacking.join(", ")
            ))
            .hint(format!("the published program's defaults are {}", set.join(" "))));
        }
        let fields: Fields = self.0.iter().map(|(key, (value, _))| (key.clone(), value.clone())).collect();
        let config = keys::config_from(fields).map_err(|problem| {
            // It begins with the field.
            let origin = problem.split(' ').next().and_then(|key| Some(&self.0.get(key)?.1));
            Error::input(match origin {
                Some(origin) => format!("{problem} (from {origin})"),
                None => problem,
            })
        })?;
        for (key, (value, origin)) in &self.1 {
            keys::check_one(key, value, &config)
                .map_err(|problem| Error::input(format!("{origin}: {problem}")))?;
        }
        let fields = self.0.into_iter().map(|(key, (value, origin))| (key, value, origin)).collect();
        Ok(Architecture { config, fields, loss })
    }
}

fn read_file(path: &Path) -> Result<Keys> {
    let text = model_dir::read_text(path).map_err(|error| match error {
        TextError::Io(error) => read_error(path, error),
        TextError::Other(problem) => {
            Error::input(problem).hint("check the path: a configuration is a short file of text")
        }
    })?;
    read_keys(&text).map_err(Error::input)
}

/// The architecture in the text of a configuration file: YAML, of which JSON is a part. Under the key `arch`, if there
/// is one, as in the published program's `all_config.yaml`.
///
/// # Errors
/// It is too long, no YAML, or has an unknown key.
pub fn parse(text: &str) -> Result<serde_json::Map<String, Value>, String> {
    read_keys(text).map(|keys| keys.fields)
}

fn read_keys(text: &str) -> Result<Keys, String> {
    if text.len() > LONGEST {
        return Err(format!("it has {} bytes, expected at most {LONGEST}", text.len()));
    }
    let value: Value = serde_saphyr::from_str(text).map_err(|error| {
        // Advice to programmers.
        let advice = ", set DuplicateKeyPolicy in Options if acceptable";
        format!("not YAML: {}", error.to_string().replace(advice, ""))
    })?;
    keys::read(value)
}

/// What the shapes of the tensors tell.
fn shapes(checkpoint: &Checkpoint) -> Fields {
    let mut found = Fields::new();
    let mut tell = |key: &str, value: Value| found.insert(key.to_owned(), value);
    let table = |name: &str| match checkpoint.shape(name) {
        Some(&[rows, cols]) => Some((rows, cols)),
        _ => None,
    };
    let (rows, ndim) = table("puzzle_emb.weights").unwrap_or((1, 0));
    tell("num_puzzle_identifiers", rows.into());
    tell("puzzle_emb_ndim", ndim.into());
    let hidden = table("embed_tokens.embedding_weight").map(|(vocab, hidden)| {
        tell("vocab_size", vocab.into());
        tell("hidden_size", hidden.into());
        hidden
    });
    let positions = table("embed_pos.embedding_weight");
    let tokens = table("L_level.layers.0.mlp_t.down_proj.weight");
    let encodings = match (positions, tokens) {
        (Some(_), _) => PosEncodings::Learned,
        (None, Some(_)) => PosEncodings::None,
        (None, None) => PosEncodings::Rope,
    };
    if tokens.is_some() {
        tell("mlp_t", true.into());
    }
    if checkpoint.is_trm() {
        tell("stacks", json!(Stacks::Shared));
        tell("gradient", json!(GradientSpan::Cycle));
    }
    tell("pos_encodings", json!(encodings));
    let fixed_prefix = positions.filter(|_| !checkpoint.is_trm());
    if let (Some((positions, _)), Some(hidden)) = (fixed_prefix, hidden.filter(|hidden| *hidden > 0)) {
        tell("seq_len", positions.saturating_sub(ndim.div_ceil(hidden)).into());
    }
    if let (Some(hidden), Some((_, inter))) = (hidden, table("L_level.layers.0.mlp.down_proj.weight")) {
        tell("expansion", json!(expansion(hidden, inter)));
    }
    for level in ["H", "L"] {
        let count = layers(checkpoint, &format!("{level}_level.layers."));
        tell(&format!("{level}_layers"), count.into());
    }
    // The published program stores these two in the precision that it computes in.
    let state = checkpoint.tensors().iter().position(|tensor| bare(&tensor.name) == "H_init");
    let bfloat16 = state.and_then(|place| checkpoint.number(place)) == Some(Number::Bf16);
    let dtype = if bfloat16 { ForwardDtype::Bfloat16 } else { ForwardDtype::Float32 };
    tell("forward_dtype", json!(dtype));
    found
}

/// What TRM's weights tell of cells and prefix, whose sum is the length of its positions or of its SwiGLU over them. If
/// neither is known, the prefix is the published one, or as short as the puzzle embedding allows.
fn trm_positions(checkpoint: &Checkpoint, known: &Known) -> Fields {
    let rows = |name: &str| checkpoint.shape(name).and_then(|shape| shape.first().copied());
    let places = ["embed_pos.embedding_weight", "L_level.layers.0.mlp_t.down_proj.weight"];
    let Some(all) = places.into_iter().find_map(rows) else { return Fields::new() };
    let seq_len = known.number("seq_len").or_else(|| {
        let published = known.number("vocab_size").and_then(published_seq_len)?;
        (published < all).then_some(published)
    });
    let least = match (known.number("puzzle_emb_ndim"), known.number("hidden_size")) {
        (Some(ndim), Some(hidden)) if hidden > 0 => ndim.div_ceil(hidden),
        _ => 0,
    };
    let published = Config::TRM_SUDOKU.puzzle_emb_len;
    let guess = if all > published { published } else { least };
    let prefix = match seq_len {
        Some(seq_len) => all.saturating_sub(seq_len),
        None => known.number("puzzle_emb_len").unwrap_or(guess),
    };
    [("seq_len", seq_len.unwrap_or(all.saturating_sub(prefix))), ("puzzle_emb_len", prefix)]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect()
}

/// The number of layers whose tensors begin with `prefix` and a number: one more than the largest.
fn layers(checkpoint: &Checkpoint, prefix: &str) -> usize {
    let layer = |name: &str| bare(name).strip_prefix(prefix)?.split('.').next()?.parse::<u32>().ok();
    let last = checkpoint.tensors().iter().filter_map(|tensor| layer(&tensor.name)).max();
    last.map_or(0, |last| last as usize + 1)
}

/// An expansion that leads to a SwiGLU of width `inter`: the published one if it does, else the smallest multiple of a
/// half, else the exact ratio.
fn expansion(hidden: usize, inter: usize) -> f64 {
    let leads_there = |expansion: &f64| {
        let config = Config { hidden_size: hidden, expansion: *expansion, ..Config::SUDOKU_EXTREME };
        config.inter_size() == inter
    };
    let halves = (1..=128u8).map(|half| f64::from(half) / 2.0);
    std::iter::once(Config::SUDOKU_EXTREME.expansion)
        .chain(halves)
        .find(leads_there)
        .unwrap_or(inter as f64 * 1.5 / hidden.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL_CONFIG: &str = "arch:
  H_cycles: 2
  H_layers: 4
  L_cycles: 2
  L_layers: 4
  expansion: 4
  halt_exploration_prob: 0.1
  halt_max_steps: 16
  hidden_size: 512
  loss:
    loss_type: stablemax_cross_entropy
    name: losses@ACTLossHead
  name: hrm.hrm_act_v1@HierarchicalReasoningModel_ACTV1
  num_heads: 8
  pos_encodings: rope
  puzzle_emb_ndim: 512
beta1: 0.9
eval_save_outputs: []
lr: 7.0e-05
run_name: null
";

    #[test]
    fn a_published_configuration_is_read() {
        let fields = parse(ALL_CONFIG).unwrap();
        assert_eq!(fields.len(), 11);
        assert_eq!((&fields["num_heads"], &fields["pos_encodings"]), (&json!(8), &json!("rope")));
        assert_eq!(parse(r#"{"num_heads": 4, "batch_size": 7}"#).unwrap().len(), 1);
    }

    #[test]
    fn the_loss_is_read_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(BESIDE[0]);
        let loss = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read_file(&path).map(|keys| keys.loss.unwrap()).map_err(|error| error.to_string())
        };
        assert_eq!(loss(ALL_CONFIG), Ok(LossKind::Stablemax));
        assert_eq!(loss(&ALL_CONFIG.replace("stablemax_cross", "softmax_cross")), Ok(LossKind::Softmax));
        assert!(loss(&ALL_CONFIG.replace("stablemax_cross_entropy", "hinge")).unwrap_err().contains("hinge"));
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        let bomb: String = std::iter::once("a0: &a0 [x, x]\n".to_owned())
            .chain((1..40).map(|i| format!("a{i}: &a{i} [*a{}, *a{}]\n", i - 1, i - 1)))
            .collect();
        for (text, expected) in [
            ("arch: [1, 2]", "expected an object"),
            ("arch: {num_head: 8}", "unknown field num_head (did you mean num_heads?), which is 8"),
            ("a: b: c", "not YAML"),
            ("num_heads: 1\nnum_heads: 2", "duplicate mapping key: num_heads\n"),
            (r#"{"num_heads": 1, "num_heads": 2}"#, "duplicate mapping key: num_heads\n"),
            ("12", "expected an object"),
            (&bomb, "not YAML"),
            (&"[".repeat(100_000), "not YAML"),
            (&" ".repeat(LONGEST + 1), "bytes, expected at most"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{error}, expected {expected}");
        }
    }

    #[test]
    fn an_expansion_leads_back_to_its_width() {
        for (hidden, expansion_was) in [(512, 4.0), (128, 4.0), (512, 8.0), (1024, 2.5), (512, 1.25)] {
            let config = Config { hidden_size: hidden, expansion: expansion_was, ..Config::SUDOKU_EXTREME };
            let inter = config.inter_size();
            let found = Config { expansion: expansion(hidden, inter), ..config };
            assert_eq!(found.inter_size(), inter);
        }
        assert_eq!(expansion(512, 1536), 4.0);
    }
}
