//! The vjp of a product with the activation of SwiGLU, down to gate and up.

use hrm_cuda::launch::{Dtype, Launcher};
use hrm_cuda::ops::elementwise;
use hrm_cuda::ops::gemm_sm90::{GatedOperands, GatedSizes, LinearSwiGluVjp};

use crate::operands::{close, download, rounded, times, upload, values};

/// What the activation was, and the cotangents `[rows, 2 cols]` of gate and up, given `da` `[rows, cols]`, that of the
/// activation.
fn swiglu_vjp(gate_up: &[f32], da: &[f32], cols: usize) -> [Vec<f32>; 2] {
    let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
    let silu = |x: f32| rounded(x * sigmoid(x));
    let slope = |x: f32| sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x)));
    let (mut activation, mut cotangents) = (Vec::new(), Vec::new());
    for (gate_up, da) in gate_up.chunks(2 * cols).zip(da.chunks(cols)) {
        let (gate, up) = gate_up.split_at(cols);
        activation.extend(gate.iter().zip(up).map(|(x, u)| silu(*x) * u));
        cotangents.extend((0..cols).map(|i| rounded(da[i] * up[i]) * slope(gate[i])));
        cotangents.extend(gate.iter().zip(da).map(|(x, d)| d * silu(*x)));
    }
    [activation, cotangents]
}

/// da = dy W, rounded, and what SwiGLU's vjp makes of it: near the formula, and with the bits of the kernel that is given da.
pub fn linear_swiglu_vjp<L: Launcher>(l: &mut L, rows: usize, outer: usize, cols: usize) {
    let what = format!("vjp of SwiGLU with [{rows}, {outer}] by [{outer}, {cols}]");
    let (dy, w) = (values(rows * outer, 0), values(outer * cols, 12345));
    let gate_up: Vec<f32> = values(rows * 2 * cols, 777).into_iter().map(|x| 3.0 * x).collect();
    let (dy_at, w_at, gate_up_at) = (upload(l, &dy), upload(l, &w), upload(l, &gate_up));
    let a = l.alloc(2 * rows * cols).unwrap();
    let sizes = GatedSizes { rows, cols, outer };
    let scratch = l.alloc(LinearSwiGluVjp::scratch(&sizes)).unwrap();
    let op = GatedOperands { a, gate_up: gate_up_at, dy: dy_at, w: w_at, scratch };
    LinearSwiGluVjp::new(l, sizes).unwrap().unwrap().run(l, &op).unwrap();
    let found = [download(l, a, rows * cols), download(l, gate_up_at, rows * 2 * cols)];

    let da: Vec<f32> = times(&dy, &w, outer, cols).into_iter().map(rounded).collect();
    for (found, expected) in found.iter().zip(swiglu_vjp(&gate_up, &da, cols)) {
        close(found, expected.into_iter(), &what);
    }

    let (da_at, gate_up_at) = (upload(l, &da), upload(l, &gate_up));
    elementwise::swiglu_vjp(l, Dtype::Bf16, da_at, gate_up_at, rows, cols).unwrap();
    let apart = [download(l, da_at, rows * cols), download(l, gate_up_at, rows * 2 * cols)];
    assert!(found == apart, "{what}: not the bits of the two kernels");
}

/// Clusters of 1 and of 2 blocks with each number of steps that there is, groups of columns with one row and with several
/// tiles, the last rows of a tile missing.
pub fn check<L: Launcher>(l: &mut L) {
    for (rows, outer, cols) in
        [(1, 64, 128), (130, 128, 384), (300, 512, 256), (129, 192, 128), (520, 64, 512), (700, 128, 768)]
    {
        linear_swiglu_vjp(l, rows, outer, cols);
    }
    // Without a kernel, and so without scratch: columns that are no tiles, weights that shared memory does not hold, and more of
    // gate and up than 32 bits count.
    for (rows, outer, cols) in [(1, 64, 192), (1, 96, 128), (1, 576, 128), (1 << 28, 64, 128)] {
        let sizes = GatedSizes { rows, cols, outer };
        assert!(LinearSwiGluVjp::new(l, sizes).unwrap().is_none(), "{sizes:?}");
        assert_eq!(LinearSwiGluVjp::scratch(&sizes), 0, "{sizes:?}");
    }
}
