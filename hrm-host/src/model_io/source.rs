//! A model on disk, opened once: whoever wants its configuration, its loss or its weights asks here.

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use hrm_core::config::Config;
use hrm_core::init;
use hrm_core::kernels::{Memory, Region};
use hrm_core::loss::LossKind;
use hrm_core::plan::Plan;

use super::checkpoint::Checkpoint;
use super::shards;
use crate::error::{Error, Result};
use crate::model_dir::{self, CONFIG, ModelError};
use crate::tensor_match::{compare, shape};

/// What the weights of a model directory are called, in the order in which they are looked for; the first is what this
/// program writes, the others are what transformers writes.
const NAMES: [&str; 4] =
    [model_dir::WEIGHTS, "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"];
/// How the names of files end that may hold weights.
const ENDINGS: [&str; 6] = ["safetensors", "pt", "pth", "bin", "ckpt", "pkl"];

/// A model: a model directory, a run, or a bundle.
pub struct Source {
    path: PathBuf,
    config: Config,
    loss: LossKind,
    weights: Checkpoint,
}

impl Source {
    /// Opens the model in `path`: a model directory, a run (its best checkpoint, else its newest), or a bundle. Its checksum
    /// is verified, and its weights are asked whether they were made with this configuration.
    ///
    /// # Errors
    /// There is no model, or one of its files is bad.
    pub fn open(path: &Path) -> Result<Self> {
        if path.is_file() {
            let weights = Checkpoint::open(path)?;
            let Some(config) = weights.bundle().and(weights.config) else {
                return Err(Error::input(format!(
                    "{}: expected a bundle or a model directory",
                    path.display()
                ))
                .hint("hrm import makes a model directory of a checkpoint"));
            };
            // A bundle is for inference and does not say.
            return Ok(Self { path: path.to_owned(), config, loss: LossKind::Stablemax, weights });
        }
        let dir = model_dir::resolve::<Infallible>(path)?;
        let (config, loss) = model_dir::read_trained_config::<Infallible>(&dir.join(CONFIG))?;
        let file = weights_in(&dir)?;
        let weights = Checkpoint::open(&file)?;
        if let Some(tensors) = weights.tensor_file() {
            model_dir::check_config::<Infallible>(tensors, &file, &config)?;
        }
        Ok(Self { path: dir, config, loss, weights })
    }

    /// Where it is: of a run, the checkpoint.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its configuration.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The loss that it was trained with, as far as its files say; else the published one.
    #[must_use]
    pub const fn loss(&self) -> LossKind {
        self.loss
    }

    /// Whether a checksum was there and verified.
    #[must_use]
    pub const fn verified(&self) -> bool {
        self.weights.verified
    }

    /// Its weights.
    #[must_use]
    pub const fn weights(&self) -> &Checkpoint {
        &self.weights
    }

    /// Its weights, to be read.
    pub fn into_weights(self) -> Checkpoint {
        self.weights
    }

    /// Writes the weights into `backend`, and the constants that no file holds. `plan` is of this configuration, but for the
    /// precision, which is of the computation.
    ///
    /// # Errors
    /// The tensors are not those of the plan's, one of their elements is not finite, or the backend fails.
    pub fn load<K: Memory<Error: Send + Sync + 'static>>(
        &mut self,
        backend: &mut K,
        plan: &Plan,
    ) -> Result<()> {
        let places = compare(self.weights.tensors(), &plan.params, shape).map_err(|mismatch| {
            Error::from(ModelError::<Infallible>::Mismatch(self.weights.path().to_owned(), mismatch))
        })?;
        for (tensor, place) in places {
            self.weights.stream(place, |at, values| {
                backend.write(Region::Params, tensor.span.offset + at, values).map_err(Error::backend)
            })?;
        }
        init::write_constants(backend, plan).map_err(Error::backend)
    }
}

/// The file of the weights in a model directory, or the index of several.
///
/// # Errors
/// There is none, or there are several that could be meant.
pub fn weights_in(dir: &Path) -> Result<PathBuf> {
    if let Some(found) = NAMES.iter().map(|name| dir.join(name)).find(|file| file.is_file()) {
        return Ok(found);
    }
    let mut others: Vec<PathBuf> = std::fs::read_dir(dir)
        .map_err(|error| crate::files::read_error(dir, error))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.is_file() && path.extension().is_some_and(|end| ENDINGS.iter().any(|it| end == *it))
        })
        .collect();
    others.sort();
    match &others[..] {
        [only] => Ok(only.clone()),
        [] => {
            Err(Error::input(format!("{}: no weights in it, expected {}", dir.display(), NAMES.join(" or "))))
        }
        several => {
            let names: Vec<_> =
                several.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy())).collect();
            if let Some((whole, of)) = several.first().and_then(|first| shards::part_of(first)) {
                return Err(Error::input(format!(
                    "{}: weights in {of} files, and {whole}{}, which says what is in which of them, is not there",
                    dir.display(),
                    shards::INDEX
                ))
                .hint("copy or download it, too"));
            }
            Err(Error::input(format!(
                "{}: weights in {}, expected one of them",
                dir.display(),
                names.join(", ")
            ))
            .hint("name the file itself: hrm import FILE --config config.json"))
        }
    }
}
