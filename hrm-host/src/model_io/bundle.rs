//! Bundles on disk: [`hrm_core::bundle`] reads them in place, here they are written, and loaded on a host.

use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;

use clap::builder::PossibleValue;
use hrm_core::bundle::{self, ALIGN, Bundle, BundleError, Entry, PREAMBLE, Preamble, StoredConfig, Weights};
use hrm_core::config::Config;
use hrm_core::plan::Plan;
use hrm_core::quantize;
use hrm_core::tensors::{Tensor, TensorName};

use super::vocabulary;
use crate::error::{Error, Result};
use crate::files::{self, Staged, write_error};
use crate::numbers::Precision;
use crate::tensor_match::{Stored, shape};

/// A bundle in memory, checked.
#[derive(Debug)]
pub struct BundleFile {
    bytes: Vec<u8>,
    config: Config,
    vocabulary: Vec<String>,
    tensors: Vec<Held>,
}

/// A tensor of it, and where its elements and scales lie.
#[derive(Debug)]
struct Held {
    stored: Stored,
    precision: bundle::Precision,
    cols: usize,
    elements: Range<usize>,
    scales: Range<usize>,
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
                let range = |part: &[u8]| {
                    // A part without elements lies nowhere.
                    let start = part.as_ptr().addr().saturating_sub(bytes.as_ptr().addr());
                    if part.is_empty() { 0..0 } else { start..start + part.len() }
                };
                Held {
                    stored: Stored { name: tensor.name.to_string(), shape: shape(&tensor) },
                    precision: weights.precision(),
                    cols: weights.cols(),
                    elements: range(weights.bytes()),
                    scales: range(weights.scale_bytes()),
                }
            })
            .collect();
        let config = *bundle.config();
        let vocabulary = bundle.vocabulary().map(str::to_owned).collect();
        Ok(Self { bytes, config, vocabulary, tensors })
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
        self.tensors.iter().map(|held| held.stored.clone()).collect()
    }

    fn held(&self, name: &str) -> Option<&Held> {
        self.tensors.iter().find(|held| held.stored.name == name)
    }

    /// What the elements of a tensor are.
    #[must_use]
    pub fn precision(&self, name: &str) -> Option<bundle::Precision> {
        self.held(name).map(|held| held.precision)
    }

    /// The elements of a tensor; of integers what they stand for.
    #[must_use]
    pub fn read(&self, name: &str) -> Option<Vec<f32>> {
        let Held { precision, cols, elements, scales, .. } = self.held(name)?;
        let (elements, scales) = (&self.bytes[elements.clone()], &self.bytes[scales.clone()]);
        let weights = Weights::new(*precision, *cols, elements, scales)?;
        let mut values = vec![0.0; weights.len()];
        weights.widen(&mut values);
        Some(values)
    }

    /// The integers of a tensor and the scale of each row, if it is of integers.
    #[must_use]
    pub fn integers(&self, name: &str) -> Option<(&[i8], Vec<f32>)> {
        let Held { precision, cols, elements, scales, .. } = self.held(name)?;
        let (elements, scales) = (&self.bytes[elements.clone()], &self.bytes[scales.clone()]);
        let weights = Weights::new(*precision, *cols, elements, scales)?;
        weights.integers().map(|integers| (integers, weights.scales().collect()))
    }
}

/// What the tensors of a bundle are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// All of one precision.
    Float(Precision),
    /// The weights of blocks as integers with a scale for each row, the rest in f32.
    Int8,
}

impl From<Precision> for Encoding {
    fn from(precision: Precision) -> Self {
        Self::Float(precision)
    }
}

impl clap::ValueEnum for Encoding {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Float(Precision::F32), Self::Float(Precision::Bf16), Self::Float(Precision::F16), Self::Int8]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::Float(precision) => precision.to_possible_value(),
            Self::Int8 => {
                Some(PossibleValue::new(self.name()).help(
                    "A quarter of the size: the weights of blocks as integers with a scale for each row; bundles only",
                ))
            }
        }
    }
}

impl Encoding {
    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Float(precision) => precision.name(),
            Self::Int8 => bundle::Precision::Int8.name(),
        }
    }

    /// The precision of a tensor.
    #[must_use]
    pub const fn precision(self, tensor: &Tensor) -> bundle::Precision {
        match (self, tensor.name) {
            (Self::Float(Precision::Bf16), _) => bundle::Precision::Bf16,
            (Self::Float(Precision::F16), _) => bundle::Precision::F16,
            (Self::Int8, TensorName::Block(..)) => bundle::Precision::Int8,
            (Self::Float(Precision::F32) | Self::Int8, _) => bundle::Precision::F32,
        }
    }
}

/// Bytes of a bundle of the model of `plan`.
///
/// # Errors
/// It is too large for one.
pub fn size(plan: &Plan, encoding: Encoding) -> Result<u64> {
    Layout::new(plan, encoding).map(|layout| layout.preamble.len)
}

