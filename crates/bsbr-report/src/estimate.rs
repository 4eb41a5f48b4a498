//! A quantity over samples: mean, spread and interval.

use bsbr_metrics::stats::{Bootstrap, Interval, Summary, quantile};

/// The bootstrap of every interval.
pub(crate) const BOOTSTRAP: Bootstrap = Bootstrap {
    resamples: 2_000,
    seed: 0,
};

/// Mean, standard deviation and bootstrap interval of a quantity over samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The mean; of [`Self::of_median`], the median.
    pub mean: f64,
    /// The standard deviation over samples; `None` for one sample.
    pub std: Option<f64>,
    /// The 95 % percentile bootstrap interval of the mean; `None` for one sample.
    pub interval: Option<Interval>,
    /// The number of samples.
    pub n: usize,
}

impl Estimate {
    /// The estimate from one value per sample; `None` without samples.
    ///
    /// The same values always give the same interval.
    pub fn of(values: &[f64]) -> Option<Self> {
        // Records contain only finite values, so this fails only if empty.
        let summary = Summary::of(values, &BOOTSTRAP).ok()?;
        Some(Self {
            mean: summary.mean,
            std: summary.std,
            interval: summary.ci95,
            n: summary.n,
        })
    }

    /// The estimate of the median from one value per sample; `None` without samples.
    pub fn of_median(values: &[f64]) -> Option<Self> {
        let median = |drawn: &[usize]| {
            let drawn: Vec<f64> = drawn.iter().map(|&index| values[index]).collect();
            quantile(&drawn, 0.5).unwrap_or(f64::NAN)
        };
        Some(Self {
            mean: quantile(values, 0.5).ok()?,
            std: None,
            interval: match values.len() {
                1 => None,
                n => BOOTSTRAP.interval(n, median).ok(),
            },
            n: values.len(),
        })
    }

    /// A monotonic function of the mean and of its interval's ends; the standard deviation is
    /// dropped.
    #[must_use]
    pub fn map(self, of: impl Fn(f64) -> f64) -> Self {
        let ends = self.interval.map(|ends| [of(ends.low), of(ends.high)]);
        Self {
            mean: of(self.mean),
            std: None,
            interval: ends.map(|[one, other]| Interval {
                low: one.min(other),
                high: one.max(other),
            }),
            n: self.n,
        }
    }

    /// The ends of the interval; without one, the mean.
    pub fn ends(&self) -> [f64; 2] {
        let ends = self.interval;
        ends.map_or([self.mean; 2], |ends| [ends.low, ends.high])
    }

    /// Whether the mean and its interval are finite.
    pub fn is_finite(&self) -> bool {
        self.mean.is_finite() && self.ends().iter().all(|end| end.is_finite())
    }

    /// The same in another unit.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        Self {
            std: self.std.map(|std| std * factor.abs()),
            ..self.map(|value| value * factor)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_has_the_interval_of_the_median() {
        let found = Estimate::of_median(&[1.0, 2.0, 3.0, 4.0, 100.0]).unwrap();
        assert_eq!((found.mean, found.n), (3.0, 5));
        let ends = found.interval.unwrap();
        assert!(
            ends.low >= 1.0 && ends.low < 3.0 && ends.high > 3.0,
            "{ends:?}"
        );
        assert_eq!(Estimate::of_median(&[2.0]).unwrap().interval, None);
        assert_eq!(Estimate::of_median(&[]), None);
    }
}
