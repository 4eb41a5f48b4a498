//! The recomputed softmax of a block of queries, and the gradients of its scores.

use std::f32::consts::LOG2_E;
use std::ops::Range;

use super::Head;
use crate::block_attention::plan::{List, Seen, Step};
use crate::block_attention::queries::{OneBlock, SharedKeys};
use crate::cpu::block::side_by_side;
use crate::cpu::math::{LANES, exp2_below, row_dot, vectorised};
use crate::cpu::matrix::{Mat, product};

/// Weights of the keys of one step, and gradients of their scores, with the queries side
/// by side, as in [`Block`](crate::cpu::block::Block).
#[derive(Default)]
pub(super) struct Weights {
    /// Scores, then weights.
    pub(super) one: OneBlock,
    /// Gradients of the output. `[D, width]`
    grads: Vec<f32>,
    /// Gradients of the weights, then of the scores. `[keys, width]`
    slopes: Vec<f32>,
    /// The state of each query.
    pub(super) queries: Queries,
    /// What the queries read from the state. `[rows, D]`
    read: Vec<f32>,
    /// Outputs of the queries, and their gradients. `[rows, D]` each
    rows: [Vec<f32>; 2],
}

/// The state of each query of a block. `[width]` each
#[derive(Debug, Default)]
pub(super) struct Queries {
    /// Log-sum-exp of the scores in units of ln 2; infinite for missing queries.
    pub(super) shift: Vec<f32>,
    /// The mean gradient of the weights: output times its gradient.
    pub(super) mean: Vec<f32>,
    /// The same, minus the contribution of the state, which a cluster's weight has
    /// besides its value.
    pub(super) mean_for_clusters: Vec<f32>,
    /// Weight of all clusters.
    pub(super) mass: Vec<f32>,
}

impl Weights {
    /// Begins with a block of queries, which read `state` `[D, D]`, if any.
    pub(super) fn begin(&mut self, head: &Head<'_>, tokens: Range<usize>, state: Option<Mat<'_>>) {
        let (d, start, rows) = (head.d, tokens.start, tokens.len());
        self.one
            .block
            .begin(head.q.rows(start, rows), d, head.scale);
        let width = self.one.block.width();
        let [out, grad] = &mut self.rows;
        for copy in [&mut *out, &mut *grad] {
            copy.resize(rows * d, 0.0);
        }
        let grads = head.grad.rows(start, rows);
        side_by_side(grads, width, 1.0, grad, &mut self.grads);
        let outputs = head.out.rows(start, rows);
        for (row, out) in out.chunks_exact_mut(d).enumerate() {
            outputs.copy_row(row, out);
        }
        if let Some(state) = state {
            self.read.resize(rows * d, 0.0);
            self.one.block.multiply(state, &mut self.read);
        }
        let Queries {
            shift,
            mean,
            mean_for_clusters,
            mass,
        } = &mut self.queries;
        shift.clear();
        shift.resize(width, f32::INFINITY);
        for zeros in [&mut *mean, &mut *mean_for_clusters, mass] {
            zeros.clear();
            zeros.resize(width, 0.0);
        }
        for query in 0..rows {
            let token = start + query;
            head.lse.copy_row(token, &mut shift[query..=query]);
            shift[query] *= LOG2_E;
            let row = query * d..(query + 1) * d;
            let (out, grad) = (&out[row.clone()], &grad[row.clone()]);
            let read = state.map(|_| &self.read[row]);
            vectorised(
                #[inline(always)]
                || {
                    mean[query] = row_dot(out, grad);
                    let more = read.map_or(0.0, |read| row_dot(read, grad));
                    mean_for_clusters[query] = mean[query] - more;
                },
            );
        }
    }

    /// Scores the keys of a step, and computes the products of their values with the
    /// gradients.
    pub(super) fn score(&mut self, head: &Head<'_>, step: &Step, first: usize) {
        let (tokens, others) = (step.tokens.len(), step.shared.len());
        let (start, start_shared) = (step.tokens.start, step.shared.start);
        let block = &mut self.one.block;
        block.next_step();
        block.score(head.k.rows(start, tokens));
        block.hide_later(0, tokens, start as isize - first as isize);
        // With gradients, nothing is stored in few bits.
        let mut decoded = Vec::new();
        block.score(head.far.rows(0, start_shared, others, &mut decoded));
        block.add_bias(tokens, head.far.bias(start_shared, others));
        let width = block.width();
        let len = (tokens + others) * width;
        if self.slopes.len() < len {
            self.slopes.resize(len, 0.0);
        }
        let (of_tokens, of_others) = self.slopes.split_at_mut(tokens * width);
        let parts = [
            (of_tokens, head.v.rows(start, tokens)),
            (
                of_others,
                head.far.rows(1, start_shared, others, &mut decoded),
            ),
        ];
        for (slopes, values) in parts {
            let grads = Mat::dense(&self.grads, head.d, width);
            product(slopes, values, grads, 1.0, false);
        }
    }

