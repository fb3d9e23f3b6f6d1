//! A matrix product for processors with AVX2 and fused multiply-add: tiles of 6 x 16 held in registers.
//!
//! `B` is repacked into panels of 16 columns, a block of `BLOCK` elements at a time, which stays in the second-level
//! cache; six rows of `A` are read where they lie when their inner dimension is contiguous, so that few rows (one
//! puzzle) cost no more per row than many. Each element of `C` is one chain of fused multiply-adds per `KC` inner
//! indices, whatever its place in the tile.

use crate::kernels::Write;
use ndarray::{ArrayView2, ArrayViewMut2, Axis};
use pulp::x86::V3;
use pulp::{cast, f32x8};
use std::cell::RefCell;
use std::vec::Vec;

/// Rows of a tile.
const MR: usize = 6;
/// Columns of a tile: two vectors.
const NR: usize = 16;
/// Inner indices per chain of additions. A longer one would be a little faster and lose the golden numbers: rounding
/// grows with its length.
const KC: usize = 64;
/// Inner indices per block, a multiple of [`KC`]: a tile of `C` stays in the first-level cache over so many, where one
/// pass for each chain would read and write the whole of `C` in memory every time.
const DEPTH: usize = 8 * KC;
/// Elements of `B` per block: half a MiB, and at most as many columns as fit it.
const BLOCK: usize = 128 * 1024;

type Panel = [f32x8; 2];
type Tile = [Panel; MR];

const ZERO: f32x8 = f32x8(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0);

std::thread_local! {
    /// Packed `B`: allocated at a thread's first product, then kept.
    static PACKED: RefCell<Vec<Panel>> = const { RefCell::new(Vec::new()) };
}

/// `C (+)= A B` on the calling thread. The columns of `C` must be contiguous; `A` and `B` each need one unit stride.
pub(super) fn multiply(
    simd: V3,
    c: ArrayViewMut2<f32>,
    a: ArrayView2<f32>,
    b: ArrayView2<f32>,
    write: Write,
) {
    PACKED.with_borrow_mut(|packed| {
        packed.resize(BLOCK / NR, [ZERO; 2]);
        simd.vectorize(
            #[inline(always)]
            || blocks(simd, c, a, b, write, packed),
        );
    });
}

#[inline(always)]
fn blocks(
    simd: V3,
    mut c: ArrayViewMut2<f32>,
    a: ArrayView2<f32>,
    b: ArrayView2<f32>,
    write: Write,
    packed: &mut [Panel],
) {
    let n = c.ncols();
    let k = a.ncols();
    let width = BLOCK / k.min(DEPTH) / NR * NR;
    let mut a_panel = [[0.0_f32; MR]; DEPTH];
    for n0 in (0..n).step_by(width) {
        let nc = width.min(n - n0);
        for k0 in (0..k).step_by(DEPTH) {
            let depth = DEPTH.min(k - k0);
            let replace = k0 == 0 && write == Write::Replace;
            pack_b(simd, packed, &b, (k0, depth), (n0, nc));
            for (block, mut c_block) in c.axis_chunks_iter_mut(Axis(0), MR).enumerate() {
                let (m0, mr) = (block * MR, c_block.nrows());
                let rows = if mr == MR { rows_of(&a, m0, k0, depth) } else { None };
                if rows.is_none() {
                    pack_a(&mut a_panel[..depth], &a, (m0, mr), k0);
                }
                let mut c_rows: [&mut [f32]; MR] = Default::default();
                for (slot, row) in c_rows.iter_mut().zip(c_block.rows_mut()) {
                    if let Some(row) = row.into_slice() {
                        *slot = &mut row[n0..n0 + nc];
                    }
                }
                for (panel, j) in packed.chunks_exact(depth).zip((0..nc).step_by(NR)) {
                    let nr = NR.min(nc - j);
                    for (chain, l0) in panel.chunks(KC).zip((0..depth).step_by(KC)) {
                        let l1 = l0 + chain.len();
                        let tile = match &rows {
                            Some(rows) => tile_of_rows(simd, &rows.map(|row| &row[l0..l1]), chain),
                            None => tile_of_panel(simd, &a_panel[l0..l1], chain),
                        };
                        for (row, tile) in c_rows.iter_mut().take(mr).zip(&tile) {
                            store(simd, &mut row[j..j + nr], *tile, replace && l0 == 0);
                        }
                    }
                }
            }
        }
    }
}

