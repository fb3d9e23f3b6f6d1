//! Tensors in a safetensors file, with a version and a checksum in its metadata.
//!
//! Files are written as a stream, one tensor in memory at a time, and read in pieces, so that a file may be
//! larger than what is left of the memory. Files without our metadata (anyone's safetensors) are read as well;
//! only the checksum is not verified then.

mod write;

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensorError, SafeTensors, tensor::Metadata};

use crate::data::mmap;
use crate::files;
use crate::model_io::foreign::{self, Foreign};
use crate::numbers::{Number, chunks};
use crate::tensor_match::Stored;

pub use write::{Elements, Source, write};

/// Version of our metadata.
pub const VERSION: &str = "1";
const VERSION_KEY: &str = "hrm_version";
const CHECKSUM_KEY: &str = "hrm_crc32";
/// Bytes read at a time.
const PIECE: usize = 1 << 16;

/// Why a tensor file cannot be read or written.
#[derive(Debug)]
pub struct TensorFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub kind: Kind,
}

/// What is wrong with a tensor file.
#[derive(Debug)]
pub enum Kind {
    /// Opening, reading or writing failed.
    Io(io::Error),
    /// Not a safetensors file, or a truncated one.
    Format(String),
    /// Another kind of file.
    Foreign(Foreign),
    /// Written by a later version of this program.
    Version(String),
    /// The contents are not those that were written.
    Checksum {
        /// What the file says of itself.
        expected: String,
        /// What its contents give.
        found: String,
    },
    /// A tensor is not there.
    Missing(String),
    /// A tensor has another shape.
    Shape {
        /// Its name.
        tensor: String,
        /// Its shape in the file.
        found: Vec<usize>,
        /// The shape the model needs.
        expected: Vec<usize>,
    },
    /// A tensor has a type that cannot be read as what is needed.
    Type {
        /// Its name.
        tensor: String,
        /// Its type in the file.
        found: String,
        /// What can be read.
        expected: &'static str,
    },
    /// A tensor holds a value that is no finite number.
    NotFinite {
        /// Its name.
        tensor: String,
        /// The first such element, counted row by row.
        element: usize,
    },
    /// A field of the metadata is missing or malformed.
    Field {
        /// Its name.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl fmt::Display for TensorFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        match &self.kind {
            Kind::Io(error) => error.fmt(f),
            Kind::Format(problem) => write!(f, "not a whole safetensors file: {problem}"),
            Kind::Foreign(foreign) => {
                write!(f, "the file is {}; expected a safetensors file", foreign.what)
            }
            Kind::Version(found) => {
                write!(f, "written by version {found} of the format, this program reads version {VERSION}")
            }
            Kind::Checksum { expected, found } => {
                write!(f, "damaged: the checksum of its contents is {found}, expected {expected}")
            }
            Kind::Missing(tensor) => write!(f, "tensor {tensor} is missing"),
            Kind::Shape { tensor, found, expected } => {
                write!(f, "tensor {tensor} has shape {found:?}, expected {expected:?}")
            }
            Kind::Type { tensor, found, expected } => {
                write!(f, "tensor {tensor} has type {found}, expected {expected}")
            }
            Kind::NotFinite { tensor, element } => {
                write!(f, "tensor {tensor}, element {element}: not a finite number")
            }
            Kind::Field { field, problem } => write!(f, "metadata field {field}: {problem}"),
        }
    }
}

impl std::error::Error for TensorFileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            Kind::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// The checksum of tensors and metadata, in which its own field is left out.
fn finish(mut checksum: crc32fast::Hasher, metadata: &HashMap<String, String>) -> String {
    let mut fields: Vec<_> = metadata.iter().filter(|(key, _)| *key != CHECKSUM_KEY).collect();
    fields.sort();
    for (key, value) in fields {
        checksum.update(key.as_bytes());
        checksum.update(b"=");
        checksum.update(value.as_bytes());
        checksum.update(b"\n");
    }
    format!("{:08x}", checksum.finalize())
}

/// An opened tensor file: its header read, its tensors still on disk.
pub struct TensorFile {
    path: PathBuf,
    file: File,
    data_start: u64,
    metadata: Metadata,
}

