//! A case with its operands laid out in a backend's arenas.

use heapless::Vec;
use hrm_core::arena::{Act, Ids, Param, Stat};
use hrm_core::bundle::Weights;
use hrm_core::kernels::{
    AddRmsNorm, Argmax, Attention, Embed, Keep, Kernels, Linear, LinearAddRmsNorm, LinearSwiGlu, Memory,
    QHead, Region, SwiGlu,
};
use hrm_core::rope::RopeTables;

use crate::case::{Ints, Kernel, Matrix};

/// Numbers that are moved at a time.
const CHUNK: usize = 32;

/// Every kernel, on spans.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // Each is the kernel of its name.
pub enum Op {
    Embed(Embed),
    Add { y: Act, a: Act, b: Act },
    Linear(Linear),
    RopeAttention(Attention),
    SwiGlu(SwiGlu),
    AddRmsNorm(AddRmsNorm),
    LinearSwiGlu(LinearSwiGlu),
    LinearAddRmsNorm(LinearAddRmsNorm),
    QHead(QHead),
    ResetRows { z: Act, init: Param, halted: Ids },
    ReplaceRows { current: Ids, incoming: Ids, halted: Ids },
    Argmax(Argmax),
}

/// Where a kernel's result is.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // Each is the arena of its name.
pub enum Place {
    Act(Act),
    Stat(Stat),
    Ids(Ids),
}

/// Rotary tables to be made.
#[derive(Clone, Copy, Debug)]
pub struct Rotary {
    /// Where they are.
    pub tables: RopeTables,
    /// Base of the frequencies.
    pub theta: f64,
}

