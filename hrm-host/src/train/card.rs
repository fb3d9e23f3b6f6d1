//! The model card of a run: a `README.md` beside its weights, in the form of the Hugging Face Hub, so that a model says what it
//! is wherever it goes. It depends on the run alone: a resumed run has the card of an uninterrupted one.

use std::fmt::Write as _;
use std::path::Path;

use hrm_core::config::{Config, Stacks};
use hrm_core::plan::Plan;

use super::checkpoint::{NO_TEST, TrainerState};
use super::settings::Augmentation;
use crate::error::Result;
use crate::model_dir::{self, CARD};

/// Writes the card of a model as it is after `state.step` steps into `dir`.
///
/// # Errors
/// The disk fails.
pub fn write(plan: &Plan, state: &TrainerState, dir: &Path) -> Result<()> {
    let path = dir.join(CARD);
    model_dir::write_card(&path, &text(plan, state))
}

fn text(plan: &Plan, state: &TrainerState) -> String {
    let (config, settings) = (&plan.config, &state.settings);
    let (name, tag) = match config.stacks {
        Stacks::Separate => ("Hierarchical Reasoning Model", "hrm"),
        Stacks::Shared => ("Tiny Recursive Model", "trm"),
    };
    let weights = if settings.ema {
        format!("averages of all steps (EMA, rate {})", settings.ema_rate)
    } else {
        "as trained, not averaged".into()
    };
    let augmentation = match settings.augment {
        Augmentation::None => "not altered",
        Augmentation::Sudoku => "each example shuffled anew as a Sudoku",
    };
    let halting = if config.no_act_continue { "q_halt > 0" } else { "q_halt > q_continue" };
    let test = match state.test_fingerprint.as_deref() {
        None | Some(NO_TEST) => "none".into(),
        Some(test) => format!("fingerprint `{test}`"),
    };
    let rows = [
        ("architecture", architecture(config, plan.params.trained_parameters())),
        (
            "trained for",
            format!(
                "{} of {} steps of {} puzzles",
                state.step, state.total_steps, settings.global_batch_size
            ),
        ),
        ("training data", format!("fingerprint `{}`, {augmentation}", state.data_fingerprint)),
        ("held-out data", test),
        ("seed", settings.seed.to_string()),
        ("learning rate, weight decay", format!("{}, {}", settings.lr, settings.weight_decay)),
        ("weights", weights),
        ("trained on", format!("backend `{}`", state.backend)),
        ("depth", format!("at most {} ACT steps; halts where {halting}", config.halt_max_steps)),
        ("best evaluation", best(config, state)),
    ];
    let mut text =
        format!("---\nlibrary_name: hrm\ntags:\n- {tag}\n- reasoning\n- puzzles\n---\n\n# {name}\n\n");
    text += "A model trained with `hrm`, the Hierarchical Reasoning Model in Rust.\n\n| | |\n|---|---|\n";
    for (what, value) in rows {
        // A string takes all that is written to it.
        let _ = writeln!(text, "| {what} | {value} |");
    }
    text += "\nTo evaluate it on a dataset of the same puzzles, in this directory:\n\n";
    let _ = writeln!(
        text,
        "    hrm eval --model . --data DATA --halt max --max-steps {} --vote 1",
        config.halt_max_steps
    );
    text
}

fn architecture(config: &Config, parameters: usize) -> String {
    let cells = if config.mlp_t { "a SwiGLU over positions" } else { "attention" };
    let blocks = match config.stacks {
        Stacks::Separate => format!("{} + {} blocks", config.h_layers, config.l_layers),
        Stacks::Shared => format!("{} shared blocks", config.l_layers),
    };
    format!(
        "{parameters} parameters; width {}, {blocks}, {} x {} cycles, cells mixed by {cells}",
        config.hidden_size, config.h_cycles, config.l_cycles
    )
}

fn best(config: &Config, state: &TrainerState) -> String {
    let Some(best) = &state.best else { return "none".into() };
    let sample = match state.settings.eval_limit {
        0 => "all held-out puzzles".into(),
        limit => format!("at most {limit} held-out puzzles"),
    };
    format!(
        "at step {}: {:.2}% of puzzles solved, {:.2}% of cells right; {sample}, {} ACT steps, 1 vote",
        best.step,
        100.0 * best.exact_accuracy,
        100.0 * best.accuracy,
        config.halt_max_steps
    )
}
