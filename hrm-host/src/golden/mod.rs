//! Golden numbers: tensors that the published PyTorch program computed, and how far a backend is from them.
//!
//! A directory holds for each model NAME its `NAME.config.json`, its weights, and what the program computed from
//! them: ACT steps of evaluation, training steps with losses, gradients, moments and parameters, and the same
//! in bf16; `functions.json` and `functions.safetensors` hold single functions. [`check_dir`] runs a backend on
//! all of it. A tensor that no comparison reads is an error, so nothing is left out unseen; what a directory or a file
//! lacks is listed ([`Lacking`]). Left out by intent are the causal attention (HRM has none), the dihedral transforms and the order of sampling (which are the
//! dataset's).
//!
//! # What agreement means
//!
//! In f32 ([`check_f32`]): logits, states and losses within 1e-5 of the tensor's largest magnitude; gradients
//! and moments within 2e-5 of theirs; parameters after up to five updates within 2e-5; integers equal.
//!
//! States of an evaluation that miss this get a second look. ACT steps amplify rounding, and the golden numbers
//! are themselves up to 7e-5 from what f64 gives after three steps over 901 positions. The same steps are then
//! run on [`Reference<f64>`](hrm_core::backend::reference::Reference), which may be at most 1e-4 from the golden
//! numbers, and ours may be at most twice as far from it as they are.
//!
//! In bf16 ([`check_bf16`]): each tensor's error is the root mean square of its difference from the f32 golden,
//! relative to that golden's; a group's error is the root of the sum of its tensors' squares; ours may be at
//! most twice that of the published program's own bf16 run. Integers that steer (steps, halted rows, the data
//! they take) must be equal.
//!
//! What is counted in bf16 (right cells, solved rows, rows whose Q value is right) hangs on which logit of a cell
//! is the largest, and on the sign of a Q value. Errors that the logits may have can turn a near tie, so a count
//! is judged as far as the logits decide it. With e the root mean square error of the published bf16 run's logits
//! in a row and step, ours may be off by 2e, and the label's lead over the largest other logit by 4e. A cell whose
//! label leads or falls behind by more than 4e in f32 is decided, and counts as in f32; any other counts as the run
//! at hand has it. A Q value is decided if it is further from 0 than twice the published run's root mean square
//! error in that step. The run's metrics must be what follows from this, to 1e-6, and so must the published bf16
//! run's from its own logits.

mod counts;
mod error;
mod eval;
mod file;
mod functions;
mod judge;
mod model;
mod train;
pub mod workbench;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use hrm_core::kernels::TrainKernels;
use hrm_core::plan::Plan;

pub use error::Error;
use model::Golden;

/// What an error is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Largest difference, as a share of the tensor's largest magnitude.
    OfLargest,
    /// Largest difference.
    Absolute,
    /// Elements that are not equal.
    Mismatches,
    /// Multiples of the error of the published program's f32 run, both against f64.
    OfUpstreamF32,
    /// Multiples of the error of the published program's bf16 run, both against f32.
    OfUpstreamBf16,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OfLargest => "of the largest magnitude",
            Self::Absolute => "absolute",
            Self::Mismatches => "mismatches",
            Self::OfUpstreamF32 => "of upstream's f32 error",
            Self::OfUpstreamBf16 => "of upstream's bf16 error",
        })
    }
}

/// The verdict on one group of tensors of one file.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// The golden file.
    pub file: String,
    /// The tensors: "logits", "carry", "grad mlp.down_proj", ...
    pub group: String,
    /// The largest error in the group.
    pub error: f64,
    /// What it may be at most.
    pub bound: f64,
    /// What both are measured in.
    pub unit: Unit,
}

impl Check {
    /// Whether the error is within its bound.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.error <= self.bound
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed() { "ok" } else { "MISS" };
        let Self { file, group, error, bound, unit } = self;
        write!(f, "{verdict:4} {file:<36} {group:<26} {error:9.2e} of {bound:7.1e} {unit}")
    }
}

/// A group of which the golden files have not all, so that it was not wholly compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// The golden file.
    pub file: String,
    /// The group; `file` where the whole file is not there.
    pub group: String,
    /// The tensors that are not there.
    pub tensors: Vec<String>,
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, group, tensors } = self;
        write!(f, "none {file:<36} {group:<26} not there: {}", tensors.first().map_or("", String::as_str))?;
        match tensors.len().saturating_sub(1) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// All verdicts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// In the order in which they were reached.
    pub checks: Vec<Check>,
    /// What the golden files do not hold.
    pub lacking: Vec<Lacking>,
}

impl Report {
    fn extend(&mut self, more: Self) {
        self.checks.extend(more.checks);
        self.lacking.extend(more.lacking);
    }

