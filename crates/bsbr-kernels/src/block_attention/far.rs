//! The summaries of a head's far chunks, and mixtures of their states.

use std::ops::Range;

use rayon::prelude::*;

use super::BlockAttention;
use super::merged::Merged;
use super::queries::SharedKeys;
use super::rounding::round_rows;
use super::settings::KvBits;
use super::summarise::Summariser;
use super::tile::prefetch;
use super::tokens::{self, Members, Side, Tokens, Unpacked};
use crate::cpu::math::{row_dot, row_exp_sum, row_max, vectorised};
use crate::cpu::matrix::{Mat, product};

/// The storage form of the states of a head's chunks.
#[derive(Clone, Copy, Debug)]
pub(super) enum HeadState<'a> {
    Off,
    Whole,
    /// Bases `[D, r]` of keys and values.
    Compressed {
        key: Mat<'a>,
        value: Mat<'a>,
    },
}

impl HeadState<'_> {
    /// Rows and columns of a stored state.
    fn rank(&self, d: usize) -> usize {
        match self {
            Self::Off => 0,
            Self::Whole => d,
            Self::Compressed { key, .. } => key.t().height(),
        }
    }
}

/// Sinks, and the summaries of the far chunks of one head.
#[derive(Debug)]
pub(super) struct Far {
    /// D
    d: usize,
    /// Keys and values of the sinks, then means of the clusters. `[sinks + F·G, D]`
    rows: [Vec<f32>; 2],
    /// 0 for sinks, log₂ m for clusters, `-inf` for empty ones. `[sinks + F·G]`
    bias: Vec<f32>,
    /// Mean key of each chunk. `[F, D]`
    means: Vec<f32>,
    /// Rows and columns of a state, 0 without states.
    rank: usize,
    /// `[F, rank, rank]`
    states: Vec<f32>,
    /// The chunks' tokens, cluster by cluster, counted within their chunk. `[F·S]`
    order: Vec<usize>,
    /// The start of each cluster in that order, and F·S at the end. `[F·G + 1]`
    starts: Vec<usize>,
    /// The tokens in that order, if they are looked up.
    tokens: Tokens,
    /// The merged clusters of spans.
    merged: Merged,
}

impl Far {
    /// Summarises the first `chunks` chunks of a head.
    pub(super) fn new(
        settings: &BlockAttention,
        state: HeadState<'_>,
        chunks: usize,
        [k, v]: [Mat<'_>; 2],
        d: usize,
    ) -> Self {
        let (sinks, size) = (
            settings.grid.sinks.min(k.height()),
            settings.grid.chunk_size,
        );
        let chunks = if settings.clusters == 0 { 0 } else { chunks };
        let clusters = chunks * settings.clusters;
        let rank = if chunks == 0 { 0 } else { state.rank(d) };
        let ordered = match settings.exact_clusters {
            0 => 0,
            _ => size * d,
        };
        let zeros = |rows: usize, of: usize| vec![0.0; rows * of];
        let mut far = Self {
            d,
            rows: [(); 2].map(|()| zeros(sinks + clusters, d)),
            bias: zeros(sinks + clusters, 1),
            means: zeros(chunks, d),
            rank,
            states: zeros(chunks, rank * rank),
            order: vec![0; chunks * size],
            starts: vec![chunks * size; clusters + 1],
            tokens: Tokens::new(if ordered > 0 { chunks * size } else { 0 }, d),
            merged: Merged::default(),
        };
        for (from, to) in [k, v].iter().zip(&mut far.rows) {
            for (row, to) in to.chunks_exact_mut(d).take(sinks).enumerate() {
                from.copy_row(row, to);
            }
        }

        let g = settings.clusters;
        let of_rows = far.rows.each_mut();
        let [mut keys, mut values] = of_rows.map(|rows| pieces(&mut rows[sinks * d..], g * d));
        let mut bias = pieces(&mut far.bias[sinks..], g);
        let mut means = pieces(&mut far.means, d);
        let mut states = pieces(&mut far.states, rank * rank);
        let mut order = pieces(&mut far.order, size);
        let mut starts = pieces(&mut far.starts, g);
        let [tokens_keys, tokens_values] = far.tokens.parts();
        let mut ordered_keys = pieces(tokens_keys, ordered);
        let mut ordered_values = pieces(tokens_values, ordered);
        let summaries: Vec<_> = (0..chunks)
            .map(|chunk| Summary {
                first: chunk * size,
                keys: keys.next(),
                values: values.next(),
                bias: bias.next(),
                mean: means.next(),
                state: states.next(),
                order: order.next(),
                starts: starts.next(),
                ordered_keys: ordered_keys.next(),
                ordered_values: ordered_values.next(),
            })
            .collect();
        summaries
            .into_par_iter()
            .for_each_init(Summariser::default, |summariser, summary| {
                let start = sinks + summary.first;
                let tokens = [k.rows(start, size), v.rows(start, size)];
                summariser.gather(tokens, d, g);
                summary.write(summariser, d, state, settings.kv_bits);
            });
        if settings.spans.of(chunks) > 0 {
            let means = far.rows.each_ref().map(|rows| &rows[sinks * d..]);
            far.merged = Merged::new(settings, means, |cluster| far.members(cluster).len(), d);
        }
        far
    }

    /// F, the number of summarised chunks.
    pub(super) fn chunks(&self) -> usize {
        self.means.len() / self.d.max(1)
    }

    /// Numbers in a state, 0 without states.
    pub(super) fn state_size(&self) -> usize {
        self.rank * self.rank
    }

    /// Mean keys of all chunks. `[F, D]`
    pub(super) fn means(&self) -> Mat<'_> {
        Mat::dense(&self.means, self.chunks(), self.d)
    }

