//! A model becomes what other programs read.

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use hrm_core::config::Config;
use hrm_core::plan::{Mode, Plan};
use hrm_core::tensors::Tensor;

use super::bundle::{self, Encoding};
use super::source::Source;
use crate::error::{Error, Result};
use crate::files::{self, Existing, write_error};
use crate::model_dir::{self, CONFIG, WEIGHTS};
use crate::numbers::Precision;
use crate::tensor_match::{compare, shape};

/// What to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Target {
    /// A model directory in Hugging Face's layout: config.json and model.safetensors
    Safetensors,
    /// A bundle: one file that a microcontroller reads in place
    Postcard,
    /// A state dict with the original program's tensor names: one safetensors file
    PytorchNames,
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The configuration of the model.
    pub config: Config,
    /// How many tensors.
    pub tensors: usize,
    /// The file with the weights.
    pub file: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// What the weights alone take in f32.
    pub f32_bytes: u64,
}

/// Writes the model in `model` (a model directory, a run, or a bundle) to `out`, which must not exist yet.
///
/// # Errors
/// There is no model, it is damaged, a weight does not fit `encoding` or the target does not take it, or writing fails.
pub fn export(model: &Path, out: &Path, target: Target, encoding: impl Into<Encoding>) -> Result<Exported> {
    let encoding = encoding.into();
    let precision = match (encoding, target) {
        (Encoding::Float(precision), _) => precision,
        // What stays a float in it stays as it is.
        (Encoding::Int8, Target::Postcard) => Precision::F32,
        (Encoding::Int8, Target::Safetensors | Target::PytorchNames) => {
            return Err(Error::usage("given int8, expected f32, bf16 or f16: only bundles hold integers")
                .hint("--to postcard writes a bundle"));
        }
    };
    let source = Source::open(model)?;
    let (config, loss) = (*source.config(), source.loss());
    let beside = source.path().to_owned();
    let mut checkpoint = source.into_weights();
    let plan = Plan::new(&config, 1, Mode::Inference).map_err(|e| Error::input(e.to_string()))?;
    let places = compare(checkpoint.tensors(), &plan.params, shape)
        .map_err(|mismatch| Error::input(format!("{}: {mismatch}", checkpoint.path().display())))?;
    let fetch = |tensor: &Tensor, out: &mut [f32]| -> Result<()> {
        let values = checkpoint.read_tensor(&places, tensor)?;
        if let Some(element) = precision.overflow(&values) {
            return Err(Error::input(format!(
                "tensor {}, element {element}: {:e} is too large for {}",
                tensor.name,
                values[element],
                precision.name()
            ))
            .hint("--dtype f32 keeps every value, bf16 its range"));
        }
        out.copy_from_slice(&values);
        Ok(())
    };
    if target != Target::Safetensors && out.symlink_metadata().is_ok() {
        return Err(Error::input(format!("{} exists", out.display()))
            .hint("name another file, or remove this one first"));
    }
    let file = match target {
        Target::Safetensors => {
            files::write_dir(out, Existing::Refuse, |staging| {
                model_dir::carry_card(&beside, staging.path())?;
                model_dir::save_trained_config::<Infallible>(&config, loss, &staging.path().join(CONFIG))?;
                model_dir::write_weights(&plan, &staging.path().join(WEIGHTS), precision, fetch)?
            })?;
            out.join(WEIGHTS)
        }
        Target::Postcard => {
            bundle::write(&plan, out, encoding, fetch)?;
            out.to_owned()
        }
        Target::PytorchNames => {
            let staged = files::Staged::create(out).map_err(|error| write_error(out, error))?;
            model_dir::write_weights(&plan, staged.temporary(), precision, fetch)??;
            staged.commit().map_err(|error| write_error(out, error))?;
            out.to_owned()
        }
    };
    let bytes = file.metadata().map_err(|error| files::read_error(&file, error))?.len();
    let tensors = || plan.params.tensors();
    let f32_bytes = tensors().map(|tensor| 4 * tensor.span.len() as u64).sum();
    Ok(Exported { config, tensors: tensors().count(), file, bytes, f32_bytes })
}
