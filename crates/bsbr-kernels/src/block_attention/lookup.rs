//! Each query's best clusters, attended to token by token.

use std::f32::consts::LOG2_E;

use pulp::{Simd, WithSimd};

use super::kept::RoundingGrids;
use super::queries::OneBlock;
use super::tile;
use super::tokens::{Members, Side};
use crate::cpu::block::Block;
use crate::cpu::math::{LANES, exp2_below, row_max, sum_lanes, vectorised};
use crate::cpu::matrix::Mat;
use crate::cpu::simd::{dispatch, is_any, lanes};

/// The maximum excess of a score, in units of ln 2, over the maximum to which the weights are
/// relative.
const HEADROOM: f32 = 60.0;

/// Lookups for the queries of several blocks together, because a cluster has few queries in each
/// of them.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    /// The queries of all blocks, scaled. `[rows, D]`
    q: Vec<f32>,
    /// The references of each query's weights. `[rows]`
    max: Vec<f32>,
    /// The queries that look up one cluster, numbered across all blocks.
    queries: Vec<u32>,
    /// Scores, then weights, of the tokens of one cluster. `[n, m…]`
    weights: Vec<f32>,
    /// Unnormalised output of each query. `[rows, D…]`
    acc: Vec<f32>,
    /// Sums of each query's weights.
    sums: Vec<[f32; LANES]>,
    /// Sums of each query's numbers, for keys that are codes with an offset.
    totals: Vec<f32>,
    d: usize,
}

impl Lookup {
    /// Starts without queries.
    pub(super) fn begin(&mut self, d: usize) {
        self.d = d;
        for list in [&mut self.q, &mut self.max, &mut self.acc, &mut self.totals] {
            list.clear();
        }
        self.sums.clear();
    }

    /// Adds the queries of a block.
    pub(super) fn add(&mut self, block: &Block, q: Mat<'_>, scale: f32) {
        let (rows, d) = (q.height(), self.d);
        let first = self.q.len();
        self.q.resize(first + rows * d, 0.0);
        // The block scales them by the same factor, so scores are independent of the path.
        let factor = scale * LOG2_E;
        for (row, to) in self.q[first..].chunks_exact_mut(d.max(1)).enumerate() {
            q.copy_row(row, to);
            to.iter_mut().for_each(|x| *x *= factor);
        }
        let totals = self.q[first..].chunks_exact(d.max(1));
        self.totals.extend(totals.map(|q| q.iter().sum::<f32>()));
        self.max.extend((0..rows).map(|row| block.max(row)));
        let all = self.max.len();
        self.acc.resize(all * d.next_multiple_of(LANES), 0.0);
        self.sums.resize(all, [0.0; LANES]);
    }

    /// Sets the queries of the blocks that look up a cluster.
    pub(super) fn gather(&mut self, blocks: &[OneBlock], cluster: usize) {
        self.queries.clear();
        let mut first = 0;
        for one in blocks {
            let looking = one.chosen.queries_of(cluster).iter();
            self.queries.extend(looking.map(|query| first + query));
            first += one.block.rows() as u32;
        }
    }

    /// Attends these queries to the tokens of the cluster. `raise` raises the reference of a
    /// query's weights to a larger score, and returns the factor by which the weights shrink.
    pub(super) fn look_into(&mut self, tokens: Members<'_>, raise: impl FnMut(usize, f32) -> f32) {
        let (m, [keys, values]) = (tokens.count, tokens.sides);
        self.score(keys, m);
        self.weigh(m, raise);
        self.add_values(values, m);
    }

    /// Sets the queries of the next keys.
    pub(super) fn set_queries(&mut self, queries: &[u32]) {
        self.queries.clear();
        self.queries.extend_from_slice(queries);
    }

    /// The queries of the last keys.
    pub(super) fn queries(&self) -> &[u32] {
        &self.queries
    }

    /// Scores of `m` keys, one row per query, in whole registers. `[n, m…]`
    pub(super) fn score(&mut self, keys: Side<'_>, m: usize) -> &mut [f32] {
        let wide = m.next_multiple_of(LANES);
        self.weights.resize(self.queries.len() * wide, 0.0);
        tile::Scores {
            q: &self.q,
            queries: &self.queries,
            keys: keys.numbers,
            d: self.d,
            m,
            to: &mut self.weights,
        }
        .run();
        if let Some(keys) = keys.grids {
            self.decode_scores(keys);
        }
        &mut self.weights
    }

    /// Attends the queries to `m` values with these scores.
    pub(super) fn look_at(
        &mut self,
        scores: &[f32],
        values: Side<'_>,
        m: usize,
        raise: impl FnMut(usize, f32) -> f32,
    ) {
        self.weights.clear();
        self.weights.extend_from_slice(scores);
        self.weigh(m, raise);
        self.add_values(values, m);
    }

    fn add_values(&mut self, values: Side<'_>, m: usize) {
        if let Some(grids) = values.grids {
            self.encode_weights(grids);
        }
        tile::Values {
            weights: &self.weights,
            values: values.numbers,
            d: self.d,
            m,
            queries: &self.queries,
            to: &mut self.acc,
        }
        .run();
    }

