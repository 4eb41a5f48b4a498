//! The splits of one chunk.

#![allow(clippy::needless_range_loop)] // registers are numbers of several arrays at once

use pulp::{Simd, WithSimd};

use crate::cpu::math::{LANES, row_max_of, vectorised};
use crate::cpu::simd::{dispatch, lanes, store};

/// Rounds of power iteration that find the main axis.
pub(crate) const POWER_ITERATIONS: usize = 3;

/// The splits of a chunk, and buffers that are reused for the next one.
///
/// Keys are moved such that those of a group are contiguous, in the order of their tokens.
#[derive(Debug, Default)]
pub(crate) struct Split {
    /// The chunk's tokens in the order of clusters. `[S]`
    order: Vec<usize>,
    /// The number of tokens of each cluster.
    counts: Vec<usize>,
    /// Keys minus the mean of their last group, each padded with zeros. `[S, stride]`
    rows: Vec<f32>,
    /// D in whole registers.
    stride: usize,
    /// The projection of each token on the axis. `[S]`
    along: Vec<f32>,
    /// Mean, then axis, of a group. `[stride]`
    axis: Vec<f32>,
    /// Sum of a pass over a group. `[stride]`
    sum: Vec<f32>,
    /// `rows`, `order` and `counts` of the next level.
    next_rows: Vec<f32>,
    next_order: Vec<usize>,
    next_counts: Vec<usize>,
}

impl Split {
    /// The tokens of the last chunk in the order of clusters.
    pub(crate) fn order(&self) -> &[usize] {
        &self.order
    }

    /// The number of tokens of each cluster.
    pub(crate) fn counts(&self) -> &[usize] {
        &self.counts
    }

    /// Splits the keys `[S, D]` of a chunk.
    pub(crate) fn run(&mut self, keys: &[f32], d: usize, clusters: usize) {
        let size = keys.len() / d;
        self.order.clear();
        self.order.extend(0..size);
        self.counts.clear();
        self.counts.push(size);
        if clusters < 2 {
            return;
        }
        // A number of registers that has a specialised kernel.
        self.stride = d.div_ceil(LANES).next_power_of_two() * LANES;
        self.spread_out(keys, d);
        self.along.resize(size, 0.0);
        self.axis.resize(self.stride, 0.0);
        self.sum.resize(self.stride, 0.0);
        self.next_rows.resize(size * self.stride, 0.0);
        while self.counts.len() < clusters {
            self.next_order.clear();
            self.next_counts.clear();
            let mut start = 0;
            for group in 0..self.counts.len() {
                let end = start + self.counts[group];
                if start < end {
                    let numbers = start * self.stride..end * self.stride;
                    dispatch(Project {
                        rows: &mut self.rows[numbers],
                        along: &mut self.along[start..end],
                        axis: &mut self.axis,
                        sum: &mut self.sum,
                    });
                }
                self.part(start, end);
                start = end;
            }
            std::mem::swap(&mut self.rows, &mut self.next_rows);
            std::mem::swap(&mut self.order, &mut self.next_order);
            std::mem::swap(&mut self.counts, &mut self.next_counts);
        }
    }

    /// Copies the keys of a chunk, scaled by a power of two so that fourth powers are finite.
    fn spread_out(&mut self, keys: &[f32], d: usize) {
        self.rows.clear();
        self.rows.resize(keys.len() / d * self.stride, 0.0);
        let rows = &mut self.rows;
        let stride = self.stride;
        vectorised(
            #[inline(always)]
            || {
                let scale = inverse_power_of_two(row_max_of(keys, f32::abs));
                for (row, key) in rows.chunks_exact_mut(stride).zip(keys.chunks_exact(d)) {
                    for (x, key) in row.iter_mut().zip(key) {
                        *x = key * scale;
                    }
                }
            },
        );
    }

    /// Splits a group at the mean of its main axis.
    fn part(&mut self, start: usize, end: usize) {
        let along = &self.along[start..end];
        let beyond = along.iter().filter(|x| **x > 0.0).count();
        let before = end - start - beyond;
        self.next_counts.extend([before, beyond]);
        self.next_order.resize(end, 0);
        let mut places = [start, start + before];
        for (token, along) in (start..end).zip(along) {
            let place = &mut places[usize::from(*along > 0.0)];
            self.next_order[*place] = self.order[token];
            let from = &self.rows[token * self.stride..][..self.stride];
            let to = &mut self.next_rows[*place * self.stride..][..self.stride];
            for (to, from) in to
                .as_chunks_mut::<LANES>()
                .0
                .iter_mut()
                .zip(from.as_chunks::<LANES>().0)
            {
                *to = *from;
            }
            *place += 1;
        }
    }
}

