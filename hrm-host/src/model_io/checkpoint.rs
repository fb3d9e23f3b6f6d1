//! The tensors of a model in a file or in several, in any of the formats that are read.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use hrm_core::bundle::{MAGIC, Precision};
use hrm_core::config::Config;
use hrm_core::tensors::Tensor;

use super::bundle::BundleFile;
use super::foreign::{self, ENOUGH};
use super::selection::{self, Selection};
use super::{keys, pytorch, shards};
use crate::error::{Error, Result};
use crate::files::{self, read_error};
use crate::json;
use crate::model_dir::CONFIG_FIELD;
use crate::numbers::Number;
use crate::tensor_file::{Kind, TensorFile};
use crate::tensor_match::{Stored, bare};

/// An opened checkpoint: the tensors of one copy of a model by name and shape, their elements still on disk (a bundle's in
/// memory).
pub struct Checkpoint {
    path: PathBuf,
    parts: Vec<Part>,
    /// The tensors of the model; what else the file holds.
    selection: Selection,
    /// For each of the tensors, the part that holds it.
    homes: HashMap<String, usize>,
    /// The configuration that the file itself tells, if it does.
    pub config: Option<Config>,
    /// Whether a checksum was there and verified.
    pub verified: bool,
}

/// One file.
pub(super) struct Part {
    path: PathBuf,
    contents: Contents,
}

enum Contents {
    PyTorch(HashMap<String, pytorch_reader::Tensor>),
    Safetensors(TensorFile),
    Bundle(BundleFile),
}

impl Part {
    /// Opens `path`; what it is is told by its first bytes.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let mut first = Vec::new();
        let file = files::try_open_again(path).map_err(|error| read_error(path, error))?;
        file.take(ENOUGH as u64).read_to_end(&mut first).map_err(|error| read_error(path, error))?;
        let contents = if first.starts_with(pytorch::MAGIC) {
            Contents::PyTorch(pytorch::open(path)?)
        } else if first.starts_with(&MAGIC) {
            Contents::Bundle(BundleFile::open(path)?)
        } else if let Some(foreign) = foreign::recognise(&first) {
            return Err(Error::input(format!(
                "{}: the file is {}; expected a ZIP file of torch.save, safetensors or a bundle",
                path.display(),
                foreign.what
            ))
            .hint(foreign.hint));
        } else {
            Contents::Safetensors(TensorFile::open(path)?)
        };
        Ok(Self { path: path.to_owned(), contents })
    }

    pub(super) fn stored(&self) -> Vec<Stored> {
        match &self.contents {
            Contents::PyTorch(tensors) => tensors
                .iter()
                .map(|(name, tensor)| Stored { name: name.clone(), shape: tensor.shape().to_vec() })
                .collect(),
            Contents::Safetensors(file) => file.stored(),
            Contents::Bundle(file) => file.stored(),
        }
    }

    fn number(&self, name: &str) -> Option<Number> {
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

    /// Hands the elements of a tensor to `sink`, piece by piece, with the place of each piece's first element.
    fn stream(
        &mut self,
        Stored { name, shape }: &Stored,
        mut sink: impl FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let lacks = || Error::input(format!("{}: tensor {name} is missing", self.path.display()));
        match &mut self.contents {
            Contents::PyTorch(tensors) => {
                sink(0, &pytorch::read(&self.path, tensors.get(name).ok_or_else(lacks)?)?)
            }
            Contents::Safetensors(file) => file.read_f32(name, shape, sink)?,
            Contents::Bundle(file) => sink(0, &file.read(name).ok_or_else(lacks)?),
        }
    }
}

