//! Rotary position tables.

use crate::arena::Param;
use crate::config::{Config, PosEncodings};

/// The rotary angle of position `s` and frequency `i` of a head of width `head_dim`: `s * theta^(-2i / head_dim)`.
///
/// The published program forms frequency and angle in f32, and at position 900 that rounding moves the angle by
/// 1e-5: so do we.
#[must_use]
pub fn angle(theta: f64, head_dim: usize, s: usize, i: usize) -> f32 {
    let exponent = (2 * i) as f32 / head_dim as f32;
    let power = libm::pow(f64::from(theta as f32), f64::from(exponent)) as f32;
    s as f32 * (1.0 / power)
}

/// Cosine and sine of [`angle`].
#[must_use]
pub fn cos_sin(theta: f64, head_dim: usize, s: usize, i: usize) -> (f32, f32) {
    let angle = f64::from(angle(theta, head_dim, s, i));
    (libm::cos(angle) as f32, libm::sin(angle) as f32)
}

/// Where the rotary tables of a model lie, `[S, head_dim / 2]` each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RopeTables {
    /// Cosines.
    pub cos: Param,
    /// Sines.
    pub sin: Param,
}

/// How the positions of a model turn its queries and keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rotary {
    theta: f64,
    head_dim: usize,
    grid: Option<Grid>,
}

/// The square that the tokens of a sequence are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Grid {
    /// Positions before the tokens.
    first: usize,
    width: usize,
}

impl Rotary {
    /// That of a model which has rotary positions.
    #[must_use]
    pub const fn of(config: &Config) -> Self {
        let grid = match config.pos_encodings {
            PosEncodings::Rope2d => Some(Grid { first: config.prefix_len(), width: config.seq_len.isqrt() }),
            PosEncodings::Rope | PosEncodings::Learned | PosEncodings::None => None,
        };
        Self { theta: config.rope_theta, head_dim: config.head_dim(), grid }
    }

    /// The angle of position `s` and pair `i`, which are elements `i` and `i + head_dim / 2`. Along a line it is [`angle`]. On a
    /// grid with `n = head_dim / 4` the first `n` pairs turn by the row and the others by the column, with the frequencies
    /// `theta^(-4j / head_dim)`, `j < n`; what comes before the tokens turns by nothing.
    #[must_use]
    pub fn angle(&self, s: usize, i: usize) -> f32 {
        let &Self { theta, head_dim, grid } = self;
        let Some(Grid { first, width }) = grid else { return angle(theta, head_dim, s, i) };
        let Some(cell) = s.checked_sub(first) else { return 0.0 };
        let (row, column) = (cell.checked_div(width).unwrap_or(0), cell.checked_rem(width).unwrap_or(0));
        match i.checked_sub(head_dim / 4) {
            None => angle(theta, head_dim, row, 2 * i),
            Some(i) => angle(theta, head_dim, column, 2 * i),
        }
    }

    /// Cosine and sine of [`angle`](Self::angle).
    #[must_use]
    pub fn cos_sin(&self, s: usize, i: usize) -> (f32, f32) {
        let angle = f64::from(self.angle(s, i));
        (libm::cos(angle) as f32, libm::sin(angle) as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What attention sees of two positions: the product of a query and a key, each turned.
    fn score(rotary: &Rotary, [a, b]: [usize; 2]) -> f64 {
        let half = rotary.head_dim / 2;
        let element = |k: usize, i: usize| ((k * 31 + i * 7) % 11) as f64 / 5.0 - 1.0;
        let turned = |k: usize, s: usize, i: usize| {
            let (cos, sin) = rotary.cos_sin(s, i);
            let (x, y) = (element(k, i), element(k, i + half));
            [x * f64::from(cos) - y * f64::from(sin), y * f64::from(cos) + x * f64::from(sin)]
        };
        let pair = |i: usize| {
            let ([q, r], [k, l]) = (turned(0, a, i), turned(1, b, i));
            q * k + r * l
        };
        (0..half).map(pair).sum()
    }

    #[test]
    fn on_a_grid_only_the_way_from_cell_to_cell_counts() {
        let config = Config { pos_encodings: PosEncodings::Rope2d, num_heads: 16, ..Config::SUDOKU_EXTREME };
        let rotary = Rotary::of(&config);
        let at = |row: usize, column: usize| 1 + 9 * row + column;
        let same = |a: [usize; 2], b: [usize; 2]| (score(&rotary, a) - score(&rotary, b)).abs() < 1e-4;
        assert!(same([at(0, 0), at(2, 3)], [at(5, 4), at(7, 7)]));
        assert!(!same([at(0, 0), at(2, 3)], [at(5, 4), at(8, 6)]));
        // A row's end and the next one's beginning are no neighbours.
        assert!(!same([at(0, 8), at(1, 0)], [at(0, 7), at(0, 8)]));
        assert!((0..16).all(|i| rotary.angle(0, i) == 0.0), "the puzzle's embedding is nowhere on the grid");
        let line = Rotary::of(&Config::SUDOKU_EXTREME);
        assert!((0..82).all(|s| (0..32).all(|i| line.angle(s, i) == angle(10_000.0, 64, s, i))));
    }
}
