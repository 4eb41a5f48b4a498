//! CPU backward pass: scores are recomputed block by block from the log-sum-exp.

use rayon::prelude::*;

use crate::cpu::math::{exp, row_dot, vectorised};
use crate::cpu::matrix::{Mat, product};
use crate::cpu::tensor::Heads;

/// Query rows per block.
const QUERIES: usize = 64;
/// Keys per block.
const KEYS: usize = 128;
/// The keys are split until there are about this many tasks. The number is fixed and
/// independent of the threads, so sums have the same order everywhere.
const TASKS: usize = 32;

/// Inputs and outputs of the forward pass, and the gradient of its output.
#[derive(Clone, Copy)]
pub(crate) struct Saved<'a> {
    pub(crate) q: Heads<'a>,
    pub(crate) k: Heads<'a>,
    pub(crate) v: Heads<'a>,
    pub(crate) out: Heads<'a>,
    /// Log-sum-exp as `[B, H, N, 1]`.
    pub(crate) lse: Heads<'a>,
    pub(crate) grad: Heads<'a>,
    pub(crate) scale: f32,
}

/// Gradients of q, k and v, laid out as `[B, N, H, D]`.
pub(crate) fn backward(saved: Saved<'_>) -> [Vec<f32>; 3] {
    let [b, h, nq, d] = saved.q.shape;
    let nk = saved.k.shape[2];
    let mut dq = vec![0.0; b * nq * h * d];
    let mut dk = vec![0.0; b * nk * h * d];
    let mut dv = vec![0.0; b * nk * h * d];
    if dq.is_empty() {
        return [dq, dk, dv];
    }
    let parts = Parts::new(&saved);
    let rows = dq.par_chunks_mut(h * d).enumerate();
    rows.with_min_len(QUERIES)
        .for_each(|(token, dq)| parts.write_query(token, dq));
    let rows = dk
        .par_chunks_mut(h * d)
        .zip(dv.par_chunks_mut(h * d))
        .enumerate();
    rows.with_min_len(QUERIES)
        .for_each(|(token, (dk, dv))| parts.write_key(token, dk, dv));
    [dq, dk, dv]
}

/// Gradient of packed q, k, v, laid out as `[B, N, 3, H, D]`.
pub(crate) fn backward_packed(saved: Saved<'_>) -> Vec<f32> {
    let [b, h, n, d] = saved.q.shape;
    let mut grad = vec![0.0; b * n * 3 * h * d];
    if grad.is_empty() {
        return grad;
    }
    let parts = Parts::new(&saved);
    let rows = grad.par_chunks_mut(3 * h * d).enumerate();
    rows.with_min_len(QUERIES).for_each(|(token, row)| {
        let (dq, dkv) = row.split_at_mut(h * d);
        let (dk, dv) = dkv.split_at_mut(h * d);
        parts.write_query(token, dq);
        parts.write_key(token, dk, dv);
    });
    grad
}

/// The contributions of every range of keys of every head, in that order.
struct Parts {
    parts: Vec<Part>,
    /// B, H, Nq, D.
    shape: [usize; 4],
    nk: usize,
    /// Keys per range.
    keys: usize,
}

impl Parts {
    fn new(saved: &Saved<'_>) -> Self {
        let shape @ [b, h, _, _] = saved.q.shape;
        let nk = saved.k.shape[2];
        let ranges = TASKS.div_ceil(b * h);
        let keys = nk.div_ceil(ranges).next_multiple_of(KEYS);
        let tasks = nk.div_ceil(keys) * b * h;
        // The first keys are seen by the most queries, so the longest tasks start
        // first.
        let parts = (0..tasks).into_par_iter().with_max_len(1).map(|task| {
            let (range, head) = (task / (b * h), task % (b * h));
            let first = range * keys;
            Part::new(saved, head / h, head % h, first, keys.min(nk - first))
        });
        Self {
            parts: parts.collect(),
            shape,
            nk,
            keys,
        }
    }

    /// The contributions of all heads of a batch in one range of keys.
    fn heads(&self, range: usize, batch: usize) -> &[Part] {
        let [b, h, _, _] = self.shape;
        &self.parts[(range * b + batch) * h..][..h]
    }

    /// Writes the gradient `[H, D]` of a query, numbered across the batches.
    fn write_query(&self, token: usize, dq: &mut [f32]) {
        let [_, _, nq, d] = self.shape;
        for range in 0..self.nk.div_ceil(self.keys) {
            let parts = self.heads(range, token / nq);
            for (dq, part) in dq.chunks_exact_mut(d).zip(parts) {
                part.add_query(token % nq, dq);
            }
        }
    }

