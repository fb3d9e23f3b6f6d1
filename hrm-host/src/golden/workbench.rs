//! Single kernels on small tensors: lays operands out in a backend's arenas, without a model.

use std::fmt;

use hrm_core::arena::{ALIGN, Act, Ids, Param, Span, Stat};
use hrm_core::config::Config;
use hrm_core::kernels::{Memory, Region};
use hrm_core::plan::{Mode, Plan, PlanError};

/// What the arenas of a backend will hold. Operands follow each other at multiples of
/// [`ALIGN`], and the arenas begin filled with a value of the caller's choice, so that a
/// kernel that leaves elements unwritten, or writes beside its operands, can be found out.
#[derive(Clone, Debug)]
pub struct Workbench {
    plan: Plan,
    fill: f32,
    params: Vec<f32>,
    gradients: Vec<(Param, Vec<f32>)>,
    acts: Vec<f32>,
    stats: Vec<f32>,
    ids: Vec<i32>,
}

/// Everything in a backend's arenas.
#[derive(Clone, Debug)]
pub struct Contents {
    /// Parameters.
    pub params: Vec<f32>,
    /// Gradients.
    pub gradients: Vec<f32>,
    /// First moments.
    pub first: Vec<f32>,
    /// Second moments.
    pub second: Vec<f32>,
    /// Activations.
    pub acts: Vec<f32>,
    /// Statistics.
    pub stats: Vec<f32>,
    /// Integers.
    pub ids: Vec<i32>,
}

impl Workbench {
    /// An empty bench for kernels of the sizes of `config` and `batch`. Whatever is not written, before, between
    /// and after the operands, holds `fill`.
    ///
    /// # Errors
    /// There is no plan for these sizes.
    pub fn new(config: &Config, batch: usize, fill: f32) -> Result<Self, PlanError> {
        let plan = Plan::new(config, batch, Mode::Training)?;
        let margin = || vec![fill; ALIGN];
        Ok(Self {
            plan,
            fill,
            params: margin(),
            gradients: Vec::new(),
            acts: margin(),
            stats: margin(),
            ids: vec![0; ALIGN],
        })
    }

    /// A parameter `[rows, cols]`, with a gradient and moments of the same place.
    pub fn param(&mut self, rows: usize, cols: usize, values: &[f32]) -> Param {
        lay_out(&mut self.params, self.fill, rows, cols, values)
    }

    /// Gives a parameter a gradient; without one it is left filled.
    pub fn gradient(&mut self, param: Param, values: &[f32]) {
        self.gradients.push((param, values.into()));
    }

    /// An activation `[rows, cols]`; without values it is left filled.
    pub fn act(&mut self, rows: usize, cols: usize, values: &[f32]) -> Act {
        lay_out(&mut self.acts, self.fill, rows, cols, values)
    }

    /// A statistic `[rows, cols]`; without values it is left filled.
    pub fn stat(&mut self, rows: usize, cols: usize, values: &[f32]) -> Stat {
        lay_out(&mut self.stats, self.fill, rows, cols, values)
    }

    /// Integers `[rows, cols]`; without values they are 0.
    pub fn ids(&mut self, rows: usize, cols: usize, values: &[i32]) -> Ids {
        lay_out(&mut self.ids, 0, rows, cols, values)
    }

    /// The plan that the backend gets: the configuration's, with arenas that hold the operands and no more.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let plan =
            self.plan.with_arenas(self.params.len(), self.acts.len(), self.stats.len(), self.ids.len());
        plan.with_averages()
    }

    /// Makes a backend and writes the operands.
    ///
    /// # Errors
    /// What the backend says.
    pub fn build<K: Memory, E: fmt::Display>(
        &self,
        factory: &dyn Fn(&Plan) -> Result<K, E>,
    ) -> Result<K, String> {
        let plan = self.plan();
        let mut k = factory(&plan).map_err(|error| error.to_string())?;
        let said = |error: K::Error| error.to_string();
        let regions = [
            (Region::Params, &self.params[..], plan.params.len),
            (Region::Gradients, &[], plan.params.len),
            (Region::Acts, &self.acts[..], plan.acts_len),
            (Region::Stats, &self.stats[..], plan.stats_len),
        ];
        for (region, values, len) in regions {
            k.write(region, 0, values).map_err(said)?;
            k.write(region, values.len(), &vec![self.fill; len - values.len()]).map_err(said)?;
        }
        for (param, values) in &self.gradients {
            k.write(Region::Gradients, param.offset, values).map_err(said)?;
        }
        k.write_ids(0, &self.ids).map_err(said)?;
        Ok(k)
    }

    /// Reads all that the backend holds.
    ///
    /// # Errors
    /// What the backend says.
    pub fn contents<K: Memory>(&self, k: &mut K) -> Result<Contents, String> {
        let plan = self.plan();
        let mut read = |region, len| {
            let mut values = vec![0.0; len];
            k.read(region, 0, &mut values).map(|()| values).map_err(|error| error.to_string())
        };
        let (params, gradients) =
            (read(Region::Params, plan.params.len)?, read(Region::Gradients, plan.params.len)?);
        let (first, second) =
            (read(Region::FirstMoments, plan.params.len)?, read(Region::SecondMoments, plan.params.len)?);
        let (acts, stats) = (read(Region::Acts, plan.acts_len)?, read(Region::Stats, plan.stats_len)?);
        let mut ids = vec![0; plan.ids_len];
        k.read_ids(0, &mut ids).map_err(|error| error.to_string())?;
        Ok(Contents { params, gradients, first, second, acts, stats, ids })
    }
}

impl Contents {
    /// The elements of an activation.
    #[must_use]
    pub fn act(&self, span: Act) -> &[f32] {
        &self.acts[span.range()]
    }

    /// The elements of a statistic.
    #[must_use]
    pub fn stat(&self, span: Stat) -> &[f32] {
        &self.stats[span.range()]
    }

    /// The elements of a parameter.
    #[must_use]
    pub fn param(&self, span: Param) -> &[f32] {
        &self.params[span.range()]
    }

    /// The gradient of a parameter.
    #[must_use]
    pub fn gradient(&self, span: Param) -> &[f32] {
        &self.gradients[span.range()]
    }

    /// The elements of integers.
    #[must_use]
    pub fn ids(&self, span: Ids) -> &[i32] {
        &self.ids[span.range()]
    }
}

/// Appends an operand and a margin of at least one element.
fn lay_out<T: Copy, A>(arena: &mut Vec<T>, fill: T, rows: usize, cols: usize, values: &[T]) -> Span<A> {
    let span = Span::new(arena.len(), rows, cols);
    arena.extend_from_slice(&values[..values.len().min(span.len())]);
    arena.resize((span.offset + span.len() + 1).div_ceil(ALIGN) * ALIGN, fill);
    span
}
