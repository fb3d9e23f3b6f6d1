//! Cells mixed by a SwiGLU over positions in one kernel, and its vjp.

use hrm_core::kernels::Write;
use hrm_cuda::launch::{Launcher, Ptr};
use hrm_cuda::ops::token_mix::{Forward, Sizes, TokenMix, Vjp};

use crate::common;
use crate::operands::{download, rounded, times, transposed, upload, values};

const EPS: f64 = 1e-5;

/// All columns of all sequences `[batch, positions, width]` as rows.
fn columns(z: &[f32], sizes: &Sizes) -> Vec<f32> {
    z.chunks(sizes.positions * sizes.width).flat_map(|z| transposed(z, sizes.width)).collect()
}

/// All within `share` of the largest of what is expected, and no further off in the mean than a sixteenth of it.
fn near(found: &[f32], expected: &[f32], share: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let errors = found.iter().zip(expected).map(|(found, expected)| (found - expected).abs());
    let mean = errors.clone().sum::<f32>() / found.len() as f32;
    for (at, error) in errors.enumerate() {
        // A NaN is in no order.
        let within = error <= share * largest;
        assert!(within, "{what}: element {at} is {}, not {}, of {largest}", found[at], expected[at]);
    }
    assert!(mean <= share / 16.0 * largest, "{what}: off by {mean} in the mean, of {largest}");
}

/// What the operands come to, column by column, with the roundings of the kernels: rows of y, then in the vjp those of dx, the
/// gradients of both weights.
struct Expected {
    y: Vec<f32>,
    rstd: Vec<f32>,
    dx: Vec<f32>,
    d_gate_up: Vec<f32>,
    d_down: Vec<f32>,
}

impl Expected {
    fn of(x: &[f32], dy: &[f32], gate_up: &[f32], down: &[f32], sizes: &Sizes) -> Self {
        let Sizes { positions, inter, .. } = *sizes;
        let (x, dy) = (columns(x, sizes), columns(dy, sizes));
        let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
        let silu = |x: f32| rounded(x * sigmoid(x));
        let gates = times(&x, &transposed(gate_up, positions), positions, 2 * inter);
        let gates: Vec<f32> = gates.into_iter().map(rounded).collect();
        let both = |row: usize, i: usize| (gates[row * 2 * inter + i], gates[row * 2 * inter + inter + i]);
        let each = |i: usize| both(i / inter, i % inter);
        let rows = x.len() / positions;
        let a: Vec<f32> = (0..rows * inter).map(each).map(|(gate, up)| rounded(silu(gate) * up)).collect();
        let mut s = times(&a, &transposed(down, inter), inter, positions);
        s.iter_mut().zip(&x).for_each(|(s, x)| *s += x);
        let mean = |s: &[f32]| s.iter().map(|x| x * x).sum::<f32>() / positions as f32;
        let rstd: Vec<f32> = s.chunks(positions).map(|s| 1.0 / (mean(s) + EPS as f32).sqrt()).collect();
        let y: Vec<f32> = s.iter().enumerate().map(|(i, s)| rounded(s * rstd[i / positions])).collect();

        let mut ds = Vec::new();
        for (row, (dy, y)) in dy.chunks(positions).zip(y.chunks(positions)).enumerate() {
            let mean = dy.iter().zip(y).map(|(dy, y)| dy * y).sum::<f32>() / positions as f32;
            ds.extend(dy.iter().zip(y).map(|(dy, y)| rounded(rstd[row] * (dy - y * mean))));
        }
        let da: Vec<f32> = times(&ds, down, positions, inter).into_iter().map(rounded).collect();
        let mut cotangents = Vec::new();
        for row in 0..rows {
            let slope = |x: f32| sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x)));
            let da = |i: usize| da[row * inter + i];
            cotangents.extend((0..inter).map(|i| {
                let (gate, up) = both(row, i);
                rounded(rounded(da(i) * up) * slope(gate))
            }));
            cotangents.extend((0..inter).map(|i| rounded(da(i) * silu(both(row, i).0))));
        }
        let mut dx = times(&cotangents, gate_up, 2 * inter, positions);
        dx.iter_mut().zip(&ds).for_each(|(dx, ds)| *dx += ds);
        let d_gate_up = times(&transposed(&cotangents, 2 * inter), &x, rows, positions);
        let d_down = times(&transposed(&ds, positions), &a, rows, inter);
        Self { y, rstd, dx, d_gate_up, d_down }
    }
}

fn words<L: Launcher>(l: &mut L, at: Ptr, len: usize) -> Vec<f32> {
    common::words(l, at, len).into_iter().map(f32::from_bits).collect()
}

