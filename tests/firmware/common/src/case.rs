//! The golden cases, as they are stored: each a kernel with its operands, and what must come of it. In postcard, read in
//! place: a list of [`Case`]s, one after the other.

use hrm_core::bundle::{Precision, Weights};
use serde::{Deserialize, Serialize};

/// A kernel with its operands, and the result.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Case<'a> {
    /// What it is called.
    pub name: &'a str,
    /// The kernel and its operands.
    #[serde(borrow)]
    pub kernel: Kernel<'a>,
    /// The result: f32, little-endian, row by row; tokens as numbers too.
    pub expected: &'a [u8],
    /// How far from it a result may be, as a share of its largest magnitude.
    pub bound: f32,
}

/// A matrix, row by row.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Matrix<'a> {
    /// Rows.
    pub rows: u32,
    /// Columns.
    pub cols: u32,
    /// What the elements are: [`Precision::id`].
    pub precision: u8,
    /// The elements, little-endian.
    pub elements: &'a [u8],
    /// The rows' scales, if the elements are integers.
    pub scales: &'a [u8],
}

impl<'a> Matrix<'a> {
    /// Its elements, as a backend takes weights.
    #[must_use]
    pub fn weights(&self) -> Option<Weights<'a>> {
        Weights::new(Precision::from_id(self.precision)?, self.cols as usize, self.elements, self.scales)
    }
}

/// A list of i32, little-endian.
pub type Ints<'a> = &'a [u8];

/// The kernels of [`hrm_core::kernels::Kernels`], and what each works on. Activations are f32; weights may be anything.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
#[allow(missing_docs)] // The names are those of the kernels' operands.
pub enum Kernel<'a> {
    Embed {
        inputs: Ints<'a>,
        puzzle: Ints<'a>,
        tokens: Matrix<'a>,
        puzzles: Option<Matrix<'a>>,
        positions: Option<Matrix<'a>>,
    },
    Add {
        a: Matrix<'a>,
        b: Matrix<'a>,
    },
    Linear {
        x: Matrix<'a>,
        w: Matrix<'a>,
    },
    RopeAttention {
        qkv: Matrix<'a>,
        batch: u32,
        heads: u32,
        theta: Option<f64>,
    },
    SwiGlu {
        gate_up: Matrix<'a>,
    },
    AddRmsNorm {
        x: Matrix<'a>,
        t: Matrix<'a>,
        eps: f64,
    },
    LinearSwiGlu {
        x: Matrix<'a>,
        w: Matrix<'a>,
    },
    LinearAddRmsNorm {
        x: Matrix<'a>,
        inner: Matrix<'a>,
        w: Matrix<'a>,
        eps: f64,
    },
    QHead {
        z: Matrix<'a>,
        batch: u32,
        w: Matrix<'a>,
        bias: Matrix<'a>,
    },
    ResetRows {
        z: Matrix<'a>,
        init: Matrix<'a>,
        halted: Ints<'a>,
    },
    ReplaceRows {
        current: Ints<'a>,
        incoming: Ints<'a>,
        halted: Ints<'a>,
    },
    Argmax {
        logits: Matrix<'a>,
        cells: u32,
    },
}

/// The cases in `bytes`, until something else comes.
pub fn cases(mut bytes: &[u8]) -> impl Iterator<Item = Result<Case<'_>, postcard::Error>> {
    core::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        Some(match postcard::take_from_bytes(bytes) {
            Ok((case, rest)) => {
                bytes = rest;
                Ok(case)
            }
            Err(error) => {
                bytes = &[];
                Err(error)
            }
        })
    })
}