/// A power of two that scales a number to between 1 and 4, or 1 for numbers that cannot be
/// scaled.
fn inverse_power_of_two(x: f32) -> f32 {
    if x.is_normal() {
        // The inverse of the largest exponents would be subnormal.
        let exponent = (x.to_bits() >> 23 & 0xff).min(253);
        f32::from_bits((254 - exponent) << 23)
    } else {
        1.0
    }
}

/// Centres a group of at least one key, and writes the projections of its keys on their main
/// axis.
struct Project<'a> {
    /// `[n, stride]`
    rows: &'a mut [f32],
    /// `[n]`
    along: &'a mut [f32],
    /// `[stride]`
    axis: &'a mut [f32],
    /// `[stride]`
    sum: &'a mut [f32],
}

impl WithSimd for Project<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.axis.len() / S::F32_LANES {
            1 => self.run::<S, 1>(simd),
            2 => self.run::<S, 2>(simd),
            4 => self.run::<S, 4>(simd),
            8 => self.run::<S, 8>(simd),
            _ => self.run::<S, 0>(simd),
        }
    }
}

impl Project<'_> {
    /// For rows of V registers, or of any number if V is 0.
    #[inline(always)]
    fn run<S: Simd, const V: usize>(self, simd: S) {
        let Self {
            rows,
            along,
            axis,
            sum,
        } = self;
        let stride = axis.len();
        total::<S, V>(simd, rows, sum);
        let share = 1.0 / along.len() as f32;
        for (mean, sum) in axis.iter_mut().zip(sum.iter()) {
            *mean = sum * share;
        }
        let (mut farthest, mut distance) = (None, 0.0);
        for (token, row) in rows.chunks_exact_mut(stride).enumerate() {
            let square = centre::<S, V>(simd, row, axis);
            if square > distance {
                (farthest, distance) = (Some(token), square);
            }
        }
        let Some(token) = farthest else {
            along.fill(0.0);
            return;
        };
        axis.copy_from_slice(&rows[token * stride..][..stride]);
        normalise(axis, distance);
        // One power iteration: a ← Σ_j x_j (x_j·a), normalised.
        for _ in 0..POWER_ITERATIONS {
            iterate::<S, V>(simd, rows, axis, sum);
            let square = product::<S, V>(simd, sum, sum);
            axis.copy_from_slice(sum);
            normalise(axis, square);
        }
        for (row, along) in rows.chunks_exact(stride).zip(along) {
            *along = product::<S, V>(simd, row, axis);
        }
    }
}

/// Registers of a row.
#[inline(always)]
fn registers<S: Simd, const V: usize>(row: &[f32]) -> usize {
    match V {
        0 => row.len() / S::F32_LANES,
        _ => V,
    }
}

/// Sum of all rows.
#[inline(always)]
fn total<S: Simd, const V: usize>(simd: S, rows: &[f32], sum: &mut [f32]) {
    let stride = sum.len();
    for register in 0..registers::<S, V>(sum) {
        let at = register * S::F32_LANES;
        let mut of = simd.splat_f32s(0.0);
        for row in rows.chunks_exact(stride) {
            of = simd.add_f32s(of, lanes(simd, row, at));
        }
        store(simd, sum, at, of);
    }
}

/// Subtracts the mean from a row, and returns the squared norm of the result.
#[inline(always)]
fn centre<S: Simd, const V: usize>(simd: S, row: &mut [f32], mean: &[f32]) -> f32 {
    let mut square = simd.splat_f32s(0.0);
    for register in 0..registers::<S, V>(mean) {
        let at = register * S::F32_LANES;
        let x = simd.sub_f32s(lanes(simd, row, at), lanes(simd, mean, at));
        store(simd, row, at, x);
        square = simd.mul_add_e_f32s(x, x, square);
    }
    simd.reduce_sum_f32s(square)
}

#[inline(always)]
fn product<S: Simd, const V: usize>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let mut sum = simd.splat_f32s(0.0);
    for register in 0..registers::<S, V>(b) {
        let at = register * S::F32_LANES;
        sum = simd.mul_add_e_f32s(lanes(simd, a, at), lanes(simd, b, at), sum);
    }
    simd.reduce_sum_f32s(sum)
}

