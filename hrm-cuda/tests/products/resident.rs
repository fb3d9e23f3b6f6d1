//! Products whose weights stay in shared memory, alone and with SwiGLU.

use hrm_cuda::launch::Launcher;
use hrm_cuda::ops::gemm_sm90::{Linear, LinearSwiGlu};

use crate::operands::{Case, close, download, rounded};

/// y = x W^T.
fn linear<L: Launcher>(l: &mut L, rows: usize, inner: usize, outer: usize) {
    let case = Case::new(l, rows, inner, outer);
    let y = l.alloc(2 * rows * outer).unwrap();
    Linear::new(l, &case.product).unwrap().unwrap().run(l, y).unwrap();
    assert!(case.rounded().eq(download(l, y, rows * outer)), "[{rows}, {inner}] by [{inner}, {outer}]");
}

/// x W^T, which is kept, is gate and up side by side; a = silu(gate) up.
fn linear_swiglu<L: Launcher>(l: &mut L, rows: usize, inner: usize, outer: usize) {
    let case = Case::new(l, rows, inner, outer);
    let width = outer / 2;
    let (a, kept) = (l.alloc(2 * rows * width).unwrap(), l.alloc(2 * rows * outer).unwrap());
    LinearSwiGlu::new(l, &case.product).unwrap().unwrap().run(l, a, Some(kept)).unwrap();
    let what = format!("SwiGLU of [{rows}, {inner}] by [{inner}, {outer}]");
    let gate_up: Vec<f32> = case.rounded().collect();
    assert_eq!(download(l, kept, rows * outer), gate_up, "{what}");
    let gated = gate_up
        .chunks(outer)
        .flat_map(|row| (0..width).map(|i| rounded(row[i] / (1.0 + (-row[i]).exp())) * row[width + i]));
    close(&download(l, a, rows * width), gated, &what);
}

/// Clusters of 1 and of 2 blocks; one tile, and several that change from one set of weights to the next; a last set of
/// which a cluster has one tile only.
pub fn check<L: Launcher>(l: &mut L) {
    for (rows, inner, outer) in
        [(1, 64, 128), (130, 128, 384), (64, 128, 384), (300, 512, 256), (520, 64, 512), (700, 128, 768)]
    {
        linear(l, rows, inner, outer);
        linear_swiglu(l, rows, inner, outer);
    }
}
