//! A golden model: its configuration, its weights, and a backend that holds them.

use std::fmt;
use std::path::{Path, PathBuf};

use hrm_core::arena::{Act, Ids, Stat};
use hrm_core::config::Config;
use hrm_core::init::{begin_averages, reset_carry, write_constants};
use hrm_core::kernels::{Region, TrainKernels};
use hrm_core::optim::{AdamAtan2, Average, SignSgd};
use hrm_core::plan::{Mode, Plan, RowPlan};
use serde_json::Value;

use super::counts::{Decided, Outputs};
use super::file::File;
use super::judge::{COUNT, Judge, STATE};
use super::{Error, failed, json};
use crate::model_io::keys;
use crate::row_metrics::{MetricSums, RowOutcome};

/// Prefix of every stored tensor's name.
pub(super) const PREFIX: &str = "model.inner.";

/// A model's configuration and where its files are.
pub(super) struct Golden {
    dir: PathBuf,
    name: String,
    json: Value,
    pub(super) config: Config,
    pub(super) batch: usize,
}

/// The hyper-parameters of a training trace.
pub(super) struct Hyper {
    pub(super) lr: f64,
    pub(super) puzzle_emb_lr: f64,
    pub(super) adam: AdamAtan2,
    pub(super) puzzle_emb: SignSgd,
    pub(super) global_batch_size: usize,
    /// Averages of the parameters, if the trace has them.
    pub(super) average: Option<Average>,
}

impl Golden {
    /// Whether the configuration is of a model of another kind, which no backend runs.
    pub(super) fn is_foreign(dir: &Path, name: &str) -> Result<bool, Error> {
        let json = json(&dir.join(format!("{name}.config.json")))?;
        Ok(json
            .get("arch_name")
            .is_some_and(|class| keys::read(serde_json::json!({ "name": class })).is_err()))
    }

    pub(super) fn open(dir: &Path, name: &str) -> Result<Self, Error> {
        let path = dir.join(format!("{name}.config.json"));
        let json = json(&path)?;
        let wrong = |given: String, expected: &str| Error::Tensor {
            path: path.clone(),
            name: "config".into(),
            given,
            expected: expected.into(),
        };
        let read = || {
            // The class of the model, under the name that these files have for it.
            let mut all = json["config"].clone();
            if let (Some(all), Some(class)) = (all.as_object_mut(), json.get("arch_name")) {
                all.insert("name".into(), class.clone());
            }
            keys::read(all)?.config()
        };
        let config: Config = read().map_err(|error: String| Error::Format {
            path: path.clone(),
            message: format!("config: {error}"),
        })?;
        let batch = json["config"]["batch_size"].as_u64().and_then(|batch| usize::try_from(batch).ok());
        let batch = batch.ok_or_else(|| wrong("without batch_size".into(), "a number of rows"))?;
        Ok(Self { dir: dir.into(), name: name.into(), json, config, batch })
    }

    /// Whether there are whole training steps rather than gradients only.
    pub(super) fn is_trained(&self) -> bool {
        self.json.get("losses").is_some()
    }

    /// The f32 training files.
    pub(super) fn training_files(&self) -> Vec<String> {
        match self.json["losses"].as_array() {
            Some(losses) => losses
                .iter()
                .filter_map(Value::as_str)
                .map(|loss| format!("train_{}", loss.trim_end_matches("_cross_entropy")))
                .collect(),
            None => vec!["grad_stablemax".into()],
        }
    }

    pub(super) fn file_name(&self, part: &str) -> String {
        format!("{}.{part}.safetensors", self.name)
    }

    fn file(&self, part: &str) -> Result<File, Error> {
        File::open(self.dir.join(self.file_name(part)))
    }

    /// A file, if it is there.
    pub(super) fn find(&self, part: &str) -> Result<Option<File>, Error> {
        File::find(self.dir.join(self.file_name(part)))
    }

    fn number(&self, path: &[&str]) -> Result<f64, Error> {
        let value = path.iter().fold(&self.json, |value, key| &value[*key]);
        value.as_f64().ok_or_else(|| Error::Tensor {
            path: self.dir.join(format!("{}.config.json", self.name)),
            name: path.join("."),
            given: value.to_string(),
            expected: "a number".into(),
        })
    }

