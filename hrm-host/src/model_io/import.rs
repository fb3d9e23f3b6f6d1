//! A checkpoint of another program becomes a model directory.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};

use hrm_core::config::Config;
use hrm_core::plan::{Mode, Plan};
use hrm_core::tensors::{Tensor, TensorName};
use serde_json::Value;

use super::architecture::{self, Sources};
use super::checkpoint::Checkpoint;
use super::identifiers::{self, Reset, Rows};
use super::selection::Selection;
use super::source;
use crate::data::Metadata;
use crate::error::{Context, Error, Result};
use crate::files::{self, Existing};
use crate::memory;
use crate::model_dir::{self, CONFIG, WEIGHTS};
use crate::numbers::Precision;
use crate::tensor_match;

/// The name of the stored puzzle embedding.
const PUZZLE_EMB: &str = "puzzle_emb.weights";

/// What to import a checkpoint with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// A configuration file.
    pub config: Option<PathBuf>,
    /// A dataset that the model shall work on: its sizes, and its identifiers.
    pub data: Option<PathBuf>,
    /// Single fields of the configuration.
    pub set: Vec<String>,
    /// The names of the identifiers that the checkpoint was trained with.
    pub identifiers: Option<PathBuf>,
    /// The names of those that the model shall have; those of `data` if there are none.
    pub new_identifiers: Option<PathBuf>,
    /// Gives every identifier the same row.
    pub reset_puzzle_embeddings: Option<Reset>,
    /// Of several copies of the weights, the one whose names begin so.
    pub weights: Option<String>,
}

/// What was imported.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The configuration.
    pub config: Config,
    /// Field, value and origin.
    pub fields: Vec<(String, Value, String)>,
    /// How many tensors there are of each type, by PyTorch's name of it.
    pub types: BTreeMap<&'static str, usize>,
    /// Tensors of an optimizer that were passed over.
    pub skipped: usize,
    /// The copy of the weights that was taken, the others, and all that was passed over.
    pub selection: Selection,
    /// Rows of the puzzle embedding in the checkpoint and in the model, and how many of these became blank.
    pub rows: (usize, usize, usize),
}

/// Imports `checkpoint` as the model directory `out`, which must not hold anything yet. Of a model directory or a run the
/// weights are taken, with the `config.json` beside them.
///
/// # Errors
/// The checkpoint is damaged or hostile, its tensors do not fit its configuration (all that do not are listed), or
/// writing fails. Nothing is left in `out` then.
pub fn import(checkpoint: &Path, out: &Path, options: &Options) -> Result<Imported> {
    let (file, beside) = locate(checkpoint)?;
    let mut checkpoint = Checkpoint::open_copy(&file, options.weights.as_deref())?;
    let data = options.data.as_deref().map(read_metadata).transpose()?;
    let config = options.config.as_deref().or(beside.as_deref());
    let sources = Sources { config, data: data.as_ref(), set: &options.set };
    let mut found = architecture::find(&checkpoint, &sources)?;
    let stored = checkpoint.shape(PUZZLE_EMB).map_or(0, |shape| shape.first().copied().unwrap_or(0));
    let rows = rows(options, stored, &mut found.config)?;
    if let Some(field) = found.fields.iter_mut().find(|(key, ..)| key == "num_puzzle_identifiers")
        && field.1 != found.config.num_puzzle_identifiers
    {
        *field = (field.0.clone(), found.config.num_puzzle_identifiers.into(), "the identifiers".into());
    }
    let config = found.config;
    config.validate().map_err(|e| Error::input(e.to_string()))?;
    let plan = Plan::new(&config, 1, Mode::Inference).map_err(|e| Error::input(e.to_string()))?;
    let in_file = |tensor: &Tensor| {
        let mut shape = tensor_match::shape(tensor);
        if tensor.name == TensorName::PuzzleEmb {
            // Without any row there is no blank one either.
            shape[0] = stored.max(1);
        }
        shape
    };
    let places = tensor_match::compare(checkpoint.tensors(), &plan.params, in_file)
        .map_err(|mismatch| Error::input(format!("{}: {mismatch}", checkpoint.path().display())))?;
    let types = count_types(&checkpoint, &places)?;
    refuse_beyond_memory(&checkpoint, &places, stored)?;

    let card = beside.as_deref().and_then(Path::parent);
    files::write_dir(out, Existing::Refuse, |staging| {
        card.map_or(Ok(()), |dir| model_dir::carry_card(dir, staging.path()))?;
        model_dir::save_trained_config::<Infallible>(&config, found.loss, &staging.path().join(CONFIG))?;
        model_dir::write_weights(&plan, &staging.path().join(WEIGHTS), Precision::F32, |tensor, out| {
            let values = checkpoint.read_tensor(&places, tensor)?;
            if tensor.name == TensorName::PuzzleEmb {
                rows.apply(&values, tensor.span.cols, out);
            } else {
                out.copy_from_slice(&values);
            }
            Ok(())
        })?
    })?;
    Ok(Imported {
        config,
        fields: found.fields,
        types,
        skipped: checkpoint.selection().optimizer(),
        selection: checkpoint.selection().clone(),
        rows: (stored, config.num_puzzle_identifiers, rows.blank()),
    })
}

