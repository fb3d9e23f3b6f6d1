//! Bundles on disk: [`hrm_core::bundle`] reads them in place, here they are written, and loaded on a host.

use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use hrm_core::bundle::{self, ALIGN, Bundle, BundleError, Entry, PREAMBLE, Preamble};
use hrm_core::config::Config;
use hrm_core::init;
use hrm_core::kernels::{Memory, Region};
use hrm_core::plan::Plan;
use hrm_core::tensors::Tensor;

use super::vocabulary;
use crate::error::{Error, Result};
use crate::files::{self, Staged, write_error};
use crate::numbers::{Number, Precision};
use crate::tensor_match::{Stored, shape};

/// A bundle in memory, checked.
#[derive(Debug)]
pub struct BundleFile {
    path: PathBuf,
    bytes: Vec<u8>,
    config: Config,
    vocabulary: Vec<String>,
    tensors: Vec<(Stored, Precision, Range<usize>)>,
}

impl BundleFile {
    /// Reads and checks the bundle `path`.
    ///
    /// # Errors
    /// It cannot be read, or is not a whole, undamaged bundle.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = files::read(path)?;
        let bundle = Bundle::parse(&bytes).map_err(|error| {
            let described = Error::input(format!("{}: {error}", path.display()));
            match error {
                BundleError::Magic => described.hint("hrm import makes a model of a checkpoint"),
                _ => described,
            }
        })?;
        let tensors = bundle
            .tensors()
            .map(|(tensor, weights)| {
                let start = weights.bytes().as_ptr().addr() - bytes.as_ptr().addr();
                let precision = match weights.precision() {
                    bundle::Precision::F32 => Precision::F32,
                    bundle::Precision::Bf16 => Precision::Bf16,
                    bundle::Precision::F16 => Precision::F16,
                };
                let stored = Stored { name: tensor.name.to_string(), shape: shape(&tensor) };
                (stored, precision, start..start + weights.bytes().len())
            })
            .collect();
        let config = *bundle.config();
        let vocabulary = bundle.vocabulary().map(str::to_owned).collect();
        Ok(Self { path: path.to_owned(), bytes, config, vocabulary, tensors })
    }

    /// The configuration of the model.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The names of the tokens, or none.
    #[must_use]
    pub fn vocabulary(&self) -> &[String] {
        &self.vocabulary
    }

    /// Length in bytes.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Its tensors.
    #[must_use]
    pub fn stored(&self) -> Vec<Stored> {
        self.tensors.iter().map(|(stored, ..)| stored.clone()).collect()
    }

    /// What the elements of a tensor are.
    #[must_use]
    pub fn precision(&self, name: &str) -> Option<Precision> {
        self.tensors.iter().find(|(stored, ..)| stored.name == name).map(|(_, precision, _)| *precision)
    }

    /// The elements of a tensor.
    #[must_use]
    pub fn read(&self, name: &str) -> Option<Vec<f32>> {
        let (_, precision, range) = self.tensors.iter().find(|(stored, ..)| stored.name == name)?;
        let number = match precision {
            Precision::F32 => Number::F32,
            Precision::Bf16 => Number::Bf16,
            Precision::F16 => Number::F16,
        };
        let mut values = Vec::with_capacity(range.len() / precision.size());
        number.widen(&self.bytes[range.clone()], &mut values);
        Some(values)
    }

    /// Writes the weights into `backend`, and the constants that no file holds. `plan` is of this bundle's
    /// configuration.
    ///
    /// # Errors
    /// A weight is not finite, or the backend fails.
    pub fn load<K: Memory<Error: Send + Sync + 'static>>(&self, backend: &mut K, plan: &Plan) -> Result<()> {
        for tensor in plan.params.tensors() {
            let name = tensor.name.to_string();
            let values = self.read(&name).unwrap_or_default();
            if let Some(element) = values.iter().position(|x| !x.is_finite()) {
                return Err(Error::input(format!(
                    "{}: tensor {name}, element {element}: not a finite number",
                    self.path.display()
                )));
            }
            backend.write(Region::Params, tensor.span.offset, &values).map_err(Error::backend)?;
        }
        init::write_constants(backend, plan).map_err(Error::backend)
    }
}

