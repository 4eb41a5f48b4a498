//! Rows of inputs, in groups of 32 bits like those of the weights.

use std::borrow::Cow;

use burn::tensor::bf16;
use rayon::prelude::*;

use super::ProductType;
use super::bytes::{RowScale, round_row};
use super::nibbles::{self, InputGroup, NibbleRows};
use super::tile::{self, Order, TileRows};
use crate::cpu::math::vectorised;

/// Rows per task, so that a few rows are not a task of their own.
const ROWS: usize = 16;

/// Inputs in the form of a layer's products.
pub(super) struct Rows<'a> {
    /// `[N, depth]`, or `[⌈N / tile::ROWS⌉, depth, tile::ROWS]` if they are interleaved.
    groups: Cow<'a, [u32]>,
    /// For each row in 8 bits.
    pub(super) scales: Vec<RowScale>,
    /// For each row and group of inputs with weights in 4 bits.
    input_groups: Vec<InputGroup>,
    /// Number of rows, and of groups of a row.
    pub(super) count: usize,
    depth: usize,
    order: Order,
}

impl<'a> Rows<'a> {
    /// The rows of `x`, of `inputs` numbers each.
    pub(super) fn new(x: &'a [f32], inputs: usize, products: ProductType) -> Self {
        let depth = match products {
            // Inputs have 8 bits, and groups are complete.
            ProductType::Int4 => inputs.next_multiple_of(nibbles::GROUP) / 4,
            _ => inputs.div_ceil(products.group()),
        };
        let mut scales = Vec::new();
        let mut input_groups = Vec::new();
        let groups = match products {
            ProductType::F32 => Cow::Borrowed(bytemuck::cast_slice(x)),
            ProductType::Bf16 => {
                let (groups, _) = rounded(
                    x,
                    [inputs, depth, 1],
                    #[inline(always)]
                    |x, groups, _: &mut [()]| round_to_bf16(x, groups),
                );
                groups.into()
            }
            ProductType::Int8 => {
                let groups;
                (groups, scales) = rounded(
                    x,
                    [inputs, depth, 1],
                    #[inline(always)]
                    |x, groups, scale: &mut [RowScale]| {
                        scale[0] = round_row(x, bytemuck::cast_slice_mut(groups));
                    },
                );
                groups.into()
            }
            ProductType::Int4 => {
                let of_row = inputs.div_ceil(nibbles::GROUP).max(1);
                let words;
                (words, input_groups) = rounded(x, [inputs, depth, of_row], nibbles::round_row);
                words.into()
            }
        };
        Self {
            groups,
            scales,
            input_groups,
            count: x.len() / inputs.max(1),
            depth,
            order: Order::Rows { stride: depth },
        }
    }

    /// Rows that are already in bf16, of `inputs` numbers each. Only for processors whose lower half of
    /// a number comes first.
    pub(super) fn of_bf16(x: &'a [bf16], inputs: usize) -> Self {
        let (depth, n) = (inputs.div_ceil(2), x.len() / inputs.max(1));
        // Pairs are in memory as they are needed, unless a row ends with half of one.
        let groups = match bytemuck::try_cast_slice(x) {
            Ok(groups) if inputs.is_multiple_of(2) => Cow::Borrowed(groups),
            _ => {
                let mut groups = vec![0; n * depth];
                let rows = groups.par_chunks_mut(depth.max(1));
                let rows = rows.zip(x.par_chunks_exact(inputs.max(1)));
                rows.with_min_len(ROWS).for_each(|(groups, x)| {
                    bytemuck::cast_slice_mut(groups)[..inputs].copy_from_slice(x);
                });
                Cow::Owned(groups)
            }
        };
        Self {
            groups,
            scales: Vec::new(),
            input_groups: Vec::new(),
            count: n,
            depth,
            order: Order::Rows { stride: depth },
        }
    }

