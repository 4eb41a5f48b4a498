//! Groups of queries that are computed together, and the keys that they see.

use std::ops::Range;

use super::BlockAttention;
#[cfg(feature = "flex")]
use crate::cpu::block::QUERIES;

/// The maximum number of keys in a step of the softmax.
#[cfg(feature = "flex")]
const KEYS: usize = 384;

impl BlockAttention {
    /// Chunks of queries. The sinks belong to the first chunk, which sees the same keys.
    pub(super) fn query_chunks(&self, tokens: usize) -> usize {
        self.grid.chunks(tokens).max(1)
    }

    /// The queries of a chunk.
    pub(super) fn queries(&self, chunk: usize, tokens: usize) -> Range<usize> {
        let first = match chunk {
            0 => 0,
            chunk => self.grid.start_of(chunk),
        };
        first..self.grid.start_of(chunk + 1).min(tokens)
    }

    /// The keys that the queries of a chunk see.
    pub(super) fn seen(&self, chunk: usize) -> Seen {
        if chunk <= self.grid.near_chunks {
            return Seen::default();
        }
        let far = self.grid.far_of(chunk);
        let merged = self.spans.of(far) * self.clusters;
        Seen {
            near: self.grid.start_of(far),
            far,
            sinks: self.grid.sinks,
            keys: self.grid.sinks + far * self.clusters,
            merged,
            spanned: merged * self.spans.chunks,
        }
    }
}

/// The keys that the queries of a chunk see: a window, which ends with each query's own
/// token, and shared keys.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(not(feature = "flex"), allow(dead_code))] // kernels for GPUs count shared keys themselves
pub(super) struct Seen {
    /// First token of the window.
    pub(super) near: usize,
    /// Far chunks.
    pub(super) far: usize,
    /// Shared sinks.
    pub(super) sinks: usize,
    /// Shared sinks, followed by clusters.
    pub(super) keys: usize,
    /// Merged clusters.
    pub(super) merged: usize,
    /// The clusters that were merged, which are the first.
    pub(super) spanned: usize,
}

/// A list of shared keys.
#[cfg(feature = "flex")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    /// Sinks, followed by clusters.
    Clusters,
    /// Merged clusters.
    Merged,
}

/// Keys that enter the softmax together.
#[cfg(feature = "flex")]
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// Tokens of the window.
    pub(super) tokens: Range<usize>,
    /// Shared keys.
    pub(super) shared: Range<usize>,
}

#[cfg(feature = "flex")]
impl Seen {
    /// Only the window.
    pub(super) fn window(self) -> Self {
        Self {
            far: 0,
            sinks: 0,
            keys: 0,
            merged: 0,
            spanned: 0,
            ..self
        }
    }

    /// Shared keys that are clusters.
    pub(super) fn clusters(&self) -> usize {
        self.keys - self.sinks
    }

    /// Clusters of chunks in no span.
    pub(super) fn unmerged(&self) -> usize {
        self.clusters() - self.spanned
    }

    /// With spans, the sinks, the merged clusters and the clusters of chunks in no span, in this
    /// order: parts of at most `at_once` keys, each with its first number and its length.
    pub(super) fn parts(
        self,
        at_once: usize,
    ) -> impl Iterator<Item = (List, usize, usize)> + Clone {
        let lists = [
            (List::Clusters, 0..self.sinks),
            (List::Merged, 0..self.merged),
            (List::Clusters, self.sinks + self.spanned..self.keys),
        ];
        lists.into_iter().flat_map(move |(list, keys)| {
            let end = keys.end;
            let starts = keys.step_by(at_once);
            starts.map(move |start| (list, start, at_once.min(end - start)))
        })
    }

    /// All keys, in steps of similar size, for a window that ends before token `end`.
    pub(super) fn steps(self, end: usize) -> impl Iterator<Item = Step> {
        let window = end - self.near;
        let total = window + self.keys;
        let step = total.div_ceil(total.div_ceil(KEYS));
        (0..total).step_by(step).map(move |from| {
            let to = (from + step).min(total);
            Step {
                tokens: self.near + from.min(window)..self.near + to.min(window),
                shared: from.saturating_sub(window)..to.saturating_sub(window),
            }
        })
    }
}

/// Blocks of a similar number of queries.
#[cfg(feature = "flex")]
pub(super) fn blocks(queries: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let size = queries.len().div_ceil(queries.len().div_ceil(QUERIES));
    let end = queries.end;
    let starts = queries.step_by(size);
    starts.map(move |start| start..(start + size).min(end))
}