    /// States of all chunks, each in one row. `[F, rank·rank]`
    pub(super) fn states(&self) -> Mat<'_> {
        Mat::dense(&self.states, self.chunks(), self.state_size())
    }

    /// The range of a cluster's tokens in the order of clusters.
    pub(super) fn members(&self, cluster: usize) -> Range<usize> {
        self.starts[cluster]..self.starts[cluster + 1]
    }

    /// The merged cluster of a cluster in a span, and its share of its tokens.
    pub(super) fn share(&self, cluster: usize) -> Option<(usize, f32)> {
        self.merged.share(cluster)
    }

    /// Tokens in the order of clusters, counted within their chunk.
    pub(super) fn order(&self, members: Range<usize>) -> &[usize] {
        &self.order[members]
    }

    /// The key of one sink or cluster. `[D]`
    pub(super) fn key(&self, number: usize) -> &[f32] {
        &self.rows[0][number * self.d..][..self.d]
    }

    /// Mixes the states of the first `chunks` chunks by softmax over the products
    /// of their mean keys with `receiver`.
    pub(super) fn mix(
        &self,
        state: HeadState<'_>,
        receiver: &[f32],
        chunks: usize,
        mixture: &mut Mixture,
    ) {
        let (d, rank) = (self.d, self.rank);
        let Mixture {
            weights,
            mixed,
            half,
            state: whole,
        } = mixture;
        weights.clear();
        weights.resize(chunks, 0.0);
        mixed.clear();
        mixed.resize(rank * rank, 0.0);
        vectorised(
            #[inline(always)]
            || {
                for (weight, mean) in weights.iter_mut().zip(self.means.chunks_exact(d)) {
                    *weight = row_dot(receiver, mean);
                }
                let max = row_max(weights);
                let norm = 1.0 / row_exp_sum(weights, max);
                for weight in weights.iter_mut() {
                    *weight *= norm;
                }
                let size = rank * rank;
                let (fours, rest) = weights.as_chunks::<4>();
                let (of_fours, of_rest) = self.states.split_at(fours.len() * 4 * size);
                // Four at a time, so the sum is read and written less often.
                for (w, states) in fours.iter().zip(of_fours.chunks_exact(4 * size)) {
                    let (a, b) = states.split_at(2 * size);
                    let ((a, b), (c, d)) = (a.split_at(size), b.split_at(size));
                    for ((((x, a), b), c), d) in mixed.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                        *x += (w[0] * a + w[1] * b) + (w[2] * c + w[3] * d);
                    }
                }
                for (w, state) in rest.iter().zip(of_rest.chunks_exact(size)) {
                    for (x, a) in mixed.iter_mut().zip(state) {
                        *x += w * a;
                    }
                }
            },
        );
        let HeadState::Compressed { key, value } = state else {
            std::mem::swap(mixed, whole);
            return;
        };
        half.resize(rank * d, 0.0);
        whole.resize(d * d, 0.0);
        let kept = Mat::dense(mixed, rank, rank);
        product(half, kept, value.t(), 1.0, false);
        let half = Mat::dense(half, rank, d);
        product(whole, key, half, 1.0, false);
    }
}