    /// The same for what queries with spans see besides their window, except the clusters of
    /// merged ones.
    pub(super) fn score_spans(&mut self, head: &Head<'_>, seen: Seen) {
        let block = &mut self.one;
        block.score_spans(&head.far, seen, head.settings.spans.opened);
        let width = block.block.width();
        let len = block.block.scores().len();
        if self.slopes.len() < len {
            self.slopes.resize(len, 0.0);
        }
        let mut decoded = Vec::new();
        let mut at = 0;
        for (list, start, len) in seen.parts(usize::MAX) {
            let values = match list {
                List::Clusters => head.far.rows(1, start, len, &mut decoded),
                List::Merged => head.far.merged(1, start, len, &mut decoded),
            };
            let grads = Mat::dense(&self.grads, head.d, width);
            product(&mut self.slopes[at * width..], values, grads, 1.0, false);
            at += len;
        }
    }

    /// Turns the scores of a step into weights, and the products into the gradients of
    /// the scores.
    pub(super) fn differentiate(&mut self, step: &Step, seen: Seen) {
        let sinks = seen.sinks.saturating_sub(step.shared.start);
        let tokens = step.tokens.len() + sinks.min(step.shared.len());
        let width = self.one.block.width();
        let scores = self.one.block.scores();
        let slopes = &mut self.slopes[..scores.len()];
        let queries = &mut self.queries;
        vectorised(
            #[inline(always)]
            || {
                let (of_tokens, of_clusters) = scores.split_at_mut(tokens * width);
                let (slopes, slopes_of_clusters) = slopes.split_at_mut(tokens * width);
                if width == 1 {
                    queries.weigh::<1>(of_tokens, slopes);
                    queries.weigh_clusters::<1>(of_clusters, slopes_of_clusters);
                } else {
                    queries.weigh::<LANES>(of_tokens, slopes);
                    queries.weigh_clusters::<LANES>(of_clusters, slopes_of_clusters);
                }
            },
        );
    }

    /// Weights of `len` keys of this step from number `start` on. `[len, rows]`
    pub(super) fn weights(&mut self, start: usize, len: usize) -> Mat<'_> {
        let (rows, width) = (self.one.block.rows(), self.one.block.width());
        let scores = &self.one.block.scores()[start * width..];
        Mat::dense(scores, len, width).t().rows(0, rows).t()
    }

    /// Gradients of their scores. `[len, rows]`
    pub(super) fn slopes(&self, start: usize, len: usize) -> Mat<'_> {
        let (rows, width) = (self.one.block.rows(), self.one.block.width());
        let slopes = &self.slopes[start * width..];
        Mat::dense(slopes, len, width).t().rows(0, rows).t()
    }
}

impl Queries {
    #[inline(always)]
    fn weigh<const L: usize>(&self, scores: &mut [f32], slopes: &mut [f32]) {
        for (at, (shift, mean)) in lanes::<L>(&self.shift)
            .zip(lanes::<L>(&self.mean))
            .enumerate()
        {
            weigh(scores, slopes, [self.shift.len(), at * L], shift, mean);
        }
    }

    #[inline(always)]
    fn weigh_clusters<const L: usize>(&mut self, scores: &mut [f32], slopes: &mut [f32]) {
        let means = lanes::<L>(&self.mean_for_clusters);
        let masses = self.mass.as_chunks_mut::<L>().0;
        let all = lanes::<L>(&self.shift).zip(means).zip(masses);
        for (at, ((shift, mean), mass)) in all.enumerate() {
            let sum = weigh(scores, slopes, [self.shift.len(), at * L], shift, mean);
            for (mass, sum) in mass.iter_mut().zip(sum) {
                *mass += sum;
            }
        }
    }
}

#[inline(always)]
fn lanes<const L: usize>(row: &[f32]) -> impl Iterator<Item = &[f32; L]> {
    row.as_chunks::<L>().0.iter()
}

/// Computes the weights of all keys in the columns of a strip, and the gradients of
/// their scores. Returns the sums of the weights.
#[inline(always)]
fn weigh<const L: usize>(
    scores: &mut [f32],
    slopes: &mut [f32],
    [width, at]: [usize; 2],
    shift: &[f32; L],
    mean: &[f32; L],
) -> [f32; L] {
    let mut sum = [0.0; L];
    // The last row ends with this strip's part.
    let scores = scores.get_mut(at..).unwrap_or_default();
    let slopes = slopes.get_mut(at..).unwrap_or_default();
    for (scores, slopes) in scores.chunks_mut(width).zip(slopes.chunks_mut(width)) {
        let (scores, slopes) = (scores.first_chunk_mut::<L>(), slopes.first_chunk_mut::<L>());
        if let (Some(scores), Some(slopes)) = (scores, slopes) {
            for i in 0..L {
                // The sum has different rounding, but a weight is at most one.
                let below = scores[i] - shift[i];
                let weight = exp2_below(if below > 0.0 { 0.0 } else { below });
                scores[i] = weight;
                slopes[i] = weight * (slopes[i] - mean[i]);
                sum[i] += weight;
            }
        }
    }
    sum
}