    /// The columns of a matrix in bf16 with rows of `width` numbers, as rows.
    pub(super) fn columns_of_bf16(x: &[bf16], width: usize) -> Rows<'static> {
        const TILE: usize = tile::ROWS;
        let depth = (x.len() / width.max(1)).div_ceil(2);
        let mut groups = vec![0; width.div_ceil(TILE) * depth * TILE];
        let tiles = groups.par_chunks_mut((depth * TILE).max(1)).enumerate();
        tiles.for_each(|(tile, groups)| {
            let first = tile * TILE;
            let columns = first..width.min(first + TILE);
            vectorised(
                #[inline(always)]
                || {
                    let groups = groups.as_chunks_mut::<TILE>().0;
                    for (groups, rows) in groups.iter_mut().zip(x.chunks(2 * width)) {
                        pair_rows(groups, rows, width, columns.clone());
                    }
                },
            );
        });
        Rows {
            groups: Cow::Owned(groups),
            scales: Vec::new(),
            input_groups: Vec::new(),
            count: width,
            depth,
            order: Order::Interleaved,
        }
    }

    /// The groups from number `from` on of `count` rows from `row` on, which is a multiple of
    /// `tile::ROWS`.
    pub(super) fn tile(&self, row: usize, count: usize, from: usize) -> TileRows<'_> {
        let group = match self.order {
            Order::Rows { .. } => 1,
            Order::Interleaved => tile::ROWS,
        };
        let start = row * self.depth + from * group;
        TileRows {
            groups: self.groups.get(start..).unwrap_or_default(),
            order: self.order,
            count,
        }
    }
}

impl Rows<'_> {
    /// The groups for weights in 4 bits from number `from` on, of the rows from `row` on.
    pub(super) fn nibble_rows(&self, row: usize, from: usize) -> NibbleRows<'_> {
        let all = NibbleRows {
            words: &self.groups,
            groups: &self.input_groups,
            depth: self.input_groups.len() / self.count.max(1),
        };
        all.at(row, from)
    }
}

/// Rounds rows of `inputs` numbers: `round` writes `depth` groups of each, and `others` numbers
/// of another type. It must be inlined.
fn rounded<T: Clone + Default + Send>(
    x: &[f32],
    [inputs, depth, others]: [usize; 3],
    round: impl Fn(&[f32], &mut [u32], &mut [T]) + Sync,
) -> (Vec<u32>, Vec<T>) {
    let n = x.len() / inputs.max(1);
    let (mut groups, mut rest) = (vec![0; n * depth], vec![T::default(); n * others]);
    let tasks = groups.par_chunks_mut((ROWS * depth).max(1));
    let tasks = tasks.zip(rest.par_chunks_mut(ROWS * others));
    let tasks = tasks.zip(x.par_chunks((ROWS * inputs).max(1)));
    tasks.for_each(|((groups, rest), x)| {
        vectorised(
            #[inline(always)]
            || {
                let rows = groups.chunks_exact_mut(depth);
                let rows = rows.zip(rest.chunks_exact_mut(others));
                for ((groups, rest), x) in rows.zip(x.chunks_exact(inputs)) {
                    round(x, groups, rest);
                }
            },
        );
    });
    (groups, rest)
}

/// A group of two numbers, of which the second may not exist.
#[inline(always)]
fn pair_of(low: bf16, high: Option<bf16>) -> u32 {
    let high = high.map_or(0, bf16::to_bits);
    u32::from(low.to_bits()) | u32::from(high) << 16
}

/// Groups of some columns of one or two rows of `width` numbers; other groups are unchanged.
#[inline(always)]
pub(super) fn pair_rows<const N: usize>(
    groups: &mut [u32; N],
    rows: &[bf16],
    width: usize,
    columns: core::ops::Range<usize>,
) {
    let (low, high) = rows.split_at(width);
    let low = &low[columns.clone()];
    let Some(high) = high.get(columns) else {
        for (group, &low) in groups.iter_mut().zip(low) {
            *group = pair_of(low, None);
        }
        return;
    };
    // A whole tile is the usual case, and its length is known.
    match (low.as_array::<N>(), high.as_array::<N>()) {
        (Some(low), Some(high)) => {
            for ((group, &low), &high) in groups.iter_mut().zip(low).zip(high) {
                *group = pair_of(low, Some(high));
            }
        }
        _ => {
            for ((group, &low), &high) in groups.iter_mut().zip(low).zip(high) {
                *group = pair_of(low, Some(high));
            }
        }
    }
}

/// Rounds numbers to bf16, to even.
pub(crate) fn rounded_to_bf16(x: &[f32]) -> Vec<bf16> {
    const CHUNK: usize = 1 << 15;
    let mut out = vec![bf16::ZERO; x.len()];
    let chunks = out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK));
    chunks.for_each(|(out, x)| {
        vectorised(
            #[inline(always)]
            || round_row_to_bf16(out, x),
        );
    });
    out
}

/// Rounds a row to bf16, to even.
#[inline(always)]
pub(crate) fn round_row_to_bf16(out: &mut [bf16], row: &[f32]) {
    for (out, &x) in out.iter_mut().zip(row) {
        *out = bf16::from_bits(bf16_bits(x) as u16);
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
