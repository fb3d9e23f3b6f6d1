//! `hrm train`: from a dataset to a model.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
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
use crate::model_dir::checkpoints;
use crate::nearest::nearest;
use crate::progress::Mode;
use crate::settings;
use crate::train::files::{RunDir, SETTINGS, expect_free, newest};
use crate::train::run::End;
use crate::train::{self, Settings, Trainer, checkpoint, presets};

/// Train a model or resume a run
///
/// Ctrl-C writes a checkpoint and stops; a second Ctrl-C stops at once. A resumed run gives the same bits as an
/// uninterrupted one.
#[derive(Debug, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  hrm train --preset sudoku-mini --data data/sudoku --out runs/a
  hrm train --config my.toml --set lr=3e-4 --set arch.hidden_size=256 --data data/sudoku --out runs/b
  hrm train --resume --data data/sudoku --out runs/a")]
#[command(group(clap::ArgGroup::new("settings").required(true).args(["preset", "config", "resume"]).multiple(true)))]
pub struct Args {
    /// The dataset; several, each with a --data of its own, are trained on together
    #[arg(long, value_name = "DIR", required = true)]
    pub data: Vec<PathBuf>,
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

/// Trains.
///
/// # Errors
/// Wrong usage or input, or a failure on the way; the last checkpoint is then intact.
pub fn run(args: Args) -> Result<()> {
    let why = "integers have no gradients; a trained model is asked with --backend int8 as it is";
    args.backend.dispatch_training(why, Train(&args))
}

struct Train<'a>(&'a Args);

impl WithTrainBackend for Train<'_> {
    type Output = ();

    fn call<K: TrainBackend>(self) -> Result<()> {
        train::<K>(self.0)
    }
}

