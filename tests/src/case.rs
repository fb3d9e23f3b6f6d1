//! Cases: each kernel with random operands of a given shape.
//!
//! Everything that belongs to a row (a sequence) is drawn from that row's own lane of the random sequence, so
//! that a row is the same alone and in any batch; weights and tables have lanes of their own.

use hrm_core::arena::{Act, Ids, Param};
use hrm_core::config::{Config, PosEncodings};
use hrm_core::halting::HaltRule;
use hrm_core::kernels::{
    AddRmsNorm, Advance, Argmax, Attention, AttentionVjp, Columns, Embed, EmbedVjp, Keep, Linear,
    LinearAddRmsNorm, LinearQkv, LinearSwiGlu, LinearSwiGluVjp, LinearVjpInput, LinearVjpWeight, LmLoss,
    Plus, QHead, QLoss, SwiGlu, TokenMix, TokenMixVjp, TokenScratch, Write,
};
use hrm_core::loss::LossKind;
use hrm_core::optim::{AdamAtan2, Average, SignSgd, StepScalars};
use hrm_core::rng::{Rng, Stream};
use hrm_core::rope;
use hrm_core::rope::RopeTables;
use hrm_host::golden::workbench::Workbench;

use crate::op::{Op, Place};

/// The sizes of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Tokens of a sequence.
    pub seq: usize,
    /// Width of the puzzle embedding.
    pub ndim: usize,
    /// Heads.
    pub heads: usize,
    /// Width of a head, even.
    pub head_dim: usize,
    /// Width of a linear layer's result, of SwiGLU, and size of the vocabulary.
    pub wide: usize,
    /// Seed of the operands.
    pub seed: u64,
}

impl Shape {
    /// Width of a state.
    #[must_use]
    pub const fn hidden(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Positions that the puzzle embedding fills.
    #[must_use]
    pub const fn prefix(&self) -> usize {
        self.ndim.div_ceil(self.hidden())
    }

    /// Positions of a sequence.
    #[must_use]
    pub const fn positions(&self) -> usize {
        self.prefix() + self.seq
    }
}

/// Which kernel, or kernel with its vjp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // Each is the kernel of its name; `rope` and `learned` say how positions enter.
pub enum Kernel {
    Embed { learned: bool },
    Add,
    Linear,
    Attention { rope: bool },
    LinearQkv,
    SwiGlu,
    AddRmsNorm,
    LinearSwiGlu(Keep),
    LinearAddRmsNorm,
    LinearAddRmsNormPlus(Keep),
    TakeColumns,
    PutColumns,
    TokenMix,
    QHead,
    ResetRows,
    ReplaceRows,
    Argmax,
    TakeFirst,
    EmbedVjp { learned: bool },
    LinearVjpInput(Write),
    LinearVjpWeight(Write),
    AttentionVjp { rope: bool },
    LinearQkvVjp,
    SwiGluVjp,
    LinearSwiGluVjp,
    AddRmsNormVjp,
    TokenMixVjp(Write),
    QHeadVjp,
    LmLoss(LossKind),
    QLoss { next: bool },
    Advance(HaltRule),
    AdamAtan2,
    Average,
    SignSgd,
}

impl Kernel {
    /// Whether each row's result depends on that row alone, and is laid out by rows: forward kernels, and vjps
    /// by inputs.
    #[must_use]
    pub const fn is_by_row(self) -> bool {
        !matches!(
            self,
            Self::LinearVjpWeight(_)
                | Self::TokenMixVjp(_)
                | Self::EmbedVjp { .. }
                | Self::QHeadVjp
                | Self::AdamAtan2
                | Self::Average
                | Self::SignSgd
        ) && !matches!(self, Self::Advance(_))
    }
}

/// How a vjp is checked: the forward kernels, and which cotangent belongs to which operand.
#[derive(Clone, Debug)]
pub struct Adjoint {
    /// The function: these kernels, from `inputs` to `outputs`.
    pub forward: Vec<Op>,
    /// Operands it is differentiated by, each with the place of its cotangent.
    pub inputs: Vec<(Place, Place)>,
    /// Results, each with the place of its cotangent.
    pub outputs: Vec<(Place, Cotangent)>,
    /// Its vjp.
    pub backward: Vec<Op>,
    /// Places that the vjp adds to, and that must be zero before.
    pub zeroed: Vec<Place>,
}

/// The cotangent of a result.
#[derive(Clone, Copy, Debug)]
pub enum Cotangent {
    /// Any, written to this place.
    At(Place),
    /// This, in every element: the kernel brings its own.
    Fixed(f64),
}

/// A kernel with its operands.
#[derive(Clone, Debug)]
pub struct Case {
    /// Number of rows.
    pub rows: usize,
    /// The operands.
    pub bench: Workbench,
    /// What is run.
    pub ops: Vec<Op>,
    /// What must be written, all of it.
    pub outputs: Vec<Place>,
    /// What may be changed beside.
    pub scratch: Vec<Place>,
    /// A magnitude below which an output's rounding error is not judged: that of the terms it sums.
    pub magnitude: f64,
    /// The vjp's other half, if this is one.
    pub adjoint: Option<Adjoint>,
}

/// Draws operands, rounded to the precision of the backend in question.
struct Draw<'a> {
    shape: Shape,
    rows: &'a [u32],
    round: fn(f32) -> f32,
    lane: u32,
}

