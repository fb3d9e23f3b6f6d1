//! `hrm train`: from a dataset to a model.

use std::num::NonZeroU64;
use std::path::PathBuf;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::values::{Assignment, count, minutes};
use super::watch::Watch;
use super::words::{program, shell_word};
use crate::backend::{BackendArgs, Dtype, TrainBackend, WithTrainBackend};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::files;
use crate::interrupt::Interrupt;
use crate::memory;
use crate::nearest::nearest;
use crate::progress::Mode;
use crate::settings;
use crate::train::run::{End, SETTINGS};
use crate::train::{self, Settings, Trainer, checkpoint, presets};

/// Train a model or resume a run
///
/// Ctrl-C writes a checkpoint and stops; a second Ctrl-C stops at once. A resumed run gives the same bits as an
/// uninterrupted one.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hrm train --preset sudoku-mini --data data/sudoku --out runs/a
  hrm train --config my.toml --set lr=3e-4 --set arch.hidden_size=256 --data data/sudoku --out runs/b
  hrm train --resume --data data/sudoku --out runs/a")]
#[command(group(clap::ArgGroup::new("settings").required(true).args(["preset", "config", "resume"]).multiple(true)))]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Directory of the run, for checkpoints, metrics and models
    #[arg(long, value_name = "RUN")]
    pub out: PathBuf,
    /// Named settings, such as sudoku-mini or sudoku-extreme
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    pub preset: Option<String>,
    /// Settings from a TOML file
    #[arg(long, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
    /// Override a setting; can be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<Assignment>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "its fields are documented")]
    pub backend: BackendArgs,
    /// Stop after this many steps [default: from the settings]
    #[arg(long, value_name = "N", value_parser = count)]
    pub steps: Option<NonZeroU64>,
    /// Write a checkpoint and stop after this many minutes; the learning rate's schedule still covers all steps
    #[arg(long, value_name = "M", value_parser = minutes)]
    pub max_minutes: Option<Duration>,
    /// Seed of every random choice [default: from the settings]
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// Resume from the last checkpoint in RUN, with the run's own settings
    #[arg(long)]
    pub resume: bool,
}

/// A training run to start or to go on with.
#[derive(Debug, PartialEq)]
pub struct Options {
    /// The dataset.
    pub data: PathBuf,
    /// The directory of the run.
    pub out: PathBuf,
    /// Where the settings come from.
    pub base: Base,
    /// Overrides, in order.
    pub set: Vec<Assignment>,
    /// What computes; its precision, if one is given, is the model's `forward_dtype`.
    pub backend: BackendArgs,
    /// Where to stop, if not where the settings say.
    pub steps: Option<NonZeroU64>,
    /// How long to train, if not to the end.
    pub max_minutes: Option<Duration>,
    /// The seed, if not the settings' own.
    pub seed: Option<u64>,
    /// Whether the run goes on from its last checkpoint.
    pub resume: bool,
}

/// Where a run's settings come from, before the overrides.
#[derive(Debug, PartialEq)]
pub enum Base {
    /// A preset.
    Preset(String),
    /// A TOML file.
    File(PathBuf),
    /// The run that is resumed.
    Run,
}

impl Args {
    /// Settles where the settings come from. With `--resume`, a preset or file that is given as well is kept as the base, so
    /// that it can be compared with the run's own.
    pub fn validate(self) -> Result<Options> {
        let base = match (self.preset, self.config) {
            (Some(name), None) => Base::Preset(name),
            (None, Some(path)) => Base::File(path),
            (None, None) if self.resume => Base::Run,
            _ => return Err(Error::usage("expected one of --preset NAME, --config FILE.toml and --resume")),
        };
        Ok(Options {
            data: self.data,
            out: self.out,
            base,
            set: self.set,
            backend: self.backend,
            steps: self.steps,
            max_minutes: self.max_minutes,
            seed: self.seed,
            resume: self.resume,
        })
    }
}