fn train<K: TrainBackend>(args: &Args) -> Result<()> {
    if !args.resume {
        expect_free(&args.out)?;
    }
    let dataset = Arc::new(Dataset::open_all(&args.data)?);
    dataset.verify()?;
    let test = open_test(&args.data)?;
    let mapped = dataset.mapped_bytes() + test.as_ref().map_or(0, Dataset::mapped_bytes);
    let (data, test_data) = (Arc::clone(&dataset), test.as_ref());
    let (run, mut trainer) =
        if args.resume { resume::<K>(args, data, test_data)? } else { begin::<K>(args, data, test_data)? };
    let interrupt = Interrupt::install()?;
    let state = trainer.state();
    let mode = Mode::choose(false);
    let mut watch = Watch::new(mode, state.step, state.total_steps, trainer.plan().batch, interrupt);
    watch.say(&describe::<K>(&trainer, mapped));
    let outcome = train::run::run(&mut trainer, &run, test.as_ref(), args.max_minutes, &mut watch);
    watch.finish();
    let outcome = outcome?;
    let out = args.out.display();
    let data: String = args.data.iter().map(|data| format!(" --data {}", shell_word(data))).collect();
    let go_on = format!(
        "go on with: {} train --resume --backend {}{data} --out {}",
        program(),
        K::NAME,
        shell_word(&args.out)
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

/// The held-out splits, if there are any, with every token checked: the first evaluation would be late.
fn open_test(data: &[PathBuf]) -> Result<Option<Dataset>> {
    let test = Dataset::open_all_held_out(data)?;
    test.as_ref().map_or(Ok(()), Dataset::verify)?;
    Ok(test)
}

/// The preset called `name`.
pub(super) fn preset(name: &str) -> Result<&'static presets::Preset> {
    presets::find(name).ok_or_else(|| {
        let known = presets::PRESETS.map(|preset| preset.name);
        let error = Error::usage(format!("there is no preset {name}, expected one of {}", known.join(", ")));
        match nearest(name, &known) {
            Some(meant) => error.hint(format!("did you mean `{meant}`?")),
            None => error,
        }
    })
}

/// The merged settings of a new run: preset or file, then overrides, then flags.
fn merge(args: &Args) -> Result<settings::Settings> {
    let mut merged = settings::Settings::default();
    if let Some(name) = &args.preset {
        merged.text(&format!("preset {name}"), preset(name)?.toml)?;
    }
    if let Some(path) = &args.config {
        merged.file(path)?;
    }
    for assignment in &args.set {
        merged.set(&assignment.0)?;
    }
    match args.backend.dtype {
        Some(Dtype::F32) => merged.set("arch.forward_dtype=float32")?,
        Some(Dtype::Bf16) => merged.set("arch.forward_dtype=bfloat16")?,
        None => {}
    }
    if let Some(steps) = args.steps {
        merged.set(&format!("steps={steps}"))?;
    }
    if let Some(seed) = args.seed {
        merged.set(&format!("seed={seed}"))?;
    }
    Ok(merged)
}

fn begin<K: TrainBackend>(
    args: &Args,
    dataset: Arc<Dataset>,
    test: Option<&Dataset>,
) -> Result<(RunDir, Trainer<K>)> {
    let merged = merge(args)?;
    let settings: Settings = merged.build()?;
    fits::<K>(&settings, &dataset, test)?;
    let trainer = Trainer::new(&settings, dataset)?;
    let run = RunDir::create(&args.out)?;
    files::write_bytes(&args.out.join(SETTINGS), merged.to_toml().as_bytes())?;
    Ok((run, trainer))
}

/// Takes the run up again. Until it is certain that it goes on, nothing of it is changed.
fn resume<K: TrainBackend>(
    args: &Args,
    dataset: Arc<Dataset>,
    test: Option<&Dataset>,
) -> Result<(RunDir, Trainer<K>)> {
    let run = RunDir::reopen(&args.out)?;
    let recorded = args.out.join(SETTINGS);
    let mut trainer = if checkpoints(&args.out).is_empty() && recorded.is_file() {
        // Stopped before its first checkpoint: the run begins again.
        let mut merged = settings::Settings::default();
        merged.file(&recorded)?;
        let settings = resumed_settings(args, merged.build()?)?;
        fits::<K>(&settings, &dataset, test)?;
        Trainer::new(&settings, dataset)?
    } else {
        let newest = newest(&args.out)?;
        let state = checkpoint::read_state(&newest).map_err(|e| checkpoint::or_fall_back(e, &newest))?;
        if let Some(steps) = args.steps.filter(|steps| steps.get() < state.step) {
            return Err(Error::usage(format!(
                "given --steps {steps}, but the run has done {} steps",
                state.step
            ))
            .hint("give more to train for longer, or leave it out to go on to the run's own end"));
        }
        state.expect(K::NAME, &dataset)?;
        state.expect_test(test)?;
        let settings = resumed_settings(args, state.settings)?;
        fits::<K>(&settings, &dataset, test)?;
        let mut trainer = Trainer::resume(&newest, dataset)?;
        trainer.set_steps(settings.steps);
        trainer
    };
    trainer.expect_test(test)?;
    run.clear()?;
    record_steps(args, &recorded)?;
    Ok((run, trainer))
}

/// Notes in the run's settings that it shall have other steps than it began with.
fn record_steps(args: &Args, recorded: &Path) -> Result<()> {
    let Some(steps) = args.steps.filter(|_| recorded.is_file()) else { return Ok(()) };
    let mut merged = settings::Settings::default();
    merged.file(recorded)?;
    merged.set(&format!("steps={steps}"))?;
    files::write_bytes(recorded, merged.to_toml().as_bytes()).map(drop)
}

/// The settings of a run that goes on: its own, and as many steps as are asked for now.
fn resumed_settings(args: &Args, mut settings: Settings) -> Result<Settings> {
    if args.preset.is_some() || args.config.is_some() {
        let given: Settings = merge(args)?.build()?;
        let same = Settings { steps: settings.steps, ..given.clone() } == settings;
        if !same {
            return Err(Error::input(format!(
                "{}: began with other settings than those given now",
                args.out.display()
            ))
            .hint("leave out --preset, --config, --set, --seed and --dtype to go on with the run's own"));
        }
    } else if !args.set.is_empty() || args.seed.is_some() || args.backend.dtype.is_some() {
        return Err(Error::usage("--set, --seed and --dtype cannot change a run that is resumed")
            .hint("only --steps can, to train for longer"));
    }
    if let Some(steps) = args.steps {
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
    let Some(room) = K::room().map_err(Error::backend)?.filter(|room| room.bytes < needed) else {
        return Ok(());
    };
    let mut largest = settings.global_batch_size;
    while largest > 0 && planned(largest).is_ok_and(|bytes| bytes > room.bytes) {
        largest /= 2;
    }
    let error = Error::input(format!("the run needs {}, {room}", memory::human(needed)));
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

    fn args(line: &[&str]) -> Result<Args, String> {
        parse(&[&["--data", "d", "--out", "r"], line].concat())
    }

    #[test]
    fn every_flag_parses() {
        let line = "--preset sudoku-mini --set lr=1e-4 --set a.b=c --backend reference --dtype f32 --steps 10 --max-minutes 1.5 \
             --seed 3 --resume";
        let expected = Args {
            data: vec!["d".into()],
            out: "r".into(),
            preset: Some("sudoku-mini".to_owned()),
            config: None,
            set: vec![Assignment("lr=1e-4".to_owned()), Assignment("a.b=c".to_owned())],
            backend: BackendArgs { backend: Backend::Reference, dtype: Some(Dtype::F32) },
            steps: NonZeroU64::new(10),
            max_minutes: Some(Duration::from_secs(90)),
            seed: Some(3),
            resume: true,
        };
        assert_eq!(args(&line.split(' ').collect::<Vec<_>>()), Ok(expected));
    }

    #[test]
    fn settings_come_from_exactly_one_place() {
        assert_eq!(args(&["--config", "a.toml"]).unwrap().config, Some("a.toml".into()));
        assert!(args(&["--resume"]).unwrap().resume);
        for bad in [
            &[][..],
            &["--preset", "a", "--config", "b"],
            &["--preset", "a", "--set", "lr"],
            &["--preset", "a", "--steps", "0"],
            &["--preset", "a", "--max-minutes", "-1"],
            &["--preset", "a", "--backend", "abacus"],
        ] {
            assert!(args(bad).is_err(), "{bad:?}");
        }
    }
}
