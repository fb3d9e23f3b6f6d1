//! The kernels, on the spans of a plan: each takes its operands out of the arenas and leaves the work to functions on
//! slices.

use super::attention::Head;
use super::pieces::{pieces, pieces_mut};
use super::{Error, Portable, Source, linear, rows, sums};
use crate::arena::{Act, Ids, Param};
use crate::backend::columns;
use crate::backend::operands::{at, at_mut, row, split};
use crate::bundle::Weights;
use crate::kernels::{
    AddRmsNorm, Argmax, Attention, Columns, Embed, Kernels, Linear, LinearAddRmsNorm, LinearQkv,
    LinearSwiGlu, QHead, SwiGlu, TokenMix,
};
use crate::loss::argmax;

/// A parameter. What lies at no stored tensor's place is no operand.
fn tensor<S: Source>(source: &S, span: Param) -> Result<Weights<'_>, Error> {
    source.tensor(span).ok_or(Error::Span)
}

/// The first `needed` elements of scratch.
fn scratch<T>(all: &mut [T], needed: usize) -> Result<&mut [T], Error> {
    let given = all.len();
    all.get_mut(..needed).ok_or(Error::Scratch { given, needed })
}

/// Row `id` of `table` to `out`.
fn look_up(
    what: &'static str,
    table: Weights<'_>,
    id: i32,
    rows: usize,
    out: &mut [f32],
) -> Result<(), Error> {
    let row = row(what, id, rows)?;
    table.row(row).ok_or(Error::Span)?.widen(out);
    Ok(())
}

