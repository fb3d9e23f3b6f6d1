//! NumPy's `.npy` arrays of integers: read memory-mapped, written as a stream.
//!
//! Format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>. Versions 1 to 3, C order,
//! little-endian integers of 8 to 64 bits, which is what the published dataset builders write.

use super::error::{Error, Place, Result};
use super::mmap;
use crate::files::{self, Staged};
use memmap2::Mmap;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Bytes of the header that [`NpyWriter`] writes; NumPy's own is as long for these shapes.
const WRITTEN_HEADER: usize = 128;

/// The element type of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// `|u1`
    U8,
    /// `|i1`
    I8,
    /// `<u2`
    U16,
    /// `<i2`
    I16,
    /// `<u4`
    U32,
    /// `<i4`
    I32,
    /// `<u8`
    U64,
    /// `<i8`
    I64,
}

impl Dtype {
    const ALL: [Self; 8] =
        [Self::U8, Self::I8, Self::U16, Self::I16, Self::U32, Self::I32, Self::U64, Self::I64];

    /// NumPy's name of it.
    #[must_use]
    pub const fn descr(self) -> &'static str {
        match self {
            Self::U8 => "|u1",
            Self::I8 => "|i1",
            Self::U16 => "<u2",
            Self::I16 => "<i2",
            Self::U32 => "<u4",
            Self::I32 => "<i4",
            Self::U64 => "<u8",
            Self::I64 => "<i8",
        }
    }

    /// Bytes of one element.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 => 4,
            Self::U64 | Self::I64 => 8,
        }
    }

    fn from_descr(descr: &str) -> Option<Self> {
        // One byte has no order: NumPy writes `|`, other writers `<`.
        let descr = match descr {
            "<u1" => "|u1",
            "<i1" => "|i1",
            other => other,
        };
        Self::ALL.into_iter().find(|dtype| dtype.descr() == descr)
    }

    /// The element at the start of `bytes`. A `u64` beyond `i64::MAX` reads as `i64::MAX`: out of every range here.
    fn decode(self, bytes: &[u8]) -> Option<i64> {
        Some(match self {
            Self::U8 => i64::from(*bytes.first()?),
            Self::I8 => i64::from(i8::from_le_bytes(*bytes.first_chunk()?)),
            Self::U16 => i64::from(u16::from_le_bytes(*bytes.first_chunk()?)),
            Self::I16 => i64::from(i16::from_le_bytes(*bytes.first_chunk()?)),
            Self::U32 => i64::from(u32::from_le_bytes(*bytes.first_chunk()?)),
            Self::I32 => i64::from(i32::from_le_bytes(*bytes.first_chunk()?)),
            Self::U64 => i64::try_from(u64::from_le_bytes(*bytes.first_chunk()?)).unwrap_or(i64::MAX),
            Self::I64 => i64::from_le_bytes(*bytes.first_chunk()?),
        })
    }
}

/// A memory-mapped array of integers in C order.
#[derive(Debug)]
pub struct Npy {
    path: PathBuf,
    map: Mmap,
    offset: usize,
    dtype: Dtype,
    shape: Vec<usize>,
}

impl Npy {
    /// Maps the array in `path` and checks its header against the length of the file.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be opened; [`Error::Format`] naming the header's field otherwise.
    pub fn open(path: &Path) -> Result<Self> {
        let file = files::try_open(path).map_err(Error::io(path, "open the array"))?;
        let map = mmap::map(&file).map_err(Error::io(path, "map the array"))?;
        let Header { dtype, shape, offset } = Header::parse(path, &map)?;
        let bytes = shape
            .iter()
            .try_fold(dtype.size(), |bytes, &n| bytes.checked_mul(n))
            .and_then(|bytes| bytes.checked_add(offset))
            .ok_or_else(|| {
                Error::format(
                    path,
                    Place::File,
                    "shape",
                    format!("{shape:?}"),
                    "an array that fits in memory",
                )
            })?;
        if map.len() != bytes {
            return Err(Error::format(
                path,
                Place::File,
                "length of the file",
                format!("{} bytes", map.len()),
                format!("{bytes} bytes for shape {shape:?} of {}", dtype.descr()),
            ));
        }
        Ok(Self { path: path.to_owned(), map, offset, dtype, shape })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The element type.
    #[must_use]
    pub const fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The length along each axis.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes().len() / self.dtype.size()
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    /// The elements as bytes, little-endian.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.map.get(self.offset..).unwrap_or_default()
    }

