//! Writing tensor files: the same tensors and metadata give the same bytes, every time.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io;
use std::path::Path;

use safetensors::Dtype;
use serde_json::{Map, Value, json};

use super::{CHECKSUM_KEY, Kind, TensorFileError, VERSION, VERSION_KEY, finish};
use crate::files;
use crate::numbers::Precision;

/// What to write: a name, a type, a shape, and a function that fills in the elements.
pub struct Source<'a, E> {
    /// Name of the tensor.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its elements, little-endian, made when they are needed.
    pub elements: Elements<'a, E>,
}

/// Fills in all elements.
type Fetch<'a, T, E> = Box<dyn FnMut(&mut [T]) -> Result<(), E> + 'a>;

/// Where the elements of a [`Source`] come from.
pub enum Elements<'a, E> {
    /// Single precision.
    F32(Fetch<'a, f32, E>),
    /// bf16: fetched as f32 and rounded to nearest even.
    Bf16(Fetch<'a, f32, E>),
    /// Half precision: fetched as f32 and rounded to nearest even.
    F16(Fetch<'a, f32, E>),
    /// Integers.
    I32(Fetch<'a, i32, E>),
}

impl<'a, E> Elements<'a, E> {
    /// Fetched as f32 and written in `precision`.
    pub fn float(precision: Precision, fetch: impl FnMut(&mut [f32]) -> Result<(), E> + 'a) -> Self {
        match precision {
            Precision::F32 => Self::F32(Box::new(fetch)),
            Precision::Bf16 => Self::Bf16(Box::new(fetch)),
            Precision::F16 => Self::F16(Box::new(fetch)),
        }
    }
}

/// Fetches `len` numbers and rounds them.
fn narrowed<E>(precision: Precision, len: usize, fetch: &mut Fetch<'_, f32, E>) -> Result<Vec<u8>, E> {
    let mut values = vec![0.0f32; len];
    fetch(&mut values)?;
    let mut bytes = Vec::with_capacity(len * precision.size());
    precision.narrow(&values, &mut bytes);
    Ok(bytes)
}

impl<E> Source<'_, E> {
    fn dtype(&self) -> Dtype {
        match self.elements {
            Elements::F32(_) => Dtype::F32,
            Elements::Bf16(_) => Dtype::BF16,
            Elements::F16(_) => Dtype::F16,
            Elements::I32(_) => Dtype::I32,
        }
    }

    fn len(&self) -> usize {
        self.shape.iter().product()
    }

    fn data_len(&self) -> usize {
        self.len() * self.dtype().bitsize() / 8
    }

    /// Calls `take` with all elements as bytes.
    fn bytes<T>(&mut self, take: impl FnOnce(&[u8]) -> T) -> Result<T, E> {
        let len = self.len();
        Ok(match &mut self.elements {
            Elements::F32(fetch) => {
                let mut values = vec![0.0f32; len];
                fetch(&mut values)?;
                values.iter_mut().for_each(|x| *x = f32::from_bits(x.to_bits().to_le()));
                take(bytemuck::cast_slice(&values))
            }
            Elements::Bf16(fetch) => take(&narrowed(Precision::Bf16, len, fetch)?),
            Elements::F16(fetch) => take(&narrowed(Precision::F16, len, fetch)?),
            Elements::I32(fetch) => {
                let mut values = vec![0i32; len];
                fetch(&mut values)?;
                values.iter_mut().for_each(|x| *x = x.to_le());
                take(bytemuck::cast_slice(&values))
            }
        })
    }
}

/// Writes `tensors` and `metadata` to `path`, which is created or replaced, and flushes it to the disk. The caller
/// makes this atomic.
///
/// # Errors
/// Writing fails; or the elements cannot be fetched, then the error of the source comes back in the inner result.
pub fn write<E>(
    path: &Path,
    mut tensors: Vec<Source<'_, E>>,
    metadata: &[(&str, String)],
) -> Result<Result<(), E>, TensorFileError> {
    // The checksum goes by name alone.
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let mut checksum = crc32fast::Hasher::new();
    for tensor in &mut tensors {
        checksum.update(tensor.name.as_bytes());
        if let Err(error) = tensor.bytes(|bytes| checksum.update(bytes)) {
            return Ok(Err(error));
        }
    }
    let mut fields: HashMap<String, String> =
        metadata.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    fields.insert("format".into(), "pt".into());
    fields.insert(VERSION_KEY.into(), VERSION.into());
    fields.insert(CHECKSUM_KEY.into(), finish(checksum, &fields));
    // The format orders tensors by type, widest first, then by name; this sort keeps the order by name.
    tensors.sort_by_key(|tensor| Reverse(tensor.dtype()));
    let header = header(&tensors, fields);

    let mut failed = None;
    let written = files::write_synced(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        for tensor in &mut tensors {
            match tensor.bytes(|bytes| out.write_all(bytes)) {
                Ok(written) => written?,
                Err(error) => {
                    failed = Some(error);
                    return Err(io::Error::other("a tensor could not be fetched"));
                }
            }
        }
        Ok(())
    });
    match (failed, written) {
        (Some(error), _) => Ok(Err(error)),
        (None, Ok(_)) => Ok(Ok(())),
        (None, Err(error)) => Err(TensorFileError { path: path.to_owned(), kind: Kind::Io(error) }),
    }
}

/// The JSON header, padded with spaces to a multiple of 8 bytes. Its keys are in the order of their names, and so are
/// those of the metadata.
fn header<E>(tensors: &[Source<'_, E>], fields: HashMap<String, String>) -> Vec<u8> {
    let mut fields: Vec<(String, String)> = fields.into_iter().collect();
    fields.sort();
    let fields: Map<String, Value> = fields.into_iter().map(|(key, value)| (key, value.into())).collect();
    let mut entries = vec![("__metadata__".to_owned(), Value::Object(fields))];
    let mut offset = 0;
    for tensor in tensors {
        let end = offset + tensor.data_len();
        let dtype = format!("{:?}", tensor.dtype());
        let entry = json!({ "dtype": dtype, "shape": tensor.shape, "data_offsets": [offset, end] });
        entries.push((tensor.name.clone(), entry));
        offset = end;
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    let entries: Map<String, Value> = entries.into_iter().collect();
    let mut bytes = Value::Object(entries).to_string().into_bytes();
    bytes.resize(bytes.len().next_multiple_of(8), b' ');
    bytes
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::super::TensorFile;
    use super::*;

    fn sources<'a>() -> Vec<Source<'a, Infallible>> {
        let counting = |out: &mut [f32]| {
            out.iter_mut().enumerate().for_each(|(i, x)| *x = i as f32);
            Ok(())
        };
        let minus_seven = |out: &mut [i32]| {
            out.fill(-7);
            Ok(())
        };
        let source = |name: &str, shape: &[usize], elements| Source {
            name: name.into(),
            shape: shape.to_vec(),
            elements,
        };
        vec![
            source("b", &[2, 3], Elements::F32(Box::new(counting))),
            source("half", &[3], Elements::Bf16(Box::new(counting))),
            source("ids", &[2], Elements::I32(Box::new(minus_seven))),
            source("a", &[0, 4], Elements::F32(Box::new(counting))),
        ]
    }

    #[test]
    fn the_same_tensors_give_the_same_bytes_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let fields: Vec<(&str, String)> =
            ["one", "two", "three", "four"].into_iter().map(|key| (key, format!("<{key}>\"\n"))).collect();
        let bytes: Vec<Vec<u8>> = (0..8)
            .map(|i| {
                let path = dir.path().join(format!("{i}"));
                write(&path, sources(), &fields).unwrap().unwrap();
                std::fs::read(&path).unwrap()
            })
            .collect();
        assert!(bytes.iter().all(|other| *other == bytes[0]));

        let mut file = TensorFile::open(&dir.path().join("0")).unwrap();
        assert!(file.verify().unwrap());
        assert_eq!(file.field("three"), Some("<three>\"\n"));
        assert_eq!(file.names(), ["a", "b", "half", "ids"]);
        assert_eq!(file.f32s("b", &[2, 3]).unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(file.f32s("half", &[3]).unwrap(), [0.0, 1.0, 2.0]);
        assert_eq!(file.i32s("ids", &[2]).unwrap(), [-7, -7]);
        assert!(safetensors::SafeTensors::deserialize(&bytes[0]).is_ok());
    }

    #[test]
    fn a_source_that_fails_gives_its_own_error() {
        let dir = tempfile::tempdir().unwrap();
        let failing = Source {
            name: "a".into(),
            shape: vec![1],
            elements: Elements::F32(Box::new(|_| Err("the device is gone"))),
        };
        let result = write(&dir.path().join("a"), vec![failing], &[]);
        assert_eq!(result.unwrap(), Err("the device is gone"));
    }
}
