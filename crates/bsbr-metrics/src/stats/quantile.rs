//! Quantiles with linear interpolation.

use crate::{MetricError, check};

/// The `q`-quantile, interpolated linearly between order statistics: position
/// `(n − 1) q` of the sorted samples (definition 7 of Hyndman and Fan, 1996, the
/// default of NumPy and R).
///
/// # Errors
/// No samples, samples that are not finite, or q outside 0..=1.
pub fn quantile(samples: &[f64], q: f64) -> Result<f64, MetricError> {
    check::not_empty("samples", samples)?;
    check::finite("sample", samples)?;
    if !(0.0..=1.0).contains(&q) {
        return Err(MetricError::OutOfRange {
            what: "quantile",
            value: q,
            expected: "a share from 0 to 1",
        });
    }
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    Ok(quantile_of_sorted(&sorted, q))
}

/// [`quantile`] of sorted, finite, nonempty samples, with `q` in 0..=1.
pub(super) fn quantile_of_sorted(sorted: &[f64], q: f64) -> f64 {
    let position = (sorted.len() - 1) as f64 * q;
    let below = position.floor();
    let share = position - below;
    let low = sorted[below as usize];
    let high = sorted[(below as usize + 1).min(sorted.len() - 1)];
    // Halved, so that the difference of two finite numbers cannot overflow, and
    // clamped, so that rounding cannot exceed the two neighbours.
    let step = 2.0 * share * (high / 2.0 - low / 2.0);
    (low + step).clamp(low, high)
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn interpolates_between_neighbours() {
        let samples = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(quantile(&samples, 0.0), Ok(1.0));
        assert_eq!(quantile(&samples, 0.25), Ok(1.75));
        assert_eq!(quantile(&samples, 0.5), Ok(2.5));
        assert_eq!(quantile(&samples, 1.0), Ok(4.0));
        assert_eq!(quantile(&[7.0], 0.3), Ok(7.0));
    }

    #[test]
    fn refuses_what_has_no_quantile() {
        assert!(quantile(&[], 0.5).is_err());
        assert!(quantile(&[1.0], 1.1).is_err());
        assert!(quantile(&[1.0], f64::NAN).is_err());
        assert!(quantile(&[f64::INFINITY], 0.5).is_err());
    }
}
