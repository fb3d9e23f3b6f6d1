//! The scalars of a training step, as kernels read them from device memory.

use hrm_core::optim::StepScalars;

/// Bytes of the scalars.
pub const BYTES: usize = 32;

/// The scalars as `struct StepScalars` of `kernels/common.cuh` has them: step, seed, learning rate, learning rate of
/// the puzzle embedding, eight bytes each.
#[must_use]
pub fn bytes(scalars: &StepScalars) -> [u8; BYTES] {
    let words = [scalars.step, scalars.seed, scalars.lr.to_bits(), scalars.puzzle_emb_lr.to_bits()];
    let mut bytes = [0; BYTES];
    for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_lie_in_the_order_of_the_struct() {
        let bytes = bytes(&StepScalars { step: 1, seed: 2, lr: 1.0, puzzle_emb_lr: -2.0 });
        assert_eq!((bytes[0], bytes[8]), (1, 2));
        assert_eq!(bytes[16..24], 1.0f64.to_le_bytes());
        assert_eq!(bytes[24..], (-2.0f64).to_le_bytes());
    }
}