    pub(super) fn hyper(&self) -> Result<Hyper, Error> {
        if !self.is_trained() {
            // Gradients only: no update reads the rates.
            let (adam, puzzle_emb) =
                (AdamAtan2 { beta1: 0.0, beta2: 0.0, weight_decay: 0.0 }, SignSgd { weight_decay: 0.0 });
            let global_batch_size = self.number(&["global_batch_size"])? as usize;
            let average = None;
            return Ok(Hyper { lr: 0.0, puzzle_emb_lr: 0.0, adam, puzzle_emb, global_batch_size, average });
        }
        let number = |key| self.number(&["hyper", key]);
        Ok(Hyper {
            lr: number("lr")?,
            puzzle_emb_lr: number("puzzle_emb_lr")?,
            adam: AdamAtan2 {
                beta1: number("beta1")?,
                beta2: number("beta2")?,
                weight_decay: number("weight_decay")?,
            },
            puzzle_emb: SignSgd { weight_decay: number("puzzle_emb_weight_decay")? },
            global_batch_size: number("global_batch_size")? as usize,
            average: match self.json["hyper"].get("ema_rate") {
                Some(_) => Some(Average { rate: number("ema_rate")? }),
                None => None,
            },
        })
    }
}

/// A backend with a golden model's weights in it.
pub(super) struct Session<K> {
    pub(super) k: K,
    pub(super) plan: Plan,
    path: PathBuf,
}

impl<K: TrainKernels> Session<K> {
    /// Makes a backend and loads the weights. `path` is the file that errors name.
    pub(super) fn load<E: fmt::Display>(
        golden: &Golden,
        mode: Mode,
        path: &Path,
        factory: &impl Fn(&Plan) -> Result<K, E>,
    ) -> Result<Self, Error> {
        let plan = Plan::new(&golden.config, golden.batch, mode)
            .map_err(|source| Error::Plan { path: path.into(), source })?;
        let averages = mode == Mode::Training && golden.hyper()?.average.is_some();
        let plan = if averages { plan.with_averages() } else { plan };
        let mut k = factory(&plan).map_err(failed(path))?;
        let weights = golden.file("weights")?;
        for tensor in plan.params.tensors() {
            let shape = [tensor.span.rows, tensor.span.cols];
            let shape = &shape[usize::from(tensor.is_vector())..];
            let values = weights.f32s(&format!("{PREFIX}{}", tensor.name), shape)?;
            k.write(Region::Params, tensor.span.offset, &values).map_err(failed(path))?;
        }
        weights.close()?;
        write_constants(&mut k, &plan).map_err(failed(path))?;
        begin_averages(&mut k, &plan).map_err(failed(path))?;
        reset_carry(&mut k, &plan).map_err(failed(path))?;
        Ok(Self { k, plan, path: path.into() })
    }

    pub(super) fn failed<E: fmt::Display>(&self) -> impl Fn(E) -> Error + use<K, E> {
        failed(&self.path)
    }

    pub(super) fn read(&mut self, region: Region, offset: usize, len: usize) -> Result<Vec<f64>, Error> {
        let mut values = vec![0.0; len];
        self.k.read(region, offset, &mut values).map_err(self.failed())?;
        Ok(values.into_iter().map(f64::from).collect())
    }

    pub(super) fn act(&mut self, span: Act) -> Result<Vec<f64>, Error> {
        self.read(Region::Acts, span.offset, span.len())
    }

    /// One column of a statistic.
    pub(super) fn column(&mut self, span: Stat, column: usize) -> Result<Vec<f64>, Error> {
        let values = self.read(Region::Stats, span.offset, span.len())?;
        Ok(values.into_iter().skip(column).step_by(span.cols).collect())
    }

    pub(super) fn ids(&mut self, span: Ids) -> Result<Vec<i32>, Error> {
        let mut values = vec![0; span.len()];
        self.k.read_ids(span.offset, &mut values).map_err(self.failed())?;
        Ok(values)
    }

    pub(super) fn write_ids(&mut self, span: Ids, values: &[i32]) -> Result<(), Error> {
        self.k.write_ids(span.offset, values).map_err(self.failed())
    }

    /// Logits of the cells, without the prefix.
    pub(super) fn logits(&mut self) -> Result<Vec<f64>, Error> {
        let (config, span) = (self.plan.config, self.plan.logits);
        let rows = self.act(span)?;
        let (skip, all) = (config.prefix_len() * span.cols, config.positions() * span.cols);
        Ok(rows.chunks_exact(all).flat_map(|row| &row[skip..]).copied().collect())
    }

    /// Writes a batch to the incoming rows and returns its labels.
    pub(super) fn write_batch(&mut self, file: &File, prefix: &str) -> Result<Vec<i32>, Error> {
        let (batch, seq_len) = (self.plan.batch, self.plan.config.seq_len);
        let RowPlan { inputs, labels, puzzle_ids } = self.plan.incoming;
        let read = |name: &str, shape: &[usize]| file.ints(&format!("{prefix}batch.{name}"), shape);
        let expected = read("labels", &[batch, seq_len])?;
        self.write_ids(inputs, &read("inputs", &[batch, seq_len])?)?;
        if !labels.is_empty() {
            self.write_ids(labels, &expected)?;
        }
        self.write_ids(puzzle_ids, &read("puzzle_identifiers", &[batch])?)?;
        Ok(expected)
    }

