//! Elements of tensors in the types that files hold them in: widened to f32 when read, rounded when written.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// What the elements of a tensor in a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// IEEE double precision.
    F64,
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// 8 bits of mantissa, the range of f32.
    Bf16,
    /// Signed, 64 bits.
    I64,
    /// Signed, 32 bits.
    I32,
    /// Signed, 16 bits.
    I16,
    /// Signed, 8 bits.
    I8,
    /// Unsigned, 64 bits.
    U64,
    /// Unsigned, 32 bits.
    U32,
    /// Unsigned, 16 bits.
    U16,
    /// Unsigned, 8 bits; or truth values.
    U8,
}

impl Number {
    /// Bytes of one element.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::I8 | Self::U8 => 1,
        }
    }

    /// What PyTorch calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F64 => "float64",
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
            Self::I64 => "int64",
            Self::I32 => "int32",
            Self::I16 => "int16",
            Self::I8 => "int8",
            Self::U64 => "uint64",
            Self::U32 => "uint32",
            Self::U16 => "uint16",
            Self::U8 => "uint8",
        }
    }

    /// Appends little-endian elements to `out`, each as the nearest f32.
    pub fn widen(self, bytes: &[u8], out: &mut Vec<f32>) {
        match self {
            Self::F64 => out.extend(chunks(bytes).map(|b| f64::from_le_bytes(b) as f32)),
            Self::F32 => out.extend(chunks(bytes).map(f32::from_le_bytes)),
            Self::F16 => halves(bytes, f16::from_le_bytes, out),
            Self::Bf16 => halves(bytes, bf16::from_le_bytes, out),
            Self::I64 => out.extend(chunks(bytes).map(|b| i64::from_le_bytes(b) as f32)),
            Self::I32 => out.extend(chunks(bytes).map(|b| i32::from_le_bytes(b) as f32)),
            Self::I16 => out.extend(chunks(bytes).map(|b| f32::from(i16::from_le_bytes(b)))),
            Self::I8 => out.extend(chunks(bytes).map(|b| f32::from(i8::from_le_bytes(b)))),
            Self::U64 => out.extend(chunks(bytes).map(|b| u64::from_le_bytes(b) as f32)),
            Self::U32 => out.extend(chunks(bytes).map(|b| u32::from_le_bytes(b) as f32)),
            Self::U16 => out.extend(chunks(bytes).map(|b| f32::from(u16::from_le_bytes(b)))),
            Self::U8 => out.extend(bytes.iter().map(|&b| f32::from(b))),
        }
    }
}

/// Elements that are widened at a time, on the stack.
const BLOCK: usize = 256;

/// Appends 16-bit floats to `out`, widened.
fn halves<T: Copy + Default>(bytes: &[u8], from: fn([u8; 2]) -> T, out: &mut Vec<f32>)
where
    [T]: HalfFloatSliceExt,
{
    let mut block = [T::default(); BLOCK];
    for elements in bytes.as_chunks::<2>().0.chunks(BLOCK) {
        let block = &mut block[..elements.len()];
        block.iter_mut().zip(elements).for_each(|(to, element)| *to = from(*element));
        let start = out.len();
        out.resize(start + elements.len(), 0.0);
        block.convert_to_f32_slice(&mut out[start..]);
    }
}

/// Appends `values` to `out`, rounded to 16-bit floats.
fn halved<T: Copy + Default>(values: &[f32], bytes: fn(T) -> [u8; 2], out: &mut Vec<u8>)
where
    [T]: HalfFloatSliceExt,
{
    let mut block = [T::default(); BLOCK];
    for values in values.chunks(BLOCK) {
        let block = &mut block[..values.len()];
        block.convert_from_f32_slice(values);
        out.extend(block.iter().flat_map(|element| bytes(*element)));
    }
}

/// The bytes of consecutive elements.
pub(crate) fn chunks<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    bytes.as_chunks::<N>().0.iter().copied()
}

/// A precision to write weights in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Precision {
    /// As they are
    F32,
    /// Half the size, the range of f32, 8 bits of mantissa
    Bf16,
    /// Half the size, up to 65504, 11 bits of mantissa
    F16,
}

impl Precision {
    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
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

    /// Appends `values` to `out`, little-endian, rounded to the nearest (ties to even).
    pub fn narrow(self, values: &[f32], out: &mut Vec<u8>) {
        match self {
            Self::F32 => out.extend(values.iter().flat_map(|x| x.to_le_bytes())),
            Self::Bf16 => halved(values, bf16::to_le_bytes, out),
            Self::F16 => halved(values, f16::to_le_bytes, out),
        }
    }

