//! `hrm info`: what a directory holds.

mod embedded;

use std::convert::Infallible;
use std::io::Write;
use std::path::{Path, PathBuf};

use hrm_core::bundle::Precision;
use hrm_core::config::Config;
use hrm_core::plan::{ElementSizes, Mode, Plan};

use super::devices;
use crate::data::Dataset;
use crate::data::sudoku::{Board, Size, Style};
use crate::error::{Error, Result};
use crate::memory;
use crate::model_dir::{self, CONFIG, WEIGHTS};
use crate::model_io::bundle::BundleFile;
use crate::style::{self, STRONG};
use crate::train::{TrainerState, checkpoint, curve};

/// Describe a model, a bundle, a run or a dataset, or the GPUs that there are
#[derive(Debug, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  hrm info runs/a
  hrm info a.hrm
  hrm info data/sudoku
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
    /// List the GPUs that --backend cuda could use, or say what is missing for it
    #[arg(long)]
    pub devices: bool,
    /// What a model needs on a microcontroller: flash, memory, multiply-accumulates; without a model, what typical ones do
    #[arg(long, conflicts_with = "devices")]
    pub embedded: bool,
    /// Print that as one line of JSON
    #[arg(long, requires = "embedded")]
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
    let Some(path) = &args.path else { return devices::run(&mut out) };
    if path.is_file() {
        return bundle(&mut out, path);
    }
    if path.join("train").is_dir() || path.join("test").is_dir() {
        return dataset(&mut out, path);
    }
    let newest = model_dir::checkpoints(path).pop().map_or_else(|| path.clone(), |(_, newest)| newest);
    if newest != *path || newest.join(checkpoint::TRAINER).exists() {
        run_state(&mut out, &checkpoint::read_state(&newest)?).map_err(Error::output)?;
        if newest != *path
            && let Some(drawn) = curve::terminal(path)?
        {
            writeln!(out, "  solved, held out, by step\n{drawn}").map_err(Error::output)?;
        }
    }
    let dir = model_dir::resolve::<Infallible>(path)
        .map_err(|e| Error::from(e).hint("a dataset has the directories train or test"))?;
    model(&mut out, &dir)
}

fn run_state(out: &mut impl Write, state: &TrainerState) -> std::io::Result<()> {
    writeln!(
        out,
        "{STRONG}run{STRONG:#}  step {} of {} on {}",
        state.step, state.total_steps, state.backend
    )?;
    if let Some(best) = state.best {
        writeln!(out, "  best: {:.2}% solved at step {}", 100.0 * best.exact_accuracy, best.step)?;
    }
    Ok(())
}

fn model(out: &mut impl Write, dir: &Path) -> Result<()> {
    let config = model_dir::read_config::<Infallible>(&dir.join(CONFIG))?;
    let (_, verified) = model_dir::open_weights::<Infallible>(&dir.join(WEIGHTS), &config)?;
    let checked = if verified { "verified" } else { "none in the file" };
    writeln!(out, "{STRONG}model{STRONG:#}  {}", dir.display()).map_err(Error::output)?;
    architecture(out, &config)?;
    row(out, "checksum", checked)
}

/// A line of the description.
fn row(out: &mut impl Write, name: &str, value: &str) -> Result<()> {
    writeln!(out, "  {name:<24}{value}").map_err(Error::output)
}

fn bundle(out: &mut impl Write, path: &Path) -> Result<()> {
    let bundle = BundleFile::open(path)?;
    writeln!(out, "{STRONG}bundle{STRONG:#}  {}", path.display()).map_err(Error::output)?;
    architecture(out, bundle.config())?;
    let tensors = bundle.stored();
    let mut types: Vec<&str> =
        tensors.iter().filter_map(|tensor| bundle.precision(&tensor.name)).map(Precision::name).collect();
    types.sort_unstable();
    types.dedup();
    row(out, "weights", &format!("{} tensors, {}", tensors.len(), types.join(", ")))?;
    row(out, "size", &memory::human(bundle.size() as u64))?;
    let names = bundle.vocabulary();
    let tokens = if names.is_empty() { "not named".to_owned() } else { names.join(" ") };
    row(out, "tokens", &tokens)?;
    row(out, "checksum", "verified")
}

fn architecture(out: &mut impl Write, config: &Config) -> Result<()> {
    let plan = |batch, mode| Plan::new(config, batch, mode).map_err(|e| Error::input(e.to_string()));
    let one = plan(1, Mode::Inference)?;
    let training = plan(64, Mode::Training)?;
    let human = |bytes: usize| memory::human(bytes as u64);
    let rows = [
        ("parameters", format!("{}", one.trained_parameters())),
        ("puzzle embedding", format!("{} x {}", config.num_puzzle_identifiers, config.puzzle_emb_ndim)),
        ("cells, tokens", format!("{}, {}", config.seq_len, config.vocab_size)),
        (
            "hidden, heads, SwiGLU",
            format!("{}, {}, {}", config.hidden_size, config.num_heads, config.inter_size()),
        ),
        ("layers H + L", format!("{} + {}", config.h_layers, config.l_layers)),
        ("cycles H x L", format!("{} x {}", config.h_cycles, config.l_cycles)),
        ("positions", format!("{:?}", config.pos_encodings)),
        ("ACT steps at most", format!("{}", config.halt_max_steps)),
        ("memory to solve one", human(one.bytes(ElementSizes::F32).total())),
        ("memory to train 64", human(training.bytes(ElementSizes::F32).total())),
    ];
    rows.iter().try_for_each(|(name, value)| row(out, name, value))
}

fn dataset(out: &mut impl Write, path: &Path) -> Result<()> {
    for split in ["train", "test"].into_iter().filter(|split| path.join(split).is_dir()) {
        let data = Dataset::open(path, split)?;
        data.verify()?;
        let m = data.metadata();
        writeln!(
            out,
            "{STRONG}{split}{STRONG:#}  {} examples in {} groups, {} cells, {} tokens, {} puzzle identifiers, every token checked",
            data.examples(),
            m.total_groups,
            m.seq_len,
            m.vocab_size,
            m.num_puzzle_identifiers
        )
        .map_err(Error::output)?;
        let mut inputs = vec![0; m.seq_len];
        let mut labels = inputs.clone();
        if let Some(size) = Size::from_cells(m.seq_len).filter(|size| size.vocab_size() == m.vocab_size) {
            data.read(0, 0, &mut inputs, &mut labels)?;
            let board = Board::from_tokens(size, &inputs).map(|board| board.render(|_| Style::PLAIN));
            write!(out, "{}", board.unwrap_or_default()).map_err(Error::output)?;
        }
    }
    Ok(())
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
        assert_eq!(parse(&["--devices"]), args(None, true, false, false));
        assert_eq!(parse(&["--embedded", "--json"]), args(None, false, true, true));
        assert_eq!(parse(&["--embedded", "runs/a"]), args(Some("runs/a"), false, true, false));
        for bad in [&[][..], &["a", "b"], &["a", "--devices"], &["a", "--json"], &["--devices", "--embedded"]]
        {
            assert!(parse::<Args>(bad).is_err(), "{bad:?}");
        }
    }
}
