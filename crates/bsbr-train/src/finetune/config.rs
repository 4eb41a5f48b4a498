//! The configuration of a fine-tuning run.

use bsbr_convert::FloatType;
use serde::{Deserialize, Serialize};

use crate::config::AdamW;
use crate::error::TrainError;

/// A fine-tuning run. The same configuration, model, data and backend give the same weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinetuneConfig {
    /// Seed of the order of the windows, of position offsets and of initial adapters.
    pub seed: u64,
    /// Epochs for the objective.
    pub epochs: u64,
    /// Epochs before that for [`Objective::Transfer`].
    pub transfer_epochs: u64,
    /// The training objective.
    pub objective: Objective,
    /// The trained parameters.
    pub train: Trainable,
    /// The optimiser.
    pub optimizer: AdamW,
    /// Micro-batch size, in windows.
    pub batch_size: usize,
    /// Forward passes per step; the loss is the mean over all of their targets.
    pub grad_accumulation: usize,
    /// Whether whole windows have random offsets in the position table, so that all of it is
    /// trained.
    pub random_offsets: bool,
    /// Number of pieces, of random lengths, into which each window is divided. The first starts at
    /// position 0, and each other one a random number of positions after the previous one. So short
    /// windows train the whole table, and attention over all of its distances (positional skip-wise
    /// training). 1 leaves windows whole; it is not hashed, like f32 for `precision`.
    #[serde(default = "whole", skip_serializing_if = "is_whole")]
    pub position_chunks: usize,
    /// The run ends after this many epochs without a lower validation loss; 0 for never.
    pub patience: u64,
    /// The type of the computation. F32 is omitted from the hash, so that older runs resume.
    ///
    /// In any precision, weights, summed gradients, the optimiser's means, losses, norms, the
    /// summaries of the arms and their own parameters are f32. In half precision, each forward pass
    /// starts from rounded weights. On the CPU, bf16 is the type of the factors of products with the
    /// weights of linear layers and of the output layer, in both passes; their sums, and everything
    /// else, are f32.
    #[serde(default, skip_serializing_if = "is_single")]
    pub precision: FloatType,
}

fn whole() -> usize {
    1
}

fn is_whole(chunks: &usize) -> bool {
    *chunks == whole()
}

fn is_single(precision: &FloatType) -> bool {
    !precision.is_half()
}

/// The training objective.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// The next token.
    Lm,
    /// The original's distribution of the next token:
    /// `mix · T² · KL(original ‖ model) + (1 − mix) · cross entropy`, both distributions at
    /// temperature T.
    Distill {
        /// T
        temperature: f64,
        /// Weight of the original in the loss.
        mix: f64,
    },
    /// The output of the original's attention on the original's input, layer by layer: mean
    /// squared error, without a backward pass through the whole model.
    Transfer,
}

/// The trained parameters of a model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trainable {
    /// Every parameter.
    All,
    /// The attention: projections and the arm's own parameters.
    Attention,
    /// The arm's own parameters: routings, compression bases, and in the moments arm a
    /// temperature, a bias and a gain per head, which are added for this.
    Retrieval,
    /// Low-rank adapters on the projections of attention and feed-forward layers.
    Lora {
        /// Their rank.
        rank: usize,
        /// They are scaled by `alpha / rank`.
        alpha: f64,
    },
}

impl Default for FinetuneConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            epochs: 1,
            transfer_epochs: 0,
            objective: Objective::Lm,
            train: Trainable::All,
            optimizer: AdamW::default(),
            batch_size: 1,
            grad_accumulation: 4,
            random_offsets: true,
            position_chunks: whole(),
            patience: 0,
            precision: FloatType::F32,
        }
    }
}

impl FinetuneConfig {
    /// Windows of a step.
    pub fn rows(&self) -> usize {
        self.batch_size * self.grad_accumulation
    }

    /// Whether the original is needed too.
    pub fn needs_original(&self) -> bool {
        self.transfer_epochs > 0 || self.objective != Objective::Lm
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// [`TrainError::Config`] names the invalid setting.
    pub fn validate(&self) -> Result<(), TrainError> {
        let wrong = |setting: &str, message: &str| Err(TrainError::config(setting, message));
        if self.rows() == 0 {
            return wrong("batch_size, grad_accumulation", "must be at least 1");
        }
        if self.position_chunks == 0 {
            return wrong("position_chunks", "must be at least 1");
        }
        let rates = &self.optimizer;
        if !(rates.learning_rate > 0.0 && rates.learning_rate.is_finite()) {
            return wrong("learning_rate", "must be above 0");
        }
        if !(0.0..=1.0).contains(&rates.warmup_share) || !(0.0..=1.0).contains(&rates.final_share) {
            return wrong("warmup_share, final_share", "must be from 0 to 1");
        }
        if rates.clip_norm.is_nan() || rates.clip_norm <= 0.0 {
            return wrong("clip_norm", "must be above 0");
        }
        // Checked as f32, the type in which they are used.
        let decays = |beta: f64| (0.0..1.0).contains(&(beta as f32));
        if !decays(rates.beta_1) || !decays(rates.beta_2) {
            return wrong("beta_1, beta_2", "must be from 0 to below 1");
        }
        if !(rates.weight_decay >= 0.0 && rates.weight_decay.is_finite()) {
            return wrong("weight_decay", "must be 0 or more");
        }
        match self.objective {
            Objective::Distill { temperature, mix }
                if !(temperature > 0.0
                    && temperature.is_finite()
                    && (0.0..=1.0).contains(&mix)) =>
            {
                return wrong(
                    "distill",
                    "expected a temperature above 0 and a mix from 0 to 1",
                );
            }
            _ => {}
        }
        match self.train {
            Trainable::Lora { rank: 0, .. } => wrong("lora", "the rank must be at least 1"),
            Trainable::Lora { alpha, .. } if !(alpha > 0.0 && alpha.is_finite()) => {
                wrong("lora", "alpha must be above 0")
            }
            _ => Ok(()),
        }
    }
}