    /// Makes the largest scores of the queries of all blocks the references of their weights.
    pub(super) fn refer_to<'a>(&mut self, blocks: impl Iterator<Item = &'a Block>) {
        self.max.clear();
        for block in blocks {
            self.max.extend((0..block.rows()).map(|row| block.max(row)));
        }
    }

    /// The sum of a query's weights so far.
    pub(super) fn sum(&self, query: usize) -> f32 {
        sum_lanes(self.sums[query])
    }

    /// Turns products with codes into scores of the decoded keys.
    fn decode_scores(&mut self, keys: RoundingGrids<'_>) {
        let wide = keys.scales.len().next_multiple_of(LANES);
        let rows = self.weights.chunks_exact_mut(wide).zip(&self.queries);
        vectorised(
            #[inline(always)]
            || {
                for (scores, &query) in rows {
                    for (score, scale) in scores.iter_mut().zip(keys.scales) {
                        *score *= scale;
                    }
                    let total = self.totals[query as usize];
                    for (score, offset) in scores.iter_mut().zip(keys.offsets) {
                        *score += total * offset;
                    }
                }
            },
        );
    }

    /// Turns weights of values into weights of their codes.
    fn encode_weights(&mut self, values: RoundingGrids<'_>) {
        let stride = self.d.next_multiple_of(LANES);
        let wide = values.scales.len().next_multiple_of(LANES);
        let rows = self.weights.chunks_exact_mut(wide).zip(&self.queries);
        vectorised(
            #[inline(always)]
            || {
                for (weights, &query) in rows {
                    if !values.offsets.is_empty() {
                        let pairs = weights.iter().zip(values.offsets);
                        let offset: f32 = pairs.map(|(weight, offset)| weight * offset).sum();
                        for x in &mut self.acc[query as usize * stride..][..stride] {
                            *x += offset;
                        }
                    }
                    for (weight, scale) in weights.iter_mut().zip(values.scales) {
                        *weight *= scale;
                    }
                }
            },
        );
    }

    /// Turns the scores of `m` tokens into weights.
    fn weigh(&mut self, m: usize, mut raise: impl FnMut(usize, f32) -> f32) {
        let wide = m.next_multiple_of(LANES);
        let stride = self.d.next_multiple_of(LANES);
        let over = dispatch(Over {
            scores: &mut self.weights,
            m,
            queries: &self.queries,
            max: &self.max,
        });
        if over {
            let rows = self.weights.chunks_exact(wide).zip(&self.queries);
            for (scores, &query) in rows {
                let query = query as usize;
                let max = row_max(scores);
                if max > self.max[query] {
                    self.max[query] = max;
                    let shrink = raise(query, max);
                    let acc = self.acc[query * stride..][..stride].iter_mut();
                    acc.chain(&mut self.sums[query]).for_each(|x| *x *= shrink);
                }
            }
        }
        let rows = self.weights.chunks_exact_mut(wide).zip(&self.queries);
        vectorised(
            #[inline(always)]
            || {
                for (scores, &query) in rows {
                    let max = self.max[query as usize];
                    let mut sums = self.sums[query as usize];
                    for scores in scores.as_chunks_mut::<LANES>().0 {
                        for (sum, x) in sums.iter_mut().zip(scores) {
                            *x = exp2_below(*x - max);
                            *sum += *x;
                        }
                    }
                    self.sums[query as usize] = sums;
                }
            },
        );
    }

    /// Adds the result to the output of a block, whose queries start at number `first`.
    pub(super) fn finish(&mut self, block: &mut Block, first: usize) {
        let stride = self.d.next_multiple_of(LANES);
        let rows = self.acc.chunks_exact(stride).zip(&self.sums).skip(first);
        vectorised(
            #[inline(always)]
            || {
                for (query, (acc, sums)) in rows.take(block.rows()).enumerate() {
                    block.add_to_one(query, acc, sum_lanes(*sums));
                }
            },
        );
    }
}

/// Hides the padding behind each row's `m` scores, and tells whether any score is too far above
/// its query's reference.
struct Over<'a> {
    scores: &'a mut [f32],
    m: usize,
    queries: &'a [u32],
    max: &'a [f32],
}

impl WithSimd for Over<'_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        let rows = self.scores.chunks_exact_mut(self.m.next_multiple_of(LANES));
        let mut over = false;
        for (scores, &query) in rows.zip(self.queries) {
            for x in &mut scores[self.m..] {
                *x = f32::NEG_INFINITY;
            }
            let limit = simd.splat_f32s(self.max[query as usize] + HEADROOM);
            for scores in scores.chunks_exact(S::F32_LANES) {
                over |= is_any(simd, simd.greater_than_f32s(lanes(simd, scores, 0), limit));
            }
        }
        over
    }
}

/// Copies some rows of a matrix side by side. `[n, D]`
pub(super) fn gather<'a>(from: Mat<'_>, rows: &[u32], to: &'a mut Vec<f32>) -> Mat<'a> {
    let d = from.t().height();
    to.resize(rows.len() * d, 0.0);
    for (to, &row) in to.chunks_exact_mut(d).zip(rows) {
        from.copy_row(row as usize, to);
    }
    Mat::dense(to, rows.len(), d)
}
