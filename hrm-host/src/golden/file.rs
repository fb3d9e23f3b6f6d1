//! A file of golden tensors, which remembers what was read from it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::Error;

/// A safetensors file in memory.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    bytes: Vec<u8>,
    unread: RefCell<BTreeSet<String>>,
}

impl File {
    /// Reads `path` whole, if it is there.
    pub(super) fn find(path: PathBuf) -> Result<Option<Self>, Error> {
        match Self::open(path) {
            Err(Error::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// Reads `path` whole.
    pub(super) fn open(path: PathBuf) -> Result<Self, Error> {
        let bytes = fs::read(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
        let file = Self { path, bytes, unread: RefCell::default() };
        let names = file.tensors()?.names().into_iter().map(String::from).collect();
        file.unread.replace(names);
        Ok(file)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file's name.
    pub(super) fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn tensors(&self) -> Result<SafeTensors<'_>, Error> {
        SafeTensors::deserialize(&self.bytes)
            .map_err(|error| Error::Format { path: self.path.clone(), message: error.to_string() })
    }

    pub(super) fn wrong(&self, name: &str, given: impl ToString, expected: impl ToString) -> Error {
        let (given, expected) = (given.to_string(), expected.to_string());
        Error::Tensor { path: self.path.clone(), name: name.into(), given, expected }
    }

    fn view<'a>(
        &'a self,
        tensors: &'a SafeTensors<'a>,
        name: &str,
        shape: &[usize],
    ) -> Result<TensorView<'a>, Error> {
        let view = tensors.tensor(name).map_err(|_| Error::Missing {
            path: self.path.clone(),
            name: name.into(),
            expected: format!("a tensor {shape:?}"),
        })?;
        if view.shape() != shape {
            return Err(self.wrong(name, format!("{:?}", view.shape()), format!("{shape:?}")));
        }
        self.unread.borrow_mut().remove(name);
        Ok(view)
    }

    /// Whether there is a tensor of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.tensors().is_ok_and(|tensors| tensors.tensor(name).is_ok())
    }

    /// The tensor `name` of the given shape, whatever type of number it holds.
    pub(super) fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f64>, Error> {
        let tensors = self.tensors()?;
        self.numbers(name, &self.view(&tensors, name, shape)?)
    }

    /// The tensor `name`, whatever its shape.
    pub(super) fn all_floats(&self, name: &str) -> Result<Vec<f64>, Error> {
        let tensors = self.tensors()?;
        let view = tensors.tensor(name).map_err(|_| self.wrong(name, "missing", "a tensor"))?;
        self.numbers(name, &view)
    }

    fn numbers(&self, name: &str, view: &TensorView) -> Result<Vec<f64>, Error> {
        let data = view.data();
        Ok(match view.dtype() {
            Dtype::F64 => data.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            Dtype::F32 => data.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
            Dtype::BF16 => {
                data.as_chunks().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f64()).collect()
            }
            Dtype::I32 => data.as_chunks().0.iter().map(|b| f64::from(i32::from_le_bytes(*b))).collect(),
            Dtype::I64 => data.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect(),
            other => return Err(self.wrong(name, format!("{other:?}"), "a number")),
        })
    }

    /// The tensor `name`, exact in f32: f32, bf16 or i32.
    pub(super) fn f32s(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        Ok(self.floats(name, shape)?.into_iter().map(|x| x as f32).collect())
    }

    /// The integers or truth values of `name`.
    pub(super) fn ints(&self, name: &str, shape: &[usize]) -> Result<Vec<i32>, Error> {
        let tensors = self.tensors()?;
        let view = self.view(&tensors, name, shape)?;
        match view.dtype() {
            Dtype::I32 => Ok(view.data().as_chunks().0.iter().map(|b| i32::from_le_bytes(*b)).collect()),
            Dtype::BOOL => Ok(view.data().iter().map(|b| i32::from(*b != 0)).collect()),
            other => Err(self.wrong(name, format!("{other:?}"), "I32 or BOOL")),
        }
    }

    /// Takes tensors out of the account: those whose name begins with `prefix`.
    pub(super) fn skip(&self, prefix: &str) {
        self.unread.borrow_mut().retain(|name| !name.starts_with(prefix));
    }

    /// Ends the account.
    ///
    /// # Errors
    /// A tensor was never read.
    pub(super) fn close(&self) -> Result<(), Error> {
        match self.unread.borrow().first() {
            Some(name) => Err(Error::Uncovered { path: self.path.clone(), name: name.clone() }),
            None => Ok(()),
        }
    }
}
