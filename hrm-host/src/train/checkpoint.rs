//! Checkpoints: everything that a resumed run needs to go on as if it had never stopped.
//!
//! `RUN/step-N/` is a model directory with one more file, `trainer.safetensors`: the optimizer's moments, the ACT
//! carry, and in its metadata the settings, the step, the data cursor and the running metrics. The directory is
//! written under another name and then renamed, so it is there whole or not at all.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use hrm_core::init;
use hrm_core::kernels::{Memory, Region, TrainKernels};
use hrm_core::plan::Plan;
use hrm_core::tensors::Tensor;
use serde::{Deserialize, Serialize};

use super::card;
use super::settings::Settings;
use crate::carry;
use crate::data::Cursor;
use crate::error::{Error, Result};
use crate::files::{self, Existing};
use crate::model_dir::{self, CONFIG, WEIGHTS, checkpoint_name, checkpoints};
use crate::row_metrics::MetricSums;
use crate::tensor_file::{self, Elements, Kind, Source, TensorFile};

/// Name of the trainer's own file in a checkpoint.
pub const TRAINER: &str = "trainer.safetensors";
/// Metadata field that holds the [`TrainerState`].
const STATE: &str = "trainer";

/// What a checkpoint knows beside tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainerState {
    /// The run's settings.
    pub settings: Settings,
    /// Backend, by name: bits are the same only on the same one.
    pub backend: String,
    /// Optimizer steps done.
    pub step: u64,
    /// Optimizer steps of the whole run.
    pub total_steps: u64,
    /// Where the sampler stands.
    pub cursor: Cursor,
    /// A fingerprint of the training data.
    pub data_fingerprint: String,
    /// A fingerprint of the held-out data, by which the best model is chosen; [`NO_TEST`] if there is none. Checkpoints of
    /// earlier versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_fingerprint: Option<String>,
    /// Metrics summed since the last line.
    pub sums: MetricSums,
    /// Steps that `sums` is over.
    pub summed_steps: u64,
    /// Length of the metrics file.
    pub metrics_bytes: u64,
    /// Length of the TensorBoard file.
    pub events_bytes: u64,
    /// The best evaluation so far.
    pub best: Option<Best>,
    /// Step of the last evaluation.
    pub evaluated_at: u64,
    /// Evaluations since the best one.
    pub stale: u64,
}

/// The fingerprint of held-out data that is not there.
pub const NO_TEST: &str = "none";

/// The best evaluation of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Step at which it was made.
    pub step: u64,
    /// Share of puzzles solved exactly.
    pub exact_accuracy: f64,
    /// Share of cells that are right, which decides between equals.
    pub accuracy: f64,
}

/// What is stored of a trained tensor beside the model, with the prefix of its names: the moments; and where the model holds
/// averages, the parameter itself.
const REGIONS: [(&str, Region); 3] =
    [("exp_avg.", Region::FirstMoments), ("exp_avg_sq.", Region::SecondMoments), ("param.", Region::Params)];

fn regions(plan: &Plan) -> &'static [(&'static str, Region)] {
    if plan.averages { &REGIONS } else { &REGIONS[..2] }
}

fn shape(tensor: &Tensor) -> Vec<usize> {
    vec![tensor.span.rows, tensor.span.cols]
}

/// Writes the checkpoint of `state.step` into `run`.
///
/// # Errors
/// The backend fails, or the disk does; older checkpoints are then still there.
pub fn save<K>(backend: &mut K, plan: &Plan, run: &Path, state: &TrainerState) -> Result<PathBuf>
where
    K: TrainKernels<Error: Send + Sync + 'static>,
{
    let target = run.join(checkpoint_name(state.step));
    files::write_dir(&target, Existing::Replace, |staging| {
        super::averaged(backend, plan, |k| save_model(k, plan, state, staging.path()))?;
        save_trainer(backend, plan, &staging.path().join(TRAINER), state)
    })?;
    Ok(target)
}

/// Writes configuration, loss and weights of `backend` into `dir`, and the card that says what they are.
///
/// # Errors
/// The backend fails, or the disk does.
pub fn save_model<K>(backend: &mut K, plan: &Plan, state: &TrainerState, dir: &Path) -> Result<()>
where
    K: Memory<Error: Send + Sync + 'static>,
{
    model_dir::save_trained_config::<K::Error>(&plan.config, state.settings.arch.loss, &dir.join(CONFIG))?;
    model_dir::save_weights(backend, plan, &dir.join(WEIGHTS))?;
    card::write(plan, state, dir)
}

fn save_trainer<K>(backend: &mut K, plan: &Plan, path: &Path, state: &TrainerState) -> Result<()>
where
    K: Memory<Error: Send + Sync + 'static>,
{
    let backend = RefCell::new(backend);
    let backend = &backend;
    let mut sources: Vec<Source<'_, K::Error>> = Vec::new();
    for tensor in plan.params.tensors().filter(Tensor::is_trained) {
        for &(prefix, region) in regions(plan) {
            sources.push(Source {
                name: format!("{prefix}{}", tensor.name),
                shape: shape(&tensor),
                elements: Elements::F32(Box::new(move |out| {
                    backend.borrow_mut().read(region, tensor.span.offset, out)
                })),
            });
        }
    }
    for (name, span) in carry::states(plan) {
        sources.push(Source {
            name: name.into(),
            shape: vec![span.rows, span.cols],
            elements: Elements::F32(Box::new(move |out| {
                backend.borrow_mut().read(Region::Acts, span.offset, out)
            })),
        });
    }
    for (name, span) in carry::rows(plan) {
        sources.push(Source {
            name: name.into(),
            shape: vec![span.rows, span.cols],
            elements: Elements::I32(Box::new(move |out| backend.borrow_mut().read_ids(span.offset, out))),
        });
    }
    let state =
        serde_json::to_string(state).map_err(|e| Error::failed(format!("{}: {e}", path.display())))?;
    tensor_file::write(path, sources, &[(STATE, state)])?.map_err(Error::backend)
}

