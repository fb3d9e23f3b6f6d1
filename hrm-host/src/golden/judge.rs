//! Error measures: ours against the golden numbers, group by group.

use std::collections::BTreeMap;

use super::file::File;
use super::{Check, Error, Lacking, Report, Unit};

/// Logits, states, losses: share of the tensor's largest magnitude.
pub(super) const STATE: Bound = Bound { bound: 1e-5, unit: Unit::OfLargest };
/// Gradients, and moments, which are sums of them.
pub(super) const GRADIENT: Bound = Bound { bound: 2e-5, unit: Unit::OfLargest };
/// Parameters after up to five updates.
pub(super) const PARAMETER: Bound = Bound { bound: 2e-5, unit: Unit::Absolute };
/// Counts and shares in bf16: one cell or row more is far beyond the rounding of f32.
pub(super) const COUNT: Bound = Bound { bound: 1e-6, unit: Unit::OfLargest };
/// Formulas evaluated in f64 on both sides.
pub(super) const FORMULA: Bound = Bound { bound: 1e-12, unit: Unit::OfLargest };
/// What upstream's error may be multiplied by.
pub(super) const FACTOR: f64 = 2.0;
/// The least that counts as an error of upstream's bf16 run: the precision of the f32 numbers it is held to.
const BF16_FLOOR: f64 = 1e-6;
/// How far the golden numbers may be from exact arithmetic: beyond this one of the two is wrong.
const DRIFT: f64 = 1e-4;

/// How far a tensor may be off, in f32.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    pub(super) bound: f64,
    pub(super) unit: Unit,
}

/// Compares with one golden file. In bf16 there is a second one, its twin, which holds the same tensors
/// computed in f32.
pub(super) struct Judge<'a> {
    golden: &'a File,
    twin: Option<&'a File>,
    groups: Vec<Group>,
    /// Tensors that there are none of, by their groups.
    lacking: BTreeMap<String, Vec<String>>,
    /// Our states, for [`reconsider`](Judge::reconsider).
    states: BTreeMap<String, Vec<f64>>,
}

struct Group {
    name: String,
    kind: Kind,
}

enum Kind {
    /// Largest error of any tensor, in units of `bound`.
    Worst { error: f64, bound: Bound },
    /// Sums over tensors of the squared relative RMS errors against the twin: ours, upstream's.
    Bf16 { ours: f64, upstream: f64 },
}

impl<'a> Judge<'a> {
    pub(super) fn new(golden: &'a File, twin: Option<&'a File>) -> Self {
        Self { golden, twin, groups: Vec::new(), lacking: BTreeMap::new(), states: BTreeMap::new() }
    }

    pub(super) fn golden(&self) -> &'a File {
        self.golden
    }

    /// The f32 file, where the golden one is bf16.
    pub(super) fn twin(&self) -> Option<&'a File> {
        self.twin
    }

    /// Whether the golden file, and its twin if there is one, have the tensor `name`; notes it if not.
    pub(super) fn has(&mut self, group: &str, name: &str) -> bool {
        let has = self.golden.has(name) && self.twin.is_none_or(|twin| twin.has(name));
        if !has {
            self.lacks(group, name);
        }
        has
    }

    /// Notes that a tensor of a group is not there to compare with.
    pub(super) fn lacks(&mut self, group: &str, name: &str) {
        self.lacking.entry(group.into()).or_default().push(name.into());
    }

    /// Compares the numbers `ours` with the tensor `name` of the golden file, in f32 at `bound`, in bf16 with
    /// the twin at twice upstream's error. A tensor that is not there is noted.
    pub(super) fn floats(
        &mut self,
        group: &str,
        bound: Bound,
        name: &str,
        shape: &[usize],
        ours: &[f64],
    ) -> Result<(), Error> {
        if !self.has(group, name) {
            return Ok(());
        }
        let theirs = self.golden.floats(name, shape)?;
        match self.twin {
            None => {
                self.worst(group, bound, distance(ours, &theirs, bound.unit));
                if is_state(group) {
                    self.states.insert(name.into(), ours.into());
                }
            }
            Some(twin) => {
                let exact = twin.floats(name, shape)?;
                self.bf16(group, ours, &theirs, &exact);
            }
        }
        Ok(())
    }

    /// Compares the integers or truth values `ours`, which must be equal in any precision.
    pub(super) fn ints(
        &mut self,
        group: &str,
        name: &str,
        shape: &[usize],
        ours: &[i32],
    ) -> Result<(), Error> {
        if !self.golden.has(name) {
            self.lacks(group, name);
            return Ok(());
        }
        let theirs = self.golden.ints(name, shape)?;
        let wrong =
            ours.iter().zip(&theirs).filter(|(a, b)| a != b).count() + ours.len().abs_diff(theirs.len());
        self.worst(group, Bound { bound: 0.0, unit: Unit::Mismatches }, wrong as f64);
        Ok(())
    }

    /// Compares numbers that are not in the file.
    pub(super) fn values(&mut self, group: &str, bound: Bound, ours: &[f64], theirs: &[f64]) {
        self.worst(group, bound, distance(ours, theirs, bound.unit));
    }

    fn group(&mut self, name: &str, new: Kind) -> &mut Kind {
        let index = self.groups.iter().position(|group| group.name == name).unwrap_or_else(|| {
            self.groups.push(Group { name: name.into(), kind: new });
            self.groups.len() - 1
        });
        &mut self.groups[index].kind
    }

    fn worst(&mut self, group: &str, bound: Bound, distance: f64) {
        if let Kind::Worst { error, .. } = self.group(group, Kind::Worst { error: 0.0, bound }) {
            *error = error.max(distance);
        }
    }

    /// Adds a tensor of a bf16 run: `ours`, upstream's, and the f32 numbers `exact`.
    pub(super) fn bf16(&mut self, group: &str, ours: &[f64], theirs: &[f64], exact: &[f64]) {
        // A few scalars that follow from each other make one group: alone, a lucky one would set the bound.
        let group = if ["q", "loss", "target_q_continue"].contains(&group) { "q and losses" } else { group };
        let (a, b) = (relative_rms(ours, exact), relative_rms(theirs, exact));
        if let Kind::Bf16 { ours, upstream } = self.group(group, Kind::Bf16 { ours: 0.0, upstream: 0.0 }) {
            *ours += a * a;
            *upstream += b * b;
        }
    }

    /// Whether a state, logit or Q value is further from the golden one than its bound.
    pub(super) fn states_miss(&self) -> bool {
        self.groups.iter().any(|group| is_state(&group.name) && group.misses())
    }

    /// Judges states that missed their bound by `exact`, the same states in f64: the golden numbers have a
    /// rounding error of their own, which ACT steps amplify, and ours may be at most twice that.
    ///
    /// # Errors
    /// A tensor is missing.
    pub(super) fn reconsider(&mut self, exact: &Judge) -> Result<(), Error> {
        for group in self.groups.iter_mut().filter(|group| is_state(&group.name) && group.misses()) {
            let (mut ours_off, mut theirs_off) = (0.0f64, 0.0f64);
            for (name, ours) in &self.states {
                if state_group(name) != group.name {
                    continue;
                }
                let Some(exact) = exact.states.get(name) else {
                    return Err(self.golden.wrong(name, "missing in f64", "a state"));
                };
                let theirs = self.golden.all_floats(name)?;
                ours_off = ours_off.max(distance(ours, exact, Unit::OfLargest));
                theirs_off = theirs_off.max(distance(&theirs, exact, Unit::OfLargest));
            }
            let error = if theirs_off <= DRIFT { ours_off / theirs_off } else { f64::INFINITY };
            group.kind = Kind::Worst { error, bound: Bound { bound: FACTOR, unit: Unit::OfUpstreamF32 } };
        }
        Ok(())
    }

    /// The verdicts, one for each group, and what could not be compared.
    pub(super) fn finish(self, progress: &mut dyn FnMut(&Check)) -> Report {
        let file = self.golden.name();
        let lacking = self.lacking.into_iter();
        let lacking =
            lacking.map(|(group, tensors)| Lacking { file: file.clone(), group, tensors }).collect();
        let checks = self.groups.into_iter().map(|Group { name, kind }| {
            let (error, bound, unit) = match kind {
                Kind::Worst { error, bound } => (error, bound.bound, bound.unit),
                Kind::Bf16 { ours, upstream } => {
                    (ours.sqrt() / upstream.sqrt().max(BF16_FLOOR), FACTOR, Unit::OfUpstreamBf16)
                }
            };
            Check { file: file.clone(), group: name, error, bound, unit }
        });
        let checks: Vec<_> = checks.collect();
        checks.iter().for_each(progress);
        Report { checks, lacking }
    }
}

