//! Negative log-likelihood of tokens, from which perplexities are computed.

use crate::logits::LogSoftmax;
use crate::{MetricError, Real};

/// Negative log-likelihood of a token under one row of logits, in nats:
/// `−ln softmax(logits)[target]`, in `f64`.
///
/// # Errors
/// A target outside the vocabulary, or logits that are not finite.
pub fn token_nll<T: Real>(logits: &[T], target: usize) -> Result<f64, MetricError> {
    let softmax = LogSoftmax::of(logits)?;
    let logit = logits.get(target).ok_or(MetricError::TargetOutOfRange {
        target,
        vocabulary: logits.len(),
    })?;
    Ok(-softmax.ln_probability((*logit).into()))
}

#[cfg(test)]
mod tests {
    use super::token_nll;
    use crate::MetricError;

    #[test]
    fn a_uniform_model_has_its_vocabulary_as_perplexity() {
        let nll = token_nll(&[3.0f32; 50], 7).unwrap();
        assert!((nll.exp() - 50.0).abs() < 1e-10);
    }

    #[test]
    fn targets_are_in_the_vocabulary() {
        assert_eq!(
            token_nll(&[0.0f32; 3], 3),
            Err(MetricError::TargetOutOfRange {
                target: 3,
                vocabulary: 3
            })
        );
    }
}
