//! Each wrapper of inline assembly in `kernels/mma.cuh` and `common.cuh`, alone, against what it must give. The
//! emulator has its own meaning of them: that both pass the same tests is what makes its other verdicts count.

use hrm_cuda::error::Error;
use hrm_cuda::launch::{Arg, Grid, Kernel, Launcher, Ptr};

const WARP: usize = 32;

/// Launches a wrapper's kernel on one warp.
fn warp<L: Launcher>(l: &mut L, name: &'static str, args: &[Arg]) -> Result<(), Error> {
    let grid = Grid { blocks: [1, 1, 1], threads: [WARP as u32, 1, 1], shared: 0 };
    l.launch(Kernel { unit: "wrappers", name }, grid, args)
}

fn upload<L: Launcher, T>(l: &mut L, values: &[T], bytes: impl Fn(&T) -> Vec<u8>) -> Result<Ptr, Error> {
    let bytes: Vec<u8> = values.iter().flat_map(bytes).collect();
    let at = l.alloc(bytes.len())?;
    l.upload(at, &bytes)?;
    Ok(at)
}

fn floats<L: Launcher>(l: &mut L, values: &[f32]) -> Result<Ptr, Error> {
    upload(l, values, |x| x.to_le_bytes().into())
}

fn halves<L: Launcher>(l: &mut L, values: &[u16]) -> Result<Ptr, Error> {
    upload(l, values, |x| x.to_le_bytes().into())
}

/// Words from the device.
fn words<L: Launcher>(l: &mut L, at: Ptr, len: usize) -> Result<Vec<u32>, Error> {
    let mut bytes = vec![0; 4 * len];
    l.download(at, &mut bytes)?;
    Ok(bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect())
}

/// Four 8 x 8 matrices: each lane gets two neighbours of a row of each, or of a column if they are transposed.
///
/// # Panics
/// It gets others.
pub fn ldmatrix<L: Launcher>(mut l: L) -> Result<(), Error> {
    let values: Vec<u16> = (0..256).map(|i| 1000 + i).collect();
    let x = halves(&mut l, &values)?;
    let y = l.alloc(16 * WARP)?;
    let element = |matrix: usize, row: usize, col: usize| u32::from(values[64 * matrix + 8 * row + col]);
    for (name, transposed) in [("wrapper_ldmatrix", false), ("wrapper_ldmatrix_transposed", true)] {
        warp(&mut l, name, &[Arg::Ptr(y), Arg::Ptr(x)])?;
        let found = words(&mut l, y, 4 * WARP)?;
        for (lane, matrix) in (0..WARP).flat_map(|lane| (0..4).map(move |matrix| (lane, matrix))) {
            let (row, col) = (lane / 4, 2 * (lane % 4));
            let [low, high] = if transposed {
                [element(matrix, col, row), element(matrix, col + 1, row)]
            } else {
                [element(matrix, row, col), element(matrix, row, col + 1)]
            };
            assert_eq!(found[4 * lane + matrix], low | high << 16, "{name}, lane {lane}, matrix {matrix}");
        }
    }
    Ok(())
}

/// A product of small whole numbers, which no rounding touches, added to what is there.
///
/// # Panics
/// It is another one.
pub fn mma<L: Launcher>(mut l: L) -> Result<(), Error> {
    let number = |i: usize| ((i * 37 + 11) % 23) as f32 - 11.0;
    let a: Vec<f32> = (0..16 * 16).map(number).collect();
    let b: Vec<f32> = (0..16 * 8).map(|i| number(i * i)).collect();
    let d: Vec<f32> = (0..16 * 8).map(|i| number(3 * i)).collect();
    let bits = |values: &[f32]| values.iter().map(|x| half::bf16::from_f32(*x).to_bits()).collect::<Vec<_>>();
    let (at_a, at_b, at_d) = (halves(&mut l, &bits(&a))?, halves(&mut l, &bits(&b))?, floats(&mut l, &d)?);
    warp(&mut l, "wrapper_mma", &[at_d, at_a, at_b].map(Arg::Ptr))?;
    let found = words(&mut l, at_d, 16 * 8)?;
    for (i, (found, d)) in found.iter().zip(&d).enumerate() {
        let (row, col) = (i / 8, i % 8);
        let sum: f32 = (0..16).map(|k| a[16 * row + k] * b[8 * k + col]).sum();
        assert_eq!(f32::from_bits(*found), d + sum, "row {row}, column {col}");
    }
    Ok(())
}

/// Copies in two groups, and zeroes where there is nothing to copy from.
///
/// # Panics
/// Something else arrives.
pub fn copies<L: Launcher>(mut l: L) -> Result<(), Error> {
    let values: Vec<u32> = (1..=256).collect();
    let x = upload(&mut l, &values, |word| word.to_le_bytes().into())?;
    let y = l.alloc(4 * values.len())?;
    for exist in [32, 19, 0] {
        warp(&mut l, "wrapper_copy", &[Arg::Ptr(y), Arg::Ptr(x), Arg::I32(exist)])?;
        let found = words(&mut l, y, values.len())?;
        let there = |i: usize| i / 4 % WARP < exist.unsigned_abs() as usize;
        let expected: Vec<u32> =
            values.iter().enumerate().map(|(i, word)| if there(i) { *word } else { 0 }).collect();
        assert_eq!(found, expected, "{exist} threads have something to copy");
    }
    Ok(())
}

/// The fast power of 2, to what the hardware promises: 2 units in the 22nd place.
///
/// # Panics
/// It is further off.
pub fn exp2<L: Launcher>(mut l: L) -> Result<(), Error> {
    let values: Vec<f32> = (0..WARP).map(|i| i as f32 * 0.77 - 20.3).collect();
    let (x, y) = (floats(&mut l, &values)?, l.alloc(4 * WARP)?);
    warp(&mut l, "wrapper_exp2", &[Arg::Ptr(y), Arg::Ptr(x)])?;
    for (x, found) in values.iter().zip(words(&mut l, y, WARP)?) {
        let (found, exact) = (f64::from(f32::from_bits(found)), f64::from(*x).exp2());
        assert!((found / exact - 1.0).abs() <= 2.0f64.powi(-21), "2^{x} is {found:e}, expected {exact:e}");
    }
    Ok(())
}

/// Rounding to bf16, to nearest and ties to even, alone and in pairs.
///
/// # Panics
/// It rounds otherwise.
pub fn rounding<L: Launcher>(mut l: L) -> Result<(), Error> {
    // Both sides of ties to an even and to an odd neighbour, and values in between.
    let ties = [0x3f80_8000, 0x3f81_8000, 0x3f80_7fff, 0x3f80_8001, 0x3f81_7fff, 0x3f81_8001, 0x7f7f_ffff, 0];
    let values: Vec<f32> =
        (0..WARP as u32).map(|i| f32::from_bits(ties[i as usize % 8] ^ (i / 8 % 2) << 31)).collect();
    let (x, y) = (floats(&mut l, &values)?, l.alloc(8 * WARP)?);
    warp(&mut l, "wrapper_bf16", &[Arg::Ptr(y), Arg::Ptr(x)])?;
    let found = words(&mut l, y, 2 * WARP)?;
    let bits = |lane: usize| u32::from(half::bf16::from_f32(values[lane]).to_bits());
    for lane in 0..WARP {
        assert_eq!(found[2 * lane], bits(lane) | bits(lane ^ 1) << 16, "pair of lane {lane}");
        assert_eq!(found[2 * lane + 1], bits(lane), "{}", values[lane]);
    }
    Ok(())
}
