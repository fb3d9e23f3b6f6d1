//! A model on disk: a directory with `config.json` (the published keys) and `model.safetensors` (the published
//! tensor names).

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hrm_core::config::{Config, ConfigError};
use hrm_core::init;
use hrm_core::kernels::{Memory, Region};
use hrm_core::loss::LossKind;
use hrm_core::plan::Plan;
use hrm_core::tensors::Tensor;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::files;
use crate::numbers::Precision;
use crate::tensor_file::{self, Elements, Kind, Source, TensorFile, TensorFileError};
use crate::tensor_match::{self, Mismatch, shape};

/// Name of the configuration in a model directory.
pub const CONFIG: &str = "config.json";
/// Longest configuration that is read.
const LONGEST: u64 = 1 << 20;
/// Name of the weights in a model directory.
pub const WEIGHTS: &str = "model.safetensors";
/// Metadata field of the weights that holds the configuration they were made with, as JSON.
pub(crate) const CONFIG_FIELD: &str = "hrm_config";
/// What the published program puts before every tensor's name.
const PREFIX: &str = "model.inner.";

/// Key of a configuration that says with which loss the model was trained, and the key in it that names the loss.
const LOSS: &str = "loss";
const LOSS_TYPE: &str = "loss_type";
/// Keys of a loss that is an object; the first is the class of the published program.
const LOSS_KEYS: [&str; 2] = ["name", LOSS_TYPE];

/// Key of a configuration that says in which precision the model computes.
const PRECISION: &str = "forward_dtype";

/// Keys of published configurations that say nothing about the architecture.
const IGNORED_KEYS: [&str; 5] = ["batch_size", "causal", LOSS, "name", "puzzle_emb_len"];

/// Configuration keys with their values.
pub(crate) type Fields = serde_json::Map<String, serde_json::Value>;

/// Why a model cannot be loaded or saved.
#[derive(Debug)]
pub enum ModelError<E> {
    /// A file cannot be read or written.
    Io(PathBuf, io::Error),
    /// There is no model at this path.
    NotAModel(PathBuf, String),
    /// The configuration is not what it should be.
    Config(PathBuf, String),
    /// The weights are not what they should be.
    Weights(TensorFileError),
    /// Tensors do not match the configuration.
    Mismatch(PathBuf, Mismatch),
    /// The backend failed.
    Backend(E),
}

impl<E: fmt::Display> fmt::Display for ModelError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::NotAModel(path, problem) => write!(f, "{}: not a model: {problem}", path.display()),
            Self::Config(path, problem) => write!(f, "{}: {problem}", path.display()),
            Self::Weights(error) => error.fmt(f),
            Self::Mismatch(path, mismatch) => write!(f, "{}: {mismatch}", path.display()),
            Self::Backend(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error> std::error::Error for ModelError<E> {}

impl<E> From<TensorFileError> for ModelError<E> {
    fn from(error: TensorFileError) -> Self {
        Self::Weights(error)
    }
}

/// Reads a configuration in the published form. Keys that are not of the architecture (`batch_size` and the
/// like) are skipped, any other unknown key is an error.
///
/// # Errors
/// The file cannot be read, is not JSON, lacks a field, has an unknown one, or one out of range.
pub fn read_config<E>(path: &Path) -> Result<Config, ModelError<E>> {
    let text = files::try_text_at_most(path, LONGEST).map_err(|e| ModelError::Io(path.to_owned(), e))?;
    let bad = |problem: String| ModelError::Config(path.to_owned(), problem);
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|e| bad(format!("not JSON: {e}")))?;
    loss_of(&value).map_err(bad)?;
    config_from(architecture(value).map_err(bad)?).map_err(bad)
}

/// The keys of the architecture in an object of published keys. Others that are known are skipped.
///
/// # Errors
/// It is no object, or has an unknown key.
pub(crate) fn architecture(value: serde_json::Value) -> Result<Fields, String> {
    let serde_json::Value::Object(mut fields) = value else {
        return Err("expected an object of configuration keys".into());
    };
    fields.retain(|key, _| !IGNORED_KEYS.contains(&key.as_str()));
    let known = known_keys();
    match fields.keys().find(|key| !known.contains(key.as_str())) {
        None => Ok(fields),
        Some(key) => {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            Err(format!("unknown field {key}; known are {}", known.join(", ")))
        }
    }
}