    /// The first of `values` that is finite and would not be after rounding.
    #[must_use]
    pub fn overflow(self, values: &[f32]) -> Option<usize> {
        let holds = |x: f32| match self {
            Self::F32 => true,
            Self::Bf16 => bf16::from_f32(x).is_finite(),
            Self::F16 => f16::from_f32(x).is_finite(),
        };
        values.iter().position(|x| x.is_finite() && !holds(*x))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The nearest of all values of a format with `bits` of significand (the hidden one included), by exact arithmetic
    /// in f64; ties go to the even one. For magnitudes within the format's normal range.
    fn nearest(x: f32, bits: i32) -> f64 {
        let x = f64::from(x);
        let unit = x.abs().log2().floor() as i32 + 1 - bits;
        let scaled = x / 2f64.powi(unit);
        scaled.round_ties_even() * 2f64.powi(unit)
    }

    fn round_trip(precision: Precision, number: Number, x: f32) -> f32 {
        let (mut bytes, mut values) = (Vec::new(), Vec::new());
        precision.narrow(&[x], &mut bytes);
        number.widen(&bytes, &mut values);
        values[0]
    }

    proptest! {
        #[test]
        fn f32_comes_back_bit_for_bit(bits: u32) {
            let x = f32::from_bits(bits);
            prop_assert_eq!(round_trip(Precision::F32, Number::F32, x).to_bits(), bits);
        }

        #[test]
        fn bf16_and_f16_round_to_nearest_even(x in prop_oneof![1e-4f32..6e4, -6e4f32..-1e-4]) {
            prop_assert_eq!(f64::from(round_trip(Precision::Bf16, Number::Bf16, x)), nearest(x, 8));
            prop_assert_eq!(f64::from(round_trip(Precision::F16, Number::F16, x)), nearest(x, 11));
        }

        #[test]
        fn many_are_converted_as_one_is(bits in proptest::collection::vec(any::<u32>(), 0..700)) {
            let values: Vec<f32> = bits.iter().map(|bits| f32::from_bits(*bits)).collect();
            let mut bytes = Vec::new();
            Precision::Bf16.narrow(&values, &mut bytes);
            Precision::F16.narrow(&values, &mut bytes);
            let one = values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes());
            let one: Vec<u8> = one.chain(values.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes())).collect();
            prop_assert_eq!(&bytes, &one);
            let (brain, half) = bytes.split_at(2 * values.len());
            let mut wide = Vec::new();
            Number::Bf16.widen(brain, &mut wide);
            Number::F16.widen(half, &mut wide);
            let one = chunks(brain).map(|b| bf16::from_le_bytes(b).to_f32());
            let one = one.chain(chunks(half).map(|b| f16::from_le_bytes(b).to_f32()));
            let bits = |x: f32| x.to_bits();
            prop_assert_eq!(wide.into_iter().map(bits).collect::<Vec<_>>(), one.map(bits).collect::<Vec<_>>());
        }

        #[test]
        fn what_was_rounded_once_stays(bits: u16) {
            let halves = [
                (Precision::Bf16, Number::Bf16, bf16::from_bits(bits).to_f32()),
                (Precision::F16, Number::F16, f16::from_bits(bits).to_f32()),
            ];
            for (precision, number, x) in halves {
                let again = round_trip(precision, number, x);
                prop_assert!(again == x || (again.is_nan() && x.is_nan()));
            }
        }
    }

    #[test]
    fn ties_go_to_even() {
        // Halfway between two neighbours: 1 + 2^-8 in bf16, 1 + 2^-11 in f16, and the same one step further.
        for (precision, number, unit) in
            [(Precision::Bf16, Number::Bf16, 2f32.powi(-7)), (Precision::F16, Number::F16, 2f32.powi(-10))]
        {
            assert_eq!(round_trip(precision, number, 1.0 + unit / 2.0), 1.0);
            assert_eq!(round_trip(precision, number, 1.0 + unit * 1.5), 1.0 + 2.0 * unit);
        }
    }

    #[test]
    fn what_is_too_large_is_found() {
        assert_eq!(Precision::F16.overflow(&[65504.0, -65519.0, 65520.0]), Some(2));
        assert_eq!(Precision::Bf16.overflow(&[1e38, f32::INFINITY, f32::MAX]), Some(2));
        assert_eq!(Precision::F32.overflow(&[f32::MAX]), None);
    }

    #[test]
    fn integers_are_widened() {
        let cases: [(Number, &[u8], f32); 9] = [
            (Number::I64, &(-3i64).to_le_bytes(), -3.0),
            (Number::I32, &i32::MIN.to_le_bytes(), -2f32.powi(31)),
            (Number::I16, &(-300i16).to_le_bytes(), -300.0),
            (Number::I8, &[0x80], -128.0),
            (Number::U64, &u64::MAX.to_le_bytes(), 2f32.powi(64)),
            (Number::U32, &7u32.to_le_bytes(), 7.0),
            (Number::U16, &65535u16.to_le_bytes(), 65535.0),
            (Number::U8, &[255], 255.0),
            (Number::F64, &0.1f64.to_le_bytes(), 0.1),
        ];
        for (number, bytes, expected) in cases {
            let mut out = Vec::new();
            number.widen(bytes, &mut out);
            assert_eq!((out, number.size()), (vec![expected], bytes.len()), "{number:?}");
        }
    }
}