    /// Of a file that is not there.
    fn without(file: String) -> Self {
        let lacking = vec![Lacking { tensors: vec![file.clone()], file, group: "file".into() }];
        Self { checks: Vec::new(), lacking }
    }

    /// Of a model of another kind.
    fn foreign(name: &str) -> Self {
        let file = format!("{name}.config.json");
        let tensors = vec!["a model that this program can run".into()];
        Self { checks: Vec::new(), lacking: vec![Lacking { file, group: "model".into(), tensors }] }
    }

    /// Whether every check passed. A report without checks did not.
    #[must_use]
    pub fn passed(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(Check::passed)
    }

    /// The checks that failed.
    pub fn misses(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| !check.passed())
    }
}

/// Makes a backend for a plan.
pub type Factory<K, E> = dyn Fn(&Plan) -> Result<K, E>;

/// Runs a backend on every golden file of `dir`: the f32 files on what `f32` makes, the bf16 files on what
/// `bf16` makes. `progress` hears each verdict as it falls. A backend is made for each model and file, by its
/// plan.
///
/// # Errors
/// A model's configuration or weights are missing, a file is cut off or not of the expected shape, or the backend fails.
/// That numbers differ is no error ([`Report::passed`]), nor that some are not there ([`Report::lacking`]).
pub fn check_dir<K: TrainKernels, E: fmt::Display>(
    dir: &Path,
    progress: &mut dyn FnMut(&Check),
    f32: impl Fn(&Plan) -> Result<K, E>,
    bf16: Option<&Factory<K, E>>,
) -> Result<Report, Error> {
    let mut report = check_f32(dir, progress, f32)?;
    if let Some(bf16) = bf16 {
        report.extend(check_bf16(dir, progress, bf16)?);
    }
    Ok(report)
}

/// Runs an f32 backend on the f32 files of `dir`, see [`check_dir`].
///
/// # Errors
/// As there.
pub fn check_f32<K: TrainKernels, E: fmt::Display>(
    dir: &Path,
    progress: &mut dyn FnMut(&Check),
    factory: impl Fn(&Plan) -> Result<K, E>,
) -> Result<Report, Error> {
    let mut report = Report::default();
    let mut add = |more: Report| report.extend(more);
    let models = models(dir)?;
    add(functions::check(dir, progress, &factory, false)?);
    for name in models {
        if Golden::is_foreign(dir, &name)? {
            add(Report::foreign(&name));
            continue;
        }
        let golden = Golden::open(dir, &name)?;
        add(eval::check(&golden, progress, &factory, false)?);
        for file in golden.training_files() {
            add(train::check(&golden, &file, None, progress, &factory)?);
        }
    }
    Ok(report)
}

/// Runs a bf16 backend on the bf16 files of `dir`, see [`check_dir`].
///
/// # Errors
/// As there.
pub fn check_bf16<K: TrainKernels, E: fmt::Display>(
    dir: &Path,
    progress: &mut dyn FnMut(&Check),
    factory: impl Fn(&Plan) -> Result<K, E>,
) -> Result<Report, Error> {
    let mut report = Report::default();
    let mut add = |more: Report| report.extend(more);
    let models = models(dir)?;
    add(functions::check(dir, progress, &factory, true)?);
    for name in models {
        if Golden::is_foreign(dir, &name)? {
            add(Report::foreign(&name));
            continue;
        }
        let golden = Golden::open(dir, &name)?;
        add(eval::check(&golden, progress, &factory, true)?);
        if golden.is_trained() {
            // Its twin is the first of the five steps in f32.
            add(train::check(&golden, "train_bf16", Some("train_stablemax"), progress, &factory)?);
        }
    }
    Ok(report)
}

/// The models of a directory, in order.
fn models(dir: &Path) -> Result<Vec<String>, Error> {
    let failed = |source| Error::Read { path: dir.into(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let file = entry.map_err(failed)?.file_name();
        if let Some(name) = file.to_str().and_then(|file| file.strip_suffix(".config.json")) {
            names.push(name.to_owned());
        }
    }
    if names.is_empty() && !dir.join(functions::TENSORS).is_file() {
        return Err(Error::Empty { path: dir.into() });
    }
    names.sort();
    Ok(names)
}

/// A JSON file.
fn json(path: &Path) -> Result<serde_json::Value, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::Read { path: path.into(), source })?;
    crate::json::from_str(&text)
        .map_err(|error| Error::Format { path: path.into(), message: error.to_string() })
}

/// Turns a backend's error into ours, naming the file it was run on.
fn failed<E: fmt::Display>(path: &Path) -> impl Fn(E) -> Error + use<E> {
    let path: PathBuf = path.into();
    move |error| Error::Backend { path: path.clone(), message: error.to_string() }
}
