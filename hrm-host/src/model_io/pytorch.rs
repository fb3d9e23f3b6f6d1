//! Checkpoints as `torch.save` writes them.
//!
//! `pytorch-reader` interprets the pickle in them; it runs nothing, and bounds nesting, copies and lengths. Around it
//! stands what a command line needs besides: only ZIP containers (PyTorch 1.6 and later), a pickle of a size that a
//! model's can have, no call in it that could do harm (`pickle`), and no more bytes than the file can account for.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Write};
use std::path::Path;

use pytorch_reader::{DType, PytorchError, PytorchReader, Tensor};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use super::pickle::{self, Followed};
use crate::error::{Error, Result};
use crate::files::{self, read_error};
use crate::memory;
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
/// How to get the weights out of a checkpoint that holds more than is read here.
const ALONE: &str = "if you trust the file, write its weights alone in PyTorch: \
                     torch.save(torch.load(PATH, weights_only=False)[\"model\"], OUT)";

/// Opens `path` and returns its tensors by their names, dictionaries in dictionaries joined by dots.
///
/// # Errors
/// It cannot be read, is no checkpoint, or one that should not be trusted.
pub fn open(path: &Path) -> Result<HashMap<String, Tensor>> {
    let bad = |problem: String| Error::input(format!("{}: {problem}", path.display()));
    let file = files::try_open_again(path).map_err(|error| read_error(path, error))?;
    let size = file.metadata().map_err(|error| read_error(path, error))?.len();
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| {
        bad(format!("not a whole PyTorch checkpoint: the file is cut short, or no ZIP file ({error})"))
    })?;
    refuse_other_archives(&archive).map_err(|(what, hint)| bad(what).hint(hint))?;
    let rewritten = check_pickles(&mut archive).map_err(|(problem, hint)| match hint {
        Some(hint) => bad(problem).hint(hint),
        None => bad(problem),
    })?;
    let reader = match rewritten {
        None => PytorchReader::new(path),
        Some((index, pickle)) => {
            // The archive in memory: as large as the file.
            if let Some(available) =
                memory::available().filter(|available| size.saturating_mul(2) > *available)
            {
                let (needed, available) = (memory::human(size.saturating_mul(2)), memory::human(available));
                return Err(
                    bad(format!("reading it takes {needed}, this machine has {available} free")).hint(ALONE)
                );
            }
            let bytes = with_pickle(archive, index, &pickle)
                .map_err(|error| bad(format!("not a whole PyTorch checkpoint: {error}")))?;
            PytorchReader::from_bytes(bytes, None)
        }
    };
    let reader = reader.map_err(|error| match error {
        PytorchError::Io(error) if error.raw_os_error().is_some() => read_error(path, error),
        PytorchError::Pickle(pytorch_reader::PickleError::UnsupportedType(what)) => {
            bad(format!("not a checkpoint that is read: it holds {what} with tensors in it")).hint(ALONE)
        }
        PytorchError::InvalidFormat(what) if what.contains("Expected a dictionary") => {
            bad(format!("not a checkpoint that is read: {what}")).hint(ALONE)
        }
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

/// Names archives that are not a checkpoint's.
fn refuse_other_archives(archive: &ZipArchive<BufReader<File>>) -> std::result::Result<(), (String, String)> {
    let names: Vec<String> = archive.file_names().flatten().map(std::borrow::Cow::into_owned).collect();
    let is = |end: &str| names.iter().any(|name| name == end || name.ends_with(&format!("/{end}")));
    if is("constants.pkl") {
        return Err((
            "a TorchScript program (torch.jit.save), expected a state dict".into(),
            "in PyTorch: torch.save(torch.jit.load(PATH).state_dict(), OUT)".into(),
        ));
    }
    if is("data.pkl") {
        return Ok(());
    }
    let shown = names.iter().take(4).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if names.len() > 4 { ", .." } else { "" };
    if !names.is_empty() && names.iter().all(|name| name.ends_with(".npy")) {
        let hint = "in Python: safetensors.numpy.save_file(dict(np.load(PATH)), \"model.safetensors\")";
        return Err((format!("an archive of NumPy arrays (.npz): {shown}{more}"), hint.into()));
    }
    Err((
        format!("a ZIP archive of other files ({shown}{more}), expected a checkpoint of torch.save"),
        "unpack it, and name the checkpoint in it".into(),
    ))
}

/// An entry of the archive by its place, and what it is to hold.
type Entry = (usize, Vec<u8>);

/// Looks at every pickle in the archive before any is interpreted. Returns the one that has to be read in another form.
fn check_pickles(
    archive: &mut ZipArchive<BufReader<File>>,
) -> std::result::Result<Option<Entry>, (String, Option<&'static str>)> {
    let broken = |error: zip::result::ZipError| (format!("not a whole PyTorch checkpoint: {error}"), None);
    let mut rewritten = None;
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(broken)?;
        let name = entry.name().map_err(broken)?.into_owned();
        if !name.ends_with(".pkl") {
            continue;
        }
        let size = entry.size();
        drop(entry);
        if size > LONGEST_PICKLE {
            let problem = format!("{name} has {size} bytes, expected at most {LONGEST_PICKLE}");
            return Err((problem, Some(ALONE)));
        }
        let mut pickle = Vec::new();
        let read = archive.by_index(index).map_err(broken)?.take(LONGEST_PICKLE + 1).read_to_end(&mut pickle);
        read.map_err(|error| (format!("not a whole PyTorch checkpoint: {name}: {error}"), None))?;
        if pickle.len() as u64 != size {
            return Err((format!("{name} has {} bytes, its directory says {size}", pickle.len()), None));
        }
        match pickle::follow(&pickle).map_err(|problem| (format!("{name}: {problem}"), Some(ALONE)))? {
            Followed::Harmless(None) => {}
            Followed::Harmless(Some(pickle)) => rewritten = Some((index, pickle)),
            Followed::Calls(call) => {
                return Err((
                    format!(
                        "{name} would call {call}, which is no part of a state dict; nothing of it was run"
                    ),
                    Some(ALONE),
                ));
            }
        }
    }
    Ok(rewritten)
}

/// The archive with another pickle in one place.
fn with_pickle(
    mut archive: ZipArchive<BufReader<File>>,
    at: usize,
    pickle: &[u8],
) -> zip::result::ZipResult<Vec<u8>> {
    let mut out = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index)?;
        if index == at {
            let name = entry.name()?.into_owned();
            drop(entry);
            out.start_file(name, stored)?;
            out.write_all(pickle)?;
        } else {
            out.raw_copy_file(entry)?;
        }
    }
    Ok(out.finish()?.into_inner())
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
