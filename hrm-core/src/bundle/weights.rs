//! The elements of a tensor, as they lie in a bundle.

use half::{bf16, f16};

/// What the elements of a stored tensor are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// IEEE single precision.
    F32,
    /// 8 bits of mantissa, the range of f32.
    Bf16,
    /// IEEE half precision.
    F16,
}

impl Precision {
    /// Its number in a bundle.
    #[must_use]
    pub const fn id(self) -> u8 {
        match self {
            Self::F32 => 0,
            Self::Bf16 => 1,
            Self::F16 => 2,
        }
    }

    /// The inverse of [`id`](Self::id).
    #[must_use]
    pub const fn from_id(id: u8) -> Option<Self> {
        match id {
            0 => Some(Self::F32),
            1 => Some(Self::Bf16),
            2 => Some(Self::F16),
            _ => None,
        }
    }

    /// Bytes of one element.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }
}

/// The elements of a tensor, row by row, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights<'a> {
    precision: Precision,
    bytes: &'a [u8],
}

impl<'a> Weights<'a> {
    pub(super) const fn new(precision: Precision, bytes: &'a [u8]) -> Self {
        Self { precision, bytes }
    }

    /// What the elements are.
    #[must_use]
    pub const fn precision(&self) -> Precision {
        self.precision
    }

    /// The elements as they lie in the bundle.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Number of elements.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len() / self.precision.size()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// All elements as f32, which holds each of these precisions exactly.
    pub fn values(self) -> impl Iterator<Item = f32> + 'a {
        let precision = self.precision;
        self.bytes.chunks_exact(precision.size()).map(move |element| match (precision, element) {
            (Precision::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
            (Precision::Bf16, &[a, b]) => bf16::from_le_bytes([a, b]).to_f32(),
            (Precision::F16, &[a, b]) => f16::from_le_bytes([a, b]).to_f32(),
            // `chunks_exact` gives no other lengths.
            _ => f32::NAN,
        })
    }
}