impl<S: Source> Kernels for Portable<'_, S> {
    fn embed(&mut self, op: &Embed) -> Result<(), Error> {
        let y = at_mut(self.arenas.acts, op.y)?;
        let (inputs, puzzle_ids) = (at(self.arenas.ids, op.inputs)?, at(self.arenas.ids, op.puzzle_ids)?);
        let tokens = tensor(self.source, op.tokens)?;
        let (d, ndim, seq_len) = (op.y.cols, op.puzzles.cols, op.inputs.cols);
        let prefix = op.prefix_len() * d;
        let scale = libm::sqrt(d as f64) as f32;
        let wide = scratch(self.arenas.wide, d)?;
        let sequences = pieces_mut(y, prefix + seq_len * d).zip(puzzle_ids);
        for ((sequence, &puzzle), inputs) in sequences.zip(pieces(inputs, seq_len)) {
            let (head, tail) = sequence.split_at_mut_checked(prefix).ok_or(Error::Span)?;
            if ndim > 0 {
                let puzzles = tensor(self.source, op.puzzles)?;
                head.fill(0.0);
                look_up("puzzle identifier", puzzles, puzzle, op.puzzles.rows, head)?;
            }
            for (cell, &token) in pieces_mut(tail, d).zip(inputs) {
                look_up("token", tokens, token, op.tokens.rows, cell)?;
            }
            let Some(positions) = op.positions else {
                sequence.iter_mut().for_each(|x| *x *= scale);
                continue;
            };
            let half = Embed::HALF_SQRT as f32;
            for (cell, position) in pieces_mut(sequence, d).zip(tensor(self.source, positions)?.rows()) {
                position.widen(wide);
                cell.iter_mut().zip(&*wide).for_each(|(x, position)| *x = scale * (half * (*x + position)));
            }
        }
        Ok(())
    }

    fn add(&mut self, y: Act, a: Act, b: Act) -> Result<(), Error> {
        let [y, a, b] = split(self.arenas.acts, [y.range(), a.range(), b.range()])?;
        y.iter_mut().zip(a).zip(b).for_each(|((y, a), b)| *y = *a + *b);
        Ok(())
    }

    fn linear(&mut self, op: &Linear) -> Result<(), Error> {
        let w = tensor(self.source, op.w)?;
        let [y, x] = split(self.arenas.acts, [op.y.range(), op.x.range()])?;
        if w.integers().is_some() {
            let tokens = scratch(self.arenas.tokens, linear::TOKENS * op.w.cols)?;
            linear::integers(y, x, w, op.y.cols, tokens);
        } else {
            linear::floats(y, x, w, op.y.cols, scratch(self.arenas.wide, op.w.cols)?);
        }
        Ok(())
    }

    fn rope_attention(&mut self, op: &Attention) -> Result<(), Error> {
        let lse = at_mut(self.arenas.stats, op.lse)?;
        let [o, qkv] = split(self.arenas.acts, [op.o.range(), op.qkv.range()])?;
        let (hidden, s) = (op.o.cols, op.positions());
        let dim = hidden / op.heads.max(1);
        if let Some(tables) = op.rope {
            let (cos, sin) = self.source.rotary(tables).ok_or(Error::Span)?;
            let half = tables.cos.cols;
            for sequence in pieces_mut(qkv, s * 3 * hidden) {
                let angles = pieces(cos, half).zip(pieces(sin, half));
                for (position, (cos, sin)) in pieces_mut(sequence, 3 * hidden).zip(angles) {
                    rows::rotate(position.get_mut(..2 * hidden).ok_or(Error::Span)?, cos, sin);
                }
            }
        }
        let scale = (1.0 / libm::sqrt(dim as f64)) as f32;
        let scores = scratch(self.arenas.wide, s)?;
        let sequences = pieces_mut(o, s * hidden).zip(pieces(qkv, s * 3 * hidden));
        for ((o, qkv), lse) in sequences.zip(pieces_mut(lse, op.heads * s)) {
            for (h, lse) in pieces_mut(lse, s).enumerate() {
                let head = Head { qkv, hidden, first: h * dim, dim, scale };
                for ((query, o), lse) in pieces_mut(o, hidden).enumerate().zip(lse) {
                    let o = o.get_mut(head.first..).and_then(|o| o.get_mut(..dim)).ok_or(Error::Span)?;
                    *lse = head.attend(query, o, scores);
                }
            }
        }
        Ok(())
    }

    fn linear_qkv(&mut self, op: &LinearQkv) -> Result<(), Error> {
        op.apart(self)
    }

    fn attention(&mut self, op: &Attention) -> Result<(), Error> {
        self.rope_attention(op)
    }

    fn linear_swiglu(&mut self, op: &LinearSwiGlu) -> Result<(), Error> {
        op.apart(self)
    }

    fn linear_add_rms_norm(&mut self, op: &LinearAddRmsNorm) -> Result<(), Error> {
        op.apart(self)
    }

    fn swiglu(&mut self, op: &SwiGlu) -> Result<(), Error> {
        let [a, gate_up] = split(self.arenas.acts, [op.a.range(), op.gate_up.range()])?;
        let f = op.a.cols;
        for (a, gate_up) in pieces_mut(a, f).zip(pieces(gate_up, 2 * f)) {
            rows::swiglu(a, gate_up);
        }
        Ok(())
    }

    fn add_rms_norm(&mut self, op: &AddRmsNorm) -> Result<(), Error> {
        let rstd = at_mut(self.arenas.stats, op.rstd)?;
        let [y, x, t] = split(self.arenas.acts, [op.y.range(), op.x.range(), op.t.range()])?;
        let d = op.y.cols;
        let operands = pieces_mut(y, d).zip(pieces(x, d)).zip(pieces(t, d));
        for (((y, x), t), rstd) in operands.zip(rstd) {
            *rstd = rows::add_rms_norm(y, x, t, op.eps as f32);
        }
        Ok(())
    }

    fn take_columns(&mut self, op: &Columns) -> Result<(), Error> {
        columns::take(self.arenas.acts, op)
    }

    fn put_columns(&mut self, op: &Columns) -> Result<(), Error> {
        columns::put(self.arenas.acts, op)
    }

    fn token_mix(&mut self, op: &TokenMix) -> Result<(), Error> {
        op.apart(self)
    }

    fn q_head(&mut self, op: &QHead) -> Result<(), Error> {
        let (w, bias) = (tensor(self.source, op.w)?, tensor(self.source, op.bias)?);
        let (q, z) = (at_mut(self.arenas.stats, op.q)?, at(self.arenas.acts, op.z)?);
        let (d, stride) = (op.z.cols, z.len() / op.q.rows.max(1));
        let wide = scratch(self.arenas.wide, d)?;
        for (q, z) in pieces_mut(q, 2).zip(pieces(z, stride)) {
            let first = z.get(..d).ok_or(Error::Span)?;
            for ((q, w), bias) in q.iter_mut().zip(w.rows()).zip(bias.values()) {
                w.widen(wide);
                *q = sums::dot(first, wide) + bias;
            }
        }
        Ok(())
    }

    fn reset_rows(&mut self, z: Act, init: Param, halted: Ids) -> Result<(), Error> {
        let init = tensor(self.source, init)?;
        let (z, halted) = (at_mut(self.arenas.acts, z)?, at(self.arenas.ids, halted)?);
        let stride = z.len() / halted.len().max(1);
        for (z, _) in pieces_mut(z, stride).zip(halted).filter(|(_, halted)| **halted != 0) {
            pieces_mut(z, init.cols()).for_each(|position| init.widen(position));
        }
        Ok(())
    }

    fn replace_rows(&mut self, current: Ids, incoming: Ids, halted: Ids) -> Result<(), Error> {
        let cols = current.cols;
        let [current, incoming, halted] =
            split(self.arenas.ids, [current.range(), incoming.range(), halted.range()])?;
        let rows = pieces_mut(current, cols).zip(pieces(incoming, cols)).zip(&*halted);
        for ((current, incoming), _) in rows.filter(|(_, halted)| **halted != 0) {
            current.iter_mut().zip(incoming).for_each(|(current, incoming)| *current = *incoming);
        }
        Ok(())
    }

    fn argmax(&mut self, op: &Argmax) -> Result<(), Error> {
        let (predictions, logits) =
            (at_mut(self.arenas.ids, op.predictions)?, at(self.arenas.acts, op.logits)?);
        let (vocab, seq_len) = (op.logits.cols, op.predictions.cols);
        let positions = op.logits.rows / op.predictions.rows.max(1);
        let prefix = positions.saturating_sub(seq_len);
        let sequences = pieces_mut(predictions, seq_len).zip(pieces(logits, positions * vocab));
        for (predictions, logits) in sequences {
            for (p, cell) in predictions.iter_mut().zip(pieces(logits, vocab).skip(prefix)) {
                *p = argmax(cell) as i32;
            }
        }
        Ok(())
    }

    fn poll(&mut self) {
        if let Some(hook) = &mut self.hook {
            hook();
        }
    }
}
