//! What can be wrong with a bundle.

use core::fmt;

use super::{ALIGN, VERSION};
use crate::config::ConfigError;
use crate::quantize::MAX_TERMS;

/// Why bytes are not a bundle that can be used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BundleError {
    /// They do not begin as a bundle does.
    Magic,
    /// They are of another version of the format.
    Version {
        /// That version.
        found: u32,
    },
    /// They end too early, or go on after the end.
    Length {
        /// Bytes that there are.
        found: u64,
        /// Bytes that there should be.
        expected: u64,
    },
    /// They are not the bytes that were written.
    Checksum {
        /// CRC-32 of what is there.
        found: u32,
        /// CRC-32 that was written.
        expected: u32,
    },
    /// The header is malformed.
    Header,
    /// A field of the configuration is out of range.
    Config(ConfigError),
    /// The model's sizes overflow.
    TooLarge,
    /// An entry of the list of tensors is wrong.
    Tensor {
        /// Its place in the list, from 0.
        index: u32,
        /// What is wrong.
        problem: TensorProblem,
    },
    /// The tokens' names are neither none nor as many as the tokens.
    Vocabulary {
        /// Names that there are.
        given: u32,
        /// Tokens that there are.
        expected: usize,
    },
}

/// What is wrong with an entry of the list of tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorProblem {
    /// The list ends before it.
    Missing,
    /// The model has no such tensor.
    Extra,
    /// It has another tensor's name.
    Name,
    /// It has another shape than the configuration gives it.
    Shape,
    /// Its elements are of an unknown kind.
    Precision(u8),
    /// It lies outside, over the tensor before it, or not at a multiple of [`ALIGN`].
    Place,
    /// It has scales, which its elements do not take.
    Scales,
    /// It has no scales, which its elements take.
    NoScales,
    /// Its scales lie outside, over something else, or not at a multiple of [`ALIGN`].
    ScalesPlace,
    /// The scale of this row is not a finite positive number.
    Scale(u32),
    /// It is of integers, which only the weights of blocks may be.
    Integers,
    /// It is of integers, and its rows are longer than [`MAX_TERMS`].
    Long,
    /// It is of integers, and one of this row is -128.
    Integer(u32),
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("not a bundle: it begins with other bytes"),
            Self::Version { found } => {
                write!(f, "version {found} of the format, this program reads version {VERSION}")
            }
            Self::Length { found, expected } => write!(f, "it has {found} bytes, expected {expected}"),
            Self::Checksum { found, expected } => {
                write!(f, "damaged: the checksum of its contents is {found:08x}, expected {expected:08x}")
            }
            Self::Header => f.write_str("its header is malformed"),
            Self::Config(error) => error.fmt(f),
            Self::TooLarge => f.write_str("the sizes in its configuration overflow"),
            Self::Tensor { index, problem } => write!(f, "tensor {index} of its list: {problem}"),
            Self::Vocabulary { given, expected } => {
                write!(f, "it names {given} tokens, expected none or {expected}")
            }
        }
    }
}

impl fmt::Display for TensorProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("missing"),
            Self::Extra => f.write_str("unknown to the model"),
            Self::Name => f.write_str("another name than the model's tensors have in this place"),
            Self::Shape => f.write_str("another shape than the configuration gives it"),
            Self::Precision(id) => write!(f, "elements of unknown kind {id}"),
            Self::Place => write!(f, "outside, over another tensor, or not at a multiple of {ALIGN} bytes"),
            Self::Scales => f.write_str("scales, which its elements do not take"),
            Self::NoScales => f.write_str("no scales, which its elements take"),
            Self::ScalesPlace => {
                write!(f, "scales outside, over something else, or not at a multiple of {ALIGN} bytes")
            }
            Self::Scale(row) => write!(f, "the scale of row {row} is not a finite positive number"),
            Self::Integers => f.write_str("integers, which only the weights of blocks may be"),
            Self::Long => write!(f, "rows of integers longer than {MAX_TERMS}, whose products may overflow"),
            Self::Integer(row) => write!(f, "an integer of row {row} is -128, expected -127 to 127"),
        }
    }
}

impl core::error::Error for BundleError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            _ => None,
        }
    }
}
