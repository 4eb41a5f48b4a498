//! Checks shared by the metrics: each turns a bad input into a typed error.

use crate::{MetricError, Real};

/// Both inputs have the same length, and it is not zero.
pub(crate) fn same_length<A, B>(
    what: &'static str,
    left: &[A],
    right: &[B],
) -> Result<(), MetricError> {
    if left.len() != right.len() {
        return Err(MetricError::LengthMismatch {
            left: left.len(),
            right: right.len(),
        });
    }
    not_empty(what, left)
}

/// There is at least one value.
pub(crate) fn not_empty<T>(what: &'static str, values: &[T]) -> Result<(), MetricError> {
    if values.is_empty() {
        Err(MetricError::Empty { what })
    } else {
        Ok(())
    }
}

/// No value is `NaN` or infinite.
pub(crate) fn finite<T: Real>(what: &'static str, values: &[T]) -> Result<(), MetricError> {
    for (index, &value) in values.iter().enumerate() {
        let value: f64 = value.into();
        if !value.is_finite() {
            return Err(MetricError::NonFinite { what, index, value });
        }
    }
    Ok(())
}

/// The result did not overflow.
pub(crate) fn no_overflow(what: &'static str, value: f64) -> Result<f64, MetricError> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err(MetricError::Overflow { what })
    }
}
