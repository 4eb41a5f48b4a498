//! Intervals for the probability of success, from k successes in n trials.

use statrs::distribution::{ContinuousCDF, Normal};

use super::Interval;
use crate::MetricError;

/// The score interval of Wilson (1927) for a proportion, without continuity
/// correction. Its mean coverage equals the confidence, also near 0 and 1, although
/// not for every probability.
///
/// With p = k/n and z the normal quantile of `(1 + confidence) / 2`:
/// `(p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n)`.
///
/// # Errors
/// No trials, more successes than trials, or a confidence outside 0..1 (ends
/// excluded).
pub fn wilson(successes: u64, trials: u64, confidence: f64) -> Result<Interval, MetricError> {
    counts(successes, trials, confidence)?;
    let z = Normal::standard().inverse_cdf((1.0 + confidence) / 2.0);
    let n = trials as f64;
    let p = successes as f64 / n;
    let centre = p + z * z / (2.0 * n);
    let reach = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z * z / n;
    // The ends at k = 0 and k = n are exact; elsewhere rounding stays inside.
    Ok(Interval {
        low: if successes == 0 {
            0.0
        } else {
            ((centre - reach) / scale).max(0.0)
        },
        high: if successes == trials {
            1.0
        } else {
            ((centre + reach) / scale).min(1.0)
        },
    })
}

fn counts(successes: u64, trials: u64, confidence: f64) -> Result<(), MetricError> {
    if trials == 0 {
        return Err(MetricError::Empty { what: "trials" });
    }
    if successes > trials {
        return Err(MetricError::SuccessesExceedTrials { successes, trials });
    }
    if !(confidence > 0.0 && confidence < 1.0) {
        return Err(MetricError::OutOfRange {
            what: "confidence",
            value: confidence,
            expected: "a share between 0 and 1",
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::wilson;
    use crate::MetricError;

    #[test]
    fn no_successes_by_hand() {
        // z² / (n + z²).
        let score = wilson(0, 10, 0.95).unwrap();
        let z2 = 1.959_963_984_540_054_f64.powi(2);
        assert_eq!(score.low, 0.0);
        assert!((score.high - z2 / (10.0 + z2)).abs() < 1e-12);
    }

    #[test]
    fn bad_counts_are_typed_errors() {
        assert_eq!(
            wilson(0, 0, 0.95),
            Err(MetricError::Empty { what: "trials" })
        );
        assert_eq!(
            wilson(3, 2, 0.95),
            Err(MetricError::SuccessesExceedTrials {
                successes: 3,
                trials: 2
            })
        );
        for confidence in [0.0, 1.0, f64::NAN] {
            assert!(wilson(1, 2, confidence).is_err());
        }
    }
}