impl Group {
    fn misses(&self) -> bool {
        matches!(self.kind, Kind::Worst { error, bound } if error > bound.bound)
    }
}

/// Groups of numbers that ACT steps pass on.
fn is_state(group: &str) -> bool {
    ["carry", "logits", "q"].contains(&group)
}

/// The group of a state by its name: "s2.carry.z_H", "s2.out.logits", "s2.out.q_halt_logits".
fn state_group(name: &str) -> &'static str {
    match name {
        name if name.contains(".carry.") => "carry",
        name if name.ends_with(".logits") => "logits",
        _ => "q",
    }
}

/// Largest difference; infinite where a number is NaN on one side only or a count differs.
fn distance(ours: &[f64], theirs: &[f64], unit: Unit) -> f64 {
    if ours.len() != theirs.len() {
        return f64::INFINITY;
    }
    let worst = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs());
    let worst = worst.fold(0.0, |worst: f64, d| if d.is_nan() { f64::INFINITY } else { worst.max(d) });
    let largest = theirs.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
    match unit {
        Unit::OfLargest if worst == 0.0 => 0.0,
        Unit::OfLargest => worst / largest,
        _ => worst,
    }
}

/// Root mean square of the difference over that of `exact`; plain where `exact` is 0.
fn relative_rms(ours: &[f64], exact: &[f64]) -> f64 {
    if ours.len() != exact.len() {
        return f64::INFINITY;
    }
    let difference: f64 = ours.iter().zip(exact).map(|(a, b)| (a - b) * (a - b)).sum();
    let square: f64 = exact.iter().map(|x| x * x).sum();
    let error = if square > 0.0 { (difference / square).sqrt() } else { difference.sqrt() };
    if error.is_nan() { f64::INFINITY } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_hides_a_nan_or_a_missing_number() {
        for unit in [Unit::OfLargest, Unit::Absolute] {
            assert_eq!(distance(&[1.0, f64::NAN], &[1.0, 1.0], unit), f64::INFINITY);
            assert_eq!(distance(&[1.0], &[1.0, 1.0], unit), f64::INFINITY);
        }
        assert_eq!(distance(&[1.0, 3.0], &[1.0, 4.0], Unit::OfLargest), 0.25);
        assert_eq!(distance(&[1.0, 3.0], &[1.0, 4.0], Unit::Absolute), 1.0);
        assert_eq!(distance(&[1e-30], &[0.0], Unit::OfLargest), f64::INFINITY);
        assert_eq!(relative_rms(&[f64::NAN], &[1.0]), f64::INFINITY);
        assert_eq!(relative_rms(&[3.0, 4.0], &[0.0, 0.0]), 5.0);
    }
}
