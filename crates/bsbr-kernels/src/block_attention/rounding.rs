//! Rounding of numbers to fewer bits.

use burn::tensor::{DType, Tensor};
use pulp::{Simd, WithSimd};

use super::settings::KvBits;
use crate::cpu::simd::dispatch;

/// Rows of the last axis rounded to fewer bits, see [`KvBits`].
///
/// The gradient passes through as if nothing had been rounded.
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
    // In half precision the bound would be zero, and a row of zeros divided by zero.
    let single = span.clone().cast(DType::F32);
    let nothing = single.lower_elem(f32::MIN_POSITIVE);
    let divisor = span.clone().mask_fill(nothing.clone(), 1.0);
    let scale = span.mask_fill(nothing, 0.0);
    let codes = ((rows.clone() - offset.clone()) / divisor).round();
    let kept = offset + codes * scale;
    x + (kept - rows)
}

/// The scale and the offset of a row: x ≈ offset + scale · code.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct RoundingGrid {
    pub(super) scale: f32,
    pub(super) offset: f32,
}

/// Rounds rows of `d` numbers.
pub(super) fn round_rows(rows: &mut [f32], d: usize, bits: KvBits) {
    if bits < KvBits::ThirtyTwo {
        dispatch(Rounding {
            rows,
            d,
            stride: d,
            bits,
            grids: None,
        });
    }
}

/// Replaces rows of `d` numbers and padding by their codes, and adds their grids to a list.
#[cfg_attr(not(feature = "flex"), allow(dead_code))] // caches are kept by that backend
pub(super) fn encode_rows(
    rows: &mut [f32],
    [d, stride]: [usize; 2],
    bits: KvBits,
    grids: &mut Vec<RoundingGrid>,
) {
    dispatch(Rounding {
        rows,
        d,
        stride,
        bits,
        grids: Some(grids),
    });
}

struct Rounding<'a> {
    /// `[n, stride]`
    rows: &'a mut [f32],
    d: usize,
    stride: usize,
    bits: KvBits,
    /// The list of grids, if codes are requested instead of rounded numbers.
    grids: Option<&'a mut Vec<RoundingGrid>>,
}

impl WithSimd for Rounding<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        for row in self.rows.chunks_exact_mut(self.stride.max(1)) {
            let row = &mut row[..self.d];
            let grid = grid(simd, row, self.bits);
            match &mut self.grids {
                Some(grids) => {
                    encode::<S, true>(simd, row, grid, self.bits);
                    grids.push(grid);
                }
                None => encode::<S, false>(simd, row, grid, self.bits),
            }
        }
    }
}

/// The grid of a row.
#[inline(always)]
fn grid<S: Simd>(simd: S, row: &[f32], bits: KvBits) -> RoundingGrid {
    let (vectors, rest) = S::as_simd_f32s(row);
    let mut most = simd.splat_f32s(f32::NEG_INFINITY);
    let mut least = simd.splat_f32s(f32::INFINITY);
    // 0, or NaN if a number of the row is NaN or infinite; then all results are NaN.
    let zero = simd.splat_f32s(0.0);
    let mut poison = zero;
    for &x in vectors {
        most = simd.max_f32s(most, x);
        least = simd.min_f32s(least, x);
        poison = simd.mul_add_e_f32s(x, zero, poison);
    }
    let mut most = simd.reduce_max_f32s(most);
    let mut least = simd.reduce_min_f32s(least);
    let mut poison = simd.reduce_sum_f32s(poison);
    for &x in rest {
        most = if x > most { x } else { most };
        least = if x < least { x } else { least };
        poison += x * 0.0;
    }
    if bits == KvBits::Four {
        // Each separately, because their difference may be infinite.
        return RoundingGrid {
            scale: usable(most / reach(bits) - least / reach(bits)) + poison,
            offset: if row.is_empty() { 0.0 } else { least },
        };
    }
    let farthest = if most > -least { most } else { -least };
    RoundingGrid {
        scale: usable(farthest / reach(bits)) + poison,
        offset: 0.0,
    }
}

/// Replaces a row by its codes, as `f32`, or by the rounded numbers.
#[inline(always)]
fn encode<S: Simd, const CODES: bool>(simd: S, row: &mut [f32], grid: RoundingGrid, bits: KvBits) {
    let RoundingGrid { scale, offset } = grid;
    if scale == 0.0 {
        row.fill(if CODES { 0.0 } else { offset });
        return;
    }
    let (vectors, rest) = S::as_mut_simd_f32s(row);
    let [scales, offsets, round, most, least] =
        [scale, offset, ROUND, reach(bits), -reach(bits)].map(|x| simd.splat_f32s(x));
    for x in vectors {
        let code = simd.div_f32s(simd.sub_f32s(*x, offsets), scales);
        let code = simd.max_f32s(simd.min_f32s(code, most), least);
        let code = simd.sub_f32s(simd.add_f32s(code, round), round);
        *x = match CODES {
            true => code,
            false => simd.add_f32s(offsets, simd.mul_f32s(scales, code)),
        };
    }
    for x in rest {
        let code = (*x - offset) / scale;
        let code = if code > reach(bits) {
            reach(bits)
        } else {
            code
        };
        let code = if code < -reach(bits) {
            -reach(bits)
        } else {
            code
        };
        let code = (code + ROUND) - ROUND;
        *x = match CODES {
            true => code,
            false => offset + scale * code,
        };
    }
}

/// Adding 1.5·2²³ rounds to an integer, with ties to even.
const ROUND: f32 = 12_582_912.0;

/// The largest code. The smallest is its negative, or 0 with an offset.
#[inline(always)]
pub(super) fn reach(bits: KvBits) -> f32 {
    match bits {
        KvBits::Four => 15.0,
        KvBits::Eight => 127.0,
        KvBits::Sixteen | KvBits::ThirtyTwo => 32767.0,
    }
}

/// Replaces scales that are too small to divide by with zero.
#[inline(always)]
fn usable(scale: f32) -> f32 {
    if scale < f32::MIN_POSITIVE {
        0.0
    } else {
        scale
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

    /// Numbers on the grid are unchanged.
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
