//! Products of few rows with a weight, which is read once, in place.
//!
//! The loops are flat, over whole rows in order, so they are vectorised and the processor
//! prefetches.

use core::hint::black_box;

use rayon::prelude::*;

use super::flex::Rows;
use crate::cpu::math::{LANES, sum_lanes, vectorised};
use crate::cpu::number::{Number, widen_row};

/// The minimum number of rows of the weight per task, and the maximum number of tasks.
const ROWS: usize = 64;
const TASKS: usize = 16;

/// x `[N, K]` times a weight `[K, M]`: the weighted sum of its rows. `[N, M]`
///
/// Each task reads a range of rows in order, and has its own sums.
pub(super) fn weighted_rows<T: Number>(x: &[f32], weight: Rows<'_, T>) -> Vec<f32> {
    let (k, m) = (weight.height, weight.width);
    let n = x.len() / k;
    // Depends only on the shape: results do not depend on the number of threads.
    let rows = k.div_ceil(TASKS).max(ROWS);
    let partial = |from: usize| {
        let mut sums = vec![0.0; n * m];
        vectorised(
            #[inline(always)]
            || add_rows(&mut sums, x, weight, from, k.min(from + rows)),
        );
        sums
    };
    let starts: Vec<usize> = (0..k).step_by(rows).collect();
    let partial: Vec<Vec<f32>> = starts.into_par_iter().map(partial).collect();
    let mut partial = partial.into_iter();
    let mut sums = partial.next().unwrap_or_default();
    for part in partial {
        for (sum, x) in sums.iter_mut().zip(&part) {
            *sum += x;
        }
    }
    sums
}

/// Adds the weight's rows `from` to `to`, weighted by each row of x, to the rows of sums.
#[inline(always)]
fn add_rows<T: Number>(sums: &mut [f32], x: &[f32], weight: Rows<'_, T>, from: usize, to: usize) {
    let (k, m) = (weight.height, weight.width);
    // One at a time: several at once would be several streams from memory, and slower.
    for row in from..to {
        let numbers = weight.part(row, 0, m);
        for (sums, x) in sums.chunks_exact_mut(m).zip(x.chunks_exact(k)) {
            let factor = x[row];
            for (sum, number) in sums.iter_mut().zip(numbers) {
                *sum += factor * number.widen();
            }
        }
    }
}

/// Rows of the table per task.
const TABLE_ROWS: usize = 256;

/// x `[N, K]` times the transpose of a table `[M, K]`: dot products of their rows. `[M, N]`
pub(super) fn dots<T: Number>(x: &[f32], n: usize, table: Rows<'_, T>) -> Vec<f32> {
    let k = table.width;
    let mut out = vec![0.0; table.height * n];
    let tasks = out.par_chunks_mut(TABLE_ROWS * n).enumerate();
    tasks.for_each_init(
        || vec![0.0; k],
        |wide, (task, out)| {
            vectorised(
                #[inline(always)]
                || {
                    for (i, out) in out.chunks_exact_mut(n).enumerate() {
                        widen_row(wide, table.part(task * TABLE_ROWS + i, 0, k));
                        for (out, x) in out.iter_mut().zip(x.chunks_exact(k)) {
                            *out = dot(wide, x);
                        }
                    }
                },
            );
        },
    );
    out
}

/// Dot product of two long rows of the same length.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for ((lane, x), y) in lanes.iter_mut().zip(a).zip(b) {
            *lane += x * y;
        }
    }
    // Without the barrier, the compiler arranges the loop for the additions after it, and uses an
    // eighth of each vector.
    let mut sum = sum_lanes(black_box(lanes));
    for (x, y) in a_rest.iter().zip(b_rest) {
        sum += x * y;
    }
    sum
}
