//! Products that are added to a residual and normed, and sums with that.

use hrm_core::kernels::Keep;
use hrm_cuda::launch::{Dtype, Launcher};
use hrm_cuda::ops::elementwise;
use hrm_cuda::ops::gemm_sm90::{AddRmsNorm, LinearAddRmsNorm, Plus};

use crate::common::words;
use crate::operands::{Case, close, download, upload, values};

const EPS: f32 = 1e-5;

/// y = s / sqrt(mean(s^2) + eps), s = x W^T + the residual; then y + b too, with the bits of the two kernels.
pub fn linear_add_rms_norm<L: Launcher>(l: &mut L, rows: usize, inner: usize, outer: usize) {
    let case = Case::new(l, rows, inner, outer);
    let residual = values(rows * outer, 777);
    let x = upload(l, &residual);
    let (y, rstd) = (l.alloc(2 * rows * outer).unwrap(), l.alloc(4 * rows).unwrap());
    let op = AddRmsNorm { y, rstd, x, eps: EPS.into(), plus: None };
    let kernel = LinearAddRmsNorm::new(l, &case.product).unwrap().unwrap();
    kernel.run(l, &op).unwrap();
    let sums: Vec<f32> = case.sums.iter().zip(&residual).map(|(sum, r)| sum + r).collect();
    let normed = sums.chunks(outer).flat_map(|row| {
        let mean = row.iter().map(|x| x * x).sum::<f32>() / outer as f32;
        row.iter().map(move |x| x / (mean + EPS).sqrt())
    });
    let what = format!("norm of [{rows}, {inner}] by [{inner}, {outer}]");
    let found = download(l, y, rows * outer);
    close(&found, normed, &what);
    for (row, bits) in sums.chunks(outer).zip(words(l, rstd, rows)) {
        let mean = row.iter().map(|x| x * x).sum::<f32>() / outer as f32;
        let (found, expected) = (f32::from_bits(bits), 1.0 / (mean + EPS).sqrt());
        assert!((found - expected).abs() <= 1e-5 * expected, "{what}: rstd is {found}, not {expected}");
    }

    let b = upload(l, &values(rows * outer, 4321));
    let expected = l.alloc(2 * rows * outer).unwrap();
    elementwise::add(l, Dtype::Bf16, expected, y, b, rows * outer).unwrap();
    let expected = download(l, expected, rows * outer);
    for keep in [Keep::All, Keep::Nothing] {
        let (y, sum, rstd_too) = (upload(l, &residual), upload(l, &residual), l.alloc(4 * rows).unwrap());
        let op = AddRmsNorm { y, rstd: rstd_too, plus: Some(Plus { sum, b, keep }), ..op };
        kernel.run(l, &op).unwrap();
        assert!(download(l, sum, rows * outer) == expected, "sum with the {what}, {keep:?}");
        // A result that is not kept is not written where weights are streamed.
        if keep == Keep::All || inner > 512 {
            assert!(
                download(l, y, rows * outer) == *if keep == Keep::All { &found } else { &residual },
                "{what}, {keep:?}"
            );
        }
        assert!(words(l, rstd_too, rows) == words(l, rstd, rows), "{what}: rstd, {keep:?}");
    }
}

/// Clusters of 1, 2 and 4 blocks, which exchange sums, with weights that stay and that come with the rows.
pub fn check<L: Launcher>(l: &mut L) {
    for (rows, inner, outer) in [
        (1, 512, 128),
        (130, 128, 128),
        (300, 64, 256),
        (1800, 64, 512),
        (1, 576, 512),
        (200, 576, 256),
        (700, 576, 512),
    ] {
        linear_add_rms_norm(l, rows, inner, outer);
    }
}
