//! Checkpoints as `torch.save` writes them.
//!
//! `pytorch-reader` interprets the pickle in them; it runs nothing, and bounds nesting, copies and lengths. Around it
//! stands what a command line needs besides: only ZIP containers (PyTorch 1.6 and later), a pickle of a size that a
//! model's can have, no name in it but those of tensors and dictionaries, and no more bytes than the file can account
//! for.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use pytorch_reader::{DType, PytorchError, PytorchReader, Tensor};
use zip::ZipArchive;

use super::pickle;
use crate::error::{Error, Result};
use crate::files::read_error;
use crate::numbers::Number;

/// How a ZIP file begins.
pub const MAGIC: &[u8; 4] = b"PK\x03\x04";
/// The longest pickle that is read: a tensor takes about 200 bytes of it.
const LONGEST_PICKLE: u64 = 4 << 20;
/// A file's tensors may be this many times as large as the file, beyond [`ALWAYS`]: weights hardly compress, but a
/// puzzle embedding full of zeros does.
const LARGEST_RATIO: u64 = 16;
/// So many bytes of tensors are always read.
const ALWAYS: u64 = 64 << 20;

/// Opens `path` and returns its tensors by their names, dictionaries in dictionaries joined by dots.
///
/// # Errors
/// It cannot be read, is no checkpoint, or one that should not be trusted.
pub fn open(path: &Path) -> Result<HashMap<String, Tensor>> {
    let bad = |problem: String| Error::input(format!("{}: {problem}", path.display()));
    let file = File::open(path).map_err(|error| read_error(path, error))?;
    let size = file.metadata().map_err(|error| read_error(path, error))?.len();
    check_pickles(file).map_err(bad)?;
    let reader = PytorchReader::new(path).map_err(|error| match error {
        PytorchError::Io(error) if error.raw_os_error().is_some() => read_error(path, error),
        other => bad(format!("not a whole PyTorch checkpoint: {other}")),
    })?;
    let limit = size.saturating_mul(LARGEST_RATIO).max(ALWAYS);
    let claimed =
        reader.tensors().values().fold(0u64, |sum, tensor| sum.saturating_add(tensor.byte_len() as u64));
    if claimed > limit {
        return Err(bad(format!(
            "its tensors claim {claimed} bytes, more than {LARGEST_RATIO} times the file's {size}"
        )));
    }
    Ok(reader.into_tensors())
}

/// Looks at every pickle in the archive before any is interpreted.
fn check_pickles(file: File) -> std::result::Result<(), String> {
    let broken = |error: zip::result::ZipError| format!("not a whole PyTorch checkpoint: {error}");
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| {
        format!("not a whole PyTorch checkpoint: the file is cut short, or no ZIP file ({error})")
    })?;
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(broken)?;
        let name = entry.name().map_err(broken)?.into_owned();
        if !name.ends_with(".pkl") {
            continue;
        }
        let size = entry.size();
        drop(entry);
        if size > LONGEST_PICKLE {
            return Err(format!("{name} has {size} bytes, expected at most {LONGEST_PICKLE}"));
        }
        let mut pickle = Vec::new();
        let read = archive.by_index(index).map_err(broken)?.take(LONGEST_PICKLE + 1).read_to_end(&mut pickle);
        read.map_err(|error| format!("not a whole PyTorch checkpoint: {name}: {error}"))?;
        if pickle.len() as u64 != size {
            return Err(format!("{name} has {} bytes, its directory says {size}", pickle.len()));
        }
        if let Some(call) = pickle::first_call(&pickle)? {
            return Err(format!(
                "{name} would call {call}, which is no part of a state dict; nothing of it was run"
            ));
        }
    }
    Ok(())
}

/// The type of a tensor's elements.
#[must_use]
pub fn number(tensor: &Tensor) -> Number {
    match tensor.dtype() {
        DType::F64 => Number::F64,
        DType::F32 => Number::F32,
        DType::F16 => Number::F16,
        DType::BF16 => Number::Bf16,
        DType::I64 => Number::I64,
        DType::I32 => Number::I32,
        DType::I16 => Number::I16,
        DType::I8 => Number::I8,
        DType::U64 => Number::U64,
        DType::U32 => Number::U32,
        DType::U16 => Number::U16,
        DType::U8 | DType::Bool => Number::U8,
    }
}

/// Reads a tensor's elements, row by row, as f32.
///
/// # Errors
/// The file does not hold them, or cannot be read.
pub fn read(path: &Path, tensor: &Tensor) -> Result<Vec<f32>> {
    let number = number(tensor);
    let mut bytes = tensor.read().map_err(|error| match error.raw_os_error() {
        Some(_) => read_error(path, error),
        None => Error::input(format!("{}: {error}", path.display())),
    })?;
    if cfg!(target_endian = "big") {
        bytes.chunks_exact_mut(number.size()).for_each(<[u8]>::reverse);
    }
    let mut values = Vec::with_capacity(tensor.num_elements());
    number.widen(&bytes, &mut values);
    Ok(values)
}
