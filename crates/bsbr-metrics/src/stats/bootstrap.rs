//! Percentile bootstrap intervals from a seeded, portable generator.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::Interval;
use super::quantile::quantile_of_sorted;
use crate::{MetricError, check};

/// The probability in one tail outside a 95 % interval.
const TAIL: f64 = 0.025;

/// How to resample. Defaults: 1000 resamples, seed 0.
///
/// The statistic is recomputed on `resamples` samples of the original size,
/// drawn with replacement. The interval is between the 2.5 % and 97.5 %
/// quantiles of the results (Efron and Tibshirani, 1993, chapter 13). With few
/// samples such intervals are somewhat too narrow.
///
/// Cost: resamples × n draws. The draws come from ChaCha8, so the same seed and
/// samples give the same interval on every platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Bootstrap {
    /// Number of resamples.
    pub resamples: usize,
    /// Seed of the generator.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self {
            resamples: 1000,
            seed: 0,
        }
    }
}

impl Bootstrap {
    /// The 95 % percentile interval of a statistic of `n` samples, given as a
    /// function of the drawn indices.
    ///
    /// # Errors
    /// No samples or resamples, or a statistic that is not finite.
    pub fn interval(
        &self,
        n: usize,
        statistic: impl Fn(&[usize]) -> f64,
    ) -> Result<Interval, MetricError> {
        self.interval_of(n, &statistic)
    }

    /// Compiled once for all statistics.
    fn interval_of(
        &self,
        n: usize,
        statistic: &dyn Fn(&[usize]) -> f64,
    ) -> Result<Interval, MetricError> {
        if self.resamples == 0 {
            return Err(MetricError::OutOfRange {
                what: "resamples",
                value: 0.0,
                expected: "at least 1",
            });
        }
        if n == 0 {
            return Err(MetricError::TooFewSamples {
                found: 0,
                needed: 1,
            });
        }
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut drawn = vec![0; n];
        let mut values = Vec::with_capacity(self.resamples);
        for _ in 0..self.resamples {
            for index in &mut drawn {
                // Drawn as u64, because a usize would be drawn differently on 32
                // bits.
                *index = rng.random_range(0..n as u64) as usize;
            }
            values.push(check::no_overflow(
                "bootstrap statistic",
                statistic(&drawn),
            )?);
        }
        values.sort_unstable_by(f64::total_cmp);
        Ok(Interval {
            low: quantile_of_sorted(&values, TAIL),
            high: quantile_of_sorted(&values, 1.0 - TAIL),
        })
    }

    /// The 95 % percentile interval of the mean.
    pub(super) fn mean_interval(&self, samples: &[f64]) -> Result<Interval, MetricError> {
        self.interval(samples.len(), |drawn| {
            drawn.iter().map(|&index| samples[index]).sum::<f64>() / samples.len() as f64
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Bootstrap;

    #[test]
    fn the_seed_decides() {
        let samples: Vec<f64> = (0..20).map(|i| f64::from(i * i)).collect();
        let of = |seed| {
            Bootstrap {
                seed,
                ..Bootstrap::default()
            }
            .mean_interval(&samples)
        };
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn refuses_no_resamples() {
        assert!(
            Bootstrap {
                resamples: 0,
                seed: 0
            }
            .mean_interval(&[1.0, 2.0])
            .is_err()
        );
    }
}
