//! Softmax attention of a block of queries, over keys in parts.
//!
//! Scores are stored key by key, with the queries of the block adjacent. So neither of the two
//! matrix products reorders its operands, whatever the strides of keys and values, and maxima and
//! sums run over vectors of queries. Scores are in units of ln 2, because powers of two are
//! cheaper than those of e.

use std::f32::consts::{LN_2, LOG2_E};
use std::ops::Range;

use super::math::{LANES, exp2_below, row_exp2_sum, row_max, vectorised};
use super::matrix::{Mat, product};

/// The maximum number of queries in a block.
pub(crate) const QUERIES: usize = 64;
/// Registers for one number per query of a block.
const STRIPS: usize = QUERIES / LANES;

/// One number per query.
type PerQuery = [[f32; LANES]; STRIPS];

/// Running state of a block of queries.
///
/// Keys are processed in steps: [`score`](Self::score) the keys of a step, change their scores if
/// needed, [`weigh`](Self::weigh) them, and [`add_values`](Self::add_values) for each scored
/// part.
#[derive(Default)]
pub(crate) struct Block {
    /// The number of queries.
    rows: usize,
    /// Columns of the scores: room for all queries, in whole registers. A single query has one
    /// vector of scores and needs no columns.
    width: usize,
    d: usize,
    /// Queries times scale and log₂e, zeros beyond the last. `[D, width]`
    query: Vec<f32>,
    /// Scores of the keys of this step `[keys, width]`, then their exponentials.
    scores: Vec<f32>,
    /// The number of keys scored in this step.
    scored: usize,
    /// Unnormalised output `[rows, D]`.
    acc: Vec<f32>,
    /// Largest score so far.
    max: PerQuery,
    /// Sum of the exponentials so far, relative to `max`.
    sum: PerQuery,
    /// The part of `sum` from clusters.
    mass: PerQuery,
}

impl Block {
    /// Starts with the queries `q`, at most [`QUERIES`], of D numbers. Their scores are
    /// `scale · q·k`.
    pub(crate) fn begin(&mut self, q: Mat<'_>, d: usize, scale: f32) {
        self.rows = q.height();
        self.d = d;
        self.width = match self.rows {
            1 => 1,
            rows => rows.next_multiple_of(LANES),
        };
        self.acc.clear();
        self.acc.resize(self.rows * d, 0.0);
        // The accumulator is still unused, so it buffers the rows while they are transposed.
        let factor = scale * LOG2_E;
        side_by_side(q, self.width, factor, &mut self.acc, &mut self.query);
        self.acc.fill(0.0);
        self.scored = 0;
        self.max = [[f32::NEG_INFINITY; LANES]; STRIPS];
        self.sum = [[0.0; LANES]; STRIPS];
        self.mass = [[0.0; LANES]; STRIPS];
    }

    /// The number of queries.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Writes the products `[rows, D]` of the scaled queries with a matrix `[D, D]`.
    pub(crate) fn multiply(&self, matrix: Mat<'_>, out: &mut [f32]) {
        let queries = Mat::dense(&self.query, self.d, self.width)
            .t()
            .rows(0, self.rows);
        product(out, queries, matrix, LN_2, false);
    }

    /// Scores `keys`, after those already scored in this step.
    pub(crate) fn score(&mut self, keys: Mat<'_>) {
        let at = self.begin_scores(keys.height());
        let query = Mat::dense(&self.query, self.d, self.width);
        product(&mut self.scores[at..], keys, query, 1.0, false);
    }

    /// Scores `n` keys of a block of one query. `score` reads the scaled query `[D]`.
    pub(crate) fn score_one(&mut self, n: usize, score: impl FnOnce(&[f32], &mut [f32])) {
        let at = self.begin_scores(n);
        score(&self.query, &mut self.scores[at..at + n]);
    }

    /// Room for the scores of `n` more keys, from the returned number on.
    fn begin_scores(&mut self, n: usize) -> usize {
        let at = self.scored * self.width;
        let len = at + n * self.width;
        if self.scores.len() < len {
            self.scores.resize(len, 0.0);
        }
        self.scored += n;
        at
    }

    /// Scores of all queries for a key of this step, padded to whole registers.
    pub(crate) fn scores_of(&mut self, key: usize) -> &mut [f32] {
        &mut self.scores[key * self.width..][..self.width]
    }

