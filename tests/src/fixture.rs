//! The small golden files of `fixtures/`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

/// The version of the format that this module reads.
const FORMAT: u32 = 1;

/// One golden file, as it is stored.
#[derive(Debug, Deserialize)]
struct Stored {
    format: u32,
    name: String,
    meta: String,
    tensors: Vec<StoredTensor>,
}

#[derive(Debug, Deserialize)]
struct StoredTensor {
    name: String,
    shape: Vec<u32>,
    data: Data,
}

#[derive(Debug, Deserialize)]
enum Data {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I32(Vec<i32>),
}

/// A golden tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// Its elements, whatever they are stored as.
    pub values: Vec<f64>,
}

impl Tensor {
    /// The elements as f32.
    #[must_use]
    pub fn f32s(&self) -> Vec<f32> {
        self.values.iter().map(|x| *x as f32).collect()
    }

    /// The elements as integers.
    #[must_use]
    pub fn i32s(&self) -> Vec<i32> {
        self.values.iter().map(|x| *x as i32).collect()
    }
}

/// A golden file: what it was made with, and its tensors by name.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// Its name.
    pub name: String,
    /// Configuration, hyper-parameters and scalars of the cases.
    pub meta: serde_json::Value,
    /// Its tensors.
    pub tensors: BTreeMap<String, Tensor>,
}

impl Fixture {
    /// Reads `fixtures/NAME.postcard`.
    ///
    /// # Panics
    /// It is missing, or not what the format says: a test cannot go on without it.
    #[must_use]
    pub fn open(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(format!("{name}.postcard"));
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let stored: Stored =
            postcard::from_bytes(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert_eq!(stored.format, FORMAT, "{}", path.display());
        let tensors = stored
            .tensors
            .into_iter()
            .map(|tensor| {
                let shape: Vec<usize> = tensor.shape.iter().map(|d| *d as usize).collect();
                let values = match tensor.data {
                    Data::F32(values) => values.into_iter().map(f64::from).collect(),
                    Data::F64(values) => values,
                    Data::I32(values) => values.into_iter().map(f64::from).collect(),
                };
                assert_eq!(shape.iter().product::<usize>(), Vec::len(&values), "{}", tensor.name);
                (tensor.name, Tensor { shape, values })
            })
            .collect();
        let meta = serde_json::from_str(&stored.meta).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self { name: stored.name, meta, tensors }
    }

    /// The tensor called `name`.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn get(&self, name: &str) -> &Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("{} has no tensor {name}", self.name))
    }

    /// The cases of an operation in `kernels`: what stands between `OP.` and the tensor's name.
    #[must_use]
    pub fn cases(&self, op: &str) -> Vec<String> {
        let prefix = format!("{op}.");
        let mut cases: Vec<String> = self
            .tensors
            .keys()
            .filter_map(|name| name.strip_prefix(&prefix)?.rsplit_once('.'))
            .map(|(case, _)| case.to_owned())
            .collect();
        cases.dedup();
        assert!(!cases.is_empty(), "{} has no case of {op}", self.name);
        cases
    }
}

/// Asserts that `found` is within `bound` of `expected`, as a share of its largest magnitude.
///
/// # Panics
/// It is not, or their lengths differ.
pub fn assert_close(what: &str, found: &[f32], expected: &[f64], bound: f64) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    let largest = expected.iter().fold(0.0f64, |a, x| a.max(x.abs())).max(1e-30);
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs() / largest;
        assert!(error <= bound, "{what}[{i}]: {found}, expected {expected}: off by {error:.2e} of {largest}");
    }
}
