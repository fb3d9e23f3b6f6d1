//! `hrm bench`: how fast this machine trains and solves.

use std::io::Write;
use std::num::NonZeroU64;

use super::train::preset;
use super::values::count;
use crate::backend::{BackendArgs, HostBackend, WithBackend};
use crate::bench::{self, Measured, Options, Report};
use crate::data::Metadata;
use crate::error::{Error, Result};
use crate::memory::human;
use crate::settings::Settings;
use crate::style::{self, FAINT, STRONG};
use crate::train;

/// Measure step time, GFLOP/s, the share of this machine's own GEMM rate, and memory planned and used
#[derive(Debug, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  hrm bench
  hrm bench --preset sudoku-extreme --batch 8 --json")]
pub struct Args {
    /// The model's settings by name
    #[arg(long, value_name = "NAME", default_value = "sudoku-mini")]
    pub preset: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "its fields are documented")]
    pub backend: BackendArgs,
    /// Puzzles per training step [default: what the preset says]
    #[arg(long, value_name = "N", value_parser = count)]
    pub batch: Option<NonZeroU64>,
    /// Steps that are timed, of training and of inference each
    #[arg(long, value_name = "N", value_parser = count, default_value = "7")]
    pub steps: NonZeroU64,
    /// Print the time of each kernel as well
    #[arg(long)]
    pub kernels: bool,
    /// Print the result as one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Cells and tokens of each preset's puzzles.
const TASKS: [(&str, usize, u32); 6] = [
    ("sudoku-4x4", 16, 6),
    ("sudoku-mini", 81, 11),
    ("sudoku-extreme", 81, 11),
    ("maze-hard", 900, 6),
    ("arc-1", 900, 12),
    ("arc-2", 900, 12),
];

/// Steps before the clock starts.
const WARMUP: usize = 2;

/// Measures.
///
/// # Errors
/// There is no such preset, the model does not fit the memory that is free, or the backend fails.
pub fn run(args: &Args) -> Result<()> {
    let options = options(args)?;
    let report = args.backend.dispatch(Measure { options: &options, args })?;
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
    let mut merged = Settings::default();
    merged.text(&format!("preset {}", preset.name), preset.toml)?;
    let mut settings: train::Settings = merged.build()?;
    let size = |n: NonZeroU64| usize::try_from(n.get()).unwrap_or(usize::MAX);
    if let Some(batch) = args.batch {
        settings.global_batch_size = size(batch);
    }
    let Some((_, seq_len, vocab_size)) = TASKS.into_iter().find(|(name, ..)| *name == preset.name) else {
        return Err(Error::failed(format!("the sizes of {}'s puzzles are not known", preset.name)));
    };
    let task = Metadata {
        pad_id: 0,
        ignore_label_id: Some(0),
        blank_identifier_id: 0,
        vocab_size,
        seq_len,
        num_puzzle_identifiers: 1,
        total_groups: 1,
        mean_puzzle_examples: 1.0,
        sets: vec!["all".into()],
    };
    let config = args.backend.configure(settings.config(&task));
    Ok(Options { config, train: settings.train_config(), steps: size(args.steps), warmup: WARMUP })
}

struct Measure<'a> {
    options: &'a Options,
    args: &'a Args,
}

impl WithBackend for Measure<'_> {
    type Output = Report;

    fn call<K: HostBackend>(self) -> Result<Report> {
        let mut report = bench::run::<K>(self.options)?;
        if !self.args.kernels {
            report.training.kernels.clear();
            report.inference.kernels.clear();
        }
        Ok(report)
    }
}

fn table(out: &mut impl Write, report: &Report, args: &Args) -> std::io::Result<()> {
    writeln!(
        out,
        "{STRONG}{}{STRONG:#} on {}, {} threads: {} parameters",
        args.preset, report.backend, report.threads, report.parameters
    )?;
    let [rows, inputs, outputs] = bench::GEMM;
    writeln!(out, "  GEMM {rows} x {inputs} x {outputs}: {:.0} GFLOP/s", report.gemm_gflops)?;
    writeln!(
        out,
        "{FAINT}{:<26}{:>12}{:>12}{:>12}{:>10}{:>10}{:>14}{FAINT:#}",
        "", "median ms", "fastest", "slowest", "GFLOP/s", "of GEMM", "planned"
    )?;
    let named = [("training step", &report.training), ("ACT step, inference", &report.inference)];
    for (name, measured) in named {
        let Measured { batch, seconds, fastest, slowest, gflops, gemm_share, planned_bytes, .. } = measured;
        writeln!(
            out,
            "{:<26}{:>12.2}{:>12.2}{:>12.2}{gflops:>10.1}{:>9.0}%{:>14}",
            format!("{name}, batch {batch}"),
            1e3 * seconds,
            1e3 * fastest,
            1e3 * slowest,
            100.0 * gemm_share,
            human(*planned_bytes)
        )?;
    }
    let peak = report.peak_rss_bytes.map_or("unknown".into(), human);
    writeln!(out, "  peak memory of the process after training: {peak}")?;
    if args.kernels {
        for (name, measured) in named {
            kernels(out, name, measured)?;
        }
    }
    Ok(())
}

/// Where one kind of step spends its time.
fn kernels(out: &mut impl Write, name: &str, measured: &Measured) -> std::io::Result<()> {
    let steps = measured.steps as f64;
    let all: f64 = measured.kernels.iter().map(|kernel| kernel.time.as_secs_f64()).sum();
    writeln!(
        out,
        "{FAINT}{:<26}{:>12}{:>12}{:>12}{:>10}{FAINT:#}",
        format!("{name}, kernels"),
        "calls",
        "ms",
        "share",
        "GFLOP/s"
    )?;
    for kernel in &measured.kernels {
        let seconds = kernel.time.as_secs_f64();
        let flops = kernel.flops.total() as f64;
        let rate = if flops > 0.0 { format!("{:.1}", flops / seconds / 1e9) } else { String::new() };
        writeln!(
            out,
            "{:<26}{:>12.0}{:>12.3}{:>11.1}%{rate:>10}",
            kernel.kernel,
            kernel.calls as f64 / steps,
            1e3 * seconds / steps,
            100.0 * seconds / all
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
            steps: NonZeroU64::new(7).unwrap(),
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
        let options = Options { warmup: 0, ..options(&args).unwrap() };
        let report = Measure { options: &options, args: &args }.call::<Cpu>().unwrap();
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
