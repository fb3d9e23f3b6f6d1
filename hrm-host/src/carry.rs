//! The part of a backend's memory that lives from one training step to the next beside the parameters: states,
//! the puzzles being worked on, their counters.

use hrm_core::arena::{Act, Ids};
use hrm_core::kernels::Memory;
use hrm_core::plan::{BackwardPlan, Plan};

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

/// The plan by which to evaluate between two training steps: its states are those that a training step uses for the
/// Q target, which are nobody's in between. So the states of the carry stay where they are, and only its integers need
/// be put back: [`RowSnapshot`].
#[must_use]
pub const fn evaluation_plan(plan: &Plan, backward: &BackwardPlan) -> Plan {
    plan.with_carry(backward.target)
}

/// A copy of the carry's integers, to put them back after something else was computed.
#[derive(Clone, Debug, PartialEq)]
pub struct RowSnapshot {
    rows: [Vec<i32>; 5],
}

impl RowSnapshot {
    /// Bytes that a snapshot of `plan`'s rows takes.
    #[must_use]
    pub fn bytes(plan: &Plan) -> usize {
        rows(plan).iter().map(|(_, span)| 4 * span.len()).sum()
    }

    /// Copies the rows out of `backend`.
    ///
    /// # Errors
    /// The backend fails.
    pub fn take<K: Memory>(backend: &mut K, plan: &Plan) -> Result<Self, K::Error> {
        let mut snapshot = Self { rows: rows(plan).map(|(_, span)| vec![0; span.len()]) };
        for ((_, span), values) in rows(plan).into_iter().zip(&mut snapshot.rows) {
            backend.read_ids(span.offset, values)?;
        }
        Ok(snapshot)
    }

    /// Copies the rows back.
    ///
    /// # Errors
    /// The backend fails.
    pub fn restore<K: Memory>(&self, backend: &mut K, plan: &Plan) -> Result<(), K::Error> {
        for ((_, span), values) in rows(plan).into_iter().zip(&self.rows) {
            backend.write_ids(span.offset, values)?;
        }
        Ok(())
    }
}