impl Checkpoint {
    /// Opens `path`, a file or the index of one in several parts. A checksum, if there is one, is verified. Of several
    /// copies of a model in it, the weights are taken, not their average.
    ///
    /// # Errors
    /// It cannot be read, is damaged, is none of the formats, or holds several models.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_copy(path, None)
    }

    /// As [`open`](Self::open), and takes the copy of the model whose names begin with `copy`.
    ///
    /// # Errors
    /// As there, or there is no such copy.
    pub fn open_copy(path: &Path, copy: Option<&str>) -> Result<Self> {
        let (mut parts, stored, homes) = if shards::is_index(path) {
            shards::open(path)?
        } else if let Some((whole, of)) = shards::part_of(path) {
            let problem =
                format!("{}: one of the {of} files of {whole}, expected all of them", path.display());
            return Err(
                Error::input(problem).hint(format!("name their directory, or {whole}{}", shards::INDEX))
            );
        } else {
            let part = Part::open(path)?;
            let stored = part.stored();
            (vec![part], stored, HashMap::new())
        };
        let mut verified = true;
        for part in &mut parts {
            match &mut part.contents {
                Contents::Safetensors(file) => verified &= file.verify()?,
                Contents::Bundle(_) => {}
                Contents::PyTorch(_) => verified = false,
            }
        }
        let config = match &parts[..] {
            [Part { contents: Contents::Bundle(file), .. }] => Some(*file.config()),
            [Part { contents: Contents::Safetensors(file), .. }] => config_field(file)?,
            _ => None,
        };
        let mut selection = selection::select(stored, copy).map_err(|problem| {
            Error::input(format!("{}: {problem}", path.display()))
                .hint("say which with --weights NAME, the beginning of its tensors' names")
        })?;
        selection.tensors.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { path: path.to_owned(), parts, selection, homes, config, verified })
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensors of the model.
    #[must_use]
    pub fn tensors(&self) -> &[Stored] {
        &self.selection.tensors
    }

    /// Which copy of the model this is, and what was passed over.
    #[must_use]
    pub const fn selection(&self) -> &Selection {
        &self.selection
    }

    /// The bundle that it is, if it is one.
    #[must_use]
    pub fn bundle(&self) -> Option<&BundleFile> {
        match &self.parts[..] {
            [Part { contents: Contents::Bundle(file), .. }] => Some(file),
            _ => None,
        }
    }

    /// The safetensors file that it is, if it is one.
    #[must_use]
    pub(crate) fn tensor_file(&self) -> Option<&TensorFile> {
        match &self.parts[..] {
            [Part { contents: Contents::Safetensors(file), .. }] => Some(file),
            _ => None,
        }
    }

    /// Whether its tensors are those of a Tiny Recursive Model: one network, L, serves both states.
    #[must_use]
    pub fn is_trm(&self) -> bool {
        let has = |start: &str| self.tensors().iter().any(|tensor| bare(&tensor.name).starts_with(start));
        has("L_level.") && !has("H_level.")
    }

    /// The shape of the tensor whose bare name this is.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors().iter().find(|tensor| bare(&tensor.name) == name).map(|tensor| &*tensor.shape)
    }

    fn home(&self, name: &str) -> usize {
        self.homes.get(name).copied().unwrap_or(0)
    }

    /// The element type of tensor `place`, if it is one of numbers.
    #[must_use]
    pub fn number(&self, place: usize) -> Option<Number> {
        let name = &self.selection.tensors[place].name;
        self.parts[self.home(name)].number(name)
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
        let mut all = Vec::new();
        self.stream(place, |_, values| {
            all.extend_from_slice(values);
            Ok(())
        })?;
        Ok(all)
    }

    /// Hands the elements of tensor `place` to `sink` as f32, piece by piece, with the place of each piece's first element.
    ///
    /// # Errors
    /// They cannot be read, are no numbers, or are not finite; or `sink` fails.
    pub fn stream(&mut self, place: usize, mut sink: impl FnMut(usize, &[f32]) -> Result<()>) -> Result<()> {
        let tensor = &self.selection.tensors[place];
        let home = self.homes.get(&tensor.name).copied().unwrap_or(0);
        let part = &mut self.parts[home];
        let path = part.path.clone();
        part.stream(tensor, |at, values| match values.iter().position(|x| !x.is_finite()) {
            None => sink(at, values),
            Some(index) => Err(Error::input(format!(
                "{}: tensor {}, element {}: not a finite number",
                path.display(),
                tensor.name,
                at + index
            ))),
        })
    }
}

/// The configuration that one of our own tensor files carries.
fn config_field(file: &TensorFile) -> Result<Option<Config>> {
    let Some(text) = file.field(CONFIG_FIELD) else { return Ok(None) };
    let read = || {
        let value = json::from_str(text).map_err(|e| e.to_string())?;
        keys::read(value)?.config()
    };
    let config: std::result::Result<Config, String> = read();
    Ok(Some(config.map_err(|problem| file.fail(Kind::Field { field: CONFIG_FIELD.into(), problem }))?))
}
