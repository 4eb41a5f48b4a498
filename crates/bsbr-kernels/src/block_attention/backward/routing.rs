//! Gradients of the mixture of states that a chunk reads.
//!
//! The chunk mixes the states of its far chunks by w = softmax(σ r·h). The gradient of
//! the mixture gives that of w, and so of r and of the mean keys h.

use super::Head;
use crate::block_attention::far::Far;
use crate::cpu::math::{row_add, row_dot, vectorised};
use crate::cpu::matrix::{Mat, product};

/// Routing of all F chunks with a far field, one row each. Empty without states.
#[derive(Debug)]
pub(super) struct Routing {
    /// F
    chunks: usize,
    d: usize,
    /// Numbers in a state.
    size: usize,
    /// w. `[F, F]`
    weights: Vec<f32>,
    /// Gradients of the softmax's arguments. `[F, F]`
    slopes: Vec<f32>,
    /// Gradients of the mixtures. `[F, size]`
    mixtures: Vec<f32>,
    /// σ r. `[F, D]`
    receivers: Vec<f32>,
    /// Gradients of r. `[F, D]`
    of_receivers: Vec<f32>,
}

/// The rows of some chunks, to be written.
#[derive(Debug)]
pub(super) struct RoutingRows<'a> {
    chunks: usize,
    d: usize,
    size: usize,
    weights: &'a mut [f32],
    slopes: &'a mut [f32],
    mixtures: &'a mut [f32],
    receivers: &'a mut [f32],
    of_receivers: &'a mut [f32],
}

impl Routing {
    pub(super) fn new(head: &Head<'_>) -> Self {
        let chunks = match head.reads_states() {
            true => head.far.chunks(),
            false => 0,
        };
        let (d, size) = (head.d, head.far.state_size());
        let zeros = |of: usize| vec![0.0; chunks * of];
        Self {
            chunks,
            d,
            size,
            weights: zeros(chunks),
            slopes: zeros(chunks),
            mixtures: zeros(size),
            receivers: zeros(d),
            of_receivers: zeros(d),
        }
    }

    /// All rows.
    pub(super) fn rows(&mut self) -> RoutingRows<'_> {
        RoutingRows {
            chunks: self.chunks,
            d: self.d,
            size: self.size,
            weights: &mut self.weights,
            slopes: &mut self.slopes,
            mixtures: &mut self.mixtures,
            receivers: &mut self.receivers,
            of_receivers: &mut self.of_receivers,
        }
    }

    /// Adds the gradients of the receivers to those of their queries.
    pub(super) fn add_to_receivers(&self, head: &Head<'_>, dq: &mut [&mut [f32]]) {
        for (row, gradient) in self.of_receivers.chunks_exact(self.d.max(1)).enumerate() {
            let receiver = head.settings.grid.far_from(row) - 1;
            row_add(dq[receiver], gradient);
        }
    }

    /// Gradients of the states of `len` far chunks from `start` on. `[len, size]`
    pub(super) fn of_states(&self, start: usize, len: usize, to: &mut Vec<f32>) {
        to.resize(len * self.size, 0.0);
        let weights = Mat::dense(&self.weights, self.chunks, self.chunks).t();
        let mixtures = Mat::dense(&self.mixtures, self.chunks, self.size);
        product(to, weights.rows(start, len), mixtures, 1.0, false);
    }

    /// Gradients of the mean keys of `len` far chunks from `start` on. `[len, D]`
    pub(super) fn of_means(&self, start: usize, len: usize, to: &mut Vec<f32>) {
        to.resize(len * self.d, 0.0);
        let slopes = Mat::dense(&self.slopes, self.chunks, self.chunks).t();
        let receivers = Mat::dense(&self.receivers, self.chunks, self.d);
        product(to, slopes.rows(start, len), receivers, 1.0, false);
    }
}

impl<'a> RoutingRows<'a> {
    /// Splits off the first `rows` rows; empty without states.
    pub(super) fn split_off(&mut self, rows: usize) -> RoutingRows<'a> {
        let rows = if self.chunks == 0 { 0 } else { rows };
        let take = |from: &mut &'a mut [f32], of: usize| {
            from.split_off_mut(..rows * of).unwrap_or_default()
        };
        RoutingRows {
            chunks: self.chunks,
            d: self.d,
            size: self.size,
            weights: take(&mut self.weights, self.chunks),
            slopes: take(&mut self.slopes, self.chunks),
            mixtures: take(&mut self.mixtures, self.size),
            receivers: take(&mut self.receivers, self.d),
            of_receivers: take(&mut self.of_receivers, self.d),
        }
    }

    /// Sets the weights and receiver of a chunk.
    pub(super) fn set(&mut self, row: usize, weights: &[f32], receiver: &[f32]) {
        self.weights[row * self.chunks..][..weights.len()].copy_from_slice(weights);
        self.receivers[row * self.d..][..self.d].copy_from_slice(receiver);
    }

    /// The gradient of a chunk's mixture.
    pub(super) fn mixture(&mut self, row: usize) -> &mut [f32] {
        &mut self.mixtures[row * self.size..][..self.size]
    }

    /// Computes the gradients of the weights and receivers from those of the mixtures.
    pub(super) fn finish(self, far: &Far, scale: f32) {
        let (chunks, d) = (self.chunks, self.d);
        let rows = self.receivers.len() / d.max(1);
        if rows == 0 {
            return;
        }
        let mixtures = Mat::dense(self.mixtures, rows, self.size);
        product(self.slopes, mixtures, far.states().t(), 1.0, false);
        vectorised(
            #[inline(always)]
            || {
                let slopes = self.slopes.chunks_exact_mut(chunks);
                for (slopes, weights) in slopes.zip(self.weights.chunks_exact(chunks)) {
                    let mean = row_dot(slopes, weights);
                    for (slope, weight) in slopes.iter_mut().zip(weights) {
                        *slope = weight * (*slope - mean);
                    }
                }
            },
        );
        let slopes = Mat::dense(self.slopes, rows, chunks);
        product(self.of_receivers, slopes, far.means(), scale, false);
    }
}