/// The configuration with these fields, checked.
///
/// # Errors
/// A field is missing or out of range.
pub(crate) fn config_from(fields: Fields) -> Result<Config, String> {
    let config: Config = serde_json::from_value(fields.into()).map_err(|e| e.to_string())?;
    config.validate().map_err(|e: ConfigError| e.to_string())?;
    Ok(config)
}

/// The loss that the model of the configuration in `path` was trained with: `loss`, or `loss_type` in it, as published
/// configurations have it; stablemax, the published default, if it does not say.
///
/// # Errors
/// The file cannot be read, is not JSON, or names a loss that is not known.
pub fn read_loss<E>(path: &Path) -> Result<LossKind, ModelError<E>> {
    let text = files::try_text_at_most(path, LONGEST).map_err(|e| ModelError::Io(path.to_owned(), e))?;
    let bad = |problem: String| ModelError::Config(path.to_owned(), problem);
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|e| bad(format!("not JSON: {e}")))?;
    loss_of(&value).map_err(bad)
}

/// The loss that a configuration names; stablemax, the published default, if it does not.
///
/// # Errors
/// It names one that is not known.
pub(crate) fn loss_of(config: &serde_json::Value) -> Result<LossKind, String> {
    let kind = match config.get(LOSS) {
        Some(serde_json::Value::Object(loss)) => {
            match loss.keys().find(|key| !LOSS_KEYS.contains(&key.as_str())) {
                None => loss.get(LOSS_TYPE),
                Some(key) => {
                    return Err(format!("unknown field {LOSS}.{key}; known are {}", LOSS_KEYS.join(", ")));
                }
            }
        }
        other => other,
    };
    match kind {
        None | Some(serde_json::Value::Null) => Ok(LossKind::Stablemax),
        Some(kind) => LossKind::deserialize(kind).map_err(|_| {
            format!("{LOSS} is {kind}, expected \"stablemax_cross_entropy\" or \"softmax_cross_entropy\"")
        }),
    }
}

pub(crate) fn known_keys() -> BTreeSet<String> {
    match serde_json::to_value(Config::SUDOKU_EXTREME) {
        Ok(serde_json::Value::Object(keys)) => keys.into_iter().map(|(key, _)| key).collect(),
        _ => BTreeSet::new(),
    }
}

/// The model directory that `path` stands for: itself, or the best or newest checkpoint of a run.
///
/// # Errors
/// There is none.
pub fn resolve<E>(path: &Path) -> Result<PathBuf, ModelError<E>> {
    if path.join(CONFIG).is_file() {
        return Ok(path.to_owned());
    }
    let best = path.join("best");
    // A run that was killed while it replaced its best model has it under another name.
    if let Some(best) = [Some(best.clone()), files::moved_aside(&best)]
        .into_iter()
        .flatten()
        .find(|dir| dir.join(CONFIG).is_file())
    {
        return Ok(best);
    }
    if let Some(newest) = checkpoints(path).pop() {
        return Ok(newest.1);
    }
    let problem = if path.exists() {
        format!("expected {CONFIG} and {WEIGHTS} in it, or the checkpoints of a run")
    } else {
        "there is no such directory".into()
    };
    Err(ModelError::NotAModel(path.to_owned(), problem))
}

/// The checkpoints `step-N` of a run, oldest first.
#[must_use]
pub fn checkpoints(run: &Path) -> Vec<(u64, PathBuf)> {
    let Ok(entries) = fs::read_dir(run) else { return Vec::new() };
    let mut found: Vec<(u64, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let name = path.file_name()?.to_str()?;
            let step = checkpoint_step(name)?;
            path.is_dir().then_some((step, path))
        })
        .collect();
    found.sort();
    found
}

/// Name of the checkpoint after `step` steps.
#[must_use]
pub fn checkpoint_name(step: u64) -> String {
    format!("step-{step:08}")
}

/// The inverse of [`checkpoint_name`]: other spellings of the number are somebody else's.
#[must_use]
pub fn checkpoint_step(name: &str) -> Option<u64> {
    let step = name.strip_prefix("step-")?.parse().ok()?;
    (checkpoint_name(step) == name).then_some(step)
}