/// Sum of the rows times their products with the axis.
#[inline(always)]
fn iterate<S: Simd, const V: usize>(simd: S, rows: &[f32], axis: &[f32], sum: &mut [f32]) {
    let stride = axis.len();
    if V == 0 {
        sum.fill(0.0);
        for row in rows.chunks_exact(stride) {
            let along = simd.splat_f32s(product::<S, V>(simd, row, axis));
            for at in (0..stride).step_by(S::F32_LANES) {
                let of = lanes(simd, sum, at);
                store(
                    simd,
                    sum,
                    at,
                    simd.mul_add_e_f32s(along, lanes(simd, row, at), of),
                );
            }
        }
        return;
    }
    // The axis and the sum stay in registers.
    let mut axes = [simd.splat_f32s(0.0); V];
    let mut sums = [simd.splat_f32s(0.0); V];
    for (register, of) in axes.iter_mut().enumerate() {
        *of = lanes(simd, axis, register * S::F32_LANES);
    }
    for row in rows.chunks_exact(stride) {
        let mut x = [simd.splat_f32s(0.0); V];
        let mut along = simd.splat_f32s(0.0);
        for register in 0..V {
            x[register] = lanes(simd, row, register * S::F32_LANES);
            along = simd.mul_add_e_f32s(x[register], axes[register], along);
        }
        let along = simd.splat_f32s(simd.reduce_sum_f32s(along));
        for register in 0..V {
            sums[register] = simd.mul_add_e_f32s(along, x[register], sums[register]);
        }
    }
    for (register, of) in sums.into_iter().enumerate() {
        store(simd, sum, register * S::F32_LANES, of);
    }
}

/// Scales `axis` with squared norm `square` to length 1; length 0 is kept.
#[inline(always)]
fn normalise(axis: &mut [f32], square: f32) {
    let inverse = if square > 0.0 {
        1.0 / square.sqrt()
    } else {
        0.0
    };
    for x in axis {
        *x *= inverse;
    }
}

#[cfg(test)]
mod tests {
    fn split(keys: &[[f32; 2]], clusters: usize) -> Vec<u32> {
        crate::split_into_clusters(keys.as_flattened(), [keys.len(), 2], clusters)
    }

    #[test]
    fn an_outlier_gets_a_cluster_of_its_own() {
        let ids = split(
            &[[0.0, 0.1], [0.1, 0.0], [9.0, 9.0], [0.0, 0.0], [0.1, 0.1]],
            2,
        );
        assert!(
            ids.iter()
                .enumerate()
                .all(|(i, id)| (*id == ids[2]) == (i == 2))
        );
    }

    #[test]
    fn equal_keys_stay_together() {
        let ids = split(&[[0.3, 0.7]; 6], 8);
        assert!(ids.iter().all(|id| *id == ids[0]));
    }

    #[test]
    fn four_corners_become_four_clusters() {
        let mut ids = split(&[[0.0, 0.0], [0.0, 3.0], [5.0, 0.0], [5.0, 3.0]], 4);
        ids.sort_unstable();
        assert_eq!(ids, [0, 1, 2, 3]);
    }

    /// Three keys far apart, at a scale.
    fn three(scale: f32) -> Vec<u32> {
        let keys = [[1.0, 2.0], [3.0, 5.0], [-4.0, 0.5]].map(|k| k.map(|x| x * scale));
        split(&keys, 4)
    }

    #[test]
    fn keys_of_very_different_sizes_are_told_apart() {
        for scale in [1e-30, 1e-9, 1.0, 1e8, 1e30] {
            let mut ids = three(scale);
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), 3, "{scale}");
        }
    }

    #[test]
    fn keys_without_spread_stay_together() {
        assert_eq!(three(0.0), [0; 3]);
    }

    /// The position of a key does not depend on powers of two in the scale of the chunk's other
    /// keys, nor on the width of a register.
    #[test]
    fn a_power_of_two_changes_nothing() {
        for d in [1, 3, 16, 64, 80, 300] {
            let keys: Vec<f32> = (0..40 * d)
                .map(|i| ((i * 7919 + i / 7 * 31) % 101) as f32 / 50.0 - 1.0)
                .collect();
            let of = |scale: f32| {
                let keys: Vec<f32> = keys.iter().map(|x| x * scale).collect();
                crate::split_into_clusters(&keys, [40, d], 8)
            };
            assert_eq!(of(1.0), of(2.0_f32.powi(90)), "{d}");
            assert_eq!(of(1.0), of(2.0_f32.powi(-90)), "{d}");
        }
    }
}
