//! The part of a backend's memory that lives from one training step to the next beside the parameters: states,
//! the puzzles being worked on, their counters.

use hrm_core::arena::{Act, Ids};
use hrm_core::kernels::{Memory, Region};
use hrm_core::plan::Plan;

/// The spans of the carry, with the names under which a checkpoint stores them.
#[must_use]
pub fn states(plan: &Plan) -> [(&'static str, Act); 2] {
    [("carry.z_H", plan.carry.z_h), ("carry.z_L", plan.carry.z_l)]
}

/// The integer spans of the carry, with the names under which a checkpoint stores them.
#[must_use]
pub fn rows(plan: &Plan) -> [(&'static str, Ids); 5] {
    [
        ("carry.steps", plan.steps),
        ("carry.halted", plan.halted),
        ("carry.current_data.inputs", plan.current.inputs),
        ("carry.current_data.labels", plan.current.labels),
        ("carry.current_data.puzzle_identifiers", plan.current.puzzle_ids),
    ]
}

/// A copy of the carry, to put it back after the arenas were used for something else.
#[derive(Clone, Debug, PartialEq)]
pub struct CarrySnapshot {
    states: [Vec<f32>; 2],
    rows: [Vec<i32>; 5],
}

impl CarrySnapshot {
    /// Bytes that a snapshot of `plan`'s carry takes.
    #[must_use]
    pub fn bytes(plan: &Plan) -> usize {
        let states: usize = states(plan).iter().map(|(_, span)| span.len()).sum();
        let rows: usize = rows(plan).iter().map(|(_, span)| span.len()).sum();
        4 * (states + rows)
    }

    /// Copies the carry out of `backend`.
    ///
    /// # Errors
    /// The backend fails.
    pub fn take<K: Memory>(backend: &mut K, plan: &Plan) -> Result<Self, K::Error> {
        let mut snapshot = Self {
            states: states(plan).map(|(_, span)| vec![0.0; span.len()]),
            rows: rows(plan).map(|(_, span)| vec![0; span.len()]),
        };
        for ((_, span), values) in states(plan).into_iter().zip(&mut snapshot.states) {
            backend.read(Region::Acts, span.offset, values)?;
        }
        for ((_, span), values) in rows(plan).into_iter().zip(&mut snapshot.rows) {
            backend.read_ids(span.offset, values)?;
        }
        Ok(snapshot)
    }

    /// Copies the carry back.
    ///
    /// # Errors
    /// The backend fails.
    pub fn restore<K: Memory>(&self, backend: &mut K, plan: &Plan) -> Result<(), K::Error> {
        for ((_, span), values) in states(plan).into_iter().zip(&self.states) {
            backend.write(Region::Acts, span.offset, values)?;
        }
        for ((_, span), values) in rows(plan).into_iter().zip(&self.rows) {
            backend.write_ids(span.offset, values)?;
        }
        Ok(())
    }
}