    /// Writes the gradients `[H, D]` of a key and its value, numbered across the
    /// batches.
    fn write_key(&self, token: usize, dk: &mut [f32], dv: &mut [f32]) {
        let d = self.shape[3];
        let (batch, key) = (token / self.nk, token % self.nk);
        let rows = dk.chunks_exact_mut(d).zip(dv.chunks_exact_mut(d));
        let at = (key % self.keys) * d;
        for ((dk, dv), part) in rows.zip(self.heads(key / self.keys, batch)) {
            dk.copy_from_slice(&part.dk[at..at + d]);
            dv.copy_from_slice(&part.dv[at..at + d]);
        }
    }
}

/// The gradient contributions of one range of keys of one head.
struct Part {
    /// First query that sees any of the keys; `dq` starts there.
    first_query: usize,
    dq: Vec<f32>,
    dk: Vec<f32>,
    dv: Vec<f32>,
    d: usize,
}

impl Part {
    fn new(saved: &Saved<'_>, batch: usize, head: usize, first: usize, len: usize) -> Self {
        let [_, _, nq, d] = saved.q.shape;
        // Query i sees the keys up to and including `before + i`.
        let before = saved.k.shape[2] - nq;
        let (q, k) = (saved.q.head(batch, head), saved.k.head(batch, head));
        let (v, grad) = (saved.v.head(batch, head), saved.grad.head(batch, head));
        let (out, lse) = (saved.out.head(batch, head), saved.lse.head(batch, head));

        let first_query = first.saturating_sub(before);
        let mut part = Self {
            first_query,
            dq: vec![0.0; (nq - first_query) * d],
            dk: vec![0.0; len * d],
            dv: vec![0.0; len * d],
            d,
        };
        let mut p = vec![0.0; QUERIES * KEYS];
        let mut ds = vec![0.0; QUERIES * KEYS];
        let (mut a, mut c) = (vec![0.0; d], vec![0.0; d]);
        let (mut delta, mut shift) = ([0.0; QUERIES], [0.0; QUERIES]);
        for i in (first_query..nq).step_by(QUERIES) {
            let rows = QUERIES.min(nq - i);
            for r in 0..rows {
                out.copy_row(i + r, &mut a);
                grad.copy_row(i + r, &mut c);
                delta[r] = vectorised(
                    #[inline(always)]
                    || row_dot(&a, &c),
                );
                lse.copy_row(i + r, &mut shift[r..r + 1]);
            }
            let (qi, gi) = (q.rows(i, rows), grad.rows(i, rows));
            let end = (first + len).min(before + i + rows);
            for j in (first..end).step_by(KEYS) {
                let cols = KEYS.min(end - j);
                let (kj, vj) = (k.rows(j, cols), v.rows(j, cols));
                let (p, ds) = (&mut p[..rows * cols], &mut ds[..rows * cols]);
                product(p, qi, kj.t(), saved.scale, false);
                product(ds, gi, vj.t(), saved.scale, false);
                vectorised(
                    #[inline(always)]
                    || {
                        let blocks = p.chunks_exact_mut(cols).zip(ds.chunks_exact_mut(cols));
                        for (row, (p, ds)) in blocks.enumerate() {
                            let visible = (before + i + row + 1).saturating_sub(j).min(cols);
                            p[visible..].fill(0.0);
                            ds[visible..].fill(0.0);
                            let (shift, delta) = (shift[row], delta[row] * saved.scale);
                            for (p, ds) in p[..visible].iter_mut().zip(&mut ds[..visible]) {
                                // The sum used scores with different rounding, but a
                                // weight is at most one.
                                let below = *p - shift;
                                *p = exp(if below > 0.0 { 0.0 } else { below });
                                *ds = *p * (*ds - delta);
                            }
                        }
                    },
                );
                let (p, ds) = (Mat::dense(p, rows, cols), Mat::dense(ds, rows, cols));
                let at = (j - first) * d;
                product(&mut part.dv[at..], p.t(), gi, 1.0, true);
                product(&mut part.dk[at..], ds.t(), qi, 1.0, true);
                let at = (i - first_query) * d;
                product(&mut part.dq[at..], ds, kj, 1.0, true);
            }
        }
        part
    }

    /// Adds the contribution of these keys to the gradient of one query.
    fn add_query(&self, query: usize, out: &mut [f32]) {
        if let Some(row) = query.checked_sub(self.first_query) {
            for (out, x) in out.iter_mut().zip(&self.dq[row * self.d..]) {
                *out += x;
            }
        }
    }
}
