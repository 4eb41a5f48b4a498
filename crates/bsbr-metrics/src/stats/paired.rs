//! Two measurements of the same items, compared item by item.

use serde::{Deserialize, Serialize};

use super::{Bootstrap, Interval};
use crate::{MetricError, check};

/// A comparison of two paired sets of samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Number of pairs.
    pub n: usize,
    /// The difference or ratio of the means.
    pub estimate: f64,
    /// 95 % percentile bootstrap interval of the estimate, over pairs.
    pub ci95: Interval,
}

/// `mean(a) − mean(b)` over pairs: pairs are resampled, so what both
/// measurements of an item share cancels. In the samples' unit; above zero
/// where `a` is larger.
///
/// # Errors
/// Fewer than two pairs, different lengths, samples that are not finite, and
/// results beyond `f64`.
pub fn paired_difference(
    a: &[f64],
    b: &[f64],
    bootstrap: &Bootstrap,
) -> Result<Comparison, MetricError> {
    pairs(a, b)?;
    let differences: Vec<f64> = a.iter().zip(b).map(|(x, y)| x - y).collect();
    let n = differences.len();
    let estimate = check::no_overflow("difference", differences.iter().sum::<f64>() / n as f64)?;
    Ok(Comparison {
        n,
        estimate,
        ci95: bootstrap.mean_interval(&differences)?,
    })
}

/// `mean(a) / mean(b)` over pairs, pairs being resampled: a ratio of means, not
/// a mean of ratios. Above one where `a` is larger; a speed-up is
/// `paired_ratio(time_before, time_after, …)`.
///
/// # Errors
/// As [`paired_difference`], and [`MetricError::NotPositive`] where a sample of
/// `b` is not above zero.
pub fn paired_ratio(
    a: &[f64],
    b: &[f64],
    bootstrap: &Bootstrap,
) -> Result<Comparison, MetricError> {
    pairs(a, b)?;
    if let Some(index) = b.iter().position(|&value| value <= 0.0) {
        return Err(MetricError::NotPositive {
            what: "denominator",
            index,
            value: b[index],
        });
    }
    let n = a.len();
    let estimate = check::no_overflow("ratio", a.iter().sum::<f64>() / b.iter().sum::<f64>())?;
    let ci95 = bootstrap.interval(n, |drawn| {
        let sum = |samples: &[f64]| drawn.iter().map(|&index| samples[index]).sum::<f64>();
        sum(a) / sum(b)
    })?;
    Ok(Comparison { n, estimate, ci95 })
}

fn pairs(a: &[f64], b: &[f64]) -> Result<(), MetricError> {
    check::same_length("pairs", a, b)?;
    check::finite("left sample", a)?;
    check::finite("right sample", b)?;
    if a.len() < 2 {
        return Err(MetricError::TooFewSamples {
            found: a.len(),
            needed: 2,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{paired_difference, paired_ratio};
    use crate::MetricError;
    use crate::stats::Bootstrap;

    #[test]
    fn what_pairs_share_cancels() {
        let b: Vec<f64> = (0..50)
            .map(|i| 100.0 * f64::from(i).sin() + 200.0)
            .collect();
        let shifted: Vec<f64> = b.iter().map(|x| x + 3.0).collect();
        let difference = paired_difference(&shifted, &b, &Bootstrap::default()).unwrap();
        assert!((difference.estimate - 3.0).abs() < 1e-12);
        assert!(difference.ci95.width() < 1e-12, "{:?}", difference.ci95);
        let doubled: Vec<f64> = b.iter().map(|x| 2.0 * x).collect();
        let ratio = paired_ratio(&doubled, &b, &Bootstrap::default()).unwrap();
        assert_eq!(
            (ratio.estimate, ratio.ci95.low, ratio.ci95.high),
            (2.0, 2.0, 2.0)
        );
    }

    #[test]
    fn a_ratio_is_of_means() {
        let ratio = paired_ratio(&[1.0, 9.0], &[1.0, 3.0], &Bootstrap::default()).unwrap();
        assert_eq!(ratio.estimate, 2.5);
        assert_eq!((ratio.ci95.low, ratio.ci95.high), (1.0, 3.0));
    }

    #[test]
    fn bad_pairs_are_typed_errors() {
        let bootstrap = Bootstrap::default();
        assert_eq!(
            paired_difference(&[1.0], &[2.0], &bootstrap),
            Err(MetricError::TooFewSamples {
                found: 1,
                needed: 2
            })
        );
        assert!(matches!(
            paired_ratio(&[1.0, 2.0], &[1.0, 0.0], &bootstrap),
            Err(MetricError::NotPositive { index: 1, .. })
        ));
        assert!(paired_ratio(&[1.0, 2.0], &[1.0], &bootstrap).is_err());
        assert!(paired_difference(&[1.0, f64::NAN], &[1.0, 2.0], &bootstrap).is_err());
        assert!(matches!(
            paired_difference(&[f64::MAX, 0.0], &[-f64::MAX, 0.0], &bootstrap),
            Err(MetricError::Overflow { .. })
        ));
    }
}
