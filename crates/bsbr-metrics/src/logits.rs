//! The log-softmax of one row of logits, in `f64`.

use crate::{MetricError, Real, check};

/// Converts a logit into a log-probability: `ln p_i = (x_i − max) − ln Σ_j exp(x_j − max)`.
///
/// The maximum is subtracted first, so nothing overflows and the largest term of the sum is
/// 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogSoftmax {
    max: f64,
    ln_sum: f64,
}

impl LogSoftmax {
    /// Reads the row once for its maximum and once for its sum.
    pub(crate) fn of<T: Real>(logits: &[T]) -> Result<Self, MetricError> {
        check::not_empty("logits", logits)?;
        check::finite("logit", logits)?;
        let max = logits
            .iter()
            .map(|&x| x.into())
            .fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logits.iter().map(|&x| (x.into() - max).exp()).sum();
        Ok(Self {
            max,
            ln_sum: sum.ln(),
        })
    }

    /// The log-probability of a logit of this row, in nats.
    pub(crate) fn ln_probability(&self, logit: f64) -> f64 {
        (logit - self.max) - self.ln_sum
    }
}
