//! CPU kernel: a chunk of rows against tiles of classes.

use rayon::prelude::*;

use super::CHUNK;
use crate::cpu::math::{exp, row_max, row_sum_exp, vectorised};
use crate::cpu::matrix::{Mat, add_product_parallel, product};

/// Classes per tile: a tile of logits fits in a core's cache.
const TILE: usize = 512;

/// Hidden `[R, C]`, head `[V, C]`, targets `[R]` and weights `[R]`.
pub(super) struct Problem<'a> {
    pub(super) hidden: &'a [f32],
    pub(super) head: &'a [f32],
    pub(super) targets: &'a [usize],
    pub(super) weights: &'a [f32],
    pub(super) features: usize,
}

/// A chunk of the rows with nonzero weight.
pub(super) struct Chunk {
    pub(super) rows: Vec<usize>,
    /// Their hidden states.
    pub(super) hidden: Vec<f32>,
}

/// Statistics of one tile of classes for every row of a chunk.
struct TileStats {
    max: Vec<f32>,
    /// Sum of the exponentials relative to `max`.
    sum: Vec<f32>,
    /// Logit of the target, if it is in the tile.
    target: Vec<Option<f32>>,
}

impl Problem<'_> {
    pub(super) fn classes(&self) -> usize {
        self.head.len() / self.features.max(1)
    }

    /// The rows with nonzero weight, in chunks.
    pub(super) fn chunks(&self) -> Vec<Chunk> {
        let rows: Vec<usize> = (0..self.targets.len())
            .filter(|&row| self.weights[row] != 0.0)
            .collect();
        let c = self.features;
        let gather = |rows: &[usize]| Chunk {
            rows: rows.to_vec(),
            hidden: rows
                .iter()
                .flat_map(|row| &self.hidden[row * c..(row + 1) * c])
                .copied()
                .collect(),
        };
        rows.chunks(CHUNK).map(gather).collect()
    }

    /// The rows of the head in one tile.
    fn head_tile(&self, tile: usize) -> Mat<'_> {
        let start = tile * TILE;
        let len = TILE.min(self.classes() - start);
        Mat::dense(&self.head[start * self.features..], len, self.features)
    }

    /// Computes a chunk's logits of one tile of classes, [rows, tile].
    fn logits(&self, chunk: &Chunk, tile: usize, logits: &mut [f32]) -> TileStats {
        let rows = chunk.rows.len();
        let len = logits.len() / rows;
        let hidden = Mat::dense(&chunk.hidden, rows, self.features);
        let head = self.head_tile(tile);
        product(logits, hidden, head.t(), 1.0, false);
        let mut stats = TileStats {
            max: vec![0.0; rows],
            sum: vec![0.0; rows],
            target: vec![None; rows],
        };
        vectorised(
            #[inline(always)]
            || {
                for (i, logits) in logits.chunks_exact(len).enumerate() {
                    stats.max[i] = row_max(logits);
                    stats.sum[i] = row_sum_exp(logits, stats.max[i]);
                }
            },
        );
        for (i, &row) in chunk.rows.iter().enumerate() {
            let class = self.targets[row]
                .checked_sub(tile * TILE)
                .filter(|&class| class < len);
            stats.target[i] = class.map(|class| logits[i * len + class]);
        }
        stats
    }

    /// Log-sum-exp of every row of a chunk, and its weighted loss.
    fn combine(&self, chunk: &Chunk, tiles: &[TileStats]) -> (Vec<f32>, f64) {
        let mut loss = 0.0;
        let lse = chunk.rows.iter().enumerate().map(|(i, &row)| {
            let max = tiles.iter().fold(f32::NEG_INFINITY, |max, t| {
                if t.max[i] > max { t.max[i] } else { max }
            });
            let sum: f32 = tiles.iter().map(|t| t.sum[i] * exp(t.max[i] - max)).sum();
            let lse = max + sum.ln();
            let target: f32 = tiles.iter().filter_map(|t| t.target[i]).sum();
            loss += f64::from(self.weights[row] * (lse - target));
            lse
        });
        (lse.collect(), loss)
    }

    /// Weighted sum of the losses, with at most a tile of logits per thread.
    pub(super) fn loss(&self) -> f32 {
        let classes = self.classes();
        let mut loss = 0.0;
        for chunk in self.chunks() {
            let tiles: Vec<TileStats> = (0..classes.div_ceil(TILE))
                .into_par_iter()
                .map_init(Vec::new, |logits, tile| {
                    logits.resize(chunk.rows.len() * TILE.min(classes - tile * TILE), 0.0);
                    self.logits(&chunk, tile, logits)
                })
                .collect();
            loss += self.combine(&chunk, &tiles).1;
        }
        loss as f32
    }

    /// Weighted sum of the losses, and its gradients with respect to hidden
    /// `[R, C]` and, if `head_grad`, head `[V, C]`; otherwise the latter is
    /// empty.
    pub(super) fn loss_and_grads(&self, head_grad: bool) -> (f32, Vec<f32>, Vec<f32>) {
        let (classes, c) = (self.classes(), self.features);
        let mut loss = 0.0;
        let mut dhidden = vec![0.0; self.targets.len() * c];
        let mut dhead = vec![0.0; if head_grad { classes * c } else { 0 }];
        let mut logits = Vec::new();
        for chunk in self.chunks() {
            let rows = chunk.rows.len();
            // Tile by tile: [rows, TILE] each.
            logits.resize(rows * classes, 0.0);
            let tiles: Vec<TileStats> = logits
                .par_chunks_mut(rows * TILE)
                .enumerate()
                .map(|(tile, logits)| self.logits(&chunk, tile, logits))
                .collect();
            let (lse, chunk_loss) = self.combine(&chunk, &tiles);
            loss += chunk_loss;

            let tiles = logits.par_chunks_mut(rows * TILE).enumerate();
            if head_grad {
                tiles
                    .zip(dhead.par_chunks_mut(TILE * c))
                    .for_each(|((tile, logits), dhead)| {
                        self.logits_to_grad(&chunk, &lse, tile, logits);
                        let len = logits.len() / rows;
                        let grad = Mat::dense(logits, rows, len);
                        let hidden = Mat::dense(&chunk.hidden, rows, c);
                        product(dhead, grad.t(), hidden, 1.0, true);
                    });
            } else {
                tiles.for_each(|(tile, logits)| self.logits_to_grad(&chunk, &lse, tile, logits));
            }

            let mut part = vec![0.0; rows * c];
            for (tile, grad) in logits.chunks(rows * TILE).enumerate() {
                let grad = Mat::dense(grad, rows, grad.len() / rows);
                add_product_parallel(&mut part, grad, self.head_tile(tile));
            }
            for (i, &row) in chunk.rows.iter().enumerate() {
                dhidden[row * c..(row + 1) * c].copy_from_slice(&part[i * c..(i + 1) * c]);
            }
        }
        (loss as f32, dhidden, dhead)
    }

    /// Turns a chunk's logits of one tile into their gradient.
    fn logits_to_grad(&self, chunk: &Chunk, lse: &[f32], tile: usize, logits: &mut [f32]) {
        let len = logits.len() / chunk.rows.len();
        let rows = logits.chunks_exact_mut(len).zip(&chunk.rows).zip(lse);
        vectorised(
            #[inline(always)]
            || {
                for ((logits, &row), lse) in rows {
                    let weight = self.weights[row];
                    for x in &mut *logits {
                        *x = exp(*x - lse) * weight;
                    }
                    let class = self.targets[row].checked_sub(tile * TILE);
                    if let Some(x) = class.and_then(|class| logits.get_mut(class)) {
                        *x -= weight;
                    }
                }
            },
        );
    }
}