    /// Columns of the scores: queries and padding.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Scores of all keys of this step. `[keys, width]`
    pub(crate) fn scores(&mut self) -> &mut [f32] {
        &mut self.scores[..self.scored * self.width]
    }

    /// Hides a key of this step from the first `queries` queries.
    pub(crate) fn hide(&mut self, key: usize, queries: usize) {
        let queries = queries.min(self.rows);
        self.scores_of(key)[..queries].fill(f32::NEG_INFINITY);
    }

    /// Hides later keys from each query. Key `start` of this step belongs to query `offset`, and
    /// each of the `len` keys to the next query.
    pub(crate) fn hide_later(&mut self, start: usize, len: usize, offset: isize) {
        for i in 0..len {
            if let Ok(queries) = usize::try_from(i as isize + offset) {
                self.hide(start + i, queries);
            }
        }
    }

    /// Adds a bias to the scores of keys of this step from number `start` on, in units of ln 2,
    /// for all queries.
    pub(crate) fn add_bias(&mut self, start: usize, bias: &[f32]) {
        let rows = &mut self.scores[start * self.width..];
        vectorised(
            #[inline(always)]
            || {
                for (row, bias) in rows.chunks_exact_mut(self.width).zip(bias) {
                    for x in row {
                        *x += bias;
                    }
                }
            },
        );
    }

    /// Adds the scored keys of this step to the softmax; the share of `clusters` counts as mass.
    /// Every query must see a key of the first step.
    pub(crate) fn weigh(&mut self, clusters: Range<usize>) {
        if self.scored == 0 {
            return;
        }
        let (width, rows, d) = (self.width, self.rows, self.d);
        let scores = &mut self.scores[..self.scored * width];
        let (max, sum, mass) = (&mut self.max, &mut self.sum, &mut self.mass);
        let acc = &mut self.acc;
        vectorised(
            #[inline(always)]
            || {
                let old = *max;
                raise(max, scores, width);
                let mut shrink = old;
                for (shrink, max) in shrink.as_flattened_mut().iter_mut().zip(max.as_flattened()) {
                    *shrink = exp2_below(*shrink - max);
                }
                let factors = shrink.as_flattened();
                for total in [&mut *sum, &mut *mass] {
                    for (x, factor) in total.as_flattened_mut().iter_mut().zip(factors) {
                        *x *= factor;
                    }
                }
                for (acc, &factor) in acc.chunks_exact_mut(d).zip(factors).take(rows) {
                    if factor != 1.0 {
                        for x in acc {
                            *x *= factor;
                        }
                    }
                }
                let (tokens, later) = scores.split_at_mut(clusters.end * width);
                let (tokens, clusters) = tokens.split_at_mut(clusters.start * width);
                exponentiate(tokens, width, max, sum);
                exponentiate(later, width, max, sum);
                let mut part = [[0.0; LANES]; STRIPS];
                exponentiate(clusters, width, max, &mut part);
                for total in [&mut *sum, &mut *mass] {
                    let parts = part.as_flattened();
                    for (x, part) in total.as_flattened_mut().iter_mut().zip(parts) {
                        *x += part;
                    }
                }
            },
        );
    }

    /// Adds the values of keys that were scored and weighed in this step, from
    /// number `start` on.
    pub(crate) fn add_values(&mut self, start: usize, values: Mat<'_>) {
        let scores = &self.scores[start * self.width..];
        let weights = Mat::dense(scores, values.height(), self.width)
            .t()
            .rows(0, self.rows);
        product(&mut self.acc, weights, values, 1.0, true);
    }

    /// The same for `n` values of a block of one query. `add` adds the weighted values `[D]`, and
    /// may change the weights.
    pub(crate) fn add_values_of_one(
        &mut self,
        start: usize,
        n: usize,
        add: impl FnOnce(&mut [f32], &mut [f32]),
    ) {
        add(&mut self.scores[start..start + n], &mut self.acc);
    }

    /// Starts the next step.
    pub(crate) fn next_step(&mut self) {
        self.scored = 0;
    }

    /// The reference of a query's weights: the largest score so far, in units of ln 2.
    #[inline(always)]
    pub(crate) fn max(&self, query: usize) -> f32 {
        self.max[query / LANES][query % LANES]
    }