/// Trains.
///
/// # Errors
/// Wrong usage or input, or a failure on the way; the last checkpoint is then intact.
pub fn run(args: Args) -> Result<()> {
    let options = args.validate()?;
    let why = "integers have no gradients; a trained model is asked with --backend int8 as it is";
    options.backend.dispatch_training(why, Train(&options))
}

struct Train<'a>(&'a Options);

impl WithTrainBackend for Train<'_> {
    type Output = ();

    fn call<K: TrainBackend>(self) -> Result<()> {
        train::<K>(self.0)
    }
}

fn train<K: TrainBackend>(options: &Options) -> Result<()> {
    let dataset = Arc::new(Dataset::open(&options.data, "train")?);
    dataset.verify()?;
    let test = open_test(&options.data)?;
    let mapped = dataset.mapped_bytes() + test.as_ref().map_or(0, Dataset::mapped_bytes);
    let (data, test_data) = (Arc::clone(&dataset), test.as_ref());
    let mut trainer = if options.resume {
        resume::<K>(options, data, test_data)?
    } else {
        begin::<K>(options, data, test_data)?
    };
    let interrupt = Interrupt::install()?;
    let state = trainer.state();
    let mode = Mode::choose(false);
    let mut watch = Watch::new(mode, state.step, state.total_steps, trainer.plan().batch, interrupt);
    watch.say(&describe::<K>(&trainer, mapped));
    let limit = options.max_minutes;
    let outcome = train::run::run(&mut trainer, &options.out, test.as_ref(), limit, &mut watch);
    watch.finish();
    let outcome = outcome?;
    let out = options.out.display();
    let go_on = format!(
        "go on with: {} train --resume --backend {} --data {} --out {}",
        program(),
        K::NAME,
        shell_word(&options.data),
        shell_word(&options.out)
    );
    let why = match outcome.end {
        End::Interrupted => {
            let saved = outcome.checkpoint.display();
            let what = format!("interrupted after step {}; saved {saved}", outcome.step);
            return Err(Error::interrupted(what).hint(go_on));
        }
        End::Finished => "done",
        End::OutOfPatience => "no better for a while, stopped early",
        End::OutOfTime => "out of time",
    };
    watch.say(&format!("{why} after {} steps in {:.0} s; model: {out}", outcome.step, outcome.seconds));
    if outcome.end == End::OutOfTime {
        watch.say(&go_on);
    }
    Ok(())
}

/// The held-out split, if the dataset has one, with every token checked: the first evaluation would be late.
fn open_test(data: &Path) -> Result<Option<Dataset>> {
    if !data.join("test").exists() {
        return Ok(None);
    }
    let test = Dataset::open(data, "test")?;
    test.verify()?;
    Ok(Some(test))
}

/// The preset called `name`.
pub(super) fn preset(name: &str) -> Result<&'static presets::Preset> {
    presets::find(name).ok_or_else(|| {
        let known = presets::PRESETS.map(|preset| preset.name);
        let error = Error::usage(format!("given --preset {name}, expected one of {}", known.join(", ")));
        match nearest(name, &known) {
            Some(meant) => error.hint(format!("did you mean `{meant}`?")),
            None => error,
        }
    })
}

/// The merged settings of a new run: preset or file, then overrides, then flags.
fn merge(options: &Options) -> Result<settings::Settings> {
    let mut merged = settings::Settings::default();
    match &options.base {
        Base::Preset(name) => {
            let preset = preset(name)?;
            merged.text(&format!("preset {name}"), preset.toml)?;
        }
        Base::File(path) => merged.file(path)?,
        Base::Run => {}
    }
    for assignment in &options.set {
        merged.set(&assignment.0)?;
    }
    match options.backend.dtype {
        Some(Dtype::F32) => merged.set("arch.forward_dtype=float32")?,
        Some(Dtype::Bf16) => merged.set("arch.forward_dtype=bfloat16")?,
        None => {}
    }
    if let Some(steps) = options.steps {
        merged.set(&format!("steps={steps}"))?;
    }
    if let Some(seed) = options.seed {
        merged.set(&format!("seed={seed}"))?;
    }
    Ok(merged)
}

