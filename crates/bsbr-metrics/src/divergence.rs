//! Kullback–Leibler divergence of an arm's next-token distribution from the
//! dense model's, in nats.
//!
//! The direction is always KL(dense ‖ arm): the expectation is under the dense
//! model. It is the cost in nats of coding the dense model's tokens with the
//! arm's probabilities. For the other direction, swap the arguments. The sum
//! runs over the vocabulary at one position.

use crate::logits::LogSoftmax;
use crate::{MetricError, Real, check};

/// The dense model's distribution at one position, to compare with those of arms.
#[derive(Debug, Clone)]
pub struct Reference {
    probabilities: Vec<f64>,
    /// `Σ_i p_i ln p_i`
    negative_entropy: f64,
}

impl Reference {
    /// That of a row of logits.
    ///
    /// # Errors
    /// An empty row, and logits that are not finite.
    pub fn of<T: Real>(dense: &[T]) -> Result<Self, MetricError> {
        let p = LogSoftmax::of(dense)?;
        let probability = |&x: &T| p.ln_probability(x.into()).exp();
        let mut own = Self {
            probabilities: dense.iter().map(probability).collect(),
            negative_entropy: 0.0,
        };
        own.negative_entropy = own.expected(&p, dense);
        Ok(own)
    }

    /// KL(dense ‖ arm) in nats: `Σ_i p_i (ln p_i − ln q_i)`, where p is the softmax of the dense
    /// logits and q that of the arm's (Kullback and Leibler, 1951).
    ///
    /// Log-softmaxes are computed in `f64` with the maximum removed. A result below zero by
    /// rounding is reported as zero.
    ///
    /// # Errors
    /// Rows of different lengths, and logits that are not finite.
    pub fn kl<T: Real>(&self, arm: &[T]) -> Result<f64, MetricError> {
        check::same_length("logits", &self.probabilities, arm)?;
        let kl = self.negative_entropy - self.expected(&LogSoftmax::of(arm)?, arm);
        check::no_overflow("divergence", kl.max(0.0))
    }

    /// `Σ_i p_i ln q_i`
    fn expected<T: Real>(&self, q: &LogSoftmax, logits: &[T]) -> f64 {
        let all = self.probabilities.iter().zip(logits);
        // 0 ln q = 0, also if the logarithm overflows.
        let all = all.filter(|(p, _)| **p > 0.0);
        all.map(|(p, &x)| p * q.ln_probability(x.into())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::Reference;
    use crate::{MetricError, Real};

    fn kl<T: Real>(dense: &[T], arm: &[T]) -> Result<f64, MetricError> {
        Reference::of(dense)?.kl(arm)
    }

    #[test]
    fn two_outcomes_by_hand() {
        // p = (3/4, 1/4), q = (1/2, 1/2).
        let expected = 0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln();
        let value = kl(&[3f64.ln(), 0.0], &[7.0, 7.0]).unwrap();
        assert!((value - expected).abs() < 1e-15, "{value} {expected}");
    }

    #[test]
    fn the_expectation_is_under_the_dense_model() {
        // The dense model never chooses the second token, so an arm that gives
        // it half of its mass loses ln 2; the reverse costs far more.
        let (sure, unsure) = ([50.0f32, 0.0], [0.0f32, 0.0]);
        assert!((kl(&sure, &unsure).unwrap() - 2f64.ln()).abs() < 1e-12);
        assert!(kl(&unsure, &sure).unwrap() > 20.0);
    }

    #[test]
    fn refuses_masked_logits() {
        assert!(matches!(
            kl(&[0.0f32, f32::NEG_INFINITY], &[0.0, 0.0]),
            Err(MetricError::NonFinite {
                what: "logit",
                index: 1,
                ..
            })
        ));
    }
}