impl TensorFile {
    /// Opens `path` and checks that it is whole: header, sizes, version.
    ///
    /// # Errors
    /// It is not, or cannot be read.
    pub fn open(path: &Path) -> Result<Self, TensorFileError> {
        let fail = |kind| TensorFileError { path: path.to_owned(), kind };
        let file = files::try_open(path).map_err(|e| fail(Kind::Io(e)))?;
        let about = file.metadata().map_err(|e| fail(Kind::Io(e)))?;
        if !about.is_file() {
            return Err(fail(Kind::Format("it is no regular file".into())));
        }
        // Only the header is looked at through the mapping, which ends here.
        let map = mmap::map(&file).map_err(|e| fail(Kind::Io(e)))?;
        let (header, metadata) = SafeTensors::read_metadata(&map).map_err(|error| {
            fail(match foreign::recognise(&map[..map.len().min(foreign::ENOUGH)]) {
                Some(foreign) => Kind::Foreign(foreign),
                None => Kind::Format(problem(&map, &error)),
            })
        })?;
        drop(map);
        let opened = Self { path: path.to_owned(), file, data_start: 8 + header as u64, metadata };
        match opened.field(VERSION_KEY) {
            None | Some(VERSION) => Ok(opened),
            Some(other) => Err(opened.fail(Kind::Version(other.to_owned()))),
        }
    }

    /// A field of the metadata.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.metadata.metadata().as_ref()?.get(name).map(String::as_str)
    }

    /// The names of all tensors, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.metadata.tensors().into_keys().collect();
        names.sort();
        names
    }

    /// All tensors by name and shape, sorted by name.
    #[must_use]
    pub fn stored(&self) -> Vec<Stored> {
        let shape = |name: &str| self.shape(name).map(<[usize]>::to_vec).unwrap_or_default();
        self.names().into_iter().map(|name| Stored { shape: shape(&name), name }).collect()
    }

    /// The shape of a tensor.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.metadata.info(name).map(|info| info.shape.as_slice())
    }

    /// The type of a tensor, if it is one of numbers.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<Number> {
        self.metadata.info(name).and_then(|info| number(info.dtype))
    }

    /// An error about this file.
    #[must_use]
    pub fn fail(&self, kind: Kind) -> TensorFileError {
        TensorFileError { path: self.path.clone(), kind }
    }

    /// Reads the whole file and compares its checksum, if it has one. Returns whether it had. A file that this
    /// program wrote has one.
    ///
    /// # Errors
    /// The contents are not those that were written.
    pub fn verify(&mut self) -> Result<bool, TensorFileError> {
        let Some(expected) = self.field(CHECKSUM_KEY).map(str::to_owned) else {
            if self.field(VERSION_KEY).is_none() {
                return Ok(false);
            }
            return Err(self.fail(Kind::Field { field: CHECKSUM_KEY.into(), problem: "missing".into() }));
        };
        let mut checksum = crc32fast::Hasher::new();
        for name in self.names() {
            checksum.update(name.as_bytes());
            self.pieces(&name, |bytes| {
                checksum.update(bytes);
                Ok(())
            })?;
        }
        let empty = HashMap::new();
        let found = finish(checksum, self.metadata.metadata().as_ref().unwrap_or(&empty));
        if found == expected { Ok(true) } else { Err(self.fail(Kind::Checksum { expected, found })) }
    }

    /// Calls `use_piece` with the bytes of a tensor, piece by piece; each piece holds whole elements.
    fn pieces(
        &mut self,
        name: &str,
        mut use_piece: impl FnMut(&[u8]) -> Result<(), TensorFileError>,
    ) -> Result<(), TensorFileError> {
        let Some(info) = self.metadata.info(name) else { return Err(self.fail(Kind::Missing(name.into()))) };
        let (start, stop) = info.data_offsets;
        let io = |path: &Path, error| TensorFileError { path: path.to_owned(), kind: Kind::Io(error) };
        self.file.seek(SeekFrom::Start(self.data_start + start as u64)).map_err(|e| io(&self.path, e))?;
        let mut left = stop - start;
        let mut buffer = vec![0; PIECE.min(left)];
        while left > 0 {
            let piece = &mut buffer[..PIECE.min(left)];
            self.file.read_exact(piece).map_err(|e| io(&self.path, e))?;
            use_piece(piece)?;
            left -= piece.len();
        }
        Ok(())
    }

    fn expect_shape(&self, name: &str, expected: &[usize]) -> Result<Dtype, TensorFileError> {
        let Some(info) = self.metadata.info(name) else { return Err(self.fail(Kind::Missing(name.into()))) };
        if info.shape != expected {
            return Err(self.fail(Kind::Shape {
                tensor: name.into(),
                found: info.shape.clone(),
                expected: expected.to_vec(),
            }));
        }
        Ok(info.dtype)
    }

    /// Reads a tensor of numbers of shape `expected` as f32, handing it to `sink` piece by piece with the position of each
    /// piece's first element.
    ///
    /// # Errors
    /// The tensor is missing, has another shape or type, or reading fails; errors of the sink come back in the
    /// inner result.
    pub fn read_f32<E>(
        &mut self,
        name: &str,
        expected: &[usize],
        mut sink: impl FnMut(usize, &[f32]) -> Result<(), E>,
    ) -> Result<Result<(), E>, TensorFileError> {
        let dtype = self.expect_shape(name, expected)?;
        let Some(number) = number(dtype) else {
            return Err(self.fail(Kind::Type {
                tensor: name.into(),
                found: format!("{dtype:?}"),
                expected: "F32, BF16, F16, F64 or integers",
            }));
        };
        let (mut at, mut failed) = (0, None);
        let mut values = Vec::with_capacity(PIECE / 2);
        self.pieces(name, |bytes| {
            values.clear();
            number.widen(bytes, &mut values);
            if failed.is_none() {
                failed = sink(at, &values).err();
            }
            at += values.len();
            Ok(())
        })?;
        Ok(failed.map_or(Ok(()), Err))
    }

    /// Reads a whole floating-point tensor as f32.
    ///
    /// # Errors
    /// As for [`read_f32`](Self::read_f32).
    pub fn f32s(&mut self, name: &str, expected: &[usize]) -> Result<Vec<f32>, TensorFileError> {
        let mut out = Vec::with_capacity(expected.iter().product());
        let read = self.read_f32(name, expected, |_, values| {
            out.extend_from_slice(values);
            Ok::<(), std::convert::Infallible>(())
        })?;
        match read {
            Ok(()) => Ok(out),
            Err(never) => match never {},
        }
    }

    /// Reads a whole integer tensor (i32).
    ///
    /// # Errors
    /// The tensor is missing, has another shape or type, or reading fails.
    pub fn i32s(&mut self, name: &str, expected: &[usize]) -> Result<Vec<i32>, TensorFileError> {
        let dtype = self.expect_shape(name, expected)?;
        if dtype != Dtype::I32 {
            return Err(self.fail(Kind::Type {
                tensor: name.into(),
                found: format!("{dtype:?}"),
                expected: "I32",
            }));
        }
        let mut out = Vec::with_capacity(expected.iter().product());
        self.pieces(name, |bytes| {
            out.extend(chunks(bytes).map(i32::from_le_bytes));
            Ok(())
        })?;
        Ok(out)
    }
}

