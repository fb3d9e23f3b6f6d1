//! What a training run is told: the architecture and the recipe, under the published names.

use hrm_core::config::{Config, ForwardDtype, GradientSpan, PosEncodings, Stacks};
use hrm_core::loss::LossKind;
use hrm_core::model::train_step::TrainConfig;
use hrm_core::optim::{AdamAtan2, Average, CosineSchedule, SignSgd};
use serde::{Deserialize, Serialize};

use crate::data::Metadata;

/// The architecture: what the data does not determine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arch {
    /// Width of every state.
    pub hidden_size: usize,
    /// Attention heads.
    pub num_heads: usize,
    /// SwiGLU expansion.
    pub expansion: f64,
    /// `separate` stacks for both states (HRM), or one `shared` stack of `L_layers` blocks (TRM).
    #[serde(default, skip_serializing_if = "is_default")]
    pub stacks: Stacks,
    /// Whether a SwiGLU over positions mixes the cells, in place of attention.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mlp_t: bool,
    /// Blocks of the slow module; says nothing with a shared stack.
    #[serde(rename = "H_layers")]
    pub h_layers: usize,
    /// Blocks of the fast module.
    #[serde(rename = "L_layers")]
    pub l_layers: usize,
    /// High-level cycles of a forward pass.
    #[serde(rename = "H_cycles")]
    pub h_cycles: usize,
    /// Low-level steps of each of them.
    #[serde(rename = "L_cycles")]
    pub l_cycles: usize,
    /// Applications of a stack that have a gradient, the last ones: a number (HRM: 2), or `cycle` for the last cycle (TRM).
    #[serde(default, skip_serializing_if = "is_default")]
    pub gradient: GradientSpan,
    /// Width of a puzzle's embedding; 0 for none.
    pub puzzle_emb_ndim: usize,
    /// Positions that it fills, with zeros behind it; 0 for as many as it needs.
    #[serde(default, skip_serializing_if = "is_default")]
    pub puzzle_emb_len: usize,
    /// `rope`, `learned` or `none`.
    pub pos_encodings: PosEncodings,
    /// Added to the mean square inside RMSNorm.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// ACT steps after which a puzzle always halts.
    pub halt_max_steps: usize,
    /// Probability that a row explores.
    pub halt_exploration_prob: f64,
    /// Whether a row halts where `q_halt > 0`, and no value of going on is learned, nor a second forward pass done for it.
    #[serde(default, rename = "no_ACT_continue", skip_serializing_if = "is_default")]
    pub no_act_continue: bool,
    /// Precision of states and initial states: `bfloat16` or `float32`.
    pub forward_dtype: ForwardDtype,
    /// `stablemax_cross_entropy` or `softmax_cross_entropy`.
    pub loss: LossKind,
}

/// How examples are altered on their way into a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Augmentation {
    /// As they are in the dataset.
    None,
    /// A fresh Sudoku shuffle for each example: digits, bands, stacks, rows, columns, transposition.
    Sudoku,
}

/// What `lr_decay_share` is unless it is said: the published schedule.
const fn all_steps() -> f64 {
    1.0
}

