//! The history of a fine-tuning run, which is part of every checkpoint.

use serde::{Deserialize, Serialize};

use crate::error::TrainError;

/// The curves of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// The loss of each step.
    pub losses: Vec<f64>,
    /// The global norm of each step's gradients, before clipping.
    pub gradient_norms: Vec<f64>,
    /// The validation loss: before the first step, and after each epoch.
    pub validations: Vec<Validation>,
}

/// The result on the validation windows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// The number of finished steps.
    pub step: u64,
    /// Mean cross entropy of a token, in nats.
    pub loss: f64,
    /// Its exponential, at most 1e300.
    pub perplexity: f64,
}

/// The largest recorded perplexity: JSON has no infinity, and the largest numbers cannot be
/// parsed.
const MAX_PERPLEXITY: f64 = 1e300;

impl Validation {
    /// After `step` steps, with a finite loss.
    pub(crate) fn new(step: u64, loss: f64) -> Self {
        Self {
            step,
            loss,
            perplexity: loss.exp().min(MAX_PERPLEXITY),
        }
    }
}

impl History {
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, TrainError> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_slice(bytes).map_err(|error| TrainError::config("history", error))
    }

    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, TrainError> {
        serde_json::to_vec(self).map_err(|error| TrainError::config("history", error))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_counted_from_the_best_validation() {
        for (losses, expected) in [
            (&[][..], 0),
            (&[3.0], 0),
            (&[3.0, 2.0], 0),
            (&[3.0, 4.0], 1),
            (&[3.0, 4.0, 5.0], 2),
            (&[3.0, 2.0, 4.0, 2.5], 2),
            // An equal loss does not count as better.
            (&[3.0, 2.0, 2.0], 1),
            (&[3.0, 4.0, 1.0], 0),
        ] {
            let history = History {
                validations: losses
                    .iter()
                    .map(|&loss| Validation::new(0, loss))
                    .collect(),
                ..History::default()
            };
            assert_eq!(history.since_best(), expected, "{losses:?}");
        }
    }

    #[test]
    fn a_history_of_the_largest_losses_is_read_back() {
        let history = History {
            validations: vec![Validation::new(0, 0.0), Validation::new(3, 1e6)],
            ..History::default()
        };
        let bytes = history.to_bytes().unwrap();
        assert_eq!(History::from_bytes(&bytes).unwrap(), history);
        assert_eq!(history.validations[0].perplexity, 1.0);
    }
}