/// Reads the state of the checkpoint `dir`: what must be known before a backend can be made for it.
///
/// # Errors
/// The file is damaged, or a field of the state is missing or malformed.
pub fn read_state(dir: &Path) -> Result<TrainerState> {
    let mut file = TensorFile::open(&dir.join(TRAINER))?;
    file.verify()?;
    state_of(&file)
}

fn state_of(file: &TensorFile) -> Result<TrainerState> {
    let bad = |problem: String| Kind::Field { field: STATE.into(), problem };
    let Some(text) = file.field(STATE) else {
        return Err(file.fail(bad("missing".into())).into());
    };
    Ok(serde_json::from_str(text).map_err(|e| file.fail(bad(e.to_string())))?)
}

/// Loads weights, moments and carry of the checkpoint `dir` into `backend`.
///
/// # Errors
/// A file is damaged or does not fit the plan, or the backend fails.
pub fn load<K>(backend: &mut K, plan: &Plan, dir: &Path) -> Result<TrainerState>
where
    K: Memory<Error: Send + Sync + 'static>,
{
    let mut file = TensorFile::open(&dir.join(TRAINER))?;
    file.verify()?;
    let state = state_of(&file)?;
    let path = dir.join(CONFIG);
    let stored = model_dir::read_config::<K::Error>(&path)?;
    if stored != plan.config || model_dir::read_loss::<K::Error>(&path)? != state.settings.arch.loss {
        return Err(Error::input(format!(
            "{}: not the configuration that the run was started with",
            path.display()
        )));
    }
    model_dir::load_weights(backend, plan, &dir.join(WEIGHTS))?;
    // The model of such a run holds the averages.
    if plan.averages {
        init::begin_averages(backend, plan).map_err(Error::backend)?;
    }
    for tensor in plan.params.tensors().filter(Tensor::is_trained) {
        for &(prefix, region) in regions(plan) {
            file.read_f32(&format!("{prefix}{}", tensor.name), &shape(&tensor), |at, values| {
                backend.write(region, tensor.span.offset + at, values)
            })?
            .map_err(Error::backend)?;
        }
    }
    for (name, span) in carry::states(plan) {
        file.read_f32(name, &[span.rows, span.cols], |at, values| {
            backend.write(Region::Acts, span.offset + at, values)
        })?
        .map_err(Error::backend)?;
    }
    for (name, span) in carry::rows(plan) {
        let values = file.i32s(name, &[span.rows, span.cols])?;
        check_rows(&file, plan, name, &values)?;
        backend.write_ids(span.offset, &values).map_err(Error::backend)?;
    }
    Ok(state)
}

/// Rows of a checkpoint are input like any other: no identifier may leave its table.
fn check_rows(file: &TensorFile, plan: &Plan, name: &str, values: &[i32]) -> Result<()> {
    let config = &plan.config;
    let bound = match name {
        "carry.current_data.inputs" | "carry.current_data.labels" => config.vocab_size,
        "carry.current_data.puzzle_identifiers" => config.num_puzzle_identifiers,
        "carry.halted" => 2,
        _ => config.halt_max_steps + 1,
    };
    let low = if name.ends_with("labels") { i32::MIN } else { 0 };
    match values.iter().find(|&&x| x < low || i64::from(x) >= bound as i64) {
        Some(x) => Err(file
            .fail(Kind::Field {
                field: name.into(),
                problem: format!("holds {x}, expected 0 to {}", bound - 1),
            })
            .into()),
        None => Ok(()),
    }
}

/// Says which checkpoint to fall back to, if `error` says that the one in `dir` is not what was written. Trouble with the
/// disk, with permissions or with memory is none of the checkpoint's.
#[must_use]
pub fn or_fall_back(error: Error, dir: &Path) -> Error {
    use std::io::ErrorKind as E;
    let spoiled = match error.cause::<std::io::Error>() {
        Some(io) => matches!(
            io.kind(),
            E::NotFound
                | E::UnexpectedEof
                | E::InvalidData
                | E::InvalidInput
                | E::IsADirectory
                | E::NotADirectory
        ),
        None => error.kind() == crate::error::Kind::Input,
    };
    if !spoiled {
        return error;
    }
    let run = dir.parent().unwrap_or(Path::new("."));
    let older = checkpoints(run).into_iter().rev().map(|(_, path)| path).find(|path| path.as_path() < dir);
    error.hint(match older {
        Some(older) => {
            let (older, dir) = (older.display(), dir.display());
            format!("{older} is the checkpoint before it: move {dir} away and resume again")
        }
        None => "there is no checkpoint before it: put the file back from a copy, or begin a new run".into(),
    })
}
