//! `hrm bench`: how fast this machine trains and solves.

use std::io::Write;
use std::num::NonZeroU64;

use super::train::preset;
use super::values::{count, count_to};
use crate::backend::{Backend, BackendArgs, HostBackend, TrainBackend, WithBackend, WithTrainBackend};
use crate::bench::{self, Measured, Options, Report};
use crate::error::{Error, Result};
use crate::memory::human;
use crate::style::{self, FAINT, STRONG};

/// Measure step time, GFLOP/s, the share of this machine's GEMM rate, and planned and used memory
#[derive(Debug, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  hrm bench
  hrm bench --preset sudoku-extreme --batch 8 --json
  hrm bench --preset sudoku-extreme --batch 1 --backend int8
  hrm bench --preset sudoku-extreme --batch 768 --backend cuda --dtype bf16 --kernels")]
pub struct Args {
    /// Named settings of the model
    #[arg(long, value_name = "NAME", default_value = "sudoku-mini")]
    pub preset: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "its fields are documented")]
    pub backend: BackendArgs,
    /// Puzzles per training step [default: the preset's]; with --backend int8, which cannot train, per ACT step
    /// [default: 1]
    #[arg(long, value_name = "N", value_parser = count)]
    pub batch: Option<NonZeroU64>,
    /// Puzzles per ACT step of inference [default: 1; with --backend cuda the same as in training]
    #[arg(long, value_name = "N", value_parser = count)]
    pub inference_batch: Option<NonZeroU64>,
    /// Steps to time, for training and for inference [default: 7; 100 with --backend cuda]
    #[arg(long, value_name = "N", value_parser = |text: &str| count_to(text, 1_000_000))]
    pub steps: Option<NonZeroU64>,
    /// Also print the time of each kernel
    #[arg(long)]
    pub kernels: bool,
    /// Print the result as one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Measures.
///
/// # Errors
/// There is no such preset, the model does not fit the memory that is free, or the backend fails.
pub fn run(args: &Args) -> Result<()> {
    let options = options(args)?;
    let report = match args.backend.backend {
        Backend::Int8 => args.backend.dispatch(Measure(&options))?,
        _ => args.backend.dispatch_training("training is measured, too", Measure(&options))?,
    };
    let mut out = style::stdout();
    if args.json {
        let mut line = serde_json::to_value(&report).map_err(|e| Error::failed(e.to_string()))?;
        line["preset"] = args.preset.as_str().into();
        return writeln!(out, "{line}").map_err(Error::output);
    }
    table(&mut out, &report, args).map_err(Error::output)
}

/// What the preset's training would be on data of its task's sizes.
fn options(args: &Args) -> Result<Options> {
    let preset = preset(&args.preset)?;
    let mut settings = preset.settings()?;
    let size = |n: NonZeroU64| usize::try_from(n.get()).unwrap_or(usize::MAX);
    if let Some(batch) = args.batch {
        settings.global_batch_size = size(batch);
    }
    let config = args.backend.configure(settings.config(&preset.task()));
    let inferred = args.batch.filter(|_| args.backend.backend == Backend::Int8);
    Ok(Options {
        config,
        train: settings.train_config(),
        recompute: settings.recompute,
        inference_batch: args.inference_batch.or(inferred).map(size),
        steps: args.steps.map(size),
        kernels: args.kernels,
    })
}

struct Measure<'a>(&'a Options);

impl WithBackend for Measure<'_> {
    type Output = Report;

    fn call<K: HostBackend>(self) -> Result<Report> {
        bench::run_inference::<K>(self.0)
    }
}

impl WithTrainBackend for Measure<'_> {
    type Output = Report;

    fn call<K: TrainBackend>(self) -> Result<Report> {
        bench::run::<K>(self.0)
    }
}

fn table(out: &mut impl Write, report: &Report, args: &Args) -> std::io::Result<()> {
    let Report { backend, dtype, threads, parameters, gemm, gemm_gflops, copy_gbytes, .. } = report;
    writeln!(
        out,
        "{STRONG}{}{STRONG:#} on {backend} in {dtype}, {threads} threads: {parameters} parameters",
        args.preset
    )?;
    let [rows, inputs, outputs] = gemm;
    write!(out, "  GEMM {rows} x {inputs} x {outputs}: {gemm_gflops:.0} GFLOP/s")?;
    match copy_gbytes {
        Some(rate) => writeln!(out, ", copy: {rate:.0} GB/s")?,
        None => writeln!(out)?,
    }
    writeln!(
        out,
        "{FAINT}{:<28}{:>11}{:>11}{:>11}{:>10}{:>9}{:>12}{:>12}{FAINT:#}",
        "", "median ms", "fastest", "slowest", "GFLOP/s", "of GEMM", "planned", "used"
    )?;
    let training = report.training.as_ref().map(|training| ("training step", training));
    let named = training.into_iter().chain([("ACT step, inference", &report.inference)]);
    for (name, measured) in named.clone() {
        let Measured { batch, seconds, fastest, slowest, gflops, gemm_share, .. } = measured;
        writeln!(
            out,
            "{:<28}{:>11.2}{:>11.2}{:>11.2}{gflops:>10.1}{:>8.0}%{:>12}{:>12}",
            format!("{name}, batch {batch}"),
            1e3 * seconds,
            1e3 * fastest,
            1e3 * slowest,
            100.0 * gemm_share,
            human(measured.planned_bytes),
            measured.used_bytes.map_or("unknown".into(), human)
        )?;
    }
    writeln!(out, "  used: at most by this process so far, or on the device by all")?;
    for (name, measured) in named {
        kernels(out, name, measured, report)?;
    }
    Ok(())
}

