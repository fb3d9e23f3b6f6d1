//! What stands before the weights.

use core::fmt::{self, Write};

use serde::{Deserialize, Serialize};

use super::{BundleError, Precision, Weights};

/// How a bundle begins: a byte above 127 and both kinds of line ends, which no text survives and no text begins with.
pub const MAGIC: [u8; 8] = *b"\x89HRM\r\n\x1a\n";
/// Latest version of the format.
pub const VERSION: u32 = 2;
/// Bytes before the header.
pub const PREAMBLE: usize = 32;
/// Every tensor begins at a multiple of this many bytes.
pub const ALIGN: usize = 16;
/// The checksum covers everything from here on.
const CHECKED: usize = 16;

/// The fixed part before the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preamble {
    /// Version of the format, 1 to [`VERSION`]: [`StoredConfig::version`](super::StoredConfig::version).
    pub version: u32,
    /// Length of the header in bytes.
    pub header_len: u32,
    /// Length of the whole in bytes.
    pub len: u64,
}

impl Preamble {
    /// The bytes after the checksum, which it covers.
    #[must_use]
    pub fn checked_bytes(&self) -> [u8; PREAMBLE - CHECKED] {
        let mut bytes = [0; PREAMBLE - CHECKED];
        bytes[..4].copy_from_slice(&self.header_len.to_le_bytes());
        bytes[8..].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }

    /// The whole preamble of a bundle; `crc` is that of [`checked_bytes`](Self::checked_bytes) and all that follows.
    #[must_use]
    pub fn to_bytes(&self, crc: u32) -> [u8; PREAMBLE] {
        let mut bytes = [0; PREAMBLE];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&self.version.to_le_bytes());
        bytes[12..CHECKED].copy_from_slice(&crc.to_le_bytes());
        bytes[CHECKED..].copy_from_slice(&self.checked_bytes());
        bytes
    }

    /// Reads the preamble of `bytes`, and checks their length and checksum against it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        let found = bytes.len() as u64;
        let known = bytes.len().min(MAGIC.len());
        if bytes[..known] != MAGIC[..known] {
            return Err(BundleError::Magic);
        }
        let Some(fixed) = bytes.first_chunk::<PREAMBLE>() else {
            return Err(BundleError::Length { found, expected: PREAMBLE as u64 });
        };
        let word = |at: usize| u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        let (version, expected_crc) = (word(8), word(12));
        if version == 0 || version > VERSION {
            return Err(BundleError::Version { found: version });
        }
        let len = u64::from(word(24)) | u64::from(word(28)) << 32;
        let preamble = Self { version, header_len: word(16), len };
        if preamble.len != found {
            return Err(BundleError::Length { found, expected: preamble.len });
        }
        let crc = checksum(&bytes[CHECKED..]);
        if crc != expected_crc {
            return Err(BundleError::Checksum { found: crc, expected: expected_crc });
        }
        Ok(preamble)
    }
}

/// CRC-32 (IEEE 802.3), by one table of 1 KiB.
fn checksum(bytes: &[u8]) -> u32 {
    const CRC: crc::Crc<u32, crc::Table<1>> = crc::Crc::<u32, crc::Table<1>>::new(&crc::CRC_32_ISO_HDLC);
    CRC.checksum(bytes)
}

/// A tensor, as the header lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry<'a> {
    /// Its published name, without the prefix `model.inner.`.
    pub name: &'a str,
    /// What its elements are: [`Precision::id`].
    pub precision: u8,
    /// Rows; 1 for a vector.
    pub rows: u32,
    /// Columns.
    pub cols: u32,
    /// Where its elements begin, from the beginning of the bundle.
    pub offset: u64,
    /// Where the scales of its rows begin, one f32 each: after its elements, at a multiple of [`ALIGN`]. Integers have
    /// them, and nothing else has.
    pub scales: Option<u64>,
}

impl Entry<'_> {
    /// Its weights in the bundle `bytes`, if they lie in it, and its scales if it needs them and has none too many.
    pub(super) fn weights<'a>(&self, bytes: &'a [u8]) -> Option<Weights<'a>> {
        let scales = if self.scales.is_some() { self.scales_in(bytes)? } else { &[] };
        Weights::new(
            Precision::from_id(self.precision)?,
            self.cols as usize,
            self.elements_in(bytes)?,
            scales,
        )
    }

    /// The bytes of its elements in the bundle `bytes`, if they lie in it.
    pub(super) fn elements_in<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let elements = u64::from(self.rows) * u64::from(self.cols);
        part(bytes, self.offset, elements, Precision::from_id(self.precision)?.size())
    }

    /// The bytes of its scales in the bundle `bytes`, if it has some and they lie in it.
    pub(super) fn scales_in<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        part(bytes, self.scales?, u64::from(self.rows), size_of::<f32>())
    }
}

/// `count` elements of `size` bytes from byte `offset` on.
fn part(bytes: &[u8], offset: u64, count: u64, size: usize) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let length = usize::try_from(count).ok()?.checked_mul(size)?;
    bytes.get(start..start.checked_add(length)?)
}

/// Whether `value` displays as `text`.
pub(super) fn displays_as(value: &impl fmt::Display, text: &str) -> bool {
    let mut left = Rest(text);
    write!(left, "{value}").is_ok() && left.0.is_empty()
}

/// The text that is still to come.
struct Rest<'a>(&'a str);

impl Write for Rest<'_> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.0 = self.0.strip_prefix(part).ok_or(fmt::Error)?;
        Ok(())
    }
}
