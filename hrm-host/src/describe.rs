//! What lies at a path, in numbers: a model, a bundle, a run or a dataset.

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use hrm_core::bundle::Precision;
use hrm_core::config::Config;
use hrm_core::plan::{ElementSizes, Mode, Plan};
use serde::Serialize;

use crate::data::Dataset;
use crate::data::inspect;
use crate::data::sudoku::{Board, Size};
use crate::error::{Error, Result};
use crate::model_dir;
use crate::model_io::bundle::BundleFile;
use crate::model_io::source::Source;
use crate::train::checkpoint::{self, Best};

/// What lies at a path.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Description {
    /// A model in one file.
    Bundle(Bundle),
    /// Puzzles.
    Dataset(Splits),
    /// A training run, or one of its checkpoints.
    Run(Run),
    /// A model directory.
    Model(Model),
}

/// What a configuration says, and what follows from it.
#[derive(Clone, Debug, Serialize)]
pub struct Architecture {
    /// Numbers that are trained.
    pub parameters: usize,
    /// Bytes to solve one puzzle on the CPU.
    pub bytes_to_solve_one: usize,
    /// Bytes to train 64 puzzles at a time on the CPU; nothing for a bundle, which is for inference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_to_train_64: Option<usize>,
    /// The configuration, under the published keys.
    pub config: Config,
}

/// A model directory.
#[derive(Clone, Debug, Serialize)]
pub struct Model {
    /// The directory.
    pub path: PathBuf,
    /// Its architecture.
    #[serde(flatten)]
    pub architecture: Architecture,
    /// Whether the weights carry a checksum. It was verified then.
    pub checksum: bool,
}

/// A training run.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// The run, or the checkpoint that was asked for.
    pub path: PathBuf,
    /// Its newest checkpoint.
    pub checkpoint: PathBuf,
    /// Training steps taken.
    pub step: u64,
    /// Training steps that there shall be.
    pub total_steps: u64,
    /// What computed.
    pub backend: String,
    /// The best evaluation so far.
    pub best: Option<Best>,
    /// The model that other commands take for the run.
    pub model: Model,
}

/// A bundle, whose checksum was verified.
#[derive(Clone, Debug, Serialize)]
pub struct Bundle {
    /// The file.
    pub path: PathBuf,
    /// Its architecture.
    #[serde(flatten)]
    pub architecture: Architecture,
    /// Tensors in it.
    pub tensors: usize,
    /// The element types that occur.
    pub types: Vec<&'static str>,
    /// Length in bytes.
    pub bytes: usize,
    /// The names of the tokens, or none.
    pub tokens: Vec<String>,
}

/// A dataset, of which every token was checked.
#[derive(Clone, Debug, Serialize)]
pub struct Splits {
    /// The directory.
    pub path: PathBuf,
    /// Those of its splits that there are.
    pub splits: Vec<Split>,
}

/// One split of a dataset.
#[derive(Clone, Debug, Serialize)]
pub struct Split {
    /// Its name.
    pub split: &'static str,
    /// Its numbers.
    #[serde(flatten)]
    pub report: inspect::Report,
    /// The first puzzle, if it is a Sudoku.
    #[serde(skip)]
    pub first: Option<Board>,
}

impl Description {
    /// Looks at `path`.
    ///
    /// # Errors
    /// Nothing that the program knows lies there, or it is damaged.
    pub fn of(path: &Path) -> Result<Self> {
        if path.is_file() {
            return Bundle::of(path).map(Self::Bundle);
        }
        if path.join("train").is_dir() || path.join("test").is_dir() {
            return Splits::of(path).map(Self::Dataset);
        }
        let newest = model_dir::checkpoints(path).pop().map_or_else(|| path.to_owned(), |(_, newest)| newest);
        if newest != path || newest.join(checkpoint::TRAINER).exists() {
            return Run::of(path, newest).map(Self::Run);
        }
        Model::of(path).map(Self::Model)
    }
}

impl Architecture {
    /// Of a model that `trains`, or of one that does not.
    fn of(config: &Config, trains: bool) -> Result<Self> {
        let plan = |batch, mode| Plan::new(config, batch, mode).map_err(|e| Error::input(e.to_string()));
        let one = plan(1, Mode::Inference)?;
        Ok(Self {
            parameters: one.params.trained_parameters(),
            bytes_to_solve_one: one.bytes(ElementSizes::F32).total(),
            bytes_to_train_64: trains
                .then(|| Ok::<_, Error>(plan(64, Mode::Training)?.bytes(ElementSizes::F32).total()))
                .transpose()?,
            config: *config,
        })
    }
}

impl Model {
    fn of(path: &Path) -> Result<Self> {
        let source = Source::open(path).map_err(|error| match model_dir::resolve::<Infallible>(path) {
            Ok(_) => error,
            Err(_) => error.hint("a dataset has the directories train or test"),
        })?;
        let architecture = Architecture::of(source.config(), true)?;
        Ok(Self { path: source.path().to_owned(), architecture, checksum: source.verified() })
    }
}

impl Run {
    fn of(path: &Path, newest: PathBuf) -> Result<Self> {
        let state = checkpoint::read_state(&newest)?;
        Ok(Self {
            path: path.to_owned(),
            checkpoint: newest,
            step: state.step,
            total_steps: state.total_steps,
            backend: state.backend,
            best: state.best,
            model: Model::of(path)?,
        })
    }
}

impl Bundle {
    fn of(path: &Path) -> Result<Self> {
        let bundle = BundleFile::open(path)?;
        let tensors = bundle.stored();
        let precisions = tensors.iter().filter_map(|tensor| bundle.precision(&tensor.name));
        let mut types: Vec<&str> = precisions.map(Precision::name).collect();
        types.sort_unstable();
        types.dedup();
        Ok(Self {
            path: path.to_owned(),
            architecture: Architecture::of(bundle.config(), false)?,
            tensors: tensors.len(),
            types,
            bytes: bundle.size(),
            tokens: bundle.vocabulary().to_vec(),
        })
    }
}

impl Splits {
    fn of(path: &Path) -> Result<Self> {
        let there = ["train", "test"].into_iter().filter(|split| path.join(split).is_dir());
        let splits = there.map(|split| Split::of(path, split)).collect::<Result<_>>()?;
        Ok(Self { path: path.to_owned(), splits })
    }
}

impl Split {
    fn of(path: &Path, split: &'static str) -> Result<Self> {
        let data = Dataset::open(path, split)?;
        data.verify()?;
        let metadata = data.metadata();
        let size = Size::from_cells(metadata.seq_len).filter(|size| size.vocab_size() == metadata.vocab_size);
        let first = match size.filter(|_| data.examples() > 0) {
            Some(size) => Board::from_tokens(size, &inspect::Sample::read(&data, 0)?.inputs),
            None => None,
        };
        Ok(Self { split, report: inspect::Report::of(&data), first })
    }
}