/// Where one kind of step spends its time, if that was asked for.
fn kernels(out: &mut impl Write, name: &str, measured: &Measured, report: &Report) -> std::io::Result<()> {
    if measured.kernels.is_empty() {
        return Ok(());
    }
    let steps = measured.kernel_steps as f64;
    let all: f64 = measured.kernels.iter().map(|kernel| kernel.seconds).sum();
    writeln!(
        out,
        "{FAINT}{:<28}{:>11}{:>11}{:>9}{:>10}{:>9}{:>9}{:>9}{FAINT:#}",
        format!("{name}, kernels"),
        "calls",
        "ms",
        "share",
        "GFLOP/s",
        "of GEMM",
        "GB/s",
        "of copy"
    )?;
    let share = |rate: f64, ceiling: Option<f64>| match ceiling {
        Some(ceiling) if rate > 0.0 => format!("{:.0}%", 100.0 * rate / ceiling),
        _ => String::new(),
    };
    let number = |rate: f64| if rate > 0.0 { format!("{rate:.1}") } else { String::new() };
    for kernel in &measured.kernels {
        let per_second = |amount: u64| amount as f64 / kernel.seconds / 1e9;
        let (gflops, gbytes) = (per_second(kernel.flops.total()), per_second(kernel.bytes));
        let of = kernel.widths.map_or(String::new(), |[inner, outer]| format!(" {inner}x{outer}"));
        writeln!(
            out,
            "{:<28}{:>11.0}{:>11.3}{:>8.1}%{:>10}{:>9}{:>9}{:>9}",
            format!("{}{of}", kernel.kernel),
            kernel.calls as f64 / steps,
            1e3 * kernel.seconds / steps,
            100.0 * kernel.seconds / all,
            number(gflops),
            share(gflops, Some(report.gemm_gflops)),
            number(gbytes),
            share(gbytes, report.copy_gbytes)
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Cpu;
    use crate::cli::testing::parse;
    use crate::train::presets::PRESETS;

    #[test]
    fn defaults_and_flags() {
        let plain = Args {
            preset: "sudoku-mini".to_owned(),
            backend: BackendArgs::default(),
            batch: None,
            inference_batch: None,
            steps: None,
            kernels: false,
            json: false,
        };
        assert_eq!(parse(&[]), Ok(plain));
        let args: Args = parse(&["--preset", "arc-1", "--batch", "8", "--json", "--kernels"]).unwrap();
        assert_eq!((args.preset.as_str(), args.batch, args.json), ("arc-1", NonZeroU64::new(8), true));
        assert!(args.kernels);
        assert!(parse::<Args>(&["--batch", "0"]).is_err() && parse::<Args>(&["--steps", "0"]).is_err());
    }

    #[test]
    fn every_preset_has_a_model_of_its_task_s_size() {
        for preset in PRESETS {
            let args: Args = parse(&["--preset", preset.name, "--batch", "5"]).unwrap();
            let options = options(&args).unwrap();
            assert_eq!(options.config.validate(), Ok(()), "{}", preset.name);
            assert_eq!(options.train.global_batch_size, 5);
        }
        let args: Args = parse(&["--preset", "chess"]).unwrap();
        assert_eq!(options(&args).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn the_table_has_a_line_for_each_step_and_each_kernel() {
        let args: Args =
            parse(&["--preset", "sudoku-4x4", "--batch", "1", "--steps", "1", "--kernels"]).unwrap();
        let report = bench::run::<Cpu>(&options(&args).unwrap()).unwrap();
        let mut text = Vec::new();
        table(&mut text, &report, &args).unwrap();
        let text = String::from_utf8(text).unwrap();
        for line in
            ["training step, batch 1", "ACT step, inference, batch 1", "adam_atan2", "rope_attention_vjp"]
        {
            assert_eq!(
                text.lines().filter(|l| l.starts_with(line) && !l.contains("NaN")).count(),
                1,
                "{line}\n{text}"
            );
        }
    }
}