/// Writes the model of `plan` to `path`, whole or not at all; `fetch` gives the elements of each tensor.
///
/// # Errors
/// The sizes overflow the format, fetching fails, or writing does.
pub fn write(
    plan: &Plan,
    path: &Path,
    encoding: impl Into<Encoding>,
    mut fetch: impl FnMut(&Tensor, &mut [f32]) -> Result<()>,
) -> Result<u64> {
    let encoding = encoding.into();
    let layout = Layout::new(plan, encoding)?;
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
    for (tensor, place) in plan.params.tensors().zip(&layout.places) {
        put(&vec![0; place.elements - written])?;
        let mut values = vec![0.0; tensor.span.len()];
        fetch(&tensor, &mut values)?;
        let (elements, scales) = encode(&values, &tensor, encoding)?;
        put(&elements)?;
        written = place.elements + elements.len();
        if let Some(at) = place.scales {
            put(&vec![0; at - written])?;
            put(&scales)?;
            written = at + scales.len();
        }
    }
    out.flush().map_err(io)?;
    drop(out);
    staged.seek(SeekFrom::Start(0)).map_err(io)?;
    staged.write_all(&layout.preamble.to_bytes(crc.finalize())).map_err(io)?;
    staged.commit().map_err(io)?;
    Ok(layout.preamble.len)
}

/// The bytes of a tensor's elements, and those of its scales.
fn encode(values: &[f32], tensor: &Tensor, encoding: Encoding) -> Result<(Vec<u8>, Vec<u8>)> {
    let precision = match encoding.precision(tensor) {
        bundle::Precision::F32 => Precision::F32,
        bundle::Precision::Bf16 => Precision::Bf16,
        bundle::Precision::F16 => Precision::F16,
        bundle::Precision::Int8 => return quantised(values, tensor),
    };
    let mut elements = Vec::with_capacity(values.len() * precision.size());
    precision.narrow(values, &mut elements);
    Ok((elements, Vec::new()))
}

/// As [`encode`], by [`quantize`].
fn quantised(values: &[f32], tensor: &Tensor) -> Result<(Vec<u8>, Vec<u8>)> {
    let (mut elements, mut scales) = (Vec::with_capacity(values.len()), Vec::new());
    let mut integers = vec![0; tensor.span.cols];
    for (row, values) in values.chunks_exact(tensor.span.cols).enumerate() {
        let scale = quantize::row(values, &mut integers);
        if !scale.is_finite() {
            return Err(Error::input(format!("tensor {}, row {row}: not a finite number", tensor.name)));
        }
        elements.extend(integers.iter().map(|&q| q as u8));
        scales.extend(scale.to_le_bytes());
    }
    Ok((elements, scales))
}

/// Where everything in a bundle goes.
struct Layout {
    preamble: Preamble,
    header: Vec<u8>,
    places: Vec<Place>,
}

/// Where the parts of a tensor begin.
struct Place {
    elements: usize,
    scales: Option<usize>,
}

impl Layout {
    fn new(plan: &Plan, encoding: Encoding) -> Result<Self> {
        let too_large = || Error::input("the model is too large for a bundle");
        let tensors: Vec<(String, Tensor)> = plan.params.tensors().map(|t| (t.name.to_string(), t)).collect();
        let words = vocabulary::tokens(&plan.config);
        let mut start = PREAMBLE;
        // Larger offsets may take more bytes to write down, and so move what they point at: until that settles.
        loop {
            let (mut places, mut end) = (Vec::new(), start);
            let mut entries = Vec::new();
            for (name, tensor) in &tensors {
                let precision = encoding.precision(tensor);
                let elements = end.next_multiple_of(ALIGN);
                end = elements + tensor.span.len() * precision.size();
                let scales =
                    matches!(precision, bundle::Precision::Int8).then(|| end.next_multiple_of(ALIGN));
                if let Some(at) = scales {
                    end = at + tensor.span.rows * size_of::<f32>();
                }
                let rows = u32::try_from(tensor.span.rows).map_err(|_| too_large())?;
                let cols = u32::try_from(tensor.span.cols).map_err(|_| too_large())?;
                entries.push(Entry {
                    name,
                    precision: precision.id(),
                    rows,
                    cols,
                    offset: elements as u64,
                    scales: scales.map(|at| at as u64),
                });
                places.push(Place { elements, scales });
            }
            let header = postcard::to_stdvec(&(StoredConfig(plan.config), &entries, &words))
                .map_err(|error| Error::failed(format!("cannot encode the header: {error}")))?;
            let needed = PREAMBLE + header.len();
            if needed <= start {
                let header_len = u32::try_from(header.len()).map_err(|_| too_large())?;
                let preamble =
                    Preamble { version: StoredConfig(plan.config).version(), header_len, len: end as u64 };
                return Ok(Self { preamble, header, places });
            }
            start = needed;
        }
    }
}