impl Draw<'_> {
    /// A new operand's lane.
    fn next(&mut self) -> u32 {
        self.lane += 1;
        self.lane << 16
    }

    fn values(&self, lane: u32, count: usize) -> Vec<f32> {
        let mut rng = Rng::new(self.shape.seed, Stream::Puzzle, lane);
        (0..count).map(|_| (self.round)((2.0 * rng.uniform() - 1.0) as f32)).collect()
    }

    /// Values by row, `count` each, in [-1, 1).
    fn by_row(&mut self, count: usize) -> Vec<f32> {
        let lane = self.next();
        self.rows.iter().flat_map(|row| self.values(lane + 1 + row, count)).collect()
    }

    fn act(&mut self, bench: &mut Workbench, positions: usize, cols: usize) -> Act {
        let values = self.by_row(positions * cols);
        bench.act(self.rows.len() * positions, cols, &values)
    }

    fn param(&mut self, bench: &mut Workbench, rows: usize, cols: usize) -> Param {
        let lane = self.next();
        let values = self.values(lane, rows * cols);
        bench.param(rows, cols, &values)
    }

    /// Integers by row from `low` to `high`, the latter excluded.
    fn ids(&mut self, bench: &mut Workbench, cols: usize, low: i32, high: i32) -> Ids {
        let lane = self.next();
        let mut values = Vec::new();
        for row in self.rows {
            let mut rng = Rng::new(self.shape.seed, Stream::Puzzle, lane + 1 + row);
            values.extend((0..cols).map(|_| low + (rng.uniform() * f64::from(high - low)) as i32));
        }
        bench.ids(self.rows.len(), cols, &values)
    }

    /// Integers to be written, full of what no kernel writes.
    fn unwritten(&self, bench: &mut Workbench, cols: usize) -> Ids {
        let rows = self.rows.len();
        bench.ids(rows, cols, &vec![UNWRITTEN; rows * cols])
    }
}

/// What integer results hold before they are written.
pub const UNWRITTEN: i32 = -77_777;

fn rope_tables(bench: &mut Workbench, positions: usize, head_dim: usize) -> RopeTables {
    let half = head_dim / 2;
    let table = |part: fn((f32, f32)) -> f32| -> Vec<f32> {
        (0..positions * half).map(|i| part(rope::cos_sin(100.0, head_dim, i / half, i % half))).collect()
    };
    RopeTables {
        cos: bench.param(positions, half, &table(|pair| pair.0)),
        sin: bench.param(positions, half, &table(|pair| pair.1)),
    }
}

