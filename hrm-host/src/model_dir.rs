//! A model on disk: a directory with `config.json` (the published keys) and `model.safetensors` (the published
//! tensor names).

use std::cell::RefCell;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use hrm_core::config::Config;
use hrm_core::init;
use hrm_core::kernels::{Memory, Region};
use hrm_core::loss::LossKind;
use hrm_core::plan::Plan;
use hrm_core::tensors::Tensor;

use serde::Serialize;
use serde_json::json as object;

use crate::memory::human;
use crate::model_io::foreign;
use crate::model_io::keys::{self, Keys};
use crate::numbers::Precision;
use crate::tensor_file::{self, Elements, Kind, Source, TensorFile, TensorFileError};
use crate::tensor_match::{self, Mismatch, shape};
use crate::{files, json};

/// Name of the configuration in a model directory.
pub const CONFIG: &str = "config.json";

/// The model card, in the form of the Hugging Face Hub: what the model is, for people.
pub const CARD: &str = "README.md";
/// Longest configuration that is read.
const LONGEST: u64 = 1 << 20;
/// Name of the weights in a model directory.
pub const WEIGHTS: &str = "model.safetensors";
/// Metadata field of the weights that holds the configuration they were made with, as JSON.
pub(crate) const CONFIG_FIELD: &str = "hrm_config";
/// What the published program puts before every tensor's name.
const PREFIX: &str = "model.inner.";

/// The key in a configuration's loss that names it.
const LOSS_TYPE: &str = "loss_type";

/// Key of a configuration that says in which precision the model computes.
const PRECISION: &str = "forward_dtype";

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

/// Reads a configuration in the published form, by the table of keys.
///
/// # Errors
/// The file cannot be read, is not JSON, lacks a field, has an unknown one, or one out of range.
pub fn read_config<E>(path: &Path) -> Result<Config, ModelError<E>> {
    read_trained_config(path).map(|(config, _)| config)
}

/// The loss that the model of the configuration in `path` was trained with: `loss`, or `loss_type` in it, as published
/// configurations have it; stablemax, the published default, if it does not say.
///
/// # Errors
/// The file cannot be read, is not JSON, or names a loss that is not known.
pub fn read_loss<E>(path: &Path) -> Result<LossKind, ModelError<E>> {
    read_keys(path).map(|keys| keys.loss.unwrap_or(LossKind::Stablemax))
}

/// [`read_config`] and [`read_loss`] at once.
///
/// # Errors
/// As there.
pub fn read_trained_config<E>(path: &Path) -> Result<(Config, LossKind), ModelError<E>> {
    let keys = read_keys(path)?;
    let loss = keys.loss.unwrap_or(LossKind::Stablemax);
    let config = keys.config().map_err(|problem| ModelError::Config(path.to_owned(), problem))?;
    Ok((config, loss))
}

fn read_keys<E>(path: &Path) -> Result<Keys, ModelError<E>> {
    let bad = |problem: String| ModelError::Config(path.to_owned(), problem);
    let text = read_text(path).map_err(|error| match error {
        TextError::Io(error) => ModelError::Io(path.to_owned(), error),
        TextError::Other(problem) => bad(problem),
    })?;
    let value = json::from_str(&text)
        .map_err(|e| bad(if e.is_data() { e.to_string() } else { format!("not JSON: {e}") }))?;
    keys::read(value).map_err(bad)
}

/// Why the text of a configuration cannot be had.
pub(crate) enum TextError {
    /// Reading failed.
    Io(io::Error),
    /// It is no text, too long, or another kind of file.
    Other(String),
}