/// A kernel whose operands have their places.
#[derive(Clone, Debug)]
pub struct Placed<'a> {
    /// The kernel.
    pub op: Op,
    /// Its result.
    pub result: Place,
    /// Weights, and where they are among the parameters.
    pub params: Vec<(Param, Weights<'a>), 3>,
    /// Rotary tables, and where they are among the parameters.
    pub rotary: Option<Rotary>,
    /// Elements of the parameters, activations, statistics and integers.
    pub lengths: [usize; 4],
    acts: Vec<(Act, Weights<'a>), 3>,
    ids: Vec<(Ids, Ints<'a>), 3>,
}

/// Lays operands out.
#[derive(Default)]
struct Layout<'a> {
    params: Vec<(Param, Weights<'a>), 3>,
    acts: Vec<(Act, Weights<'a>), 3>,
    ids: Vec<(Ids, Ints<'a>), 3>,
    lengths: [usize; 4],
}

impl<'a> Layout<'a> {
    fn room(&mut self, arena: usize, rows: usize, cols: usize) -> usize {
        let offset = self.lengths[arena];
        self.lengths[arena] = offset + rows * cols;
        offset
    }
    fn param(&mut self, matrix: &Matrix<'a>) -> Option<Param> {
        let (rows, cols) = (matrix.rows as usize, matrix.cols as usize);
        let span = Param::new(self.room(0, rows, cols), rows, cols);
        self.params.push((span, matrix.weights().filter(|w| w.len() == span.len())?)).ok()?;
        Some(span)
    }
    fn result(&mut self, rows: usize, cols: usize) -> Act {
        Act::new(self.room(1, rows, cols), rows, cols)
    }
    fn act(&mut self, matrix: &Matrix<'a>) -> Option<Act> {
        let span = self.result(matrix.rows as usize, matrix.cols as usize);
        self.acts.push((span, matrix.weights().filter(|w| w.len() == span.len())?)).ok()?;
        Some(span)
    }
    fn stat(&mut self, rows: usize, cols: usize) -> Stat {
        Stat::new(self.room(2, rows, cols), rows, cols)
    }
    fn ids(&mut self, rows: usize, ints: Ints<'a>) -> Option<Ids> {
        let cols = ints.len() / 4 / rows.max(1);
        let span = Ids::new(self.room(3, rows, cols), rows, cols);
        self.ids.push((span, ints)).ok()?;
        Some(span)
    }
}

impl<'a> Placed<'a> {
    /// Gives the operands of `kernel` places. None if their sizes do not agree.
    #[must_use]
    pub fn new(kernel: &Kernel<'a>) -> Option<Self> {
        let mut at = Layout::default();
        let mut rotary = None;
        let (op, result) = match kernel {
            Kernel::Embed { inputs, puzzle, tokens, puzzles, positions } => {
                let tokens = at.param(tokens)?;
                let puzzles = match puzzles {
                    Some(puzzles) => at.param(puzzles)?,
                    None => Param::new(0, 0, 0),
                };
                let positions = match positions {
                    Some(positions) => Some(at.param(positions)?),
                    None => None,
                };
                let (inputs, puzzle_ids) = (at.ids(1, inputs)?, at.ids(1, puzzle)?);
                let y = at.result(puzzles.cols.div_ceil(tokens.cols) + inputs.cols, tokens.cols);
                (Op::Embed(Embed { y, inputs, puzzle_ids, tokens, puzzles, positions }), Place::Act(y))
            }
            Kernel::Add { a, b } => {
                let (a, b) = (at.act(a)?, at.act(b)?);
                let y = at.result(a.rows, a.cols);
                (Op::Add { y, a, b }, Place::Act(y))
            }
            Kernel::Linear { x, w } => {
                let (x, w) = (at.act(x)?, at.param(w)?);
                let y = at.result(x.rows, w.rows);
                (Op::Linear(Linear { y, x, w }), Place::Act(y))
            }
            Kernel::RopeAttention { qkv, batch, heads, theta } => {
                let qkv = at.act(qkv)?;
                let (batch, heads, hidden) = (*batch as usize, *heads as usize, qkv.cols / 3);
                let (positions, half) = (qkv.rows / batch, hidden / heads / 2);
                let (o, lse) = (at.result(qkv.rows, hidden), at.stat(batch * heads, positions));
                let mut table = || Param::new(at.room(0, positions, half), positions, half);
                rotary =
                    theta.map(|theta| Rotary { tables: RopeTables { cos: table(), sin: table() }, theta });
                let rope = rotary.map(|rotary: Rotary| rotary.tables);
                (Op::RopeAttention(Attention { o, lse, qkv, rope, heads }), Place::Act(o))
            }
            Kernel::SwiGlu { gate_up } => {
                let gate_up = at.act(gate_up)?;
                let a = at.result(gate_up.rows, gate_up.cols / 2);
                (Op::SwiGlu(SwiGlu { a, gate_up }), Place::Act(a))
            }
            Kernel::AddRmsNorm { x, t, eps } => {
                let (x, t) = (at.act(x)?, at.act(t)?);
                let (y, rstd) = (at.result(x.rows, x.cols), at.stat(x.rows, 1));
                (Op::AddRmsNorm(AddRmsNorm { y, rstd, x, t, eps: *eps }), Place::Act(y))
            }
            Kernel::LinearSwiGlu { x, w } => {
                let (x, w) = (at.act(x)?, at.param(w)?);
                let (gate_up, a) = (at.result(x.rows, w.rows), at.result(x.rows, w.rows / 2));
                (Op::LinearSwiGlu(LinearSwiGlu { a, gate_up, keep: Keep::Nothing, x, w }), Place::Act(a))
            }
            Kernel::LinearAddRmsNorm { x, inner, w, eps } => {
                let (x, inner, w) = (at.act(x)?, at.act(inner)?, at.param(w)?);
                let (t, y, rstd) = (at.result(x.rows, x.cols), at.result(x.rows, x.cols), at.stat(x.rows, 1));
                let op = LinearAddRmsNorm { y, rstd, x, t, inner, w, eps: *eps, plus: None };
                (Op::LinearAddRmsNorm(op), Place::Act(y))
            }
            Kernel::QHead { z, batch, w, bias } => {
                let (z, w, bias) = (at.act(z)?, at.param(w)?, at.param(bias)?);
                let q = at.stat(*batch as usize, 2);
                (Op::QHead(QHead { q, z, w, bias }), Place::Stat(q))
            }
            Kernel::ResetRows { z, init, halted } => {
                let (z, init) = (at.act(z)?, at.param(init)?);
                let halted = at.ids(halted.len() / 4, halted)?;
                (Op::ResetRows { z, init, halted }, Place::Act(z))
            }
            Kernel::ReplaceRows { current, incoming, halted } => {
                let rows = halted.len() / 4;
                let (current, incoming) = (at.ids(rows, current)?, at.ids(rows, incoming)?);
                let halted = at.ids(rows, halted)?;
                (Op::ReplaceRows { current, incoming, halted }, Place::Ids(current))
            }
            Kernel::Argmax { logits, cells } => {
                let logits = at.act(logits)?;
                let predictions = Ids::new(at.room(3, 1, *cells as usize), 1, *cells as usize);
                (Op::Argmax(Argmax { predictions, logits }), Place::Ids(predictions))
            }
        };
        Some(Self { op, result, params: at.params, rotary, lengths: at.lengths, acts: at.acts, ids: at.ids })
    }
}

impl Placed<'_> {
    /// Writes the operands that are not parameters.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn write<K: Memory>(&self, k: &mut K) -> Result<(), K::Error> {
        for (span, elements) in &self.acts {
            write(k, Region::Acts, span.offset, *elements)?;
        }
        for (span, ints) in &self.ids {
            for (i, int) in ints.as_chunks().0.iter().enumerate() {
                k.write_ids(span.offset + i, &[i32::from_le_bytes(*int)])?;
            }
        }
        Ok(())
    }

    /// Runs the kernel.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn apply<K: Kernels>(&self, k: &mut K) -> Result<(), K::Error> {
        match &self.op {
            Op::Embed(op) => k.embed(op),
            Op::Add { y, a, b } => k.add(*y, *a, *b),
            Op::Linear(op) => k.linear(op),
            Op::RopeAttention(op) => k.rope_attention(op),
            Op::SwiGlu(op) => k.swiglu(op),
            Op::AddRmsNorm(op) => k.add_rms_norm(op),
            Op::LinearSwiGlu(op) => k.linear_swiglu(op),
            Op::LinearAddRmsNorm(op) => k.linear_add_rms_norm(op),
            Op::QHead(op) => k.q_head(op),
            Op::ResetRows { z, init, halted } => k.reset_rows(*z, *init, *halted),
            Op::ReplaceRows { current, incoming, halted } => k.replace_rows(*current, *incoming, *halted),
            Op::Argmax(op) => k.argmax(op),
        }
    }

    /// Hands every number of the result to `take`, in order.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn read<K: Memory>(&self, k: &mut K, mut take: impl FnMut(f32)) -> Result<(), K::Error> {
        let (region, range) = match self.result {
            Place::Act(span) => (Region::Acts, span.range()),
            Place::Stat(span) => (Region::Stats, span.range()),
            Place::Ids(span) => {
                for offset in span.range() {
                    let mut int = [0];
                    k.read_ids(offset, &mut int)?;
                    take(int[0] as f32);
                }
                return Ok(());
            }
        };
        for offset in range.clone().step_by(CHUNK) {
            let mut chunk = [0.0; CHUNK];
            let chunk = &mut chunk[..CHUNK.min(range.end - offset)];
            k.read(region, offset, chunk)?;
            chunk.iter().for_each(|x| take(*x));
        }
        Ok(())
    }
}

/// Writes `elements` as f32 to `region` from `offset` on.
///
/// # Errors
/// Those of the backend.
pub fn write<K: Memory>(
    k: &mut K,
    region: Region,
    offset: usize,
    elements: Weights<'_>,
) -> Result<(), K::Error> {
    for (i, x) in elements.values().enumerate() {
        k.write(region, offset + i, &[x])?;
    }
    Ok(())
}
