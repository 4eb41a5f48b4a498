//! The configuration of a pretraining run: a file that determines it completely.

use bsbr_data::stream::StreamConfig;
use bsbr_gpt2::{Gpt2Config, TokenIds};
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::schedule;

/// A pretraining run. The same file, seed and backend give the same weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainConfig {
    /// Seed of the initial weights, of the text and of the position offsets.
    pub seed: u64,
    /// Shape of the model; `vocab_size` is the tokenizer's.
    pub model: ModelShape,
    /// The updates of the weights.
    pub optimizer: OptimizerConfig,
    /// The training data, in stages.
    pub stages: Vec<Stage>,
}

/// Sizes of the model to train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelShape {
    /// Positions.
    pub n_positions: usize,
    /// Dimensions of the residual stream.
    pub n_embd: usize,
    /// Blocks.
    pub n_layer: usize,
    /// Attention heads of a block.
    pub n_head: usize,
}

/// Learning rates and their schedule.
///
/// Muon updates the matrices of the blocks, AdamW everything else. Each rate rises linearly for
/// `warmup_steps`, then falls along a cosine to `final_share` of its maximum at `schedule_steps`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerConfig {
    /// Muon's learning rate.
    pub matrix_lr: f64,
    /// AdamW's learning rate for token embeddings, biases and norms.
    pub other_lr: f64,
    /// AdamW's learning rate for the position table.
    pub position_lr: f64,
    /// Weight decay of the matrices.
    pub weight_decay: f64,
    /// Steps over which the rates rise.
    pub warmup_steps: u64,
    /// The step at which the cosine would end; the run may stop before it.
    pub schedule_steps: u64,
    /// Share of the rates at the end.
    pub final_share: f64,
    /// Largest global norm of the gradients.
    pub clip_norm: f64,
}

/// PyTorch's AdamW, with an epsilon of 1e-8; only matrices decay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdamW {
    /// The learning rate.
    pub learning_rate: f64,
    /// Decay of the mean of the gradients.
    pub beta_1: f64,
    /// Decay of the mean of their squares.
    pub beta_2: f64,
    /// Weight decay of matrices, relative to the learning rate.
    pub weight_decay: f64,
    /// Share of the steps over which the rate rises.
    pub warmup_share: f64,
    /// Share of the rate at the end of its cosine; 1 keeps it constant.
    pub final_share: f64,
    /// Largest global norm of the gradients.
    pub clip_norm: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self {
            learning_rate: 5e-5,
            beta_1: 0.9,
            beta_2: 0.999,
            weight_decay: 0.01,
            warmup_share: 0.1,
            final_share: 0.1,
            clip_norm: 1.0,
        }
    }
}

/// A number of steps with windows of one length.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Optimiser steps.
    pub steps: u64,
    /// Windows per step.
    pub rows: usize,
    /// Windows per forward pass; the gradients of a step are accumulated over them.
    pub micro_rows: usize,
    /// The contents and length of the windows.
    pub stream: StreamConfig,
}

impl PretrainConfig {
    /// The model's configuration, for a vocabulary of `vocab_size` with the end-of-text token
    /// `eos`.
    pub fn gpt2(&self, vocab_size: usize, eos: Option<u32>) -> Gpt2Config {
        Gpt2Config {
            vocab_size,
            n_positions: self.model.n_positions,
            n_embd: self.model.n_embd,
            n_layer: self.model.n_layer,
            n_head: self.model.n_head,
            resid_pdrop: 0.0,
            embd_pdrop: 0.0,
            attn_pdrop: 0.0,
            bos_token_id: eos,
            eos_token_id: eos.map(TokenIds::One),
            ..Gpt2Config::default()
        }
    }

    /// Steps of all stages.
    pub fn total_steps(&self) -> u64 {
        self.stages.iter().map(|stage| stage.steps).sum()
    }

    /// The stage of step `step`, and its number.
    pub fn stage(&self, step: u64) -> Option<(usize, &Stage)> {
        let mut end = 0;
        self.stages.iter().enumerate().find(|(_, stage)| {
            end += stage.steps;
            step < end
        })
    }

    /// Tokens read before step `step`.
    pub fn tokens_before(&self, step: u64) -> u64 {
        let mut left = step;
        self.stages
            .iter()
            .map(|stage| {
                let steps = left.min(stage.steps);
                left -= steps;
                steps * (stage.rows * stage.stream.window) as u64
            })
            .sum()
    }

    /// The factor of the learning rates at step `step`.
    pub fn rate(&self, step: u64) -> f64 {
        let OptimizerConfig {
            warmup_steps,
            schedule_steps,
            final_share,
            ..
        } = self.optimizer;
        schedule::rate(step, warmup_steps, schedule_steps, final_share)
    }

    /// Checks that the settings are consistent.
    ///
    /// # Errors
    ///
    /// [`TrainError::Config`] names the invalid setting.
    pub fn validate(&self) -> Result<(), TrainError> {
        let wrong = |setting: &str, message: String| Err(TrainError::config(setting, message));
        let rates = &self.optimizer;
        for (name, found) in [
            ("matrix_lr", rates.matrix_lr),
            ("other_lr", rates.other_lr),
            ("position_lr", rates.position_lr),
            ("weight_decay", rates.weight_decay),
        ] {
            if !(found >= 0.0 && found.is_finite()) {
                return wrong(
                    &format!("optimizer.{name}"),
                    format!("{found}, expected a number of 0 or more"),
                );
            }
        }
        if !(0.0..=1.0).contains(&rates.final_share) {
            return wrong(
                "optimizer.final_share",
                format!("{}, expected 0 to 1", rates.final_share),
            );
        }
        if rates.clip_norm.is_nan() || rates.clip_norm <= 0.0 {
            return wrong(
                "optimizer.clip_norm",
                format!("{}, expected a number above 0", rates.clip_norm),
            );
        }
        if self.stages.is_empty() {
            return wrong("stages", "there is none; give at least one".into());
        }
        for (index, stage) in self.stages.iter().enumerate() {
            let name = format!("stages[{index}]");
            if stage.stream.window == 0 || stage.stream.window > self.model.n_positions {
                return wrong(
                    &name,
                    format!(
                        "a window of {} tokens, expected 1 to n_positions = {}",
                        stage.stream.window, self.model.n_positions
                    ),
                );
            }
            if stage.rows == 0 || stage.micro_rows == 0 {
                return wrong(&name, "`rows` and `micro_rows` must be at least 1".into());
            }
        }
        Ok(())
    }
}