/// Six rows of `A` from inner index `k0`, when they are contiguous.
#[inline(always)]
fn rows_of<'a>(a: &ArrayView2<'a, f32>, m0: usize, k0: usize, kc: usize) -> Option<[&'a [f32]; MR]> {
    let mut rows = [&[][..]; MR];
    for (i, row) in rows.iter_mut().enumerate() {
        *row = &a.index_axis_move(Axis(0), m0 + i).to_slice()?[k0..k0 + kc];
    }
    Some(rows)
}

/// `panel[l][i] = A[m0 + i, k0 + l]`, zero beyond `mr` rows.
#[inline(always)]
fn pack_a(panel: &mut [[f32; MR]], a: &ArrayView2<f32>, (m0, mr): (usize, usize), k0: usize) {
    let kc = panel.len();
    if a.strides()[0] == 1 {
        for (l, panel) in panel.iter_mut().enumerate() {
            let column = a.index_axis(Axis(1), k0 + l);
            if let Some(column) = column.to_slice() {
                match column.get(m0..m0 + MR) {
                    Some(six) => panel.copy_from_slice(six),
                    None => {
                        *panel = [0.0; MR];
                        panel[..mr].copy_from_slice(&column[m0..m0 + mr]);
                    }
                }
            }
        }
        return;
    }
    for i in 0..MR {
        if i >= mr {
            panel.iter_mut().for_each(|p| p[i] = 0.0);
        } else {
            for (panel, &v) in panel.iter_mut().zip(a.row(m0 + i).iter().skip(k0).take(kc)) {
                panel[i] = v;
            }
        }
    }
}

/// Panel `p`, inner index `l`: `B[k0 + l, n0 + 16 p ..]`, zero beyond `nc` columns.
#[inline(always)]
fn pack_b(
    simd: V3,
    packed: &mut [Panel],
    b: &ArrayView2<f32>,
    (k0, kc): (usize, usize),
    (n0, nc): (usize, usize),
) {
    let panels = nc.div_ceil(NR);
    if b.strides()[1] == 1 {
        for l in 0..kc {
            let row = b.index_axis(Axis(0), k0 + l);
            let Some(row) = row.to_slice() else { continue };
            let (full, rest) = row[n0..n0 + nc].as_chunks::<NR>();
            for (p, chunk) in full.iter().enumerate() {
                packed[p * kc + l] = cast(*chunk);
            }
            if !rest.is_empty() {
                let mut chunk = [0.0; NR];
                chunk[..rest.len()].copy_from_slice(rest);
                packed[full.len() * kc + l] = cast(chunk);
            }
        }
        return;
    }
    const NOTHING: [f32; DEPTH] = [0.0; DEPTH];
    for (p, panel) in packed.chunks_exact_mut(kc).take(panels).enumerate() {
        for half in 0..2 {
            let mut columns = [&NOTHING[..kc]; 8];
            for (j, column) in columns.iter_mut().enumerate() {
                let j = p * NR + half * 8 + j;
                if j < nc
                    && let Some(whole) = b.index_axis_move(Axis(1), n0 + j).to_slice()
                {
                    *column = &whole[k0..k0 + kc];
                }
            }
            let (full, rest) = panel.as_chunks_mut::<8>();
            for (l, full) in full.iter_mut().enumerate() {
                let mut eight = [ZERO; 8];
                for (v, column) in eight.iter_mut().zip(&columns) {
                    if let Some(block) = column[l * 8..].first_chunk::<8>() {
                        *v = cast(*block);
                    }
                }
                for (full, v) in full.iter_mut().zip(transpose(simd, eight)) {
                    full[half] = v;
                }
            }
            let done = kc - rest.len();
            for (l, rest) in rest.iter_mut().enumerate() {
                let mut eight = [0.0; 8];
                for (v, column) in eight.iter_mut().zip(&columns) {
                    *v = column[done + l];
                }
                rest[half] = cast(eight);
            }
        }
    }
}

