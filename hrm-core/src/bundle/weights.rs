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
    /// Integers from -127 to 127, times a scale for each row: see [`quantize`](crate::quantize).
    Int8,
}

impl Precision {
    /// Its number in a bundle.
    #[must_use]
    pub const fn id(self) -> u8 {
        match self {
            Self::F32 => 0,
            Self::Bf16 => 1,
            Self::F16 => 2,
            Self::Int8 => 3,
        }
    }

    /// The inverse of [`id`](Self::id).
    #[must_use]
    pub const fn from_id(id: u8) -> Option<Self> {
        match id {
            0 => Some(Self::F32),
            1 => Some(Self::Bf16),
            2 => Some(Self::F16),
            3 => Some(Self::Int8),
            _ => None,
        }
    }

    /// Bytes of one element.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
            Self::Int8 => 1,
        }
    }

    /// Its name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        }
    }
}

/// The elements of a tensor, row by row, little-endian, at any alignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights<'a> {
    precision: Precision,
    cols: usize,
    bytes: &'a [u8],
    /// One f32 for each row of integers, else none.
    scales: &'a [u8],
}

impl<'a> Weights<'a> {
    /// Rows of `cols` elements each in `bytes`. `scales` holds one f32 for each row if the elements are
    /// [`Precision::Int8`], and nothing if they are not. None if the lengths do not agree.
    #[must_use]
    pub fn new(precision: Precision, cols: usize, bytes: &'a [u8], scales: &'a [u8]) -> Option<Self> {
        let stride = cols.checked_mul(precision.size()).filter(|&stride| stride > 0)?;
        let rows = bytes.len() / stride;
        let expected = if matches!(precision, Precision::Int8) { rows.checked_mul(4)? } else { 0 };
        (rows * stride == bytes.len() && scales.len() == expected).then_some(Self {
            precision,
            cols,
            bytes,
            scales,
        })
    }

    /// What the elements are.
    #[must_use]
    pub const fn precision(&self) -> Precision {
        self.precision
    }

    /// Elements of a row.
    #[must_use]
    pub const fn cols(&self) -> usize {
        self.cols
    }

    /// The elements as they lie in the bundle.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The scales as they lie in the bundle: empty unless the elements are integers.
    #[must_use]
    pub const fn scale_bytes(&self) -> &'a [u8] {
        self.scales
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

    /// The scale of each row, if the elements are integers.
    #[inline(always)]
    pub fn scales(self) -> impl Iterator<Item = f32> + 'a {
        self.scales.as_chunks().0.iter().map(|scale| f32::from_le_bytes(*scale))
    }

    /// The elements, if they are integers.
    #[must_use]
    #[inline(always)]
    pub fn integers(self) -> Option<&'a [i8]> {
        matches!(self.precision, Precision::Int8).then(|| bytemuck::must_cast_slice(self.bytes))
    }

    /// Row `row` alone, if there is one.
    #[must_use]
    #[inline(always)]
    pub fn row(self, row: usize) -> Option<Self> {
        let stride = self.cols * self.precision.size();
        let bytes = self.bytes.get(row.checked_mul(stride)?..)?.get(..stride)?;
        let scales = match self.precision {
            Precision::Int8 => self.scales.get(row.checked_mul(4)?..)?.get(..4)?,
            _ => &[],
        };
        Some(Self { bytes, scales, ..self })
    }

    /// Each row alone, one after the other.
    #[inline(always)]
    pub fn rows(self) -> impl Iterator<Item = Self> + 'a {
        (0..).map_while(move |row| self.row(row))
    }

    /// Writes the elements to `out` as f32. Of each precision but the integers f32 holds every value exactly.
    #[inline(always)]
    pub fn widen(self, out: &mut [f32]) {
        match self.precision {
            Precision::F32 => {
                let elements = self.bytes.as_chunks().0;
                out.iter_mut().zip(elements).for_each(|(out, x)| *out = f32::from_le_bytes(*x));
            }
            Precision::Bf16 => {
                let elements = self.bytes.as_chunks().0;
                let wide = |x: &[u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(*x)) << 16);
                out.iter_mut().zip(elements).for_each(|(out, x)| *out = wide(x));
            }
            Precision::F16 => {
                let elements = self.bytes.as_chunks().0;
                out.iter_mut().zip(elements).for_each(|(out, x)| *out = f16::from_le_bytes(*x).to_f32());
            }
            Precision::Int8 => {
                for ((out, row), scale) in
                    out.chunks_mut(self.cols.max(1)).zip(self.rows()).zip(self.scales())
                {
                    out.iter_mut().zip(row.bytes).for_each(|(out, &q)| *out = f32::from(q as i8) * scale);
                }
            }
        }
    }

    /// All elements as f32, see [`widen`](Self::widen).
    pub fn values(self) -> impl Iterator<Item = f32> + 'a {
        self.rows().flat_map(|row| {
            let (precision, scale) = (row.precision, row.scales().next().unwrap_or(1.0));
            row.bytes.chunks_exact(precision.size()).map(move |element| match (precision, element) {
                (Precision::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
                (Precision::Bf16, &[a, b]) => bf16::from_le_bytes([a, b]).to_f32(),
                (Precision::F16, &[a, b]) => f16::from_le_bytes([a, b]).to_f32(),
                (Precision::Int8, &[q]) => f32::from(q as i8) * scale,
                // `chunks_exact` gives no other lengths.
                _ => f32::NAN,
            })
        })
    }
}
