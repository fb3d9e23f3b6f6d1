//! `hrm presets`: the settings that come with the program, and what is known of them.

use std::io::Write;

use hrm_core::plan::{Mode, Plan};
use serde::Serialize;

use super::train::preset;
use crate::error::{Error, Result};
use crate::style::{self, FAINT, STRONG};
use crate::train::presets::{PRESETS, Preset};

/// List the presets with their size, step time and what they reached, or print one
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hrm presets
  hrm presets trm-sudoku-mlp > my.toml
  hrm train --config my.toml --data data/sudoku --out runs/mine")]
pub struct Args {
    /// Print the settings of this one, as TOML that --config takes
    #[arg(value_name = "NAME")]
    pub name: Option<String>,

    /// Print each preset as one line of JSON
    #[arg(long, conflicts_with = "name")]
    pub json: bool,
}

/// A preset as it is listed.
#[derive(Debug, Serialize)]
struct Listed {
    name: &'static str,
    about: &'static str,
    /// Trained parameters, the puzzle embedding not counted.
    parameters: usize,
    hidden_size: usize,
    blocks: usize,
    /// Puzzles in a training step, and training steps; none where the data decides.
    batch: usize,
    steps: Option<u64>,
    /// A training step as it was measured: puzzles in it, milliseconds, machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    step_batch: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step_on: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reached: Option<&'static str>,
}

impl Listed {
    fn of(preset: &Preset) -> Result<Self> {
        let settings = preset.settings()?;
        let config = settings.config(&preset.task());
        let plan = Plan::new(&config, 1, Mode::Inference).map_err(|e| Error::failed(e.to_string()))?;
        Ok(Self {
            name: preset.name,
            about: preset.about,
            parameters: plan.params.trained_parameters(),
            hidden_size: config.hidden_size,
            blocks: plan.params.stacks().map(|stack| stack.layers).sum(),
            batch: settings.global_batch_size,
            steps: (settings.steps > 0).then_some(settings.steps),
            step_batch: preset.step.map(|step| step.batch),
            step_ms: preset.step.map(|step| step.ms),
            step_on: preset.step.map(|step| step.on),
            reached: preset.reached,
        })
    }
}

/// Lists them, or prints one.
///
/// # Errors
/// There is no such preset, or standard output is closed.
pub fn run(args: &Args) -> Result<()> {
    let mut out = style::stdout();
    if let Some(name) = &args.name {
        return out.write_all(preset(name)?.toml.as_bytes()).map_err(Error::output);
    }
    let listed = PRESETS.iter().map(Listed::of).collect::<Result<Vec<_>>>()?;
    if args.json {
        for line in &listed {
            let line = serde_json::to_string(line).map_err(|e| Error::failed(e.to_string()))?;
            writeln!(out, "{line}").map_err(Error::output)?;
        }
        return Ok(());
    }
    table(&mut out, &listed).map_err(Error::output)
}

fn table(out: &mut impl Write, listed: &[Listed]) -> std::io::Result<()> {
    writeln!(
        out,
        "{STRONG}{:<15} {:>10}  {:<15} {:>5} {:>7}  {:<28}{STRONG:#}",
        "preset", "parameters", "model", "batch", "steps", "a training step"
    )?;
    for preset in listed {
        let model = format!("{} wide, {} deep", preset.hidden_size, preset.blocks);
        let steps = preset.steps.map_or("epochs".into(), |steps| steps.to_string());
        let step = match (preset.step_ms, preset.step_on) {
            (Some(ms), Some(on)) => {
                let batch = preset.step_batch.filter(|batch| *batch != preset.batch);
                let of = batch.map_or(String::new(), |batch| format!(", {batch} puzzles"));
                format!("{ms} ms, {on}{of}")
            }
            _ => "not measured".into(),
        };
        let Listed { name, parameters, batch, about, .. } = preset;
        writeln!(out, "{name:<15} {parameters:>10}  {model:<15} {batch:>5} {steps:>7}  {step}")?;
        writeln!(out, "{FAINT}  {about}{FAINT:#}")?;
        writeln!(
            out,
            "{FAINT}  {}{FAINT:#}",
            preset.reached.unwrap_or("not trained to its end with this program")
        )?;
    }
    writeln!(
        out,
        "\nhrm presets NAME prints one; hrm train --preset NAME trains with it, --set KEY=VALUE changes it"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_a_model_that_can_be_planned() {
        for preset in &PRESETS {
            let listed = Listed::of(preset).unwrap_or_else(|error| panic!("{}: {error}", preset.name));
            assert!(listed.parameters > 100_000 && listed.blocks > 0, "{listed:?}");
        }
        let of = |name| PRESETS.iter().find(|preset| preset.name == name).unwrap();
        assert_eq!(Listed::of(of("trm-sudoku-mlp")).unwrap().parameters, 5_028_866);
        assert_eq!(Listed::of(of("sudoku-extreme")).unwrap().parameters, 27_275_266);
    }
}
