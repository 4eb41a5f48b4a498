//! Similarity of two vectors: cosine and mean squared error.

use crate::rows::map_rows;
use crate::{MetricError, Real, check};

/// Cosine of the angle between two vectors: `a·b / (‖a‖ ‖b‖)`, in −1..=1.
///
/// Each vector is divided by its largest magnitude first, so that squares neither
/// overflow nor underflow.
///
/// # Errors
/// [`MetricError::ZeroVector`] if a vector is all zeros, because it has no
/// direction; different lengths, empty input, and non-finite values.
pub fn cosine<T: Real>(a: &[T], b: &[T]) -> Result<f64, MetricError> {
    check::same_length("vector components", a, b)?;
    check::finite("left component", a)?;
    check::finite("right component", b)?;
    let a_scale = largest_magnitude("left", a)?;
    let b_scale = largest_magnitude("right", b)?;
    let (mut dot, mut a_square, mut b_square) = (0.0, 0.0, 0.0);
    for (&x, &y) in a.iter().zip(b) {
        let (x, y): (f64, f64) = (x.into() / a_scale, y.into() / b_scale);
        dot += x * y;
        a_square += x * x;
        b_square += y * y;
    }
    // The scaled squares are in 1..=n; only rounding can exceed −1..=1.
    Ok((dot / (a_square.sqrt() * b_square.sqrt())).clamp(-1.0, 1.0))
}

/// The [`cosine`] of each pair of rows of two row-major matrices: one number per
/// position if a row is a hidden state.
///
/// # Errors
/// Same as [`cosine`], with the row named; buffers that are not whole rows.
pub fn cosine_rows<T: Real>(a: &[T], b: &[T], width: usize) -> Result<Vec<f64>, MetricError> {
    map_rows(a, b, width, cosine)
}

/// Mean squared error: `(1/n) Σ (a_i − b_i)²`, in the square of the inputs' unit.
///
/// # Errors
/// Different lengths, empty input, non-finite values, and a result beyond the
/// range of `f64`.
pub fn mse<T: Real>(a: &[T], b: &[T]) -> Result<f64, MetricError> {
    check::same_length("vector components", a, b)?;
    check::finite("left component", a)?;
    check::finite("right component", b)?;
    let sum: f64 = a
        .iter()
        .zip(b)
        .map(|(&x, &y)| (x.into() - y.into()).powi(2))
        .sum();
    check::no_overflow("mean squared error", sum / a.len() as f64)
}

/// The [`mse`] of each pair of rows of two row-major matrices.
///
/// # Errors
/// Same as [`mse`], with the row named; buffers that are not whole rows.
pub fn mse_rows<T: Real>(a: &[T], b: &[T], width: usize) -> Result<Vec<f64>, MetricError> {
    map_rows(a, b, width, mse)
}

/// The largest |x| of a finite vector; it is zero only for a zero vector.
fn largest_magnitude<T: Real>(which: &'static str, values: &[T]) -> Result<f64, MetricError> {
    let scale = values.iter().map(|&x| x.into().abs()).fold(0.0, f64::max);
    if scale == 0.0 {
        Err(MetricError::ZeroVector { which })
    } else {
        Ok(scale)
    }
}

#[cfg(test)]
mod tests {
    use super::{cosine, cosine_rows, mse};
    use crate::MetricError;

    #[test]
    fn cosine_of_known_angles() {
        assert_eq!(cosine(&[3.0f32, 0.0], &[5.0, 0.0]), Ok(1.0));
        assert_eq!(cosine(&[3.0f32, 0.0], &[0.0, 2.0]), Ok(0.0));
        assert_eq!(cosine(&[1.0f64, 0.0], &[-4.0, 0.0]), Ok(-1.0));
    }

    #[test]
    fn cosine_survives_extreme_magnitudes() {
        for scale in [1e-300, 1e300] {
            let value = cosine(&[scale, scale], &[1.0, 1.0]).unwrap();
            assert!((value - 1.0).abs() < 1e-15, "{value}");
        }
    }

    #[test]
    fn a_zero_vector_has_no_cosine() {
        assert_eq!(
            cosine(&[0.0f32, -0.0], &[1.0, 0.0]),
            Err(MetricError::ZeroVector { which: "left" })
        );
        assert_eq!(
            cosine(&[1.0f32, 0.0], &[0.0, 0.0]),
            Err(MetricError::ZeroVector { which: "right" })
        );
        assert_eq!(mse(&[0.0f32], &[0.0]), Ok(0.0));
    }

    #[test]
    fn bad_inputs_are_named() {
        assert_eq!(
            mse(&[1.0f32], &[1.0, 2.0]),
            Err(MetricError::LengthMismatch { left: 1, right: 2 })
        );
        assert_eq!(
            cosine::<f32>(&[], &[]),
            Err(MetricError::Empty {
                what: "vector components"
            })
        );
        assert!(matches!(
            cosine(&[1.0f32, f32::NAN], &[1.0, 1.0]),
            Err(MetricError::NonFinite { index: 1, .. })
        ));
        assert!(matches!(
            mse(&[1e200f64], &[-1e200]),
            Err(MetricError::Overflow { .. })
        ));
        assert!(matches!(
            cosine_rows(&[1.0f32, 0.0], &[1.0, 1.0], 1),
            Err(MetricError::Row { row: 1, .. })
        ));
    }
}
