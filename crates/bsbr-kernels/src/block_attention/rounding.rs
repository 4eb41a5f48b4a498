//! Numbers as they come back from fewer bits.

use burn::tensor::Tensor;

use super::settings::KvBits;
use crate::cpu::math::{row_max, row_max_of, row_sum_of};

/// Rows of the last axis as they come back from fewer bits, see [`KvBits`].
///
/// The gradient is passed on as if nothing had been rounded.
pub fn round_to_bits<const K: usize>(x: Tensor<K>, bits: KvBits) -> Tensor<K> {
    let levels = match bits {
        KvBits::ThirtyTwo => return x,
        KvBits::Sixteen => 32767.0,
        KvBits::Eight => 127.0,
        KvBits::Four => 15.0,
    };
    let rows = x.clone().detach();
    let (offset, span) = if bits == KvBits::Four {
        let least = rows.clone().min_dim(K - 1);
        (
            least.clone(),
            rows.clone().max_dim(K - 1) / levels - least / levels,
        )
    } else {
        let most = rows.clone().abs().max_dim(K - 1);
        (most.zeros_like(), most / levels)
    };
    let nothing = span.clone().lower_elem(f32::MIN_POSITIVE);
    let divisor = span.clone().mask_fill(nothing.clone(), 1.0);
    let scale = span.mask_fill(nothing, 0.0);
    let codes = ((rows.clone() - offset.clone()) / divisor).round();
    let kept = offset + codes * scale;
    x + (kept - rows)
}

/// The scale and the offset of a row, of which x ≈ offset + scale · code.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Grid {
    pub(super) scale: f32,
    pub(super) offset: f32,
}

impl Grid {
    /// The grid of a row that is kept in fewer than 32 bits.
    #[inline(always)]
    pub(super) fn of(row: &[f32], bits: KvBits) -> Self {
        // 0, or no number where one of the row is none or infinite: then none comes back.
        let poison = 0.0
            * row_sum_of(
                row,
                #[inline(always)]
                |x| x * 0.0,
            );
        if bits == KvBits::Four {
            let most = row_max(row);
            let least = -row_max_of(
                row,
                #[inline(always)]
                |x| -x,
            );
            // Each by itself, for their difference may be infinite.
            return Self {
                scale: usable(most / reach(bits) - least / reach(bits)) + poison,
                offset: if row.is_empty() { 0.0 } else { least },
            };
        }
        Self {
            scale: usable(row_max_of(row, f32::abs) / reach(bits)) + poison,
            offset: 0.0,
        }
    }

    /// The whole number that a number is kept as, still as `f32`.
    #[inline(always)]
    pub(super) fn code(&self, x: f32, bits: KvBits) -> f32 {
        let reach = reach(bits);
        // Adding 1.5·2²³ rounds to a whole number, of two equally near ones to the even one.
        const ROUND: f32 = 12_582_912.0;
        let code = if self.scale == 0.0 {
            0.0
        } else {
            (x - self.offset) / self.scale
        };
        let code = if code > reach { reach } else { code };
        let code = if code < -reach { -reach } else { code };
        (code + ROUND) - ROUND
    }

    /// What a whole number stands for.
    #[inline(always)]
    pub(super) fn value(&self, code: f32) -> f32 {
        self.offset + self.scale * code
    }
}

/// Codes reach from the negative of this, or from 0 where there is an offset, to this.
#[inline(always)]
pub(super) fn reach(bits: KvBits) -> f32 {
    match bits {
        KvBits::Four => 15.0,
        KvBits::Eight => 127.0,
        KvBits::Sixteen | KvBits::ThirtyTwo => 32767.0,
    }
}

/// No scale that a number cannot be divided by: what is that small is nothing.
#[inline(always)]
fn usable(scale: f32) -> f32 {
    if scale < f32::MIN_POSITIVE {
        0.0
    } else {
        scale
    }
}

/// Rounds rows of `d` numbers to what is kept of them.
#[inline(always)]
pub(super) fn round_rows(rows: &mut [f32], d: usize, bits: KvBits) {
    if bits == KvBits::ThirtyTwo {
        return;
    }
    for row in rows.chunks_exact_mut(d.max(1)) {
        let grid = Grid::of(row, bits);
        for x in row {
            *x = grid.value(grid.code(*x, bits));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounded(row: &[f32], bits: KvBits) -> Vec<f32> {
        let mut row = row.to_vec();
        let d = row.len();
        round_rows(&mut row, d, bits);
        row
    }

    #[test]
    fn numbers_come_back_within_half_a_step() {
        let row = [0.3, -1.0, 0.77, 0.001, 2.5, -0.4];
        for (bits, step) in [
            (KvBits::Four, 3.5 / 15.0),
            (KvBits::Eight, 2.5 / 127.0),
            (KvBits::Sixteen, 2.5 / 32767.0),
            (KvBits::ThirtyTwo, 0.0),
        ] {
            for (x, y) in row.iter().zip(rounded(&row, bits)) {
                assert!((x - y).abs() <= 0.5001 * step, "{bits:?}: {y} for {x}");
            }
        }
    }

    /// What is on the grid stays where it is.
    #[test]
    fn rounding_twice_is_rounding_once() {
        let row = [0.3, -1.0, 0.77, 0.001, 2.5, -0.4];
        for bits in KvBits::ALL {
            let once = rounded(&row, bits);
            for (once, twice) in once.iter().zip(rounded(&once, bits)) {
                assert!((once - twice).abs() < 1e-6, "{bits:?}");
            }
        }
    }

    #[test]
    fn extremes_stay_finite_and_nothing_else_does() {
        for bits in KvBits::ALL {
            for row in [
                vec![],
                vec![0.0; 3],
                vec![1e-42, 0.0, -1e-44],
                vec![1e38, -1e38, 1.0],
                vec![-5.0; 4],
            ] {
                let found = rounded(&row, bits);
                assert!(found.iter().all(|x| x.is_finite()), "{bits:?}: {row:?}");
            }
            for bad in [f32::NAN, f32::INFINITY] {
                let found = rounded(&[1.0, bad, 2.0], bits);
                assert!(found.iter().any(|x| !x.is_finite()), "{bits:?}");
            }
        }
    }
}