    /// Element `index` in C order, or `None` beyond the end.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<i64> {
        let start = index.checked_mul(self.dtype.size())?;
        self.dtype.decode(self.bytes().get(start..)?)
    }

    /// Fills `out` with the elements from `start` on, in C order.
    ///
    /// # Errors
    /// [`Error::Argument`] beyond the end, [`Error::Format`] at a value that is no `i32`.
    pub fn read(&self, start: usize, out: &mut [i32]) -> Result<()> {
        let size = self.dtype.size();
        let bytes = start
            .checked_add(out.len())
            .filter(|&end| end <= self.len())
            .and_then(|end| self.bytes().get(start * size..end * size))
            .ok_or_else(|| {
                Error::argument(
                    "array range",
                    format!("{} elements from {start} in {}", out.len(), self.path.display()),
                    format!("within {} elements", self.len()),
                )
            })?;
        if self.dtype == Dtype::U8 {
            for (out, &byte) in out.iter_mut().zip(bytes) {
                *out = i32::from(byte);
            }
            return Ok(());
        }
        for (i, (out, chunk)) in out.iter_mut().zip(bytes.chunks_exact(size)).enumerate() {
            let value = self.dtype.decode(chunk).unwrap_or(i64::MAX);
            *out = i32::try_from(value).map_err(|_| {
                let row = (start + i) / self.shape.iter().skip(1).product::<usize>().max(1);
                Error::format(&self.path, Place::Row(row as u64), "value", value, "a 32-bit integer")
            })?;
        }
        Ok(())
    }
}

/// What a header says.
struct Header {
    dtype: Dtype,
    shape: Vec<usize>,
    /// Where the elements start.
    offset: usize,
}

impl Header {
    fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let bad = |field: &str, found: &dyn std::fmt::Display, expected: &str| {
            Error::format(path, Place::File, field, found, expected)
        };
        if bytes.get(..6) != Some(MAGIC.as_slice()) {
            return Err(bad("magic", &bytes.get(..6).unwrap_or(bytes).escape_ascii(), "\\x93NUMPY"));
        }
        let short = || bad("header", &format!("{} bytes", bytes.len()), "a whole header");
        let (start, length) = match bytes.get(6).ok_or_else(short)? {
            1 => (10, bytes.get(8..).and_then(|b| b.first_chunk()).map(|&b| u16::from_le_bytes(b) as usize)),
            2 | 3 => {
                (12, bytes.get(8..).and_then(|b| b.first_chunk()).map(|&b| u32::from_le_bytes(b) as usize))
            }
            version => return Err(bad("version", version, "1, 2 or 3")),
        };
        let offset = length.ok_or_else(short)?.saturating_add(start);
        let text = bytes.get(start..offset).ok_or_else(short)?;
        let text = std::str::from_utf8(text).map_err(|_| bad("header", &"bytes", "text"))?;

        let value = |key: &str| {
            [format!("'{key}'"), format!("\"{key}\"")]
                .iter()
                .find_map(|quoted| Some(text.get(text.find(quoted.as_str())? + quoted.len()..)?.trim_start()))
                .and_then(|rest| Some(rest.strip_prefix(':')?.trim_start()))
                .ok_or_else(|| bad(key, &text.trim(), "the key in the header"))
        };

        let descr = value("descr")?;
        let name = descr
            .strip_prefix(['\'', '"'])
            .and_then(|rest| Some(&rest[..rest.find(['\'', '"'])?]))
            .unwrap_or(descr.trim_end());
        let dtype = Dtype::from_descr(name)
            .ok_or_else(|| bad("descr", &name, "|u1, |i1, <u2, <i2, <u4, <i4, <u8 or <i8"))?;

        let tuple = value("shape")?;
        let shape =
            parse_tuple(tuple).ok_or_else(|| bad("shape", &tuple.trim_end(), "a tuple of lengths"))?;

        let order = value("fortran_order")?;
        let fortran = order.starts_with("True");
        if (fortran && shape.len() > 1) || !(fortran || order.starts_with("False")) {
            let found = order.split([',', '}']).next().unwrap_or(order);
            return Err(bad("fortran_order", &found, "False"));
        }
        Ok(Self { dtype, shape, offset })
    }
}

/// `(1, 2)`, `(1,)` or `()`.
fn parse_tuple(text: &str) -> Option<Vec<usize>> {
    let inner = text.strip_prefix('(')?;
    let inner = inner[..inner.find(')')?].trim();
    let inner = inner.strip_suffix(',').unwrap_or(inner);
    if inner.is_empty() {
        return Some(Vec::new());
    }
    inner.split(',').map(|n| n.trim().parse().ok()).collect()
}