/// The file of a checkpoint; of a directory that holds a model, its weights and its configuration.
fn locate(path: &Path) -> Result<(PathBuf, Option<PathBuf>)> {
    if !path.is_dir() {
        return Ok((path.to_owned(), None));
    }
    let found = source::weights_in(path);
    let (dir, file) = match found {
        Ok(file) => (path.to_owned(), file),
        // The weights of a run are in its checkpoints.
        Err(none) => match model_dir::resolve::<Infallible>(path) {
            Ok(dir) if dir != path => (dir.clone(), source::weights_in(&dir)?),
            Ok(_) => return Err(none),
            Err(error) => {
                let hint = match steps(path).pop() {
                    Some((_, file)) => {
                        format!("name the file of a checkpoint in it, such as {}", file.display())
                    }
                    None => "name the file of the checkpoint".to_owned(),
                };
                return Err(Error::from(error).hint(hint));
            }
        },
    };
    Ok((file, Some(dir.join(CONFIG)).filter(|config| config.is_file())))
}

/// The checkpoints of the published program in `dir`, which are files `step_N`, oldest first.
fn steps(dir: &Path) -> Vec<(u64, PathBuf)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let step = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix("step_")?.parse().ok();
    let mut found: Vec<(u64, PathBuf)> =
        entries.filter(|path| path.is_file()).filter_map(|path| Some((step(&path)?, path))).collect();
    found.sort();
    found
}

/// The description of a dataset: that of its training split, else of its test split.
fn read_metadata(dir: &Path) -> Result<Metadata> {
    let train = dir.join("train").join("dataset.json");
    let path = if train.is_file() { train } else { dir.join("test").join("dataset.json") };
    Ok(Metadata::read(&path)?)
}

/// Where the rows of the puzzle embedding come from; sets how many there are.
fn rows(options: &Options, stored: usize, config: &mut Config) -> Result<Rows> {
    let new = match (&options.new_identifiers, &options.data) {
        (Some(path), _) => Some(identifiers::read(path)?),
        (None, Some(data)) if data.join("identifiers.json").is_file() => {
            Some(identifiers::read(&data.join("identifiers.json"))?)
        }
        _ => None,
    };
    let rows = match (&options.identifiers, new, options.reset_puzzle_embeddings) {
        _ if config.puzzle_emb_ndim == 0 => Rows::Same,
        (_, new, Some(reset)) => {
            Rows::Reset(new.map_or(config.num_puzzle_identifiers, |names| names.len()), reset)
        }
        (Some(old), Some(new), None) => {
            let names = identifiers::read(old)?;
            if names.len() != stored {
                return Err(Error::input(format!(
                    "{}: {} names, expected {stored}, the rows of {PUZZLE_EMB}",
                    old.display(),
                    names.len()
                )));
            }
            Rows::by_name(&names, &new)
        }
        (Some(_), None, None) => {
            return Err(Error::usage("given the checkpoint's identifiers, expected the new ones as well")
                .hint("add --new-identifiers FILE, or --data DIR"));
        }
        (None, _, None) if config.num_puzzle_identifiers != stored => {
            return Err(Error::usage(format!(
                "{PUZZLE_EMB} has {stored} rows, the model shall have {}",
                config.num_puzzle_identifiers
            ))
            .hint(
                "tell the checkpoint's names with --identifiers OLD.json, and the new ones with --data DIR or \
                 --new-identifiers NEW.json; or start afresh with --reset-puzzle-embeddings",
            ));
        }
        (None, _, None) => Rows::Same,
    };
    if config.puzzle_emb_ndim > 0 {
        config.num_puzzle_identifiers = rows.count(stored);
    }
    Ok(rows)
}

/// How many tensors there are of each type.
fn count_types(checkpoint: &Checkpoint, places: &[(Tensor, usize)]) -> Result<BTreeMap<&'static str, usize>> {
    let mut types = BTreeMap::new();
    for (tensor, place) in places {
        let Some(number) = checkpoint.number(*place) else {
            return Err(Error::input(format!(
                "{}: tensor {} does not hold numbers",
                checkpoint.path().display(),
                tensor.name
            )));
        };
        *types.entry(number.name()).or_insert(0) += 1;
    }
    Ok(types)
}

/// A tensor is in memory as it is in the file, as f32, and as it is written.
fn refuse_beyond_memory(checkpoint: &Checkpoint, places: &[(Tensor, usize)], stored: usize) -> Result<()> {
    let elements = |tensor: &Tensor| {
        let rows = if tensor.name == TensorName::PuzzleEmb { stored } else { 0 };
        tensor.span.len().max(rows.saturating_mul(tensor.span.cols)) as u64
    };
    let largest = places.iter().map(|(tensor, _)| elements(tensor)).max().unwrap_or(0);
    let needed = largest.saturating_mul(3 * size_of::<f64>() as u64);
    memory::expect_room(needed).during(|| format!("importing {}", checkpoint.path().display()))
}
