//! What tests of single kernels share: memory of a launcher, filled and read.

use hrm_cuda::launch::{Launcher, Ptr};

/// The elements in new memory.
pub fn upload<L: Launcher, const N: usize>(l: &mut L, elements: impl IntoIterator<Item = [u8; N]>) -> Ptr {
    let bytes: Vec<u8> = elements.into_iter().flatten().collect();
    let at = l.alloc(bytes.len()).unwrap();
    l.upload(at, &bytes).unwrap();
    at
}

/// `len` words from `at` on.
pub fn words<L: Launcher>(l: &mut L, at: Ptr, len: usize) -> Vec<u32> {
    let mut bytes = vec![0; 4 * len];
    l.download(at, &mut bytes).unwrap();
    bytes.as_chunks::<4>().0.iter().map(|word| u32::from_ne_bytes(*word)).collect()
}