/// Writes the model of `plan` to `path`, whole or not at all; `fetch` gives the elements of each tensor.
///
/// # Errors
/// The sizes overflow the format, fetching fails, or writing does.
pub fn write(
    plan: &Plan,
    path: &Path,
    precision: Precision,
    mut fetch: impl FnMut(&Tensor, &mut [f32]) -> Result<()>,
) -> Result<u64> {
    let layout = Layout::new(plan, precision)?;
    let io = |error| write_error(path, error);
    let mut staged = Staged::create(path).map_err(io)?;
    // The checksum is known at the end; until then its place holds what makes no bundle.
    staged.write_all(&[0; PREAMBLE]).map_err(io)?;
    let mut out = BufWriter::with_capacity(256 << 10, &mut staged);
    let mut crc = crc32fast::Hasher::new();
    crc.update(&layout.preamble.checked_bytes());
    let mut put = |bytes: &[u8]| -> Result<()> {
        crc.update(bytes);
        out.write_all(bytes).map_err(io)
    };
    put(&layout.header)?;
    let mut written = PREAMBLE + layout.header.len();
    for (tensor, offset) in plan.params.tensors().zip(&layout.offsets) {
        put(&vec![0; offset - written])?;
        let mut values = vec![0.0; tensor.span.len()];
        fetch(&tensor, &mut values)?;
        let mut bytes = Vec::with_capacity(values.len() * precision.size());
        precision.narrow(&values, &mut bytes);
        put(&bytes)?;
        written = offset + bytes.len();
    }
    out.flush().map_err(io)?;
    drop(out);
    staged.seek(SeekFrom::Start(0)).map_err(io)?;
    staged.write_all(&layout.preamble.to_bytes(crc.finalize())).map_err(io)?;
    staged.commit().map_err(io)?;
    Ok(layout.preamble.len)
}

/// Where everything in a bundle goes.
struct Layout {
    preamble: Preamble,
    header: Vec<u8>,
    offsets: Vec<usize>,
}

impl Layout {
    fn new(plan: &Plan, precision: Precision) -> Result<Self> {
        let too_large = || Error::input("the model is too large for a bundle");
        let kind = match precision {
            Precision::F32 => bundle::Precision::F32,
            Precision::Bf16 => bundle::Precision::Bf16,
            Precision::F16 => bundle::Precision::F16,
        };
        let tensors: Vec<(String, Tensor)> = plan.params.tensors().map(|t| (t.name.to_string(), t)).collect();
        let words = vocabulary::tokens(&plan.config);
        let mut start = PREAMBLE;
        // Larger offsets may take more bytes to write down, and so move what they point at: until that settles.
        loop {
            let (mut offsets, mut end) = (Vec::new(), start);
            let mut entries = Vec::new();
            for (name, tensor) in &tensors {
                let offset = end.next_multiple_of(ALIGN);
                let rows = u32::try_from(tensor.span.rows).map_err(|_| too_large())?;
                let cols = u32::try_from(tensor.span.cols).map_err(|_| too_large())?;
                entries.push(Entry {
                    name,
                    precision: kind.id(),
                    rows,
                    cols,
                    offset: offset as u64,
                    scales: None,
                });
                offsets.push(offset);
                end = offset + tensor.span.len() * precision.size();
            }
            let header = postcard::to_stdvec(&(plan.config, &entries, &words))
                .map_err(|error| Error::failed(format!("cannot encode the header: {error}")))?;
            let needed = PREAMBLE + header.len();
            if needed <= start {
                let header_len = u32::try_from(header.len()).map_err(|_| too_large())?;
                let preamble = Preamble { header_len, len: end as u64 };
                return Ok(Self { preamble, header, offsets });
            }
            start = needed;
        }
    }
}
