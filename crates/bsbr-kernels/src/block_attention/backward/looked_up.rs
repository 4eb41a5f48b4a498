//! Gradients of looked-up clusters.

use std::f32::consts::LOG2_E;
use std::ops::Range;

use super::Head;
use super::weights::Queries;
use crate::block_attention::choose::Chosen;
use crate::block_attention::lookup::gather;
use crate::block_attention::plan::Seen;
use crate::block_attention::queries::SharedKeys;
use crate::block_attention::tokens::Unpacked;
use crate::cpu::block::Block;
use crate::cpu::math::{exp2_below, row_add, vectorised};
use crate::cpu::matrix::{Mat, MatMut, product};

/// The clusters that the queries of a block look up, and buffers.
#[derive(Debug, Default)]
pub(super) struct LookedUp {
    chosen: Chosen,
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
}

impl LookedUp {
    /// Repeats the choice of the forward pass, from the same scores of all shared keys.
    pub(super) fn choose(&mut self, head: &Head<'_>, block: &mut Block, seen: Seen) {
        let (clusters, best) = (seen.clusters(), head.settings.exact_clusters);
        let best = best.min(clusters);
        self.chosen.choose(block, seen.sinks, clusters, best);
    }

    /// Adds to the gradients of the tokens, cluster by cluster, and to those of the
    /// queries `[rows, D]`.
    pub(super) fn take(
        &mut self,
        head: &Head<'_>,
        queries: &Queries,
        tokens: &Range<usize>,
        [of_keys, of_values]: &mut [Vec<f32>; 2],
        dq: &mut [f32],
    ) {
        let (d, scale) = (head.d, head.scale);
        let q = head.q.rows(tokens.start, tokens.len());
        let grad = head.grad.rows(tokens.start, tokens.len());
        let mut unpacked = Unpacked::default();
        for (cluster, rows) in self.chosen.clusters() {
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
                product(MatMut::dense(to, n, m), left, right.t(), factor, false);
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
            let of_values = MatMut::dense(&mut of_values[at..], m, d);
            product(of_values, weights.t(), grad, 1.0, true);
            let of_keys = MatMut::dense(&mut of_keys[at..], m, d);
            product(of_keys, slopes.t(), q, scale, true);
            self.dq.resize(n * d, 0.0);
            product(
                MatMut::dense(&mut self.dq, n, d),
                slopes,
                keys,
                scale,
                false,
            );
            for (from, &query) in self.dq.chunks_exact(d).zip(rows) {
                row_add(&mut dq[query as usize * d..][..d], from);
            }
        }
    }
}