/// The transpose of 8 x 8.
#[inline(always)]
fn transpose(simd: V3, r: [f32x8; 8]) -> [f32x8; 8] {
    let avx = simd.avx;
    let lo = |a: f32x8, b: f32x8| -> f32x8 { cast(avx._mm256_unpacklo_ps(cast(a), cast(b))) };
    let hi = |a: f32x8, b: f32x8| -> f32x8 { cast(avx._mm256_unpackhi_ps(cast(a), cast(b))) };
    let even = |a: f32x8, b: f32x8| -> f32x8 { cast(avx._mm256_shuffle_ps::<0x44>(cast(a), cast(b))) };
    let odd = |a: f32x8, b: f32x8| -> f32x8 { cast(avx._mm256_shuffle_ps::<0xEE>(cast(a), cast(b))) };
    let low = |a: f32x8, b: f32x8| -> f32x8 { cast(avx._mm256_permute2f128_ps::<0x20>(cast(a), cast(b))) };
    let high = |a: f32x8, b: f32x8| -> f32x8 { cast(avx._mm256_permute2f128_ps::<0x31>(cast(a), cast(b))) };
    let t = [lo(r[0], r[1]), hi(r[0], r[1]), lo(r[2], r[3]), hi(r[2], r[3])];
    let u = [lo(r[4], r[5]), hi(r[4], r[5]), lo(r[6], r[7]), hi(r[6], r[7])];
    let s = [even(t[0], t[2]), odd(t[0], t[2]), even(t[1], t[3]), odd(t[1], t[3])];
    let w = [even(u[0], u[2]), odd(u[0], u[2]), even(u[1], u[3]), odd(u[1], u[3])];
    [
        low(s[0], w[0]),
        low(s[1], w[1]),
        low(s[2], w[2]),
        low(s[3], w[3]),
        high(s[0], w[0]),
        high(s[1], w[1]),
        high(s[2], w[2]),
        high(s[3], w[3]),
    ]
}

#[inline(always)]
fn step(simd: V3, tile: &mut Tile, a: [f32; MR], b: &Panel) {
    for i in 0..MR {
        let a = simd.splat_f32x8(a[i]);
        tile[i][0] = simd.mul_add_f32x8(a, b[0], tile[i][0]);
        tile[i][1] = simd.mul_add_f32x8(a, b[1], tile[i][1]);
    }
}

#[inline(always)]
fn tile_of_panel(simd: V3, a: &[[f32; MR]], b: &[Panel]) -> Tile {
    let mut tile = [[ZERO; 2]; MR];
    for (a, b) in a.iter().zip(b) {
        step(simd, &mut tile, *a, b);
    }
    tile
}

#[inline(always)]
fn tile_of_rows(simd: V3, a: &[&[f32]; MR], b: &[Panel]) -> Tile {
    let mut tile = [[ZERO; 2]; MR];
    let n = b.len();
    let [a0, a1, a2, a3, a4, a5] = a;
    let (a0, a1, a2, a3, a4, a5) = (&a0[..n], &a1[..n], &a2[..n], &a3[..n], &a4[..n], &a5[..n]);
    for (l, b) in b.iter().enumerate() {
        step(simd, &mut tile, [a0[l], a1[l], a2[l], a3[l], a4[l], a5[l]], b);
    }
    tile
}

#[inline(always)]
fn store(simd: V3, row: &mut [f32], tile: Panel, replace: bool) {
    if let Ok(row) = <&mut [f32; NR]>::try_from(&mut *row) {
        let old: Panel = if replace { [ZERO; 2] } else { cast(*row) };
        *row = cast([simd.add_f32x8(old[0], tile[0]), simd.add_f32x8(old[1], tile[1])]);
        return;
    }
    let tile: [f32; NR] = cast(tile);
    for (c, t) in row.iter_mut().zip(tile) {
        *c = if replace { 0.0 } else { *c } + t;
    }
}