fn begin<K: TrainBackend>(
    options: &Options,
    dataset: Arc<Dataset>,
    test: Option<&Dataset>,
) -> Result<Trainer<K>> {
    let merged = merge(options)?;
    let settings: Settings = merged.build()?;
    let out = options.out.display();
    files::remove_stale(&options.out)?;
    if fs::read_dir(&options.out).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Error::input(format!("{out} exists and is not empty"))
            .hint("add --resume to go on with the run in it, or name another directory"));
    }
    fits::<K>(&settings, &dataset, test)?;
    let trainer = Trainer::new(&settings, dataset)?;
    files::create_dir_all(&options.out)?;
    files::write_bytes(&options.out.join(SETTINGS), merged.to_toml().as_bytes())?;
    Ok(trainer)
}

fn resume<K: TrainBackend>(
    options: &Options,
    dataset: Arc<Dataset>,
    test: Option<&Dataset>,
) -> Result<Trainer<K>> {
    files::remove_stale(&options.out)?;
    let recorded = options.out.join(SETTINGS);
    if crate::model_dir::checkpoints(&options.out).is_empty() && recorded.is_file() {
        // Stopped before its first checkpoint: the run begins again.
        let mut merged = settings::Settings::default();
        merged.file(&recorded)?;
        let settings = resumed_settings(options, merged.build()?)?;
        fits::<K>(&settings, &dataset, test)?;
        let trainer = Trainer::new(&settings, dataset)?;
        record_steps(options, &recorded)?;
        return Ok(trainer);
    }
    let newest = checkpoint::newest(&options.out)?;
    let fall_back = |error: Error| {
        let older = crate::model_dir::checkpoints(&options.out);
        match older.iter().rev().nth(1) {
            Some((_, path)) => error.hint(format!(
                "{} is the checkpoint before it: move the damaged one away and resume again",
                path.display()
            )),
            None => error,
        }
    };
    let state = checkpoint::read_state(&newest).map_err(fall_back)?;
    if let Some(steps) = options.steps.filter(|steps| steps.get() < state.step) {
        return Err(Error::usage(format!(
            "given --steps {steps}, but the run has done {} steps",
            state.step
        ))
        .hint("give more to train for longer, or leave it out to go on to the run's own end"));
    }
    let settings = resumed_settings(options, state.settings)?;
    fits::<K>(&settings, &dataset, test)?;
    let mut trainer = Trainer::resume(&newest, dataset).map_err(fall_back)?;
    trainer.set_steps(settings.steps);
    record_steps(options, &recorded)?;
    Ok(trainer)
}

/// Notes in the run's settings that it shall have other steps than it began with.
fn record_steps(options: &Options, recorded: &Path) -> Result<()> {
    let Some(steps) = options.steps.filter(|_| recorded.is_file()) else { return Ok(()) };
    let mut merged = settings::Settings::default();
    merged.file(recorded)?;
    merged.set(&format!("steps={steps}"))?;
    files::write_bytes(recorded, merged.to_toml().as_bytes()).map(drop)
}

/// The settings of a run that goes on: its own, and as many steps as are asked for now.
fn resumed_settings(options: &Options, mut settings: Settings) -> Result<Settings> {
    if options.base != Base::Run {
        let given: Settings = merge(options)?.build()?;
        let same = Settings { steps: settings.steps, ..given.clone() } == settings;
        if !same {
            return Err(Error::input(format!(
                "{}: began with other settings than those given now",
                options.out.display()
            ))
            .hint("leave out --preset, --config, --set, --seed and --dtype to go on with the run's own"));
        }
    } else if !options.set.is_empty() || options.seed.is_some() || options.backend.dtype.is_some() {
        return Err(Error::usage("--set, --seed and --dtype cannot change a run that is resumed")
            .hint("only --steps can, to train for longer"));
    }
    if let Some(steps) = options.steps {
        settings.steps = steps.get();
    }
    Ok(settings)
}

