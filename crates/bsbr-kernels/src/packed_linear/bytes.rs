//! Numbers in 8 bits.
//!
//! Weights are rounded to multiples of a step of their output. Inputs are rounded to multiples of a
//! step of their row, relative to a zero point that is one of the 256 values, because the output of
//! GELU has a short negative side and a long positive one. Sums of products of these integers are
//! exact.

use super::int8::nearest;

/// A row of inputs in 8 bits: number i is `step · (byte_i - zero)`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RowScale {
    pub(super) step: f32,
    pub(super) zero: i32,
}

/// The maximum number of inputs whose products with weights fit into 32 bits in total.
pub(super) const MOST_INPUTS: usize = (i32::MAX / (255 * 127)) as usize;

/// Rounds a row to `bytes`, of the same length.
///
/// A row with NaN or an infinity has no valid step.
#[inline(always)]
pub(super) fn round_row(row: &[f32], bytes: &mut [u8]) -> RowScale {
    // Zero is one of the values.
    let (mut low, mut high, mut finite) = ([0.0_f32; 16], [0.0_f32; 16], [true; 16]);
    let (chunks, rest) = row.as_chunks::<16>();
    for chunk in chunks.iter().map(|chunk| &chunk[..]).chain([rest]) {
        let lanes = low.iter_mut().zip(&mut high).zip(&mut finite);
        for (((low, high), finite), &x) in lanes.zip(chunk) {
            *low = if x < *low { x } else { *low };
            *high = if x > *high { x } else { *high };
            *finite &= x.abs() < f32::INFINITY;
        }
    }
    let low = low.into_iter().fold(0.0, f32::min);
    let high = high.into_iter().fold(0.0, f32::max);
    // Halves, because their difference may exceed the largest number.
    let step = (high / 255.0) - (low / 255.0);
    let step = if finite.contains(&false) {
        f32::NAN
    } else if step < f32::MIN_POSITIVE {
        0.0
    } else {
        step
    };
    let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
    let zero = nearest(-low * inverse);
    for (byte, &x) in bytes.iter_mut().zip(row) {
        // Both ends may have been rounded up.
        let value = nearest(x * inverse) + zero;
        let value = if value > 255.0 { 255.0 } else { value };
        *byte = value as i32 as u8;
    }
    RowScale {
        step,
        zero: zero as i32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounded(row: &[f32]) -> Vec<f32> {
        let mut bytes = vec![0; row.len()];
        let RowScale { step, zero } = round_row(row, &mut bytes);
        bytes
            .iter()
            .map(|&byte| step * (i32::from(byte) - zero) as f32)
            .collect()
    }

    #[test]
    fn numbers_are_within_half_a_step() {
        for row in [
            vec![0.0; 5],
            vec![3.0; 20],
            (0..37).map(|i| (i as f32 * 0.7).sin() * 9.0).collect(),
            (0..50).map(|i| i as f32).collect(),
            (0..50).map(|i| -1e-3 - i as f32).collect(),
            vec![-1e38, 1e38, 0.0],
            vec![1e-38, -1e-38],
        ] {
            let spread = row.iter().fold(0.0_f32, |m, x| m.max(*x)) / 255.0
                - row.iter().fold(0.0_f32, |m, x| m.min(*x)) / 255.0;
            for (found, x) in rounded(&row).iter().zip(&row) {
                // The zero point is rounded too, and a value at either end may move by that
                // rounding.
                let most = f32::max(spread * 1.001, 1e-37);
                assert!((found - x).abs() <= most, "{found} for {x} in {row:?}");
            }
        }
    }

    #[test]
    fn zeros_stay_zeros() {
        let row = [0.0, -0.3, 5.0, 0.0];
        let found = rounded(&row);
        assert_eq!([found[0], found[3]], [0.0, 0.0]);
    }

    #[test]
    fn what_is_not_finite_is_not_lost() {
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 17, 32] {
                let mut row = vec![1.0; 33];
                row[at] = wrong;
                assert!(rounded(&row).iter().all(|x| x.is_nan()));
            }
        }
    }
}
