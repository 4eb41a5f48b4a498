//! Location and spread of a set of samples.

use serde::{Deserialize, Serialize};

use super::quantile::quantile_of_sorted;
use super::{Bootstrap, Interval};
use crate::{MetricError, check};

/// A set of samples in ten numbers, all but `n` in the samples' unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Number of samples.
    pub n: usize,
    /// Arithmetic mean.
    pub mean: f64,
    /// Sample standard deviation, `sqrt(Σ (x − mean)² / (n − 1))`. None for a
    /// single sample.
    pub std: Option<f64>,
    /// Median.
    pub median: f64,
    /// First quartile, interpolated linearly as by [`quantile`](super::quantile).
    pub q25: f64,
    /// Third quartile, interpolated linearly.
    pub q75: f64,
    /// Smallest sample.
    pub min: f64,
    /// Largest sample.
    pub max: f64,
    /// 95 % percentile bootstrap interval of the mean. None for a single sample.
    pub ci95: Option<Interval>,
}

impl Summary {
    /// Summarises the samples; `bootstrap` determines how `ci95` is drawn.
    ///
    /// # Errors
    /// [`MetricError::Empty`] without samples, [`MetricError::NonFinite`] if one
    /// is `NaN` or infinite, and [`MetricError::Overflow`] if a sum exceeds
    /// `f64`.
    pub fn of(samples: &[f64], bootstrap: &Bootstrap) -> Result<Self, MetricError> {
        check::not_empty("samples", samples)?;
        check::finite("sample", samples)?;
        let mut sorted = samples.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let (min, max) = (sorted[0], sorted[sorted.len() - 1]);

        let n = samples.len();
        let sum: f64 = samples.iter().sum();
        let mean = check::no_overflow("mean", sum / n as f64)?;
        let (std, ci95) = if n == 1 {
            (None, None)
        } else {
            let squares: f64 = samples.iter().map(|x| (x - mean).powi(2)).sum();
            let std = (squares / (n - 1) as f64).sqrt();
            (
                Some(check::no_overflow("standard deviation", std)?),
                Some(bootstrap.mean_interval(samples)?),
            )
        };
        Ok(Self {
            n,
            mean,
            std,
            median: quantile_of_sorted(&sorted, 0.5),
            q25: quantile_of_sorted(&sorted, 0.25),
            q75: quantile_of_sorted(&sorted, 0.75),
            min,
            max,
            ci95,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Summary;
    use crate::MetricError;
    use crate::stats::Bootstrap;

    #[test]
    fn one_sample_has_no_spread() {
        let summary = Summary::of(&[3.0], &Bootstrap::default()).unwrap();
        assert_eq!((summary.mean, summary.median, summary.max), (3.0, 3.0, 3.0));
        assert_eq!((summary.std, summary.ci95), (None, None));
    }

    #[test]
    fn survives_a_record() {
        let summary = Summary::of(&[1.0, 2.5, 4.0], &Bootstrap::default()).unwrap();
        let json = serde_json::to_string(&summary).unwrap();
        assert_eq!(serde_json::from_str::<Summary>(&json).unwrap(), summary);
    }

    #[test]
    fn bad_samples_are_typed_errors() {
        let bootstrap = Bootstrap::default();
        assert_eq!(
            Summary::of(&[], &bootstrap),
            Err(MetricError::Empty { what: "samples" })
        );
        assert!(matches!(
            Summary::of(&[1.0, f64::NAN], &bootstrap),
            Err(MetricError::NonFinite { index: 1, .. })
        ));
        assert!(matches!(
            Summary::of(&[f64::MAX, f64::MAX], &bootstrap),
            Err(MetricError::Overflow { .. })
        ));
    }
}
