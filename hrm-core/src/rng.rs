//! Random numbers by counter: Philox4x32-10 (Salmon et al., *Parallel random numbers: as easy as 1, 2, 3*, SC'11).
//!
//! A draw is a pure function of a seed, a [`Stream`] and a position, so it needs no state to save, is the same
//! on every backend, and any thread of a GPU can make its own.

/// What a sequence of draws is for. Streams of one seed are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Stream {
    /// Initial parameters.
    Init = 0,
    /// ACT exploration during training.
    Exploration = 1,
    /// Order of the training examples.
    Sampler = 2,
    /// Augmentation of examples.
    Augment = 3,
    /// Generated puzzles.
    Puzzle = 4,
    /// Subsampling of datasets and evaluations.
    Subsample = 5,
}

const ROUND: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const KEY: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// Philox4x32-10: ten rounds over a 128-bit `counter` under a 64-bit `key`.
#[must_use]
pub const fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    let mut round = 0;
    while round < 10 {
        let a = ROUND[0] as u64 * counter[0] as u64;
        let b = ROUND[1] as u64 * counter[2] as u64;
        counter = [
            (b >> 32) as u32 ^ counter[1] ^ key[0],
            b as u32,
            (a >> 32) as u32 ^ counter[3] ^ key[1],
            a as u32,
        ];
        key = [key[0].wrapping_add(KEY[0]), key[1].wrapping_add(KEY[1])];
        round += 1;
    }
    counter
}

/// A position in the random sequence of a seed, a stream and a lane (a row, a puzzle, a parameter tensor).
///
/// ```
/// use hrm_core::rng::{Rng, Stream};
/// let mut a = Rng::new(7, Stream::Augment, 3);
/// let mut b = Rng::new(7, Stream::Augment, 3);
/// assert_eq!(a.next_u32(), b.next_u32());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rng {
    key: [u32; 2],
    stream: u32,
    lane: u32,
    index: u64,
}

impl Rng {
    /// The start of the sequence of `stream` and `lane` under `seed`.
    #[must_use]
    pub const fn new(seed: u64, stream: Stream, lane: u32) -> Self {
        Self { key: [seed as u32, (seed >> 32) as u32], stream: stream as u32, lane, index: 0 }
    }

    /// The same sequence, `index` 32-bit draws from its start.
    #[must_use]
    pub const fn at(mut self, index: u64) -> Self {
        self.index = index;
        self
    }

    /// A uniform 32-bit integer.
    pub const fn next_u32(&mut self) -> u32 {
        let block = self.index / 4;
        let words = philox4x32([block as u32, (block >> 32) as u32, self.lane, self.stream], self.key);
        let word = words[(self.index % 4) as usize];
        self.index += 1;
        word
    }

    /// A uniform 64-bit integer, from two 32-bit draws.
    pub const fn next_u64(&mut self) -> u64 {
        let low = self.next_u32() as u64;
        low | (self.next_u32() as u64) << 32
    }

    /// A uniform number in `[0, 1)`: 53 random bits.
    pub const fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A uniform number in `[0, 1)`: 24 random bits of one draw.
    pub const fn uniform_f32(&mut self) -> f32 {
        (self.next_u32() >> 8) as f32 * (1.0 / (1u32 << 24) as f32)
    }

    /// A uniform integer in `0..bound`, without bias (Lemire, 2019). `bound` 0 gives 0.
    pub const fn below(&mut self, bound: u32) -> u32 {
        if bound == 0 {
            return 0;
        }
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let product = self.next_u32() as u64 * bound as u64;
            if product as u32 >= threshold {
                return (product >> 32) as u32;
            }
        }
    }

    /// Shuffles `items` in place (Fisher and Yates). At most `u32::MAX` items.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u32 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers published with Random123.
    #[test]
    fn philox_known_answers() {
        assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox4x32([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox4x32([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn any_position_can_be_reached_directly() {
        let mut walked = Rng::new(1, Stream::Init, 2);
        for _ in 0..13 {
            walked.next_u32();
        }
        assert_eq!(walked, Rng::new(1, Stream::Init, 2).at(13));
        assert_ne!(walked.next_u32(), Rng::new(1, Stream::Init, 3).at(13).next_u32());
    }

    #[test]
    fn below_is_uniform_and_bounded() {
        let mut counts = [0u32; 6];
        let mut rng = Rng::new(3, Stream::Puzzle, 0);
        for _ in 0..60_000 {
            counts[rng.below(6) as usize] += 1;
        }
        assert!(counts.iter().all(|&n| (9_600..10_400).contains(&n)), "{counts:?}");
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.below(1), 0);
    }
}
