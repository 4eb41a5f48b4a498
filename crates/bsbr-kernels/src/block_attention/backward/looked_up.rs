//! Gradients of looked-up clusters.

use std::f32::consts::LOG2_E;
use std::ops::Range;

use super::Head;
use super::weights::Queries;
use crate::block_attention::lookup::gather;
use crate::block_attention::opened::Opened;
use crate::block_attention::queries::SharedKeys;
use crate::block_attention::tokens::Unpacked;
use crate::cpu::math::{LANES, exp2_below, row_add, vectorised};
use crate::cpu::matrix::{Mat, product};

/// Buffers.
#[derive(Debug, Default)]
pub(super) struct LookedUp {
    /// Queries that look up one cluster. `[n, D]`
    q: Vec<f32>,
    /// Gradients of their output. `[n, D]`
    grad: Vec<f32>,
    /// Weights of the cluster's tokens. `[n, m]`
    weights: Vec<f32>,
    /// Gradients of their scores. `[n, m]`
    slopes: Vec<f32>,
    /// The cluster's contribution to the gradients of the queries. `[n, D]`
    dq: Vec<f32>,
    /// Gradients of the keys and values of a merged cluster's clusters. `[m, D]`
    of_members: [Vec<f32>; 2],
}

impl LookedUp {
    /// Adds to the gradients of the tokens of looked-up clusters, which come with their queries,
    /// and to those of the queries `[rows, D]`.
    pub(super) fn take<'a>(
        &mut self,
        head: &Head<'_>,
        queries: &Queries,
        tokens: &Range<usize>,
        looked_up: impl Iterator<Item = (usize, &'a [u32])>,
        [of_keys, of_values]: &mut [Vec<f32>; 2],
        dq: &mut [f32],
    ) {
        let (d, scale) = (head.d, head.scale);
        let q = head.q.rows(tokens.start, tokens.len());
        let grad = head.grad.rows(tokens.start, tokens.len());
        let mut unpacked = Unpacked::default();
        for (cluster, rows) in looked_up {
            let at = head.far.members(cluster).start * d;
            let tokens = head.far.looked_up(cluster, &mut unpacked);
            let (n, m) = (rows.len(), tokens.count);
            let [keys, values] = tokens.matrices();
            let (q, grad) = (
                gather(q, rows, &mut self.q),
                gather(grad, rows, &mut self.grad),
            );
            for (to, left, right, factor) in [
                (&mut self.weights, q, keys, scale * LOG2_E),
                (&mut self.slopes, grad, values, 1.0),
            ] {
                to.resize(n * m, 0.0);
                product(to, left, right.t(), factor, false);
            }
            let (weights, slopes) = (&mut self.weights, &mut self.slopes);
            vectorised(
                #[inline(always)]
                || {
                    let scores = weights.chunks_exact_mut(m).zip(slopes.chunks_exact_mut(m));
                    for ((weights, slopes), &query) in scores.zip(rows) {
                        let shift = queries.shift[query as usize];
                        let mean = queries.mean[query as usize];
                        for (weight, slope) in weights.iter_mut().zip(slopes) {
                            let below = *weight - shift;
                            *weight = exp2_below(if below > 0.0 { 0.0 } else { below });
                            *slope = *weight * (*slope - mean);
                        }
                    }
                },
            );
            let weights = Mat::dense(&self.weights, n, m);
            let slopes = Mat::dense(&self.slopes, n, m);
            product(&mut of_values[at..], weights.t(), grad, 1.0, true);
            product(&mut of_keys[at..], slopes.t(), q, scale, true);
            self.dq.resize(n * d, 0.0);
            product(&mut self.dq, slopes, keys, scale, false);
            for (from, &query) in self.dq.chunks_exact(d).zip(rows) {
                row_add(&mut dq[query as usize * d..][..d], from);
            }
        }
    }

    /// The same for the clusters of opened merged ones: adds to the gradients of the means of all
    /// clusters.
    pub(super) fn open(
        &mut self,
        head: &Head<'_>,
        queries: &mut Queries,
        tokens: &Range<usize>,
        opened: &Opened,
        of_means: &mut [Vec<f32>; 2],
        dq: &mut [f32],
    ) {
        let (d, scale, sinks) = (head.d, head.scale, head.settings.grid.sinks);
        let q = head.q.rows(tokens.start, tokens.len());
        let grad = head.grad.rows(tokens.start, tokens.len());
        let mut unpacked = Unpacked::default();
        for part in opened.parts() {
            let (n, m) = (part.queries.len(), part.count);
            let keys = head.far.side(0, part.merged, &mut unpacked.keys);
            let values = head.far.side(1, part.merged, &mut unpacked.values);
            let keys = Mat::dense(keys.numbers, d, m).t();
            let values = Mat::dense(values.numbers, m, d);
            let q = gather(q, part.queries, &mut self.q);
            let grad = gather(grad, part.queries, &mut self.grad);
            self.weights.resize(n * m, 0.0);
            let wide = m.next_multiple_of(LANES);
            let scores = part.scores.chunks_exact(wide);
            for (to, scores) in self.weights.chunks_exact_mut(m).zip(scores) {
                to.copy_from_slice(&scores[..m]);
            }
            self.slopes.resize(n * m, 0.0);
            product(&mut self.slopes, grad, values.t(), 1.0, false);
            let (weights, slopes) = (&mut self.weights, &mut self.slopes);
            vectorised(
                #[inline(always)]
                || {
                    let scores = weights.chunks_exact_mut(m).zip(slopes.chunks_exact_mut(m));
                    for ((weights, slopes), &query) in scores.zip(part.queries) {
                        let query = query as usize;
                        let shift = queries.shift[query];
                        let mean = queries.mean_for_clusters[query];
                        for (weight, slope) in weights.iter_mut().zip(slopes) {
                            let below = *weight - shift;
                            *weight = exp2_below(if below > 0.0 { 0.0 } else { below });
                            *slope = *weight * (*slope - mean);
                            queries.mass[query] += *weight;
                        }
                    }
                },
            );
            let weights = Mat::dense(&self.weights, n, m);
            let slopes = Mat::dense(&self.slopes, n, m);
            let [of_keys, of_values] = &mut self.of_members;
            for (to, left, right, factor) in [
                (&mut *of_keys, slopes, q, scale),
                (&mut *of_values, weights, grad, 1.0),
            ] {
                to.resize(m * d, 0.0);
                product(to, left.t(), right, factor, false);
            }
            let clusters = head.far.clusters_of(part.merged);
            for (to, from) in of_means.iter_mut().zip(&self.of_members) {
                for (from, &cluster) in from.chunks_exact(d).zip(clusters) {
                    row_add(&mut to[(sinks + cluster as usize) * d..][..d], from);
                }
            }
            self.dq.resize(n * d, 0.0);
            product(&mut self.dq, slopes, keys, scale, false);
            for (from, &query) in self.dq.chunks_exact(d).zip(part.queries) {
                row_add(&mut dq[query as usize * d..][..d], from);
            }
        }
    }
}
