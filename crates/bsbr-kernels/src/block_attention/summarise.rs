//! Summaries of one chunk: its clusters, their means, and the state.

use std::sync::LazyLock;

use super::far::HeadState;
use crate::clusters::split::Split;
use crate::cpu::math::{add_weighted, row_copy, row_max_of, row_subtract, vectorised};
use crate::cpu::matrix::{Mat, product};

/// The clusters of one chunk, and buffers that are reused for the next one.
#[derive(Debug, Default)]
pub(super) struct Summariser {
    split: Split,
    /// Keys in the order of tokens. `[S, D]`
    tokens: Vec<f32>,
    /// Keys in the order of clusters, then centred. `[S, D]`
    keys: Vec<f32>,
    /// Values in the order of clusters. `[S, D]`
    values: Vec<f32>,
    ones: Vec<f32>,
    whole: Vec<f32>,
    half: Vec<f32>,
}

impl Summariser {
    /// Splits a chunk, and puts its tokens in the order of clusters.
    pub(super) fn gather(&mut self, [k, v]: [Mat<'_>; 2], d: usize, clusters: usize) {
        let size = k.height();
        for rows in [&mut self.tokens, &mut self.keys, &mut self.values] {
            rows.resize(size * d, 0.0);
        }
        self.ones.resize(size, 1.0);
        for (row, to) in self.tokens.chunks_exact_mut(d).enumerate() {
            k.copy_row(row, to);
        }
        self.split.run(&self.tokens, d, clusters);
        vectorised(
            #[inline(always)]
            || {
                let rows = self.keys.chunks_exact_mut(d);
                for (key, &token) in rows.zip(self.split.order()) {
                    row_copy(key, &self.tokens[token * d..][..d]);
                }
            },
        );
        let rows = self.values.chunks_exact_mut(d);
        for (value, &token) in rows.zip(self.split.order()) {
            v.copy_row(token, value);
        }
    }

    /// Tokens of the chunk in the order of clusters.
    pub(super) fn order(&self) -> &[usize] {
        self.split.order()
    }

    /// The number of tokens of each cluster.
    pub(super) fn counts(&self) -> &[usize] {
        self.split.counts()
    }

    /// Keys and values in the order of clusters. `[S, D]`
    pub(super) fn ordered(&self) -> [&[f32]; 2] {
        [&self.keys, &self.values]
    }

    /// Writes the bias of the scores of clusters, in units of ln 2: log₂ m, or `-inf` for empty
    /// clusters.
    pub(super) fn bias(&self, to: &mut [f32]) {
        for (to, &count) in to.iter_mut().zip(self.split.counts()) {
            *to = log_count(count);
        }
    }

    /// Writes the mean keys and values of the clusters `[G, D]`, and the mean key of the chunk
    /// `[D]`.
    pub(super) fn average(&self, [keys, values]: [&mut [f32]; 2], mean: &mut [f32], d: usize) {
        vectorised(
            #[inline(always)]
            || {
                self.average_each(keys, values, d);
                self.average_all(keys, mean);
            },
        );
    }

    /// Writes the state of the chunk, with `means` as the mean keys of the clusters. Overwrites
    /// the data in the order of clusters.
    pub(super) fn state(&mut self, state: HeadState<'_>, means: &[f32], to: &mut [f32], d: usize) {
        match state {
            HeadState::Off => {}
            HeadState::Whole => {
                self.centre(means, d);
                self.multiply(to, d);
            }
            HeadState::Compressed { key, value } => {
                self.centre(means, d);
                let rank = key.t().height();
                let mut whole = std::mem::take(&mut self.whole);
                whole.resize(d * d, 0.0);
                self.multiply(&mut whole, d);
                self.half.resize(rank * d, 0.0);
                product(
                    &mut self.half,
                    key.t(),
                    Mat::dense(&whole, d, d),
                    1.0,
                    false,
                );
                self.whole = whole;
                let half = Mat::dense(&self.half, rank, d);
                product(to, half, value, 1.0, false);
            }
        }
    }

    /// Mean keys and values of the clusters.
    #[inline(always)]
    fn average_each(&self, keys: &mut [f32], values: &mut [f32], d: usize) {
        for (rows, means) in [(&self.keys, keys), (&self.values, values)] {
            let mut rest = rows.as_slice();
            for (mean, &count) in means.chunks_exact_mut(d).zip(self.split.counts()) {
                let (rows, later) = rest.split_at(count * d);
                rest = later;
                add_weighted(mean, &self.ones, rows);
                let share = 1.0 / count.max(1) as f32;
                for x in mean {
                    *x *= share;
                }
            }
        }
    }

    /// Mean key of all tokens, from those of the clusters.
    #[inline(always)]
    fn average_all(&self, keys: &[f32], mean: &mut [f32]) {
        let counts = self.split.counts();
        let share = 1.0 / self.ones.len() as f32;
        for (key, &count) in keys.chunks_exact(mean.len()).zip(counts) {
            add_weighted(mean, &[share * count as f32], key);
        }
    }

    /// Subtracts from each key the mean of its cluster.
    fn centre(&mut self, means: &[f32], d: usize) {
        vectorised(
            #[inline(always)]
            || {
                let mut rows = self.keys.chunks_exact_mut(d);
                for (mean, &count) in means.chunks_exact(d).zip(self.split.counts()) {
                    for row in rows.by_ref().take(count) {
                        row_subtract(row, mean);
                    }
                }
            },
        );
    }

    /// F, from centred keys. The values need no centring, because it would subtract zero.
    /// Numbers too large for `f32` become the largest number of a state.
    fn multiply(&mut self, to: &mut [f32], d: usize) {
        let size = self.ones.len();
        let excess = [&mut self.keys, &mut self.values].map(|rows| shrink(rows));
        let [keys, values] = [&self.keys, &self.values].map(|rows| Mat::dense(rows, size, d));
        let share = 1.0 / size as f32;
        product(to, keys.t(), values, share, false);
        if excess != [1.0; 2] {
            for x in to {
                for excess in excess {
                    *x = (*x * excess).clamp(-LARGEST, LARGEST);
                }
            }
        }
    }
}

/// Keys and values above this are scaled down before multiplication.
const LARGE: f32 = 1e17;
/// The largest number of a state: a query that is as small as keys are large can be multiplied
/// by it.
const LARGEST: f32 = 1e30;

/// Scales large numbers down, and returns the factor.
fn shrink(rows: &mut [f32]) -> f32 {
    let most = vectorised(
        #[inline(always)]
        || row_max_of(rows, f32::abs),
    );
    let excess = (most / LARGE).max(1.0);
    if excess > 1.0 {
        rows.iter_mut().for_each(|x| *x /= excess);
    }
    excess
}

/// Logarithms of small counts: a token needs those of all clusters.
static SMALL: LazyLock<[f32; 256]> =
    LazyLock::new(|| std::array::from_fn(|count| (count as f32).log2()));

/// log₂ of the number of tokens of a cluster.
pub(super) fn log_count(count: usize) -> f32 {
    let known = SMALL.get(count);
    known.copied().unwrap_or_else(|| (count as f32).log2())
}

/// The same of several clusters, appended to a list.
pub(super) fn log_counts(counts: impl Iterator<Item = usize>, to: &mut Vec<f32>) {
    let small = &*SMALL;
    to.extend(counts.map(|count| match small.get(count) {
        Some(&known) => known,
        None => (count as f32).log2(),
    }));
}