    /// Raises the reference of a query's weights, and returns the factor by which they shrink.
    #[inline(always)]
    pub(crate) fn raise(&mut self, query: usize, max: f32) -> f32 {
        let at = (query / LANES, query % LANES);
        let shrink = exp2_below(self.max[at.0][at.1] - max);
        self.max[at.0][at.1] = max;
        self.mass[at.0][at.1] *= shrink;
        self.sum[at.0][at.1] *= shrink;
        for x in &mut self.acc[query * self.d..][..self.d] {
            *x *= shrink;
        }
        shrink
    }

    /// Adds to the unnormalised output of a query, and to the sum of its exponentials.
    #[inline(always)]
    pub(crate) fn add_to_one(&mut self, query: usize, acc: &[f32], sum: f32) {
        for (x, more) in self.acc[query * self.d..][..self.d].iter_mut().zip(acc) {
            *x += more;
        }
        self.sum[query / LANES][query % LANES] += sum;
    }

    /// Counts a part of a query's exponentials, which are added otherwise, as those of clusters.
    pub(crate) fn add_mass(&mut self, query: usize, sum: f32) {
        self.mass[query / LANES][query % LANES] += sum;
    }

    /// Output of a query, before division by its sum. `[D]`
    pub(crate) fn unnormalised(&self, query: usize) -> &[f32] {
        &self.acc[query * self.d..][..self.d]
    }

    /// Sum of a query's exponentials.
    pub(crate) fn sum(&self, query: usize) -> f32 {
        self.sum[query / LANES][query % LANES]
    }

    /// The part of [`sum`](Self::sum) from clusters.
    pub(crate) fn mass(&self, query: usize) -> f32 {
        self.mass[query / LANES][query % LANES]
    }

    /// Log-sum-exp of a query's scores.
    pub(crate) fn log_sum_exp(&self, query: usize) -> f32 {
        (self.max[query / LANES][query % LANES] + self.sum(query).log2()) * LN_2
    }
}

/// Writes rows transposed, times `scale`, padded with zeros. `[D, width]`
///
/// `copy` `[rows, D]` receives the rows unchanged. They may be far apart in memory, and copying
/// them in one loop lets the processor overlap their cache misses.
pub(crate) fn side_by_side(
    rows: Mat<'_>,
    width: usize,
    scale: f32,
    copy: &mut [f32],
    to: &mut Vec<f32>,
) {
    let d = copy.len() / rows.height().max(1);
    for (number, row) in copy.chunks_exact_mut(d.max(1)).enumerate() {
        rows.copy_row(number, row);
    }
    to.clear();
    to.resize(d * width, 0.0);
    for (number, row) in copy.chunks_exact(d.max(1)).enumerate() {
        for (to, x) in to.iter_mut().skip(number).step_by(width).zip(row) {
            *to = x * scale;
        }
    }
}

/// Raises `max` to the largest scores.
#[inline(always)]
fn raise(max: &mut PerQuery, scores: &[f32], width: usize) {
    if width == 1 {
        let highest = row_max(scores);
        let max = &mut max[0][0];
        *max = if highest > *max { highest } else { *max };
        return;
    }
    // Strip by strip, so that the maxima stay in a register.
    for (strip, max) in max[..width / LANES].iter_mut().enumerate() {
        let mut highest = *max;
        for row in scores
            .get(strip * LANES..)
            .unwrap_or_default()
            .chunks(width)
        {
            if let Some(row) = row.first_chunk::<LANES>() {
                for (max, &x) in highest.iter_mut().zip(row) {
                    *max = if x > *max { x } else { *max };
                }
            }
        }
        *max = highest;
    }
}

/// Replaces scores by their exponentials, relative to `max`, and adds them to `sum`.
#[inline(always)]
fn exponentiate(scores: &mut [f32], width: usize, max: &PerQuery, sum: &mut PerQuery) {
    if width == 1 {
        sum[0][0] += row_exp2_sum(scores, max[0][0]);
        return;
    }
    for (strip, (max, sum)) in max[..width / LANES].iter().zip(sum).enumerate() {
        let mut total = *sum;
        // The last row ends with this strip's part.
        let rows = scores.get_mut(strip * LANES..).unwrap_or_default();
        for row in rows.chunks_mut(width) {
            if let Some(row) = row.first_chunk_mut::<LANES>() {
                for (x, max) in row.iter_mut().zip(max) {
                    *x = exp2_below(*x - max);
                }
                for (sum, x) in total.iter_mut().zip(row) {
                    *sum += *x;
                }
            }
        }
        *sum = total;
    }
}