/// What is wrong with a header, in words.
fn problem(file: &[u8], error: &SafeTensorError) -> String {
    let rest = file.len().saturating_sub(8);
    match error {
        SafeTensorError::HeaderTooSmall => format!("it has {} bytes, too few for a header", file.len()),
        SafeTensorError::HeaderTooLarge | SafeTensorError::InvalidHeaderLength => {
            let claimed = file.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            if matches!(error, SafeTensorError::HeaderTooLarge) {
                let first = file[..file.len().min(8)].escape_ascii();
                return format!(
                    "its first bytes are {first}, which is the beginning of no format that is known"
                );
            }
            format!("its header claims {claimed} bytes, the file has {rest}")
        }
        SafeTensorError::MetadataIncompleteBuffer => {
            "its header describes more or fewer bytes of tensors than it has: it was cut short, or added to"
                .into()
        }
        SafeTensorError::TensorInvalidInfo => "a tensor's size does not match its shape".into(),
        other => other.to_string(),
    }
}

/// The types that can be read as numbers.
fn number(dtype: Dtype) -> Option<Number> {
    Some(match dtype {
        Dtype::F64 => Number::F64,
        Dtype::F32 => Number::F32,
        Dtype::F16 => Number::F16,
        Dtype::BF16 => Number::Bf16,
        Dtype::I64 => Number::I64,
        Dtype::I32 => Number::I32,
        Dtype::I16 => Number::I16,
        Dtype::I8 => Number::I8,
        Dtype::U64 => Number::U64,
        Dtype::U32 => Number::U32,
        Dtype::U16 => Number::U16,
        Dtype::U8 | Dtype::BOOL => Number::U8,
        _ => return None,
    })
}