/// Writes the weights of `backend` to `path`.
///
/// # Errors
/// The backend fails, or writing does.
pub fn save_weights<K: Memory>(
    backend: &mut K,
    plan: &Plan,
    path: &Path,
) -> Result<(), ModelError<K::Error>> {
    let fetch = |tensor: &Tensor, out: &mut [f32]| backend.read(Region::Params, tensor.span.offset, out);
    write_weights(plan, path, Precision::F32, fetch)?.map_err(ModelError::Backend)
}

/// Writes weights to `path` in `precision`; `fetch` fills in the elements of a tensor, twice for each.
///
/// # Errors
/// Writing fails; errors of `fetch` come back in the inner result.
pub fn write_weights<E>(
    plan: &Plan,
    path: &Path,
    precision: Precision,
    fetch: impl FnMut(&Tensor, &mut [f32]) -> Result<(), E>,
) -> Result<Result<(), E>, TensorFileError> {
    let fetch = RefCell::new(fetch);
    let sources = plan
        .params
        .tensors()
        .map(|tensor| {
            let fetch = &fetch;
            Source {
                name: format!("{PREFIX}{}", tensor.name),
                shape: shape(&tensor),
                elements: Elements::float(precision, move |out| (fetch.borrow_mut())(&tensor, out)),
            }
        })
        .collect();
    let config = serde_json::to_string(&plan.config)
        .map_err(|e| TensorFileError { path: path.to_owned(), kind: Kind::Io(e.into()) })?;
    tensor_file::write(path, sources, &[(CONFIG_FIELD, config)])
}

/// Writes `config` to `path`.
///
/// # Errors
/// Writing fails.
pub fn save_config<E>(config: &Config, path: &Path) -> Result<(), ModelError<E>> {
    save_keys(config, None, path)
}

/// Writes `config` to `path`, and beside it the loss that the model was trained with.
///
/// # Errors
/// Writing fails.
pub fn save_trained_config<E>(config: &Config, loss: LossKind, path: &Path) -> Result<(), ModelError<E>> {
    save_keys(config, Some(loss), path)
}

/// What `config.json` holds.
#[derive(Serialize)]
struct Keys<'a> {
    #[serde(flatten)]
    config: &'a Config,
    #[serde(skip_serializing_if = "Option::is_none")]
    loss: Option<serde_json::Value>,
}

fn save_keys<E>(config: &Config, loss: Option<LossKind>, path: &Path) -> Result<(), ModelError<E>> {
    let io = |e| ModelError::Io(path.to_owned(), e);
    let keys = Keys { config, loss: loss.map(|loss| json!({ LOSS_TYPE: loss })) };
    let mut text = serde_json::to_string_pretty(&keys).map_err(|e| io(e.into()))?;
    text.push('\n');
    files::write_synced(path, |out| out.write_all(text.as_bytes())).map(|_| ()).map_err(io)
}

/// Refuses a configuration other than the one that the weights in `file` were made with: a changed number can leave
/// every shape as it is. The precision may be another one: it is of the computation, not of the weights. Files of other
/// programs do not say, and are taken at the caller's word.
fn check_config<E>(file: &TensorFile, path: &Path, config: &Config) -> Result<(), ModelError<E>> {
    let Some(text) = file.field(CONFIG_FIELD) else { return Ok(()) };
    let bad =
        |e: serde_json::Error| file.fail(Kind::Field { field: CONFIG_FIELD.into(), problem: e.to_string() });
    let made_with: serde_json::Value = serde_json::from_str(text).map_err(bad)?;
    let given = serde_json::to_value(config).map_err(bad)?;
    let (Some(made_with), Some(given)) = (made_with.as_object(), given.as_object()) else {
        return Err(bad(serde::de::Error::custom("expected an object")).into());
    };
    let differs = |key: &str, value| key != PRECISION && made_with.get(key) != Some(value);
    match given.iter().find(|(key, value)| differs(key, *value)) {
        None => Ok(()),
        Some((key, value)) => {
            let expected = made_with.get(key).map_or("none".to_owned(), ToString::to_string);
            let problem =
                format!("{key} is {value}, expected {expected}, as {} was made with", path.display());
            Err(ModelError::Config(path.with_file_name(CONFIG), problem))
        }
    }
}