impl Case {
    /// `kernel` on operands of `shape` for `rows`, each rounded by `round`.
    ///
    /// # Panics
    /// The shape has no plan.
    #[must_use]
    pub fn new(kernel: Kernel, shape: Shape, rows: &[u32], round: fn(f32) -> f32) -> Self {
        let config = Config {
            seq_len: shape.seq,
            vocab_size: shape.wide,
            num_puzzle_identifiers: 5,
            hidden_size: shape.hidden(),
            num_heads: shape.heads,
            puzzle_emb_ndim: shape.ndim,
            // An odd width of a head is fine where nothing is rotated.
            pos_encodings: if shape.head_dim.is_multiple_of(2) {
                PosEncodings::Rope
            } else {
                PosEncodings::Learned
            },
            h_layers: 1,
            l_layers: 1,
            ..Config::SUDOKU_EXTREME
        };
        let bench = Workbench::new(&config, rows.len(), f32::NAN).unwrap_or_else(|error| panic!("{error}"));
        let draw = Draw { shape, rows, round, lane: 0 };
        build(kernel, shape, bench, draw)
    }
}

#[allow(clippy::too_many_lines)] // One arm for each kernel: a table.
fn build(kernel: Kernel, shape: Shape, mut bench: Workbench, mut draw: Draw) -> Case {
    let (b, s, d, wide) = (draw.rows.len(), shape.positions(), shape.hidden(), shape.wide);
    let n = b * s;
    let bench_ = &mut bench;
    let mut adjoint = None;
    let mut scratch = Vec::new();
    let mut magnitude = 1.0;
    let root = |terms: usize| (terms as f64).sqrt();
    let (ops, outputs) = match kernel {
        Kernel::Embed { learned } | Kernel::EmbedVjp { learned } => {
            let tokens = draw.param(bench_, wide, d);
            let puzzles = draw.param(bench_, if shape.ndim == 0 { 0 } else { 5 }, shape.ndim);
            let positions = learned.then(|| draw.param(bench_, s, d));
            let inputs = draw.ids(bench_, shape.seq, 0, wide as i32);
            let puzzle_ids = draw.ids(bench_, 1, 0, 5);
            magnitude = root(d);
            if let Kernel::Embed { .. } = kernel {
                let y = bench_.act(n, d, &[]);
                let op = Embed { y, inputs, puzzle_ids, tokens, puzzles, positions };
                (vec![Op::Embed(op)], vec![Place::Act(y)])
            } else {
                let dy = draw.act(bench_, s, d);
                let dpuzzle = bench_.act(b, shape.ndim, &[]);
                let op = EmbedVjp { dy, dpuzzle, inputs, tokens, positions };
                let y = bench_.act(n, d, &[]);
                let forward = Op::Embed(Embed { y, inputs, puzzle_ids, tokens, puzzles, positions });
                let mut pairs = vec![(Place::Param(tokens), Place::Gradient(tokens))];
                pairs.extend(positions.map(|p| (Place::Param(p), Place::Gradient(p))));
                scratch.push(Place::Act(dy));
                // Sums over all cells that hold a token.
                magnitude = root(d) * root(n);
                adjoint = Some(Adjoint {
                    forward: vec![forward],
                    inputs: pairs.clone(),
                    outputs: vec![(Place::Act(y), Cotangent::At(Place::Act(dy)))],
                    backward: vec![Op::EmbedVjp(op)],
                    zeroed: Vec::new(),
                });
                let mut outputs: Vec<_> = pairs.into_iter().map(|(_, gradient)| gradient).collect();
                outputs.push(Place::Act(dpuzzle));
                (vec![Op::EmbedVjp(op)], outputs)
            }
        }
        Kernel::Add => {
            let (x, z) = (draw.act(bench_, s, d), draw.act(bench_, s, d));
            let y = bench_.act(n, d, &[]);
            (vec![Op::Add { y, a: x, b: z }], vec![Place::Act(y)])
        }
        Kernel::Linear | Kernel::LinearVjpInput(_) | Kernel::LinearVjpWeight(_) => {
            let (x, w) = (draw.act(bench_, s, d), draw.param(bench_, wide, d));
            let y = bench_.act(n, wide, &[]);
            let forward = Op::Linear(Linear { y, x, w });
            let dy = draw.act(bench_, s, wide);
            let mut differentiate = |input, cotangent, op, zeroed| {
                adjoint = Some(Adjoint {
                    forward: vec![forward],
                    inputs: vec![(input, cotangent)],
                    outputs: vec![(Place::Act(y), Cotangent::At(Place::Act(dy)))],
                    backward: vec![op],
                    zeroed,
                });
                (vec![op], vec![cotangent])
            };
            match kernel {
                Kernel::Linear => {
                    magnitude = root(d);
                    (vec![forward], vec![Place::Act(y)])
                }
                Kernel::LinearVjpInput(write) => {
                    magnitude = root(wide);
                    let (dx, zeroed) = match write {
                        Write::Replace => (bench_.act(n, d, &[]), Vec::new()),
                        Write::Accumulate => {
                            let dx = draw.act(bench_, s, d);
                            (dx, vec![Place::Act(dx)])
                        }
                    };
                    let op = Op::LinearVjpInput(LinearVjpInput { dx, dy, w, write });
                    differentiate(Place::Act(x), Place::Act(dx), op, zeroed)
                }
                Kernel::LinearVjpWeight(write) => {
                    magnitude = root(n);
                    let mut zeroed = Vec::new();
                    if write == Write::Accumulate {
                        let lane = draw.next();
                        bench_.gradient(w, &draw.values(lane, w.len()));
                        zeroed.push(Place::Gradient(w));
                    }
                    let op = Op::LinearVjpWeight(LinearVjpWeight { w, dy, x, write });
                    differentiate(Place::Param(w), Place::Gradient(w), op, zeroed)
                }
                _ => unreachable!("the kernels of this arm"),
            }
        }
        Kernel::Attention { rope } | Kernel::AttentionVjp { rope } => {
            let rope = rope.then(|| rope_tables(bench_, s, shape.head_dim));
            let qkv = draw.act(bench_, s, 3 * d);
            let o = bench_.act(n, d, &[]);
            let lse = bench_.stat(b * shape.heads, s, &[]);
            let forward = Attention { o, lse, qkv, rope, heads: shape.heads };
            scratch.push(Place::Act(qkv));
            let outputs = vec![Place::Act(o), Place::Stat(lse)];
            if let Kernel::Attention { .. } = kernel {
                (vec![Op::RopeAttention(forward)], outputs)
            } else {
                let d_o = draw.act(bench_, s, d);
                let dqkv = bench_.act(n, 3 * d, &[]);
                let op = Op::RopeAttentionVjp(AttentionVjp { forward, d_o, dqkv });
                scratch.extend(outputs);
                adjoint = Some(Adjoint {
                    forward: vec![Op::RopeAttention(forward)],
                    inputs: vec![(Place::Act(qkv), Place::Act(dqkv))],
                    outputs: vec![(Place::Act(o), Cotangent::At(Place::Act(d_o)))],
                    backward: vec![op],
                    zeroed: Vec::new(),
                });
                (vec![Op::RopeAttention(forward), op], vec![Place::Act(dqkv)])
            }
        }
        Kernel::LinearQkv | Kernel::LinearQkvVjp => {
            let rope = Some(rope_tables(bench_, s, shape.head_dim));
            let x = draw.act(bench_, s, d);
            let lane = draw.next();
            // Small, so that scores are not far apart.
            let w: Vec<f32> = draw.values(lane, 3 * d * d).into_iter().map(|x| 0.25 * x).collect();
            let w = bench_.param(3 * d, d, &w);
            let (qkv, o) = (bench_.act(n, 3 * d, &[]), bench_.act(n, d, &[]));
            let lse = bench_.stat(b * shape.heads, s, &[]);
            let attention = Attention { o, lse, qkv, rope, heads: shape.heads };
            let mut ops = vec![Op::LinearQkv(LinearQkv { attention, x, w }), Op::Attention(attention)];
            scratch.push(Place::Act(qkv));
            let outputs = vec![Place::Act(o), Place::Stat(lse)];
            if kernel == Kernel::LinearQkv {
                (ops, outputs)
            } else {
                let d_o = draw.act(bench_, s, d);
                let dqkv = bench_.act(n, 3 * d, &[]);
                ops.push(Op::RopeAttentionVjp(AttentionVjp { forward: attention, d_o, dqkv }));
                scratch.extend(outputs);
                (ops, vec![Place::Act(dqkv)])
            }
        }
        Kernel::SwiGlu => {
            let gate_up = draw.act(bench_, s, 2 * wide);
            let a = bench_.act(n, wide, &[]);
            (vec![Op::SwiGlu(SwiGlu { a, gate_up })], vec![Place::Act(a)])
        }
        Kernel::SwiGluVjp => {
            let gate_up = draw.act(bench_, s, 2 * wide);
            let a = draw.act(bench_, s, wide);
            let op = SwiGlu { a, gate_up };
            adjoint = Some(Adjoint {
                forward: vec![Op::SwiGlu(op)],
                inputs: vec![(Place::Act(gate_up), Place::Act(gate_up))],
                outputs: vec![(Place::Act(a), Cotangent::At(Place::Act(a)))],
                backward: vec![Op::SwiGluVjp(op)],
                zeroed: Vec::new(),
            });
            (vec![Op::SwiGluVjp(op)], vec![Place::Act(gate_up), Place::Act(a)])
        }
        Kernel::LinearSwiGluVjp => {
            let gate_up = draw.act(bench_, s, 2 * wide);
            let (dy, w) = (draw.act(bench_, s, d), draw.param(bench_, d, wide));
            let (a, y) = (bench_.act(n, wide, &[]), bench_.act(n, d, &[]));
            let op = Op::LinearSwiGluVjp(LinearSwiGluVjp { a, gate_up, dy, w });
            magnitude = root(d);
            adjoint = Some(Adjoint {
                forward: vec![Op::SwiGlu(SwiGlu { a, gate_up }), Op::Linear(Linear { y, x: a, w })],
                inputs: vec![(Place::Act(gate_up), Place::Act(gate_up))],
                outputs: vec![(Place::Act(y), Cotangent::At(Place::Act(dy)))],
                backward: vec![op],
                zeroed: Vec::new(),
            });
            (vec![op], vec![Place::Act(gate_up), Place::Act(a)])
        }
        Kernel::AddRmsNorm | Kernel::AddRmsNormVjp => {
            let (x, t) = (draw.act(bench_, s, d), draw.act(bench_, s, d));
            let y = bench_.act(n, d, &[]);
            let rstd = bench_.stat(n, 1, &[]);
            let forward = Op::AddRmsNorm(AddRmsNorm { y, rstd, x, t, eps: 1e-2 });
            let outputs = vec![Place::Act(y), Place::Stat(rstd)];
            if kernel == Kernel::AddRmsNorm {
                (vec![forward], outputs)
            } else {
                let dy = draw.act(bench_, s, d);
                let ds = bench_.act(n, d, &[]);
                let op = Op::AddRmsNormVjp { ds, dy, y, rstd };
                scratch.extend(outputs);
                adjoint = Some(Adjoint {
                    forward: vec![forward],
                    inputs: vec![(Place::Act(x), Place::Act(ds))],
                    outputs: vec![(Place::Act(y), Cotangent::At(Place::Act(dy)))],
                    backward: vec![op],
                    zeroed: Vec::new(),
                });
                // A width of one cancels to nothing: dy - y^2 dy.
                magnitude = 10.0;
                (vec![forward, op], vec![Place::Act(ds)])
            }
        }
        Kernel::LinearSwiGlu(keep) => {
            let (x, w) = (draw.act(bench_, s, d), draw.param(bench_, 2 * wide, d));
            let gate_up = bench_.act(n, 2 * wide, &[]);
            let a = bench_.act(n, wide, &[]);
            // A product of two sums.
            magnitude = d as f64;
            let mut outputs = vec![Place::Act(a)];
            if keep == Keep::All { &mut outputs } else { &mut scratch }.push(Place::Act(gate_up));
            (vec![Op::LinearSwiGlu(LinearSwiGlu { a, gate_up, keep, x, w })], outputs)
        }
        Kernel::LinearAddRmsNorm | Kernel::LinearAddRmsNormPlus { .. } => {
            let (x, inner) = (draw.act(bench_, s, d), draw.act(bench_, s, wide));
            let w = draw.param(bench_, d, wide);
            let (y, t, rstd) = (bench_.act(n, d, &[]), bench_.act(n, d, &[]), bench_.stat(n, 1, &[]));
            scratch.push(Place::Act(t));
            // Where the sums cancel, a small eps would show the rounding of the product and nothing else.
            magnitude = root(wide);
            let plus = match kernel {
                Kernel::LinearAddRmsNormPlus(keep) => {
                    Some(Plus { sum: bench_.act(n, d, &[]), b: draw.act(bench_, s, d), keep })
                }
                _ => None,
            };
            let mut outputs = vec![Place::Stat(rstd)];
            outputs.extend(plus.map(|plus| Place::Act(plus.sum)));
            let kept = plus.is_none_or(|plus| plus.keep == Keep::All);
            if kept { &mut outputs } else { &mut scratch }.push(Place::Act(y));
            let op = LinearAddRmsNorm { y, rstd, x, t, inner, w, eps: 0.25, plus };
            (vec![Op::LinearAddRmsNorm(op)], outputs)
        }
        Kernel::TakeColumns | Kernel::PutColumns => {
            // In two parts, the second of which begins somewhere.
            let half = (b * d).div_ceil(2);
            let parts = [(0, half), (half, b * d - half)];
            let (rows, z) = match kernel {
                Kernel::TakeColumns => (bench_.act(b * d, s, &[]), draw.act(bench_, s, d)),
                _ => (draw.act(bench_, d, s), bench_.act(n, d, &[])),
            };
            let part = |(first, count)| Columns { rows: rows.rows_from(first, count), z, first };
            let parts = parts.into_iter().filter(|(_, count)| *count > 0).map(part);
            if kernel == Kernel::TakeColumns {
                (parts.map(Op::TakeColumns).collect(), vec![Place::Act(rows)])
            } else {
                (parts.map(Op::PutColumns).collect(), vec![Place::Act(z)])
            }
        }
        Kernel::TokenMix | Kernel::TokenMixVjp(_) => {
            let x = draw.act(bench_, s, d);
            let (gate_up, down) = (draw.param(bench_, 2 * wide, s), draw.param(bench_, s, wide));
            let (y, rstd) = (bench_.act(n, d, &[]), bench_.stat(b * d, 1, &[]));
            // All columns at once, which the vjp asks for, or some.
            let columns = if kernel == Kernel::TokenMix { (b * d).div_ceil(2) } else { b * d };
            let mut act = |cols| bench_.act(columns, cols, &[]);
            let own = TokenScratch { x: act(s), y: act(s), t: act(s), gate_up: act(2 * wide), a: act(wide) };
            scratch.extend([own.x, own.y, own.t, own.gate_up, own.a].map(Place::Act));
            let forward = TokenMix { y, rstd, x, gate_up, down, eps: 0.25, scratch: own };
            // Products of two sums are summed.
            magnitude = s as f64 * root(wide);
            match kernel {
                Kernel::TokenMixVjp(write) => {
                    let (dy, dx) = (draw.act(bench_, s, d), bench_.act(n, d, &[]));
                    let op = Op::TokenMixVjp(TokenMixVjp { forward, dy, dx, write });
                    let weights = [gate_up, down];
                    let mut zeroed = Vec::new();
                    if write == Write::Accumulate {
                        for w in weights {
                            let lane = draw.next();
                            bench_.gradient(w, &draw.values(lane, w.len()));
                            zeroed.push(Place::Gradient(w));
                        }
                    }
                    scratch.extend([Place::Act(y), Place::Stat(rstd)]);
                    magnitude *= s as f64 * root(b * d);
                    let mut inputs = vec![(Place::Act(x), Place::Act(dx))];
                    inputs.extend(weights.map(|w| (Place::Param(w), Place::Gradient(w))));
                    let results = inputs.iter().map(|(_, cotangent)| *cotangent).collect();
                    adjoint = Some(Adjoint {
                        forward: vec![Op::TokenMix(forward)],
                        inputs,
                        outputs: vec![(Place::Act(y), Cotangent::At(Place::Act(dy)))],
                        backward: vec![op],
                        zeroed,
                    });
                    (vec![Op::TokenMix(forward), op], results)
                }
                _ => (vec![Op::TokenMix(forward)], vec![Place::Act(y), Place::Stat(rstd)]),
            }
        }
        Kernel::QHead | Kernel::QHeadVjp => {
            let z = draw.act(bench_, s, d);
            let (w, bias) = (draw.param(bench_, 2, d), draw.param(bench_, 1, 2));
            let q = bench_.stat(b, 2, &[]);
            magnitude = root(d) + 1.0;
            let forward = QHead { q, z, w, bias };
            if kernel == Kernel::QHead {
                (vec![Op::QHead(forward)], vec![Place::Stat(q)])
            } else {
                let values = draw.by_row(2);
                let dq = bench_.stat(b, 2, &values);
                let dz = draw.act(bench_, s, d);
                let op = Op::QHeadVjp { op: QHead { q: dq, ..forward }, dz };
                magnitude = root(b) + 2.0;
                let results = [Place::Act(dz), Place::Gradient(w), Place::Gradient(bias)];
                adjoint = Some(Adjoint {
                    forward: vec![Op::QHead(forward)],
                    inputs: [Place::Act(z), Place::Param(w), Place::Param(bias)]
                        .into_iter()
                        .zip(results)
                        .collect(),
                    outputs: vec![(Place::Stat(q), Cotangent::At(Place::Stat(dq)))],
                    backward: vec![op],
                    zeroed: vec![Place::Act(dz)],
                });
                (vec![op], results.to_vec())
            }
        }
        Kernel::ResetRows => {
            let (z, init) = (draw.act(bench_, s, d), draw.param(bench_, 1, d));
            let halted = draw.ids(bench_, 1, 0, 2);
            (vec![Op::ResetRows { z, init, halted }], vec![Place::Act(z)])
        }
        Kernel::ReplaceRows => {
            let current = draw.ids(bench_, shape.seq, 0, 9);
            let incoming = draw.ids(bench_, shape.seq, 10, 19);
            let halted = draw.ids(bench_, 1, 0, 2);
            (vec![Op::ReplaceRows { current, incoming, halted }], vec![Place::Ids(current)])
        }
        Kernel::Argmax => {
            let logits = draw.act(bench_, s, wide);
            let predictions = draw.unwritten(bench_, shape.seq);
            (vec![Op::Argmax(Argmax { predictions, logits })], vec![Place::Ids(predictions)])
        }
        Kernel::TakeFirst => {
            let x = draw.act(bench_, s, d);
            let y = bench_.act(b, d, &[]);
            (vec![Op::TakeFirst { y, x }], vec![Place::Act(y)])
        }
        Kernel::LmLoss(kind) => {
            let logits = draw.act(bench_, s, wide);
            // One in four is ignored.
            let labels = draw.ids(bench_, shape.seq, -(wide.div_ceil(3) as i32), wide as i32);
            let dlogits = bench_.act(n, wide, &[]);
            let loss = bench_.stat(b, 1, &[]);
            let (valid, correct) = (draw.unwritten(bench_, 1), draw.unwritten(bench_, 1));
            let op = Op::LmLoss(LmLoss { logits, labels, dlogits, loss, valid, correct, kind, scale: 0.25 });
            adjoint = Some(Adjoint {
                forward: vec![op],
                inputs: vec![(Place::Act(logits), Place::Act(dlogits))],
                outputs: vec![(Place::Stat(loss), Cotangent::Fixed(0.25))],
                backward: vec![op],
                zeroed: Vec::new(),
            });
            let places = [Place::Act(dlogits), Place::Stat(loss), Place::Ids(valid), Place::Ids(correct)];
            (vec![op], places.to_vec())
        }
        Kernel::QLoss { next } => {
            let values = draw.by_row(2).into_iter().map(|x| 4.0 * x).collect::<Vec<_>>();
            let q = bench_.stat(b, 2, &values);
            let values = draw.by_row(2);
            let next_q = next.then(|| bench_.stat(b, 2, &values));
            let (dq, losses) = (bench_.stat(b, 2, &[]), bench_.stat(b, 2, &[]));
            let steps = draw.ids(bench_, 1, 1, 5);
            let (valid, correct) = (draw.ids(bench_, 1, 0, 2), draw.ids(bench_, 1, 0, 2));
            let op =
                Op::QLoss(QLoss { q, next_q, dq, losses, steps, valid, correct, max_steps: 4, scale: 0.25 });
            adjoint = Some(Adjoint {
                forward: vec![op],
                inputs: vec![(Place::Stat(q), Place::Stat(dq))],
                outputs: vec![(Place::Stat(losses), Cotangent::Fixed(0.125))],
                backward: vec![op],
                zeroed: Vec::new(),
            });
            (vec![op], vec![Place::Stat(dq), Place::Stat(losses)])
        }
        Kernel::Advance(rule) => {
            let values = draw.by_row(2);
            let q = bench_.stat(b, 2, &values);
            let (steps, halted) = (draw.ids(bench_, 1, 0, 5), draw.ids(bench_, 1, 0, 2));
            let scalars = StepScalars { step: 7, lr: 0.0, puzzle_emb_lr: 0.0, seed: shape.seed };
            let op = Advance { q, steps, halted, max_steps: 4, rule, exploration: 0.5 };
            let ops = vec![Op::BeginStep(scalars), Op::Advance(op)];
            (ops, vec![Place::Ids(steps), Place::Ids(halted)])
        }
        Kernel::AdamAtan2 => {
            // The parameters of a plan start at its arena's first element, this one behind a margin.
            let w = draw.param(bench_, wide, d);
            let len = w.offset + w.len();
            let gradient = draw.next();
            let gradient = draw.values(gradient, w.len());
            bench_.gradient(w, &gradient);
            let optimizer = AdamAtan2 { beta1: 0.9, beta2: 0.95, weight_decay: 0.5 };
            let step = |step| {
                let scalars = StepScalars { step, lr: 0.01, puzzle_emb_lr: 0.0, seed: 0 };
                [Op::BeginStep(scalars), Op::AdamAtan2 { len, optimizer }]
            };
            scratch.push(Place::Param(Param::new(0, 1, w.offset)));
            scratch.push(Place::FirstMoment(Param::new(0, 1, w.offset)));
            scratch.push(Place::SecondMoment(Param::new(0, 1, w.offset)));
            let places = vec![Place::Param(w), Place::FirstMoment(w), Place::SecondMoment(w)];
            ([step(1), step(2)].concat(), places)
        }
        Kernel::Average => {
            // What the arena of averages holds nobody sees but by an exchange: the parameters become averages, others come in
            // their place, the averages move towards them, and come back.
            let w = draw.param(bench_, wide, d);
            let len = w.offset + w.len();
            let gradient = draw.next();
            let gradient = draw.values(gradient, w.len());
            bench_.gradient(w, &gradient);
            let optimizer = AdamAtan2 { beta1: 0.9, beta2: 0.95, weight_decay: 0.5 };
            let scalars = StepScalars { step: 1, lr: 0.5, puzzle_emb_lr: 0.0, seed: 0 };
            let average = Average { rate: 0.75 };
            scratch.push(Place::Param(Param::new(0, 1, w.offset)));
            scratch.push(Place::FirstMoment(Param::new(0, 1, w.offset)));
            scratch.push(Place::SecondMoment(Param::new(0, 1, w.offset)));
            let ops = vec![
                Op::BeginStep(scalars),
                Op::SwapAverages { len },
                Op::AdamAtan2 { len, optimizer },
                Op::Average { len, average },
                Op::Average { len, average },
                Op::SwapAverages { len },
            ];
            (ops, vec![Place::Param(w), Place::FirstMoment(w), Place::SecondMoment(w)])
        }
        Kernel::SignSgd => {
            let columns = shape.ndim.max(1);
            let table = draw.param(bench_, 5, columns);
            let ids = draw.ids(bench_, 1, 0, 3);
            let gradients = draw.act(bench_, 1, columns);
            let optimizer = SignSgd { weight_decay: 0.5 };
            let scalars = StepScalars { step: 1, lr: 0.0, puzzle_emb_lr: 0.01, seed: 0 };
            let ops = vec![Op::BeginStep(scalars), Op::SignSgd { table, ids, gradients, optimizer }];
            (ops, vec![Place::Param(table)])
        }
    };
    Case { rows: b, bench, ops, outputs, scratch, magnitude, adjoint }
}
