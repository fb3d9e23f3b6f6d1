//! `hrm import`: a checkpoint of another program as a model directory.

use std::io::Write;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::values::Assignment;
use crate::error::{Error, Result};
use crate::model_io::identifiers::Reset;
use crate::model_io::import::{self, Imported, Options};
use crate::model_io::selection::Selection;
use crate::style::{self, FAINT, STRONG};

/// Convert a checkpoint to a model directory: PyTorch, safetensors or a bundle
#[derive(Debug, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  hrm import checkpoints/sudoku/step_26040 --config checkpoints/sudoku/all_config.yaml --out models/sudoku
  hrm import model.pt --set num_heads=8 --set H_cycles=2 --set L_cycles=2 --set halt_max_steps=16 --out models/a
  hrm import arc.pt --identifiers old/identifiers.json --data data/arc --out models/arc
  hrm import arc.pt --reset-puzzle-embeddings --data data/arc --out models/arc
  hrm import runs/arc-1 --reset-puzzle-embeddings --data data/arc-2 --out models/arc-2")]
pub struct Args {
    /// The checkpoint: a file of torch.save, safetensors (or the index of several), a bundle, a model directory, or a run
    #[arg(value_name = "CHECKPOINT")]
    pub checkpoint: PathBuf,
    /// The directory to write; it must be empty or new
    #[arg(long, value_name = "MODEL")]
    pub out: PathBuf,
    /// Its configuration: all_config.yaml, or a config.json [default: the one in or beside the checkpoint]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Take the sizes and the puzzle identifiers from this dataset
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Set a field of the configuration; can be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<Assignment>,
    /// The names of the checkpoint's puzzle identifiers
    #[arg(long, value_name = "OLD.json")]
    pub identifiers: Option<PathBuf>,
    /// The names of the new model's puzzle identifiers; rows are matched by name [default: those of --data]
    #[arg(long, value_name = "NEW.json")]
    pub new_identifiers: Option<PathBuf>,
    /// Give every puzzle identifier the same row, for puzzles that the checkpoint does not know
    #[arg(
        long,
        value_enum,
        value_name = "ROW",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "blank",
        conflicts_with = "identifiers"
    )]
    pub reset_puzzle_embeddings: Option<Reset>,
    /// Of several copies of the weights, the one whose tensors' names begin so [default: the weights, not their average]
    #[arg(long, value_name = "NAME")]
    pub weights: Option<String>,
    /// Print the result as one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Imports.
///
/// # Errors
/// Wrong input, or the disk refuses.
pub fn run(args: Args) -> Result<()> {
    let options = Options {
        config: args.config,
        data: args.data,
        set: args.set.into_iter().map(|assignment| assignment.0).collect(),
        identifiers: args.identifiers,
        new_identifiers: args.new_identifiers,
        reset_puzzle_embeddings: args.reset_puzzle_embeddings,
        weights: args.weights,
    };
    let imported = import::import(&args.checkpoint, &args.out, &options)?;
    let mut out = style::stdout();
    if args.json {
        let line = json!({
            "model": args.out,
            "config": imported.config,
            "origins": imported
                .fields
                .iter()
                .map(|(key, _, origin)| (key.clone(), origin.as_str().into()))
                .collect::<Map<String, Value>>(),
            "types": imported.types,
            "weights": imported.selection.taken,
            "other_weights": imported.selection.others,
            "passed_over": imported.selection.passed,
            "optimizer_tensors_skipped": imported.skipped,
            "puzzle_rows": { "checkpoint": imported.rows.0, "model": imported.rows.1, "blank": imported.rows.2 },
        });
        return writeln!(out, "{line}").map_err(Error::output);
    }
    print(&mut out, &args.out.display().to_string(), &imported).map_err(Error::output)
}

fn print(out: &mut impl Write, model: &str, imported: &Imported) -> std::io::Result<()> {
    let types: Vec<String> = imported.types.iter().map(|(name, count)| format!("{count} {name}")).collect();
    writeln!(out, "{STRONG}imported{STRONG:#}  {model}")?;
    writeln!(out, "  tensors                 {}, now float32", types.join(", "))?;
    let Selection { taken, others, passed, .. } = &imported.selection;
    if !others.is_empty() {
        writeln!(out, "  weights                 {taken}; --weights takes others: {}", others.join(", "))?;
    }
    for (name, count) in passed {
        let what = if name.starts_with("optim") { " of an optimizer" } else { "" };
        let tensors = if *count == 1 { "tensor" } else { "tensors" };
        writeln!(out, "  passed over             {count} {tensors}{what} ({name})")?;
    }
    let (stored, rows, blank) = imported.rows;
    if stored > 0 {
        writeln!(out, "  puzzle embedding        {rows} rows from {stored}, {blank} of them blank")?;
    }
    for (key, value, origin) in &imported.fields {
        writeln!(out, "  {key:<24}{:<12}{FAINT}{origin}{FAINT:#}", value.to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::parse;

    #[test]
    fn a_checkpoint_and_a_place_are_needed() {
        let args: Args =
            parse(&["a.pt", "--out", "m", "--set", "num_heads=8", "--set", "seq_len=9"]).unwrap();
        assert_eq!(args.set, [Assignment("num_heads=8".into()), Assignment("seq_len=9".into())]);
        let both = ["a.pt", "--out", "m", "--identifiers", "i", "--reset-puzzle-embeddings"];
        for bad in [&["a.pt"][..], &["--out", "m"], &["a.pt", "--out", "m", "--set", "heads"], &both] {
            assert!(parse::<Args>(bad).is_err(), "{bad:?}");
        }
    }
}
