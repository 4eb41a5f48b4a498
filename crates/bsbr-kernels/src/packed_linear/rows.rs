//! Rows of inputs, in groups of 32 bits like those of the weights.

use std::borrow::Cow;

use rayon::prelude::*;

use super::ProductType;
use super::bytes::{RowScale, round_row};
use crate::cpu::math::vectorised;

/// Rows per task, so that a few rows are not a task of their own.
const ROWS: usize = 16;

/// Inputs in the form of a layer's products.
pub(super) struct Rows<'a> {
    /// `[N, depth]`
    pub(super) groups: Cow<'a, [u32]>,
    /// For each row in 8 bits.
    pub(super) scales: Vec<RowScale>,
    /// Number of groups of a row.
    pub(super) depth: usize,
}

impl<'a> Rows<'a> {
    /// The rows of `x`, of `inputs` numbers each.
    pub(super) fn new(x: &'a [f32], inputs: usize, products: ProductType) -> Self {
        let depth = inputs.div_ceil(products.group());
        let n = x.len() / inputs.max(1);
        let mut scales = Vec::new();
        let groups = match products {
            ProductType::F32 => Cow::Borrowed(bytemuck::cast_slice(x)),
            ProductType::Bf16 => {
                let mut groups = vec![0; n * depth];
                let tasks = groups.par_chunks_mut(ROWS * depth);
                tasks
                    .zip(x.par_chunks(ROWS * inputs))
                    .for_each(|(groups, x)| {
                        vectorised(
                            #[inline(always)]
                            || {
                                let rows = groups.chunks_exact_mut(depth);
                                for (groups, x) in rows.zip(x.chunks_exact(inputs)) {
                                    round_to_bf16(x, groups);
                                }
                            },
                        );
                    });
                Cow::Owned(groups)
            }
            ProductType::Int8 => {
                let mut groups = vec![0; n * depth];
                scales = vec![RowScale::default(); n];
                let tasks = groups.par_chunks_mut(ROWS * depth);
                let tasks = tasks.zip(scales.par_chunks_mut(ROWS));
                tasks
                    .zip(x.par_chunks(ROWS * inputs))
                    .for_each(|((groups, scales), x)| {
                        vectorised(
                            #[inline(always)]
                            || {
                                let rows = groups.chunks_exact_mut(depth).zip(scales);
                                for ((groups, scale), x) in rows.zip(x.chunks_exact(inputs)) {
                                    *scale = round_row(x, bytemuck::cast_slice_mut(groups));
                                }
                            },
                        );
                    });
                Cow::Owned(groups)
            }
        };
        Self {
            groups,
            scales,
            depth,
        }
    }
}

/// Rounds a row to pairs of bf16, to even.
#[inline(always)]
fn round_to_bf16(row: &[f32], pairs: &mut [u32]) {
    let (two, rest) = row.as_chunks::<2>();
    for (pair, [a, b]) in pairs.iter_mut().zip(two) {
        *pair = bf16_bits(*a) | (bf16_bits(*b) << 16);
    }
    if let ([last], Some(pair)) = (rest, pairs.last_mut()) {
        *pair = bf16_bits(*last);
    }
}

/// The nearest number of type bf16; NaN stays NaN.
#[inline(always)]
pub(super) fn bf16_bits(x: f32) -> u32 {
    let bits = x.to_bits();
    let nearest = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
    match x.is_nan() {
        true => 0x7FC0,
        false => nearest,
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::bf16;

    use super::*;

    #[test]
    fn bf16_is_the_nearest() {
        for bits in (0..=u32::MAX).step_by(4099) {
            let x = f32::from_bits(bits);
            let found = bf16::from_bits(bf16_bits(x) as u16);
            let expected = bf16::from_f32(x);
            assert!(
                found == expected || (found.is_nan() && expected.is_nan()),
                "{x}"
            );
        }
    }
}