/// The kernel and its vjp against the formula. What lies behind the results stays as it was.
pub fn mixes<L: Launcher>(l: &mut L, sizes: Sizes) {
    const BEHIND: usize = 64;
    let what = format!("{sizes:?}");
    let Sizes { batch, positions, width, inter } = sizes;
    let (len, columns_of_all) = (batch * positions * width, batch * width);
    let small = |len, first, by: f32| -> Vec<f32> {
        values(len, first).into_iter().map(|x| rounded(x * by)).collect()
    };
    let (x, dy) = (values(len, 0), values(len, 999));
    let (gate_up, down) = (small(2 * inter * positions, 12345, 0.25), small(positions * inter, 777, 0.125));
    let expected = Expected::of(&x, &dy, &gate_up, &down, &sizes);

    let [x_at, dy_at, gate_up_at, down_at] = [&x, &dy, &gate_up, &down].map(|values| upload(l, values));
    let mut marked = |bytes: usize| {
        let at = l.alloc(bytes).unwrap();
        l.fill(at, 0xa5, bytes).unwrap();
        at
    };
    let [y, dx] = [(); 2].map(|()| marked(2 * (len + BEHIND)));
    let rstd = marked(4 * (columns_of_all + BEHIND));
    let d_gate_up = marked(4 * (2 * inter * positions + BEHIND));
    let d_down = marked(4 * (positions * inter + BEHIND));
    let scratch = marked(TokenMix::vjp_scratch(&sizes));
    let (a, gates) = (marked(2 * columns_of_all * inter), marked(4 * columns_of_all * inter));
    let kernels = TokenMix::new(l, sizes).unwrap().unwrap();
    let forward = Forward { y, rstd, x: x_at, gate_up: gate_up_at, down: down_at, eps: EPS, scratch };
    kernels.forward(l, &forward).unwrap();
    near(&columns(&download(l, y, len), &sizes), &expected.y, 1.0 / 100.0, &format!("{what}: y"));
    near(&words(l, rstd, columns_of_all), &expected.rstd, 1.0 / 500.0, &format!("{what}: rstd"));

    // Once in place of what is there, and once more on top of it.
    for (times, write) in [(1.0, Write::Replace), (2.0, Write::Accumulate)] {
        let op = Vjp { forward, dy: dy_at, dx, a, gate_up: gates, d_gate_up, d_down, write };
        kernels.vjp(l, &op).unwrap();
        near(&columns(&download(l, dx, len), &sizes), &expected.dx, 1.0 / 100.0, &format!("{what}: dx"));
        for (name, at, expected) in
            [("gate and up", d_gate_up, &expected.d_gate_up), ("output", d_down, &expected.d_down)]
        {
            let expected: Vec<f32> = expected.iter().map(|x| times * x).collect();
            near(
                &words(l, at, expected.len()),
                &expected,
                1.0 / 100.0,
                &format!("{what}: gradient of {name}, {times}"),
            );
        }
    }
    let ends = [
        (y, 2 * len),
        (dx, 2 * len),
        (rstd, 4 * columns_of_all),
        (d_gate_up, 8 * inter * positions),
        (d_down, 4 * positions * inter),
    ];
    for (at, end) in ends {
        let behind = common::words(l, at.offset(end), BEHIND / 2);
        assert!(behind.iter().all(|word| *word == 0xa5a5_a5a5), "{what}: written behind a result");
    }
}

/// One sequence and more, an odd number of tiles, few positions and as many as there are places, one step and more than the
/// ring has stages, several tiles for a cluster.
pub fn check<L: Launcher>(l: &mut L) {
    for (batch, positions, width, inter) in [
        (1, 97, 128, 64),
        (3, 104, 128, 128),
        (1, 97, 256, 320),
        (2, 1, 128, 64),
        (1, 65, 384, 64),
        (10, 9, 128, 192),
    ] {
        mixes(l, Sizes { batch, positions, width, inter });
    }
    // Without a kernel, and so without scratch: more positions than registers hold, columns and an activation that are no tiles,
    // and nothing at all.
    for (positions, width, inter) in
        [(105, 128, 64), (97, 64, 64), (97, 192, 64), (97, 128, 96), (0, 128, 64), (97, 0, 64)]
    {
        let sizes = Sizes { batch: 1, positions, width, inter };
        assert!(TokenMix::new(l, sizes).unwrap().is_none(), "{sizes:?}");
        assert_eq!((TokenMix::scratch(&sizes), TokenMix::vjp_scratch(&sizes)), (0, 0), "{sizes:?}");
    }
}
