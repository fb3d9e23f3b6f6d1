//! A file that holds tensors, in any of the formats that are read.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use hrm_core::bundle::{MAGIC, Precision};
use hrm_core::config::Config;
use hrm_core::tensors::Tensor;

use super::bundle::BundleFile;
use super::pytorch;
use crate::error::{Error, Result};
use crate::files::read_error;
use crate::model_dir::CONFIG_FIELD;
use crate::numbers::Number;
use crate::tensor_file::{Kind, TensorFile};
use crate::tensor_match::{Stored, bare};

/// What training programs put their optimizer's state under.
const OPTIMIZER: [&str; 4] = ["optimizer.", "optimizers.", "optimizer_state_dict.", "optim."];

/// An opened checkpoint: its tensors by name and shape, their elements still on disk (a bundle's in memory).
pub struct Checkpoint {
    path: PathBuf,
    contents: Contents,
    tensors: Vec<Stored>,
    /// Tensors of an optimizer that were passed over.
    pub skipped: usize,
    /// The configuration that the file itself tells, if it does.
    pub config: Option<Config>,
}

enum Contents {
    PyTorch(HashMap<String, pytorch_reader::Tensor>),
    Safetensors(TensorFile),
    Bundle(BundleFile),
}

impl Checkpoint {
    /// Opens `path`; what it is is told by its first bytes. A checksum, if there is one, is verified.
    ///
    /// # Errors
    /// It cannot be read, is damaged, or is none of the formats.
    pub fn open(path: &Path) -> Result<Self> {
        let mut first = Vec::new();
        let file = File::open(path).map_err(|error| read_error(path, error))?;
        file.take(MAGIC.len() as u64).read_to_end(&mut first).map_err(|error| read_error(path, error))?;
        let (mut config, mut skipped) = (None, 0);
        let (contents, mut tensors) = if first.starts_with(pytorch::MAGIC) {
            let tensors = pytorch::open(path)?;
            let stored: Vec<Stored> = tensors
                .iter()
                .map(|(name, tensor)| Stored { name: name.clone(), shape: tensor.shape().to_vec() })
                .collect();
            (Contents::PyTorch(tensors), stored)
        } else if first == MAGIC {
            let bundle = BundleFile::open(path)?;
            config = Some(*bundle.config());
            let stored = bundle.stored();
            (Contents::Bundle(bundle), stored)
        } else if let Some(what) = other_format(&first) {
            return Err(Error::input(format!(
                "{}: {what}, expected a ZIP file of torch.save, safetensors or a bundle",
                path.display()
            ))
            .hint("load it in PyTorch 1.6 or later and write it again with torch.save(state_dict, path)"));
        } else {
            let mut file = TensorFile::open(path)?;
            file.verify()?;
            config = config_field(&file)?;
            let stored = file.stored();
            (Contents::Safetensors(file), stored)
        };
        tensors.retain(|tensor| {
            let optimizer = OPTIMIZER.iter().any(|prefix| tensor.name.starts_with(prefix));
            skipped += usize::from(optimizer);
            !optimizer
        });
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { path: path.to_owned(), contents, tensors, skipped, config })
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its tensors.
    #[must_use]
    pub fn tensors(&self) -> &[Stored] {
        &self.tensors
    }

    /// The shape of the tensor whose bare name this is.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.iter().find(|tensor| bare(&tensor.name) == name).map(|tensor| &*tensor.shape)
    }

    /// The element type of tensor `place`, if it is one of numbers.
    #[must_use]
    pub fn number(&self, place: usize) -> Option<Number> {
        let name = &self.tensors[place].name;
        match &self.contents {
            Contents::PyTorch(tensors) => tensors.get(name).map(pytorch::number),
            Contents::Safetensors(file) => file.number(name),
            Contents::Bundle(file) => file.precision(name).map(|precision| match precision {
                Precision::F32 => Number::F32,
                Precision::Bf16 => Number::Bf16,
                Precision::F16 => Number::F16,
                Precision::Int8 => Number::I8,
            }),
        }
    }

    /// Reads the elements of a model's `tensor`; `places` says where each is
    /// ([`compare`](crate::tensor_match::compare)).
    ///
    /// # Errors
    /// As for [`read`](Self::read), or `places` does not know it.
    pub fn read_tensor(&mut self, places: &[(Tensor, usize)], tensor: &Tensor) -> Result<Vec<f32>> {
        match places.iter().find(|(known, _)| known.name == tensor.name) {
            Some((_, place)) => self.read(*place),
            None => Err(Error::input(format!("{}: tensor {} is missing", self.path.display(), tensor.name))),
        }
    }

    /// Reads the elements of tensor `place` as f32.
    ///
    /// # Errors
    /// They cannot be read, are no numbers, or are not finite.
    pub fn read(&mut self, place: usize) -> Result<Vec<f32>> {
        let Stored { name, shape } = &self.tensors[place];
        let lacks = || Error::input(format!("{}: tensor {name} is missing", self.path.display()));
        let values = match &mut self.contents {
            Contents::PyTorch(tensors) => pytorch::read(&self.path, tensors.get(name).ok_or_else(lacks)?)?,
            Contents::Safetensors(file) => file.f32s(name, shape)?,
            Contents::Bundle(file) => file.read(name).ok_or_else(lacks)?,
        };
        match values.iter().position(|x| !x.is_finite()) {
            None => Ok(values),
            Some(element) => Err(Error::input(format!(
                "{}: tensor {name}, element {element}: not a finite number",
                self.path.display()
            ))),
        }
    }
}

/// The configuration that one of our own tensor files carries.
fn config_field(file: &TensorFile) -> Result<Option<Config>> {
    let Some(text) = file.field(CONFIG_FIELD) else { return Ok(None) };
    let config: Config = serde_json::from_str(text)
        .map_err(|e| file.fail(Kind::Field { field: CONFIG_FIELD.into(), problem: e.to_string() }))?;
    config
        .validate()
        .map_err(|e| file.fail(Kind::Field { field: CONFIG_FIELD.into(), problem: e.to_string() }))?;
    Ok(Some(config))
}

/// What a file with these first bytes is that is not read.
fn other_format(first: &[u8]) -> Option<&'static str> {
    match first {
        [0x80, 2..=5, 0x8a, ..] => Some("a checkpoint from before PyTorch 1.6"),
        // A safetensors file whose header has 128 bytes or the like has an opening brace at byte 8 instead.
        [0x80, 2..=5, b'}' | b']' | b'(' | b'c' | 0x95, ..] => Some("a pickle that is no checkpoint"),
        _ => None,
    }
}
