//! Products with a weight of few rows, and their vjps.

use hrm_core::kernels::Write;
use hrm_cuda::launch::{Launcher, Ptr};
use hrm_cuda::ops::Product;
use hrm_cuda::ops::linear_narrow::{Linear, Sizes, VjpInput, VjpInputOperands, VjpWeight, VjpWeightOperands};

use crate::common::words;
use crate::operands::{Case, download, rounded, times, transposed, upload, values};

/// y = x W^T, then dx = dy W, alone and added to dx, and dW = dy^T x.
fn linear_narrow<L: Launcher>(l: &mut L, rows: usize, inner: usize, outer: usize) {
    let what = format!("[{rows}, {inner}] by [{inner}, {outer}]");
    let case = Case::new(l, rows, inner, outer);
    let Product { x, w, .. } = case.product;
    let y = l.alloc(2 * rows * outer).unwrap();
    Linear::new(&case.product).unwrap().run(l, y).unwrap();
    assert!(case.rounded().eq(download(l, y, rows * outer)), "{what}");

    let sizes = Sizes { rows, inner, outer };
    let (cotangent, before) = (values(rows * outer, 555), values(rows * inner, 777));
    let dy = upload(l, &cotangent);
    let sums = times(&cotangent, &case.w, outer, inner);
    for write in [Write::Replace, Write::Accumulate] {
        let dx = upload(l, &before);
        VjpInput::new(sizes).unwrap().run(l, &VjpInputOperands { dx, dy, w, write }).unwrap();
        let element = |(sum, before): (&f32, &f32)| {
            rounded(if write == Write::Accumulate { before + sum } else { *sum })
        };
        let expected = sums.iter().zip(&before).map(element);
        assert!(expected.eq(download(l, dx, rows * inner)), "vjp by input, {what}, {write:?}");
    }

    let dw = l.alloc(4 * outer * inner).unwrap();
    let kernel = VjpWeight::new(sizes).unwrap();
    let scratch = l.alloc(kernel.scratch()).unwrap();
    kernel.run(l, &VjpWeightOperands { dw, dy, x, scratch }).unwrap();
    let found = words(l, dw, outer * inner).into_iter().map(f32::from_bits);
    let expected = times(&transposed(&cotangent, outer), &case.x, rows, inner);
    assert!(found.eq(expected), "vjp by weight, {what}");
}

/// Rows that end at, before and after tiles of 16 and of 128 rows, columns likewise; one chunk of rows and several, and more
/// rows than chunks of the least size have.
pub fn check<L: Launcher>(l: &mut L) {
    for (rows, inner, outer) in [
        (1, 64, 1),
        (15, 128, 11),
        (16, 64, 6),
        (17, 512, 11),
        (130, 192, 32),
        (259, 64, 17),
        (128, 1024, 32),
        (33_001, 64, 2),
    ] {
        linear_narrow(l, rows, inner, outer);
    }
    // Without a kernel: too many columns, of an odd number, or more than shared memory holds.
    for (inner, outer) in [(64, 33), (96, 11), (2048, 32)] {
        let product = Product { x: Ptr(0), w: Ptr(0), rows: 1, inner, outer };
        let sizes = Sizes { rows: 1, inner, outer };
        assert!(Linear::new(&product).is_none(), "{sizes:?}");
        assert!(VjpInput::new(sizes).is_none() && VjpWeight::new(sizes).is_none(), "{sizes:?}");
    }
}