    /// Compares the two states and what the model makes of them.
    pub(super) fn compare_states(&mut self, judge: &mut Judge, prefix: &str) -> Result<(), Error> {
        let (config, batch) = (self.plan.config, self.plan.batch);
        let carry = self.plan.carry;
        for (name, span) in [("z_H", carry.z_h), ("z_L", carry.z_l)] {
            let shape = [batch, config.positions(), config.hidden_size];
            judge.floats("carry", STATE, &format!("{prefix}carry.{name}"), &shape, &self.act(span)?)?;
        }
        let shape = [batch, config.seq_len, config.vocab_size];
        judge.floats("logits", STATE, &format!("{prefix}out.logits"), &shape, &self.logits()?)?;
        self.compare_q(judge, prefix)
    }

    /// Compares the Q values.
    pub(super) fn compare_q(&mut self, judge: &mut Judge, prefix: &str) -> Result<(), Error> {
        let batch = self.plan.batch;
        for (column, name) in ["q_halt_logits", "q_continue_logits"].into_iter().enumerate() {
            let ours = self.column(self.plan.q, column)?;
            judge.floats("q", STATE, &format!("{prefix}out.{name}"), &[batch], &ours)?;
        }
        Ok(())
    }

    /// Compares which rows halted, after how many steps, and on which data.
    pub(super) fn compare_halting(
        &mut self,
        judge: &mut Judge,
        prefix: &str,
        labels: &[i32],
    ) -> Result<(), Error> {
        let (batch, seq_len) = (self.plan.batch, self.plan.config.seq_len);
        let mut same = |name: &str, shape: &[usize], ours: &[i32]| {
            judge.ints("halting", &format!("{prefix}{name}"), shape, ours)
        };
        let halted = self.ids(self.plan.halted)?;
        same("all_finish", &[], &[i32::from(halted.iter().all(|halted| *halted != 0))])?;
        same("carry.halted", &[batch], &halted)?;
        same("carry.steps", &[batch], &self.ids(self.plan.steps)?)?;
        let current = self.plan.current;
        same("carry.current_data.inputs", &[batch, seq_len], &self.ids(current.inputs)?)?;
        same("carry.current_data.labels", &[batch, seq_len], labels)?;
        same("carry.current_data.puzzle_identifiers", &[batch], &self.ids(current.puzzle_ids)?)
    }

    /// The logits of the cells and the logits of halting.
    pub(super) fn outputs(&mut self) -> Result<Outputs, Error> {
        let q_halt = self.column(self.plan.q, 0)?;
        Ok(Outputs::new(&self.logits()?, &q_halt))
    }

    /// Compares the metrics of the step's `rows` with those that the file reports. `with_continue` says whether
    /// going on was trained.
    pub(super) fn compare_metrics(
        &mut self,
        judge: &mut Judge,
        prefix: &str,
        rows: &[RowOutcome],
        labels: &[i32],
        with_continue: bool,
    ) -> Result<(), Error> {
        for (name, value) in MetricSums::of(rows).named() {
            let group = match name {
                "q_continue_loss" if !with_continue => continue,
                name if name.ends_with("_loss") => "loss",
                _ if judge.twin().is_some() => continue,
                _ => "metrics",
            };
            judge.floats(group, STATE, &format!("{prefix}metric.{name}"), &[], &[value])?;
        }
        match judge.twin() {
            Some(twin) => self.compare_counts(judge, twin, prefix, rows, labels),
            None => Ok(()),
        }
    }

    /// Compares the counts of the step's `rows`, and the published ones, with what the f32 run `twin` decides.
    fn compare_counts(
        &mut self,
        judge: &mut Judge,
        twin: &File,
        prefix: &str,
        rows: &[RowOutcome],
        labels: &[i32],
    ) -> Result<(), Error> {
        let (golden, config) = (judge.golden(), self.plan.config);
        for name in ["logits", "q_halt_logits"] {
            if !judge.has("metrics", &format!("{prefix}out.{name}")) {
                return Ok(());
            }
        }
        let read = |file| Outputs::read(file, prefix, [rows.len(), config.seq_len, config.vocab_size]);
        let (exact, upstream) = (read(twin)?, read(golden)?);
        let decided = Decided { exact: &exact, upstream: &upstream, labels };
        let (expected, published) = (decided.sums(rows, &self.outputs()?), decided.sums(rows, &upstream));
        let sums = MetricSums::of(rows).named().into_iter().zip(expected.named()).zip(published.named());
        for (((name, ours), (_, expected)), (_, published)) in sums {
            if name.ends_with("_loss") {
                continue;
            }
            judge.values("metrics", COUNT, &[ours], &[expected]);
            let name = format!("{prefix}metric.{name}");
            if golden.has(&name) {
                judge.values("metrics", COUNT, &golden.floats(&name, &[])?, &[published]);
            } else {
                judge.lacks("metrics", &name);
            }
        }
        Ok(())
    }
}