/// Writes an array row by row to a temporary file beside its destination; [`Staged::commit`] renames it into place.
///
/// The bytes are those of `numpy.save`.
#[derive(Debug)]
pub struct NpyWriter {
    file: BufWriter<Staged>,
    dtype: Dtype,
    /// Elements of a row, or `None` for an array of one axis.
    columns: Option<usize>,
    elements: usize,
}

impl NpyWriter {
    /// Starts the array that will be `path`, of shape `(n,)`, or `(n, columns)`.
    ///
    /// # Errors
    /// [`Error::Io`] if the temporary file cannot be made.
    pub fn create(path: &Path, dtype: Dtype, columns: Option<usize>) -> Result<Self> {
        let staged = Staged::create(path).map_err(Error::io(path, "create a file beside it"))?;
        let mut file = BufWriter::with_capacity(1 << 16, staged);
        file.write_all(&[0; WRITTEN_HEADER]).map_err(Error::io(path, "write the array"))?;
        Ok(Self { file, dtype, columns, elements: 0 })
    }

    /// Appends `values`.
    ///
    /// # Errors
    /// [`Error::Argument`] at a value that the element type cannot hold, [`Error::Io`] if the disk refuses.
    pub fn write(&mut self, values: &[i32]) -> Result<()> {
        for &value in values {
            let bytes = i64::from(value).to_le_bytes();
            let kept = &bytes[..self.dtype.size()];
            if self.dtype.decode(kept) != Some(i64::from(value)) {
                return Err(Error::argument(
                    "array value",
                    value,
                    format!("a value of {}", self.dtype.descr()),
                ));
            }
            self.file.write_all(kept).map_err(Error::io(self.file.get_ref().target(), "write the array"))?;
        }
        self.elements += values.len();
        Ok(())
    }

    /// Appends `values` to an array of [`Dtype::U8`].
    ///
    /// # Errors
    /// [`Error::Argument`] if the elements are not bytes, [`Error::Io`] if the disk refuses.
    pub fn write_bytes(&mut self, values: &[u8]) -> Result<()> {
        if self.dtype != Dtype::U8 {
            return Err(Error::argument("array value", "bytes", format!("values of {}", self.dtype.descr())));
        }
        self.file.write_all(values).map_err(Error::io(self.file.get_ref().target(), "write the array"))?;
        self.elements += values.len();
        Ok(())
    }

    /// The number of elements so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.elements
    }

    /// Whether nothing has been written yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.elements == 0
    }

    /// Writes the header and puts the bytes on the disk; the array is not yet visible under its name.
    ///
    /// # Errors
    /// [`Error::Argument`] if the last row is not whole, [`Error::Io`] if the disk refuses.
    pub fn stage(self) -> Result<Staged> {
        let Self { mut file, dtype, columns, elements } = self;
        let path = file.get_ref().target().to_owned();
        let shape = match columns {
            None => format!("({elements},)"),
            Some(columns) if columns > 0 && elements % columns == 0 => {
                format!("({}, {columns})", elements / columns)
            }
            Some(columns) => {
                return Err(Error::argument("array length", elements, format!("whole rows of {columns}")));
            }
        };
        let dict = format!("{{'descr': '{}', 'fortran_order': False, 'shape': {shape}, }}", dtype.descr());
        let mut header = MAGIC.to_vec();
        header.extend([1, 0, (WRITTEN_HEADER - 10) as u8, 0]);
        header.extend(format!("{dict:<width$}\n", width = WRITTEN_HEADER - 11).as_bytes());
        file.seek(SeekFrom::Start(0))
            .and_then(|_| file.write_all(&header))
            .map_err(Error::io(&path, "write the header"))?;
        let staged = file
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)
            .map_err(Error::io(&path, "write the array"))?;
        staged.sync().map_err(Error::io(&path, "synchronise the file"))?;
        Ok(staged)
    }

    /// Writes the header, puts the bytes on the disk and renames the array into place.
    ///
    /// # Errors
    /// As [`Self::stage`] and [`Staged::commit`].
    pub fn finish(self) -> Result<()> {
        commit(self.stage()?)
    }
}

/// Gives a staged file its name.
pub(super) fn commit(staged: Staged) -> Result<()> {
    let path = staged.target().to_owned();
    staged.commit().map_err(Error::io(&path, "rename the file into place"))
}

#[cfg(test)]
#[path = "npy_tests.rs"]
mod tests;
