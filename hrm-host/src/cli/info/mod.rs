//! `hrm info`: what a directory holds.

mod embedded;

use std::io::{self, Write};
use std::path::PathBuf;

use hrm_core::config::PosEncodings;

use super::devices;
use super::words::counted;
use crate::data::sudoku::Style;
use crate::describe::{Architecture, Bundle, Description, Model, Run, Split};
use crate::error::{Error, Result};
use crate::memory;
use crate::style::{self, STRONG};
use crate::train::curve;

/// Describe a model, a bundle, a run or a dataset, or list the GPUs
#[derive(Debug, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  hrm info runs/a
  hrm info a.hrm
  hrm info data/sudoku
  hrm info runs/a --json
  hrm info --embedded runs/a
  hrm info --embedded
  hrm info --devices")]
pub struct Args {
    /// A model, a bundle, a run or a dataset
    #[arg(
        value_name = "MODEL|BUNDLE|RUN|DIR",
        required_unless_present_any = ["devices", "embedded"],
        conflicts_with = "devices"
    )]
    pub path: Option<PathBuf>,
    /// List the GPUs that --backend cuda can use, or what it lacks
    #[arg(long)]
    pub devices: bool,
    /// Show what a model needs on a microcontroller: flash, memory, multiply-accumulates; without a model, show typical ones
    #[arg(long, conflicts_with = "devices")]
    pub embedded: bool,
    /// Print the description as one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Describes what lies at a path.
///
/// # Errors
/// Nothing that the program knows lies there, or it is damaged.
pub fn run(args: &Args) -> Result<()> {
    let mut out = style::stdout();
    if args.embedded {
        return embedded::run(&mut out, args.path.as_deref(), args.json);
    }
    let Some(path) = &args.path else { return devices::run(&mut out, args.json) };
    let found = Description::of(path)?;
    if args.json {
        let line = serde_json::to_string(&found).map_err(|e| Error::failed(e.to_string()))?;
        return writeln!(out, "{line}").map_err(Error::output);
    }
    match &found {
        Description::Bundle(bundle) => self::bundle(&mut out, bundle),
        Description::Dataset(found) => found.splits.iter().try_for_each(|it| split(&mut out, it)),
        Description::Run(found) => {
            run_state(&mut out, found, drawn(found)?.as_deref()).and_then(|()| model(&mut out, &found.model))
        }
        Description::Model(found) => model(&mut out, found),
    }
    .map_err(Error::output)
}

/// The curve of a whole run.
fn drawn(run: &Run) -> Result<Option<String>> {
    if run.checkpoint == run.path { Ok(None) } else { curve::terminal(&run.path, style::columns()) }
}

fn run_state(out: &mut impl Write, run: &Run, curve: Option<&str>) -> io::Result<()> {
    writeln!(out, "{STRONG}run{STRONG:#}  step {} of {} on {}", run.step, run.total_steps, run.backend)?;
    if let Some(best) = run.best {
        writeln!(out, "  best: {:.2}% solved at step {}", 100.0 * best.exact_accuracy, best.step)?;
    }
    curve.map_or(Ok(()), |curve| writeln!(out, "\n{curve}"))
}

fn model(out: &mut impl Write, model: &Model) -> io::Result<()> {
    writeln!(out, "{STRONG}model{STRONG:#}  {}", model.path.display())?;
    architecture(out, &model.architecture)?;
    row(out, "checksum", if model.checksum { "verified" } else { "none in the file" })
}

/// A line of the description.
fn row(out: &mut impl Write, name: &str, value: &str) -> io::Result<()> {
    writeln!(out, "  {name:<24}{value}")
}

fn bundle(out: &mut impl Write, bundle: &Bundle) -> io::Result<()> {
    writeln!(out, "{STRONG}bundle{STRONG:#}  {}", bundle.path.display())?;
    architecture(out, &bundle.architecture)?;
    row(out, "weights", &format!("{} tensors, {}", bundle.tensors, bundle.types.join(", ")))?;
    row(out, "size", &human(bundle.bytes))?;
    let tokens = if bundle.tokens.is_empty() { "not named".to_owned() } else { bundle.tokens.join(" ") };
    row(out, "tokens", &tokens)?;
    row(out, "checksum", "verified")
}

fn architecture(out: &mut impl Write, found: &Architecture) -> io::Result<()> {
    let config = &found.config;
    let rows = [
        ("parameters", format!("{}", found.parameters)),
        ("puzzle embedding", format!("{} x {}", config.num_puzzle_identifiers, config.puzzle_emb_ndim)),
        ("cells, tokens", format!("{}, {}", config.seq_len, config.vocab_size)),
        (
            "hidden, heads, SwiGLU",
            format!("{}, {}, {}", config.hidden_size, config.num_heads, config.inter_size()),
        ),
        ("layers H + L", format!("{} + {}", config.h_layers, config.l_layers)),
        ("cycles H x L", format!("{} x {}", config.h_cycles, config.l_cycles)),
        ("positions", positions(config.pos_encodings).to_owned()),
        ("ACT steps at most", format!("{}", config.halt_max_steps)),
        ("memory to solve one", human(found.bytes_to_solve_one)),
    ];
    rows.iter().try_for_each(|(name, value)| row(out, name, value))?;
    found.bytes_to_train_64.map_or(Ok(()), |bytes| row(out, "memory to train 64", &human(bytes)))
}

/// The published name.
fn positions(encodings: PosEncodings) -> &'static str {
    match encodings {
        PosEncodings::Rope => "rope",
        PosEncodings::Learned => "learned",
        PosEncodings::None => "none",
        PosEncodings::Rope2d => "rope2d",
    }
}

fn human(bytes: usize) -> String {
    memory::human(bytes as u64)
}

fn split(out: &mut impl Write, split: &Split) -> io::Result<()> {
    let Split { split, report, first } = split;
    let (examples, groups) = report
        .sets
        .iter()
        .fold((0, 0), |(examples, groups), set| (examples + set.examples, groups + set.groups));
    writeln!(
        out,
        "{STRONG}{split}{STRONG:#}  {} in {}, {} cells, {} tokens, {}, every token checked",
        counted(examples, "example"),
        counted(groups, "group"),
        report.seq_len,
        report.vocab_size,
        counted(report.identifiers as usize, "puzzle identifier")
    )?;
    write!(out, "{}", first.map(|board| board.render(|_| Style::PLAIN)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::parse;

    #[test]
    fn takes_one_path_or_lists_the_devices() {
        let args = |path: Option<&str>, devices, embedded, json| {
            Ok(Args { path: path.map(PathBuf::from), devices, embedded, json })
        };
        assert_eq!(parse(&["runs/a"]), args(Some("runs/a"), false, false, false));
        assert_eq!(parse(&["runs/a", "--json"]), args(Some("runs/a"), false, false, true));
        assert_eq!(parse(&["--devices"]), args(None, true, false, false));
        assert_eq!(parse(&["--embedded", "--json"]), args(None, false, true, true));
        assert_eq!(parse(&["--embedded", "runs/a"]), args(Some("runs/a"), false, true, false));
        assert_eq!(parse(&["--devices", "--json"]), args(None, true, false, true));
        let with_devices = [["a", "--devices"], ["--devices", "--embedded"]];
        for bad in with_devices.iter().map(|line| &line[..]).chain([&[][..], &["a", "b"], &["--json"]]) {
            assert!(parse::<Args>(bad).is_err(), "{bad:?}");
        }
    }
}