/// Refuses a configuration that the weights in `path` were not made with, without reading their tensors: before memory
/// is taken for a model of that size.
///
/// # Errors
/// There are no weights, or they were made with another configuration.
pub fn expect_config<E>(path: &Path, config: &Config) -> Result<(), ModelError<E>> {
    check_config(&TensorFile::open(path)?, path, config)
}

/// Opens the weights in `path` for a model of `config`, and says whether a checksum was there and verified.
///
/// # Errors
/// The file is damaged, or was made with another configuration.
pub fn open_weights<E>(path: &Path, config: &Config) -> Result<(TensorFile, bool), ModelError<E>> {
    let mut file = TensorFile::open(path)?;
    let verified = file.verify()?;
    check_config(&file, path, config)?;
    Ok((file, verified))
}

/// Reads the weights in `path` into `backend`, and writes the constants that no file holds. Names may carry the
/// prefixes `_orig_mod.`, `model.` and `inner.`. A checksum, if there is one, is verified first.
///
/// # Errors
/// The file is damaged, was made with another configuration, or its tensors are not those of the plan's.
pub fn load_weights<K: Memory>(
    backend: &mut K,
    plan: &Plan,
    path: &Path,
) -> Result<(), ModelError<K::Error>> {
    let (mut file, _) = open_weights(path, &plan.config)?;
    let stored = file.stored();
    let places = tensor_match::compare(&stored, &plan.params, shape)
        .map_err(|mismatch| ModelError::Mismatch(path.to_owned(), mismatch))?;
    for (tensor, place) in places {
        let mut bad = None;
        file.read_f32(&stored[place].name, &shape(&tensor), |at, values| {
            if bad.is_none() {
                bad = values.iter().position(|x| !x.is_finite()).map(|index| at + index);
            }
            backend.write(Region::Params, tensor.span.offset + at, values)
        })?
        .map_err(ModelError::Backend)?;
        if let Some(element) = bad {
            return Err(file.fail(Kind::NotFinite { tensor: tensor.name.to_string(), element }).into());
        }
    }
    init::write_constants(backend, plan).map_err(ModelError::Backend)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    #[test]
    fn the_loss_is_kept_and_read_in_every_published_form() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(CONFIG);
        let read = || read_loss::<Infallible>(&path).map_err(|error| error.to_string());
        save_trained_config::<Infallible>(&Config::SUDOKU_EXTREME, LossKind::Softmax, &path).unwrap();
        assert_eq!(read(), Ok(LossKind::Softmax));
        assert_eq!(read_config::<Infallible>(&path).unwrap(), Config::SUDOKU_EXTREME);
        save_config::<Infallible>(&Config::SUDOKU_EXTREME, &path).unwrap();
        assert_eq!(read(), Ok(LossKind::Stablemax));
        for (text, loss) in [
            (r#"{"loss": "softmax_cross_entropy"}"#, LossKind::Softmax),
            (
                r#"{"loss": {"name": "losses@ACTLossHead", "loss_type": "softmax_cross_entropy"}}"#,
                LossKind::Softmax,
            ),
            (r#"{"loss": null}"#, LossKind::Stablemax),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(read(), Ok(loss), "{text}");
        }
        fs::write(&path, r#"{"loss": {"loss_type": "hinge"}}"#).unwrap();
        assert!(read().unwrap_err().contains("loss is \"hinge\", expected \"stablemax_cross_entropy\""));
    }

    /// Numbers are compared with those in the weights; the loss stands here alone.
    #[test]
    fn no_flipped_bit_of_a_configuration_changes_the_loss() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(CONFIG);
        save_trained_config::<Infallible>(&Config::SUDOKU_EXTREME, LossKind::Softmax, &path).unwrap();
        let whole = fs::read(&path).unwrap();
        for (byte, bit) in (0..whole.len()).flat_map(|byte| (0..8).map(move |bit| (byte, bit))) {
            let mut bytes = whole.clone();
            bytes[byte] ^= 1 << bit;
            fs::write(&path, bytes).unwrap();
            if read_config::<Infallible>(&path).is_ok() {
                assert_eq!(
                    read_loss::<Infallible>(&path).unwrap(),
                    LossKind::Softmax,
                    "bit {bit} of byte {byte}"
                );
            }
        }
    }
}