impl SharedKeys for Far {
    fn rows<'a>(&'a self, of: usize, start: usize, len: usize, _: &'a mut Vec<f32>) -> Mat<'a> {
        Mat::dense(&self.rows[of][start * self.d..], len, self.d)
    }

    fn bias(&self, start: usize, len: usize) -> &[f32] {
        &self.bias[start..start + len]
    }

    fn looked_up<'a>(&'a self, cluster: usize, _: &'a mut Unpacked) -> Members<'a> {
        self.tokens.members(self.members(cluster))
    }

    fn prefetch(&self, cluster: usize) {
        let tokens = self.tokens.members(self.members(cluster));
        tokens.sides.iter().for_each(|side| prefetch(side.numbers));
    }

    fn merged<'a>(&'a self, of: usize, start: usize, len: usize, _: &'a mut Vec<f32>) -> Mat<'a> {
        Mat::dense(&self.merged.means[of][start * self.d..], len, self.d)
    }

    fn merged_bias(&self, start: usize, len: usize) -> &[f32] {
        &self.merged.bias[start..start + len]
    }

    fn clusters_of(&self, merged: usize) -> &[u32] {
        self.merged.clusters(merged)
    }

    fn count_of(&self, cluster: usize) -> usize {
        self.members(cluster).len()
    }

    fn side<'a>(&'a self, of: usize, merged: usize, _: &'a mut Vec<f32>) -> Side<'a> {
        self.merged.side(of, merged)
    }
}

/// S_c, and buffers to mix it in.
#[derive(Debug, Default)]
pub(super) struct Mixture {
    /// w_c. `[F]`
    pub(super) weights: Vec<f32>,
    /// The mixture of compressed states. `[rank, rank]`
    pub(super) mixed: Vec<f32>,
    half: Vec<f32>,
    /// S_c. `[D, D]`
    pub(super) state: Vec<f32>,
}

/// Divides numbers into pieces of one size.
struct Pieces<'a, T> {
    rest: &'a mut [T],
    size: usize,
}

fn pieces<T>(rest: &mut [T], size: usize) -> Pieces<'_, T> {
    Pieces { rest, size }
}

impl<'a, T> Pieces<'a, T> {
    fn next(&mut self) -> &'a mut [T] {
        self.rest.split_off_mut(..self.size).unwrap_or_default()
    }
}

/// The destination of one chunk's summary. Unneeded pieces are empty.
struct Summary<'a> {
    /// First token of the chunk, counted from the first chunk's.
    first: usize,
    /// `[G, D]`
    keys: &'a mut [f32],
    /// `[G, D]`
    values: &'a mut [f32],
    /// `[G]`
    bias: &'a mut [f32],
    /// `[D]`
    mean: &'a mut [f32],
    /// `[rank, rank]`
    state: &'a mut [f32],
    /// `[S]`
    order: &'a mut [usize],
    /// `[G]`
    starts: &'a mut [usize],
    /// As written by [`tokens::write`]. `[S, D]`
    ordered_keys: &'a mut [f32],
    /// `[S, D]`
    ordered_values: &'a mut [f32],
}

impl Summary<'_> {
    /// Writes the summary of a chunk whose tokens are in the order of clusters.
    fn write(self, chunk: &mut Summariser, d: usize, state: HeadState<'_>, bits: KvBits) {
        self.order.copy_from_slice(chunk.order());
        let mut next = self.first;
        for (start, &count) in self.starts.iter_mut().zip(chunk.counts()) {
            *start = next;
            next += count;
        }
        chunk.bias(self.bias);
        chunk.average([&mut *self.keys, &mut *self.values], self.mean, d);
        if !self.ordered_keys.is_empty() {
            let to = [self.ordered_keys, self.ordered_values];
            tokens::write(chunk.ordered(), to, d, chunk.counts(), bits);
        }
        chunk.state(state, self.keys, self.state, d);
        round_rows(self.keys, d, bits.of_means());
        round_rows(self.values, d, bits.of_means());
    }
}
