//! The spread of one query's attention over the keys that it sees.
//!
//! There are two measures, both as shares of the n visible key positions: the
//! share with a weight above a threshold, and the *effective* share `exp(H)/n`,
//! where H is the entropy of the weights in nats. `exp(H)`, the perplexity of
//! the distribution, is the number of keys of a uniform attention with the same
//! entropy: n keys give 1, a single key 1/n.

use serde::{Deserialize, Serialize};

use crate::{MetricError, Real, check};

/// The maximum deviation of the weights' sum from 1: a softmax in bfloat16 keeps
/// eight bits of each weight, so its sum deviates by less than 2⁻⁸ plus
/// rounding.
const SUM_TOLERANCE: f64 = 1e-2;

/// The density of one query's attention.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AttentionDensity {
    /// Number of key positions, n.
    pub positions: u64,
    /// The weight above which a position counts, per position.
    pub threshold: f64,
    /// The share of positions whose weight is above the threshold, in 0..=1.
    pub above_threshold: f64,
    /// Entropy of the weights over positions, in nats, in 0..=ln n.
    pub entropy_nats: f64,
    /// `exp(entropy) / n`, in 1/n..=1.
    pub effective: f64,
}

/// The density of attention weights over key positions.
///
/// Pass only the positions that the query sees, because hidden ones would count
/// in n. The weights are divided by their sum, which must be close to 1.
///
/// # Errors
/// No weights, weights that are negative or not finite,
/// [`MetricError::NotDistribution`] if they do not sum to 1 within 1e-2, and a
/// threshold outside 0..1.
pub fn attention_density<T: Real>(
    weights: &[T],
    threshold: f64,
) -> Result<AttentionDensity, MetricError> {
    check::not_empty("attention weights", weights)?;
    check::finite("attention weight", weights)?;
    if !(0.0..1.0).contains(&threshold) {
        return Err(MetricError::OutOfRange {
            what: "threshold",
            value: threshold,
            expected: "a weight from 0 up to, but not including, 1",
        });
    }
    for &weight in weights {
        let weight: f64 = weight.into();
        if weight < 0.0 {
            return Err(MetricError::OutOfRange {
                what: "attention weight",
                value: weight,
                expected: "a number of 0 or more",
            });
        }
    }
    let sum: f64 = weights.iter().map(|&w| w.into()).sum();
    if (sum - 1.0).abs() > SUM_TOLERANCE {
        return Err(MetricError::NotDistribution {
            sum,
            tolerance: SUM_TOLERANCE,
        });
    }

    let (mut above, mut entropy) = (0u64, 0.0);
    for &weight in weights {
        let weight: f64 = weight.into() / sum;
        if weight > 0.0 {
            entropy -= weight * weight.ln();
            above += u64::from(weight > threshold);
        }
    }
    let positions = weights.len() as u64;
    let n = positions as f64;
    // Rounding can exceed the bounds by a few units in the last place.
    let entropy = f64::max(entropy, 0.0).min(n.ln());
    Ok(AttentionDensity {
        positions,
        threshold,
        above_threshold: above as f64 / n,
        entropy_nats: entropy,
        effective: (entropy.exp() / n).min(1.0),
    })
}

#[cfg(test)]
mod tests {
    use super::attention_density;
    use crate::MetricError;

    #[test]
    fn uniform_and_single_attention_are_the_extremes() {
        let uniform = attention_density(&[0.25f32; 4], 0.2).unwrap();
        assert_eq!((uniform.above_threshold, uniform.positions), (1.0, 4));
        assert!((uniform.effective - 1.0).abs() < 1e-15);
        let single = attention_density(&[0.0f32, 1.0, 0.0, 0.0], 0.2).unwrap();
        assert_eq!(single.above_threshold, 0.25);
        assert_eq!((single.entropy_nats, single.effective), (0.0, 0.25));
    }

    #[test]
    fn the_threshold_is_exclusive() {
        let density = attention_density(&[0.5f32, 0.25, 0.25], 0.25).unwrap();
        assert_eq!(density.above_threshold, 1.0 / 3.0);
    }

    #[test]
    fn refuses_what_is_no_distribution() {
        assert!(matches!(
            attention_density(&[0.5f32, 0.4], 0.0),
            Err(MetricError::NotDistribution { .. })
        ));
        assert!(matches!(
            attention_density(&[1.5f32, -0.5], 0.0),
            Err(MetricError::OutOfRange {
                what: "attention weight",
                ..
            })
        ));
        for threshold in [-0.1, 1.0, f64::NAN] {
            assert!(attention_density(&[1.0f32], threshold).is_err());
        }
    }
}