/// The text of a configuration, without a byte order mark.
pub(crate) fn read_text(path: &Path) -> Result<String, TextError> {
    let file = files::try_open(path).map_err(TextError::Io)?;
    let length = file.metadata().map_err(TextError::Io)?.len();
    if length > LONGEST {
        let (found, most) = (human(length), human(LONGEST));
        return Err(TextError::Other(format!("it has {found}, expected at most {most}")));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(TextError::Io)?;
    if let Some(foreign) = foreign::recognise_text(&bytes) {
        return Err(TextError::Other(format!(
            "the file is {}, expected a configuration; {}",
            foreign.what, foreign.hint
        )));
    }
    if bytes.len() as u64 > LONGEST {
        return Err(TextError::Other(format!("it is longer, expected at most {}", human(LONGEST))));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        TextError::Other(format!("expected UTF-8 text, byte {at} is not"))
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
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
struct Written<'a> {
    #[serde(flatten)]
    config: &'a Config,
    #[serde(skip_serializing_if = "Option::is_none")]
    loss: Option<serde_json::Value>,
}

fn save_keys<E>(config: &Config, loss: Option<LossKind>, path: &Path) -> Result<(), ModelError<E>> {
    let io = |e| ModelError::Io(path.to_owned(), e);
    let keys = Written { config, loss: loss.map(|loss| object!({ LOSS_TYPE: loss })) };
    let mut text = serde_json::to_string_pretty(&keys).map_err(|e| io(e.into()))?;
    text.push('\n');
    files::write_synced(path, |out| out.write_all(text.as_bytes())).map(|_| ()).map_err(io)
}

/// Writes a model card.
///
/// # Errors
/// The disk fails.
pub(crate) fn write_card(path: &Path, text: &str) -> crate::error::Result<()> {
    let written = files::write_synced(path, |out| out.write_all(text.as_bytes()));
    written.map(|_| ()).map_err(|error| files::write_error(path, error))
}

/// Copies the card of the model directory `from`, if it has one, into `to`: it goes where the weights go.
///
/// # Errors
/// It is no text or beyond all measure, or the disk fails.
pub(crate) fn carry_card(from: &Path, to: &Path) -> crate::error::Result<()> {
    let path = from.join(CARD);
    if !path.is_file() {
        return Ok(());
    }
    let text = files::try_text_at_most(&path, LONGEST).map_err(|error| files::read_error(&path, error))?;
    write_card(&to.join(CARD), &text)
}

/// Refuses a configuration other than the one that the weights in `file` were made with: a changed number can leave
/// every shape as it is. The precision may be another one: it is of the computation, not of the weights. Files of other
/// programs do not say, and are taken at the caller's word.
///
/// # Errors
/// They were made with another one.
pub(crate) fn check_config<E>(file: &TensorFile, path: &Path, config: &Config) -> Result<(), ModelError<E>> {
    let Some(text) = file.field(CONFIG_FIELD) else { return Ok(()) };
    let bad =
        |e: serde_json::Error| file.fail(Kind::Field { field: CONFIG_FIELD.into(), problem: e.to_string() });
    let made_with: serde_json::Value = serde_json::from_str(text).map_err(bad)?;
    let given = serde_json::to_value(config).map_err(bad)?;
    let (Some(made_with), Some(given)) = (made_with.as_object(), given.as_object()) else {
        return Err(bad(serde::de::Error::custom("expected an object")).into());
    };
    // A key that one of them leaves out is the default there, so it counts from either side.
    let keys = given.keys().chain(made_with.keys()).filter(|key| *key != PRECISION);
    match keys.into_iter().find(|key| made_with.get(*key) != given.get(*key)) {
        None => Ok(()),
        Some(key) => {
            let said = |side: &serde_json::Map<String, serde_json::Value>| {
                side.get(key).map_or("not given".to_owned(), ToString::to_string)
            };
            let (value, expected) = (said(given), said(made_with));
            let problem =
                format!("{key} is {value}, expected {expected}, as {} was made with", path.display());
            Err(ModelError::Config(path.with_file_name(CONFIG), problem))
        }
    }
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
    let mut file = TensorFile::open(path)?;
    file.verify()?;
    check_config(&file, path, &plan.config)?;
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

    /// A key that the weights were made with and that the configuration leaves out is a default there, and so another model;
    /// as is one that stands in the configuration alone.
    #[test]
    fn weights_of_another_gradient_are_refused_from_either_side() {
        use hrm_core::backend::reference::{Reference, Rounding};
        use hrm_core::config::GradientSpan;
        use hrm_core::plan::Mode;
        let hrm = Config {
            hidden_size: 16,
            num_heads: 2,
            puzzle_emb_ndim: 16,
            expansion: 0.5,
            ..Config::SUDOKU_EXTREME
        };
        let other = Config { gradient: GradientSpan::Cycle, ..hrm };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(WEIGHTS);
        for (made_with, given, value, expected) in
            [(other, hrm, "not given", "\"cycle\""), (hrm, other, "\"cycle\"", "not given")]
        {
            let plans = [made_with, given].map(|config| Plan::new(&config, 1, Mode::Inference).unwrap());
            let mut backend = Reference::<f32, _>::owned(&plans[0], Rounding::None).unwrap();
            save_weights(&mut backend, &plans[0], &path).unwrap();
            assert!(load_weights(&mut backend, &plans[0], &path).is_ok());
            let error = load_weights(&mut backend, &plans[1], &path).unwrap_err().to_string();
            assert!(error.contains(&format!("gradient is {value}, expected {expected}")), "{error}");
        }
    }

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
