//! CPU forward pass: blocks of queries against blocks of keys, online softmax.

use rayon::prelude::*;

use crate::cpu::block::{Block, QUERIES};
use crate::cpu::matrix::Mat;
use crate::cpu::tensor::Heads;

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
        blocks.enumerate().with_max_len(1).for_each_init(
            Block::default,
            |block, (number, (out, lse))| {
                let (first, rows) = (number * QUERIES, lse.len() / h);
                for head in 0..h {
                    block.begin(q.head(batch, head).rows(first, rows), d, scale);
                    let (k, v) = (k.head(batch, head), v.head(batch, head));
                    attend(block, k, v, before + first);
                    for row in 0..rows {
                        let at = row * h + head;
                        let norm = 1.0 / block.sum(row);
                        let acc = block.unnormalised(row);
                        for (out, acc) in out[at * d..][..d].iter_mut().zip(acc) {
                            *out = acc * norm;
                        }
                        lse[at] = block.log_sum_exp(row);
                    }
                }
            },
        );
    });
    (out, lse)
}

/// Attends the queries of a block. The first sees `before + 1` keys and each
/// further one sees one key more.
fn attend(block: &mut Block, k: Mat<'_>, v: Mat<'_>, before: usize) {
    let end = before + block.rows();
    for start in (0..end).step_by(KEYS) {
        let len = KEYS.min(end - start);
        block.next_step();
        block.score(k.rows(start, len));
        block.hide_later(0, len, start as isize - before as isize);
        block.weigh(0..0);
        block.add_values(0, v.rows(start, len));
    }
}
