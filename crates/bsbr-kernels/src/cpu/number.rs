//! Numbers of 16 or 32 bits, read as `f32`.
//!
//! The `half` crate converts one number at a time and checks the processor's features each time.
//! These conversions vectorise with the loop around them.

use burn::tensor::{bf16, f16};

/// A number of a type whose values are all in `f32`.
pub(crate) trait Number: Copy + Send + Sync {
    /// The same number.
    fn widen(self) -> f32;
}

impl Number for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
}

impl Number for bf16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

impl Number for f16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        // Sign, exponent and fraction at their positions in an f32. The exponent is then 112 too
        // low, which a product corrects, also below the normal range.
        let bits = (i32::from(self.to_bits() as i16) << 13) as u32 & 0x8FFF_E000;
        let value = f32::from_bits(bits) * f32::from_bits((127 + 112) << 23);
        // The exponent of an infinity or a NaN is all ones. A branch would not be vectorised.
        let special = u32::from(bits & 0x0F80_0000 == 0x0F80_0000);
        f32::from_bits(value.to_bits() | (special * 0x7F80_0000))
    }
}

/// Writes the numbers of a row to `wide`, of the same length.
#[inline(always)]
pub(crate) fn widen_row<T: Number>(wide: &mut [f32], row: &[T]) {
    for (wide, number) in wide.iter_mut().zip(row) {
        *wide = number.widen();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_itself() {
        for bits in 0..=u16::MAX {
            let (brain, half) = (bf16::from_bits(bits), f16::from_bits(bits));
            for (found, expected) in [
                (brain.widen(), brain.to_f32()),
                (half.widen(), half.to_f32()),
            ] {
                let same = match expected.is_nan() {
                    true => found.is_nan(),
                    false => found.to_bits() == expected.to_bits(),
                };
                assert!(same, "{bits:#06x}: {found} for {expected}");
            }
        }
    }

    #[test]
    fn rows_of_any_length() {
        for len in [0, 1, 16, 37] {
            let row: Vec<bf16> = (0..len).map(|i| bf16::from_f32(i as f32)).collect();
            let mut wide = vec![0.0; len];
            widen_row(&mut wide, &row);
            assert!(wide.iter().enumerate().all(|(i, &x)| x == i as f32));
        }
    }
}
