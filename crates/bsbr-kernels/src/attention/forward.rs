//! CPU forward pass: blocks of queries against blocks of keys, online softmax.

use rayon::prelude::*;

use crate::cpu::math::{exp, row_exp_sum, row_max, vectorised};
use crate::cpu::matrix::{Mat, MatMut, product};
use crate::cpu::tensor::Heads;

/// Query rows per task.
const QUERIES: usize = 64;
/// Keys per step of the online softmax.
const KEYS: usize = 256;

/// The output laid out as `[B, N, H, D]`, and the log-sum-exp of every row of
/// scores laid out as `[B, N, H]`.
pub(crate) fn forward(
    q: Heads<'_>,
    k: Heads<'_>,
    v: Heads<'_>,
    scale: f32,
) -> (Vec<f32>, Vec<f32>) {
    let [b, h, nq, d] = q.shape;
    let mut out = vec![0.0; b * nq * h * d];
    let mut lse = vec![0.0; b * nq * h];
    if out.is_empty() {
        return (out, lse);
    }
    let before = k.shape[2] - nq;
    let batches = out
        .par_chunks_mut(nq * h * d)
        .zip(lse.par_chunks_mut(nq * h));
    batches.enumerate().for_each(|(batch, (out, lse))| {
        let out = out.par_chunks_mut(QUERIES * h * d);
        let blocks = out.zip(lse.par_chunks_mut(QUERIES * h));
        blocks
            .enumerate()
            .with_max_len(1)
            .for_each(|(block, (out, lse))| {
                let (first, rows) = (block * QUERIES, lse.len() / h);
                let mut state = State::new(rows, d);
                for head in 0..h {
                    let q = q.head(batch, head).rows(first, rows);
                    let (k, v) = (k.head(batch, head), v.head(batch, head));
                    state.attend(q, k, v, before + first, scale);
                    for row in 0..rows {
                        let at = row * h + head;
                        lse[at] = state.finish_row(row, &mut out[at * d..][..d]);
                    }
                }
            });
    });
    (out, lse)
}

/// Running state of one block of queries.
struct State {
    /// Scores of the block against the current keys, then their exponentials.
    scores: Vec<f32>,
    /// Unnormalised output.
    acc: Vec<f32>,
    /// Largest score of each row so far.
    max: Vec<f32>,
    /// Sum of the exponentials of each row so far, relative to `max`.
    sum: Vec<f32>,
    d: usize,
}

impl State {
    fn new(rows: usize, d: usize) -> Self {
        Self {
            scores: vec![0.0; rows * KEYS],
            acc: vec![0.0; rows * d],
            max: vec![0.0; rows],
            sum: vec![0.0; rows],
            d,
        }
    }

    /// Attends the queries `q`, of which the first sees `before + 1` keys and
    /// each further one a key more.
    fn attend(&mut self, q: Mat<'_>, k: Mat<'_>, v: Mat<'_>, before: usize, scale: f32) {
        let (rows, d) = (self.max.len(), self.d);
        self.acc.fill(0.0);
        self.max.fill(f32::NEG_INFINITY);
        self.sum.fill(0.0);
        let end = before + rows;
        for start in (0..end).step_by(KEYS) {
            let len = KEYS.min(end - start);
            let scores = &mut self.scores[..rows * len];
            product(
                MatMut::dense(scores, rows, len),
                q,
                k.rows(start, len).t(),
                scale,
                false,
            );
            vectorised(
                #[inline(always)]
                || {
                    let state = self.max.iter_mut().zip(self.sum.iter_mut());
                    let rows = scores
                        .chunks_exact_mut(len)
                        .zip(self.acc.chunks_exact_mut(d));
                    for (row, ((scores, acc), (max, sum))) in rows.zip(state).enumerate() {
                        let visible = (before + row + 1).saturating_sub(start).min(len);
                        let (seen, hidden) = scores.split_at_mut(visible);
                        hidden.fill(0.0);
                        if seen.is_empty() {
                            continue;
                        }
                        let block_max = row_max(seen);
                        let new_max = if block_max > *max { block_max } else { *max };
                        let shrink = exp(*max - new_max);
                        *sum = *sum * shrink + row_exp_sum(seen, new_max);
                        *max = new_max;
                        if shrink != 1.0 {
                            for x in acc {
                                *x *= shrink;
                            }
                        }
                    }
                },
            );
            let acc = MatMut::dense(&mut self.acc, rows, d);
            product(
                acc,
                Mat::dense(scores, rows, len),
                v.rows(start, len),
                1.0,
                true,
            );
        }
    }

    /// Writes one row of the output; returns the log-sum-exp of its scores.
    fn finish_row(&self, row: usize, out: &mut [f32]) -> f32 {
        let norm = 1.0 / self.sum[row];
        for (out, acc) in out.iter_mut().zip(&self.acc[row * self.d..]) {
            *out = acc * norm;
        }
        self.max[row] + self.sum[row].ln()
    }
}