/// Refuses a run whose held-out puzzles are of another kind than those it trains on, or that does not fit the memory
/// that is free, before anything is allocated.
fn fits<K: TrainBackend>(settings: &Settings, dataset: &Dataset, test: Option<&Dataset>) -> Result<()> {
    if let Some(test) = test {
        super::eval::fits(test, &settings.config(dataset.metadata()))?;
    }
    let planned = |batch: usize| -> Result<u64> {
        let settings = Settings { global_batch_size: batch, ..settings.clone() };
        Ok(train::planned_bytes::<K>(&train::plan(&settings, dataset)?) as u64)
    };
    let needed = planned(settings.global_batch_size)?;
    let Some(available) = K::available_bytes().map_err(Error::backend)? else { return Ok(()) };
    if needed <= available {
        return Ok(());
    }
    let mut largest = settings.global_batch_size;
    while largest > 0 && planned(largest).is_ok_and(|bytes| bytes > available) {
        largest /= 2;
    }
    let error = Error::input(format!(
        "the run needs {}, {} has {} free",
        memory::human(needed),
        K::PLACE,
        memory::human(available)
    ));
    Err(if largest > 0 {
        error.hint(format!("a batch of {largest} fits: --set global_batch_size={largest}"))
    } else {
        error.hint("not even one row fits: choose a smaller model")
    })
}

/// What is about to be trained, in two lines. `mapped` are the bytes of the mapped dataset.
fn describe<K: TrainBackend>(trainer: &Trainer<K>, mapped: usize) -> String {
    let (plan, state) = (trainer.plan(), trainer.state());
    let bytes = plan.bytes(K::element_sizes(plan));
    let total = (train::planned_bytes::<K>(plan) + mapped) as u64;
    let beside = total - bytes.total() as u64;
    let human = |bytes: usize| memory::human(bytes as u64);
    format!(
        "{} parameters on {}, batch {}, steps {} to {}\nmemory {}: parameters {}, gradients {}, moments {}, \
         activations {}, the rest {}",
        plan.params.trained_parameters(),
        K::NAME,
        plan.batch,
        state.step,
        state.total_steps,
        memory::human(total),
        human(bytes.params),
        human(bytes.gradients),
        human(bytes.moments),
        human(bytes.acts),
        memory::human(beside + (bytes.stats + bytes.ids) as u64),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend;
    use crate::cli::testing::parse;

    fn options(line: &[&str]) -> Result<Options, String> {
        let args: Args = parse(&[&["--data", "d", "--out", "r"], line].concat())?;
        args.validate().map_err(|error| error.to_string())
    }

    #[test]
    fn every_flag_parses() {
        let line = "--preset sudoku-mini --set lr=1e-4 --set a.b=c --backend reference --dtype f32 --steps 10 --max-minutes 1.5 \
             --seed 3 --resume";
        let expected = Options {
            data: "d".into(),
            out: "r".into(),
            base: Base::Preset("sudoku-mini".to_owned()),
            set: vec![Assignment("lr=1e-4".to_owned()), Assignment("a.b=c".to_owned())],
            backend: BackendArgs { backend: Backend::Reference, dtype: Some(Dtype::F32) },
            steps: NonZeroU64::new(10),
            max_minutes: Some(Duration::from_secs(90)),
            seed: Some(3),
            resume: true,
        };
        assert_eq!(options(&line.split(' ').collect::<Vec<_>>()), Ok(expected));
    }

    #[test]
    fn settings_come_from_exactly_one_place() {
        assert_eq!(options(&["--config", "a.toml"]).unwrap().base, Base::File("a.toml".into()));
        assert_eq!(options(&["--resume"]).unwrap().base, Base::Run);
        for bad in [
            &[][..],
            &["--preset", "a", "--config", "b"],
            &["--preset", "a", "--set", "lr"],
            &["--preset", "a", "--steps", "0"],
            &["--preset", "a", "--max-minutes", "-1"],
            &["--preset", "a", "--backend", "abacus"],
        ] {
            assert!(options(bad).is_err(), "{bad:?}");
        }
    }
}
