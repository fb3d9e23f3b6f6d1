//! A hash over bits, to compare machines by.

use core::fmt;

/// FNV-1a over words of 32 bits, 64 bits wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    /// Takes in 32 bits.
    pub const fn add(&mut self, bits: u32) {
        self.0 = (self.0 ^ bits as u64).wrapping_mul(0x0100_0000_01b3);
    }

    /// Reads hexadecimal digits, as far as they go.
    #[must_use]
    pub const fn parse(text: &str) -> Self {
        let (bytes, mut value, mut i) = (text.as_bytes(), 0, 0);
        while i < bytes.len() {
            let Some(digit) = (bytes[i] as char).to_digit(16) else { break };
            value = value << 4 | digit as u64;
            i += 1;
        }
        Self(value)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
