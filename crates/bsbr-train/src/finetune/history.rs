//! What a fine-tuning run notes of itself; it is part of every checkpoint.

use serde::{Deserialize, Serialize};

use crate::error::TrainError;

/// The curves of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// The loss of each step.
    pub losses: Vec<f64>,
    /// The global norm of each step's gradients, before clipping.
    pub gradient_norms: Vec<f64>,
    /// The loss on the windows that are kept back: before the first step, and after each epoch.
    pub validations: Vec<Validation>,
}

/// How a model does on the windows that are kept back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// Steps made before.
    pub step: u64,
    /// Mean cross entropy of a token, in nats.
    pub loss: f64,
    /// Its exponential.
    pub perplexity: f64,
}

impl History {
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, TrainError> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_slice(bytes).map_err(wrong)
    }

    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, TrainError> {
        serde_json::to_vec(self).map_err(wrong)
    }

    /// Validations since the one with the lowest loss.
    pub(crate) fn since_best(&self) -> u64 {
        let best = self
            .validations
            .iter()
            .enumerate()
            .min_by(|(_, a), (_, b)| a.loss.total_cmp(&b.loss));
        best.map_or(0, |(index, _)| (self.validations.len() - 1 - index) as u64)
    }
}

fn wrong(error: serde_json::Error) -> TrainError {
    TrainError::Config {
        setting: "history".into(),
        message: error.to_string(),
    }
}