/// What `ema_rate` is unless it is said: TRM's.
const fn ema_rate() -> f64 {
    0.999
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde wants it so.
fn is_ema_rate(rate: &f64) -> bool {
    *rate == ema_rate()
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A training run: architecture and recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Seed of initial parameters, sampling, augmentation and exploration.
    pub seed: u64,
    /// Rows of a batch.
    pub global_batch_size: usize,
    /// Passes over the groups of the dataset. Ignored if `steps` is not 0.
    pub epochs: u64,
    /// Optimizer steps; 0 to follow `epochs`.
    pub steps: u64,
    /// Learning rate.
    pub lr: f64,
    /// Where the cosine ends, as a share of `lr`; 1 keeps it constant.
    pub lr_min_ratio: f64,
    /// The share of all steps, at the end, over which the cosine comes down; 1 for all steps behind the warm-up.
    #[serde(default = "all_steps")]
    pub lr_decay_share: f64,
    /// Steps of linear warm-up.
    pub lr_warmup_steps: u64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Learning rate of the puzzle embedding.
    pub puzzle_emb_lr: f64,
    /// Weight decay of the puzzle embedding.
    pub puzzle_emb_weight_decay: f64,
    /// Whether averages of the parameters are kept: then it is they that are evaluated and stored as the model.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ema: bool,
    /// What stays of the averages in a step.
    #[serde(default = "ema_rate", skip_serializing_if = "is_ema_rate")]
    pub ema_rate: f64,
    /// Whether the backward pass computes activations again in place of keeping them: less memory, more time, the same bits.
    #[serde(default, skip_serializing_if = "is_default")]
    pub recompute: bool,
    /// Alteration of the examples: `none` or `sudoku`.
    pub augment: Augmentation,
    /// Steps between two evaluations; 0 for none but the last.
    pub eval_interval: u64,
    /// Puzzles of an evaluation, a seeded subsample of the test split; 0 for all.
    pub eval_limit: usize,
    /// Steps between two checkpoints.
    pub checkpoint_interval: u64,
    /// Steps between two lines of metrics.
    pub log_interval: u64,
    /// Evaluations without a better exact accuracy after which training stops early; 0 for never.
    pub patience: u64,
    /// The architecture.
    pub arch: Arch,
}

impl Settings {
    /// The configuration of the model for data like `metadata`.
    #[must_use]
    pub fn config(&self, metadata: &Metadata) -> Config {
        let arch = &self.arch;
        Config {
            seq_len: metadata.seq_len,
            vocab_size: metadata.vocab_size as usize,
            num_puzzle_identifiers: metadata.num_puzzle_identifiers as usize,
            hidden_size: arch.hidden_size,
            num_heads: arch.num_heads,
            expansion: arch.expansion,
            stacks: arch.stacks,
            mlp_t: arch.mlp_t,
            h_layers: arch.h_layers,
            l_layers: arch.l_layers,
            h_cycles: arch.h_cycles,
            l_cycles: arch.l_cycles,
            gradient: arch.gradient,
            puzzle_emb_ndim: arch.puzzle_emb_ndim,
            puzzle_emb_len: arch.puzzle_emb_len,
            pos_encodings: arch.pos_encodings,
            rms_norm_eps: arch.rms_norm_eps,
            rope_theta: arch.rope_theta,
            halt_max_steps: arch.halt_max_steps,
            halt_exploration_prob: arch.halt_exploration_prob,
            no_act_continue: arch.no_act_continue,
            forward_dtype: arch.forward_dtype,
        }
        .canonical()
    }

    /// Optimizer steps of the whole run on `metadata`'s dataset, as the published program counts them.
    #[must_use]
    pub fn total_steps(&self, metadata: &Metadata) -> u64 {
        if self.steps > 0 {
            return self.steps;
        }
        let examples = self.epochs as f64 * metadata.total_groups as f64 * metadata.mean_puzzle_examples;
        (examples / self.global_batch_size.max(1) as f64) as u64
    }

    /// The schedule of both learning rates.
    #[must_use]
    pub fn schedule(&self, total_steps: u64) -> CosineSchedule {
        let before = ((1.0 - self.lr_decay_share) * total_steps as f64).round() as u64;
        CosineSchedule {
            warmup_steps: self.lr_warmup_steps,
            hold_steps: before.saturating_sub(self.lr_warmup_steps),
            total_steps,
            min_ratio: self.lr_min_ratio,
        }
    }

    /// The constants of every step.
    #[must_use]
    pub const fn train_config(&self) -> TrainConfig {
        TrainConfig {
            loss: self.arch.loss,
            adam: AdamAtan2 { beta1: self.beta1, beta2: self.beta2, weight_decay: self.weight_decay },
            puzzle_emb: SignSgd { weight_decay: self.puzzle_emb_weight_decay },
            average: if self.ema { Some(Average { rate: self.ema_rate }) } else { None },
            global_batch_size: self.global_batch_size,
        }
    }

    /// Checks what the model's own configuration does not.
    ///
    /// # Errors
    /// The first field that is out of range: its name, what it holds, and what it may hold.
    pub fn validate(&self) -> Result<(), (&'static str, String, &'static str)> {
        let positive = |x: f64| x > 0.0 && x.is_finite();
        let share = |x: f64| (0.0..1.0).contains(&x);
        let decay = |x: f64| (0.0..=1e6).contains(&x);
        let checks = [
            (
                (1..=1 << 24).contains(&self.global_batch_size),
                "global_batch_size",
                self.global_batch_size.to_string(),
                "1 to 2^24",
            ),
            (self.steps > 0 || self.epochs > 0, "steps", "0".into(), "at least 1, or epochs of at least 1"),
            (positive(self.lr), "lr", self.lr.to_string(), "a positive number"),
            (
                (0.0..=1.0).contains(&self.lr_min_ratio),
                "lr_min_ratio",
                self.lr_min_ratio.to_string(),
                "0 to 1",
            ),
            (
                self.lr_decay_share > 0.0 && self.lr_decay_share <= 1.0,
                "lr_decay_share",
                self.lr_decay_share.to_string(),
                "above 0, at most 1",
            ),
            (decay(self.weight_decay), "weight_decay", self.weight_decay.to_string(), "0 to 10^6"),
            (share(self.beta1), "beta1", self.beta1.to_string(), "0 to 1, below 1"),
            (share(self.beta2), "beta2", self.beta2.to_string(), "0 to 1, below 1"),
            (
                positive(self.puzzle_emb_lr),
                "puzzle_emb_lr",
                self.puzzle_emb_lr.to_string(),
                "a positive number",
            ),
            (
                decay(self.puzzle_emb_weight_decay),
                "puzzle_emb_weight_decay",
                self.puzzle_emb_weight_decay.to_string(),
                "0 to 10^6",
            ),
            ((0.0..=1.0).contains(&self.ema_rate), "ema_rate", self.ema_rate.to_string(), "0 to 1"),
            (
                self.checkpoint_interval > 0,
                "checkpoint_interval",
                self.checkpoint_interval.to_string(),
                "at least 1",
            ),
            (self.log_interval > 0, "log_interval", self.log_interval.to_string(), "at least 1"),
        ];
        match checks.into_iter().find(|(ok, ..)| !ok) {
            Some((_, field, given, expected)) => Err((field, given, expected)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::presets;
    use super::*;
    use crate::settings;

    #[test]
    fn the_rate_comes_down_over_the_share_of_steps_that_is_said() {
        let mut merged = settings::Settings::default();
        merged.text("preset sudoku-1m", presets::find("sudoku-1m").unwrap().toml).unwrap();
        let mut settings: Settings = merged.build().unwrap();
        assert_eq!(settings.validate(), Ok(()));
        let schedule = settings.schedule(40_000);
        assert_eq!([2000, 31_999, 32_000].map(|step| schedule.at(step, 1.0)), [1.0; 3]);
        assert!(schedule.at(33_000, 1.0) < 1.0 && schedule.at(40_000, 1.0) < 0.101);
        settings.lr_decay_share = 1.0;
        assert_eq!(settings.schedule(40_000).hold_steps, 0);
        settings.lr_decay_share = 0.0;
        assert_eq!(settings.validate().unwrap_err().0, "lr_decay_share");
    }
}
